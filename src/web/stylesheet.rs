//! The stylesheets and scripts of our pages, and the icon, compiled in. A name has its file's hash, so that it can be cached for ever.

use std::sync::LazyLock;

use axum::body::Body;
use http::{HeaderValue, Response, header};

use crate::secret::sha256;

const TEXT: &str = include_str!("../../static/wayleave.css");

const CONSOLE: &str = include_str!("../../static/console.css");

const SCRIPT: &str = include_str!("../../static/console.js");

const PORTAL: &str = include_str!("../../static/portal.css");

const PORTAL_SCRIPT: &str = include_str!("../../static/portal.js");

const LIVE: &str = include_str!("../../static/live.js");

const EDITOR: &str = include_str!("../../static/editor.js");

const ICON: &str = include_str!("../../static/wayleave.svg");

/// What lies under it is the same for everybody and on every host: pages of ours can appear on hosts that nobody knows.
pub const STATIC_PREFIX: &str = "/.wayleave/static/";

/// Path of the icon, on every host; `base.html` names it too.
pub const ICON_PATH: &str = "/.wayleave/static/wayleave.svg";

const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Path of the stylesheet, on every host.
pub static PATH: LazyLock<String> = LazyLock::new(|| path("wayleave", TEXT, "css"));

/// Path of what the console's pages have besides, on the home host.
pub static CONSOLE_PATH: LazyLock<String> = LazyLock::new(|| path("console", CONSOLE, "css"));

/// Path of the console's script, on the home host.
pub static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| path("console", SCRIPT, "js"));

/// Path of what people's own pages have besides, on the home host.
pub static PORTAL_PATH: LazyLock<String> = LazyLock::new(|| path("portal", PORTAL, "css"));

/// Path of the script of people's own pages, on the home host.
pub static PORTAL_SCRIPT_PATH: LazyLock<String> =
    LazyLock::new(|| path("portal", PORTAL_SCRIPT, "js"));

/// Path of the script of pages that follow changes, on the home host.
pub static LIVE_PATH: LazyLock<String> = LazyLock::new(|| path("live", LIVE, "js"));

/// Path of the script of the console's editor, on the home host.
pub static EDITOR_PATH: LazyLock<String> = LazyLock::new(|| path("editor", EDITOR, "js"));

fn path(name: &str, text: &str, kind: &str) -> String {
    let hash = hex::encode(sha256(text.as_bytes()));
    format!("{STATIC_PREFIX}{name}.{}.{kind}", &hash[..16])
}

/// The stylesheet itself.
pub fn response() -> Response<Body> {
    fixed(TEXT, "text/css; charset=utf-8", FOR_EVER)
}

/// The console's stylesheet.
pub fn console_response() -> Response<Body> {
    fixed(CONSOLE, "text/css; charset=utf-8", FOR_EVER)
}

/// The console's script.
pub fn script_response() -> Response<Body> {
    script(SCRIPT)
}

/// The stylesheet of people's own pages.
pub fn portal_response() -> Response<Body> {
    fixed(PORTAL, "text/css; charset=utf-8", FOR_EVER)
}

/// The script of people's own pages.
pub fn portal_script_response() -> Response<Body> {
    script(PORTAL_SCRIPT)
}

/// The script of pages that follow changes.
pub fn live_response() -> Response<Body> {
    script(LIVE)
}

/// The script of the console's editor.
pub fn editor_response() -> Response<Body> {
    script(EDITOR)
}

fn script(text: &'static str) -> Response<Body> {
    let kind = "text/javascript; charset=utf-8";
    let mut response = fixed(text, kind, FOR_EVER);
    let nosniff = HeaderValue::from_static("nosniff");
    let name = header::X_CONTENT_TYPE_OPTIONS;
    response.headers_mut().insert(name, nosniff);
    response
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
