//! Trailers of either direction, which some readers take for headers.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::edge::headers::names::may_be_trailer;

/// Trailers may not say what headers may not.
pub(in crate::edge) fn without_identity(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(trailers_without_identity(trailers)),
        Err(frame) => frame,
    }
}

fn trailers_without_identity(mut trailers: HeaderMap) -> HeaderMap {
    let removed: Vec<_> = trailers
        .keys()
        .filter(|name| !may_be_trailer(name))
        .cloned()
        .collect();
    for name in removed {
        trailers.remove(name);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::trailers_without_identity;

    #[test]
    fn d8_identity_names_in_trailers_are_dropped() {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "x-checksum",
            "x-forwarded-user",
            "remote-user",
            "wayleave-jwt-assertion",
            "authorization",
            "cookie",
            "host",
            "content-length",
            "connection",
            "proxy-authorization",
            "transfer-encoding",
        ] {
            trailers.insert(name, HeaderValue::from_static("v"));
        }
        let kept = trailers_without_identity(trailers);
        let mut names: Vec<_> = kept.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["grpc-status", "x-checksum"]);
    }
}
