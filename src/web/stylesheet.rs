//! The one stylesheet of our pages and their icon, compiled in. The stylesheet's name has its hash, so that it can be cached for ever.

use std::sync::LazyLock;

use axum::body::Body;
use http::{HeaderValue, Response, header};

use crate::secret::sha256;

const TEXT: &str = include_str!("../../static/wayleave.css");

const ICON: &str = include_str!("../../static/wayleave.svg");

/// What lies under it is the same for everybody and on every host: pages of ours can appear on hosts that nobody knows.
pub const STATIC_PREFIX: &str = "/.wayleave/static/";

/// Path of the icon, on every host; `base.html` names it too.
pub const ICON_PATH: &str = "/.wayleave/static/wayleave.svg";

/// Path of the stylesheet, on every host.
pub static PATH: LazyLock<String> = LazyLock::new(|| {
    let hash = hex::encode(sha256(TEXT.as_bytes()));
    format!("{STATIC_PREFIX}wayleave.{}.css", &hash[..16])
});

/// The stylesheet itself.
pub fn response() -> Response<Body> {
    fixed(
        TEXT,
        "text/css; charset=utf-8",
        "public, max-age=31536000, immutable",
    )
}

/// The icon.
pub fn icon() -> Response<Body> {
    fixed(ICON, "image/svg+xml", "public, max-age=86400")
}

fn fixed(text: &'static str, kind: &'static str, caching: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
