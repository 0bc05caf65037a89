//! The one stylesheet of our pages, compiled in. Its name has its hash, so that it can be cached for ever.

use std::sync::LazyLock;

use axum::body::Body;
use http::{HeaderValue, Response, header};

use crate::secret::sha256;

const TEXT: &str = include_str!("../../static/wayleave.css");

/// Path of the stylesheet, on every host.
pub static PATH: LazyLock<String> = LazyLock::new(|| {
    let hash = hex::encode(sha256(TEXT.as_bytes()));
    format!("/.wayleave/static/wayleave.{}.css", &hash[..16])
});

/// The stylesheet itself.
pub fn response() -> Response<Body> {
    let mut response = Response::new(Body::from(TEXT));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/css; charset=utf-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    response
}
