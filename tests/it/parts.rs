//! What the tests share: real peers, a whole edge with everything around it, programs as processes, and people who visit them.

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod desk;
pub(crate) mod envoy;
pub(crate) mod files;
pub(crate) mod frames;
pub(crate) mod house;
pub(crate) mod issuer;
pub(crate) mod istiod;
pub(crate) mod program;
pub(crate) mod program_of;
pub(crate) mod served;
pub(crate) mod sts;
pub(crate) mod upstream;
pub(crate) mod visitor;

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// Bodies of either direction.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// The Python that the parts from PyPI are installed for.
#[expect(clippy::disallowed_methods, reason = "where the test's Python is")]
pub(crate) fn python() -> PathBuf {
    std::env::var("WAYLEAVE_TEST_PYTHON")
        .expect("WAYLEAVE_TEST_PYTHON is not set; run under tests/parts/with-parts.sh")
        .into()
}

/// Runs beside the test, until the test's runtime ends.
#[expect(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
pub(crate) fn beside(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Looks again and again until something is there; the time it took.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> (T, Duration) {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return (found, began.elapsed());
        }
        assert!(began.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
