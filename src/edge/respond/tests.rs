use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

use http::Method;

use super::*;
use crate::address::origin::Scheme;
use crate::address::path::PathFault;
use crate::clock::{Clock, SystemClock};
use crate::edge::access_log::Lines;
use crate::edge::headers::TraceContext;
use crate::edge::metrics::EdgeMetrics;
use crate::edge::worker::ConnectionInfo;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

fn entry(method: Method) -> Entry {
    let metrics = Metrics::default();
    let (log, _writer) = AccessLog::to(io::sink(), &metrics).unwrap();
    let clock = Arc::new(SystemClock);
    let lines = Rc::new(Lines::new(log, clock.clone(), &EdgeMetrics::new(&metrics)));
    let connection = Rc::new(ConnectionInfo {
        peer: (Ipv4Addr::LOCALHOST, 1).into(),
        scheme: Scheme::Http,
        external_port: 80,
        server_name: None,
        certificate: None,
        certificate_names: None,
        http2: false,
        presented: None,
    });
    let (head, ()) = http::Request::builder()
        .method(method)
        .body(())
        .unwrap()
        .into_parts();
    let trace = TraceContext::of(&head.headers, [7; 24]);
    Entry::open(
        &lines,
        &connection,
        Some(&head),
        crate::edge::local::RequestId::for_tests(),
        trace,
        clock.now(),
    )
}

fn io_error() -> io::Error {
    io::Error::other("10.1.2.3 secret-internal-name")
}

#[test]
fn refusals_have_their_status_and_code() {
    let table: Vec<(Refused, u16, &str)> = vec![
        (
            RequestFault::Path(PathFault::PathParameter).into(),
            400,
            "bad_request",
        ),
        (RequestFault::Misdirected.into(), 421, "bad_request"),
        (Refused::Loop, 508, "loop"),
        (Refused::NoRoute, 404, "no_route"),
        (Refused::Stale, 503, "stale"),
        (Refused::SignInRequired, 401, "sign_in_required"),
        (
            Refused::BadToken(BearerFault::Signature),
            401,
            "invalid_token",
        ),
        (
            Refused::BadToken(BearerFault::KeysUnavailable),
            503,
            "issuer_unavailable",
        ),
        (Refused::StoreUnavailable, 503, "store_unavailable"),
        (Refused::ProviderUnavailable, 503, "provider_unavailable"),
        (
            SvidError::Namespace("x".into()).into(),
            403,
            "mesh_identity_not_signed",
        ),
        (SvidError::AuthorityExpired.into(), 503, "svid_unavailable"),
        (Refused::WrongSvid, 500, "internal"),
        (
            SendError::Resolve(io_error()).into(),
            502,
            "upstream_unresolved",
        ),
        (
            SendError::Connect(io_error()).into(),
            502,
            "upstream_unreachable",
        ),
        (
            SendError::ConnectTimeout.into(),
            504,
            "upstream_connect_timeout",
        ),
        (
            SendError::PeerIdentity("spiffe://secret-internal-name".into()).into(),
            502,
            "upstream_identity_mismatch",
        ),
        (SendError::Tls(io_error()).into(), 502, "upstream_tls"),
        (SendError::HeadTimeout.into(), 504, "upstream_timeout"),
        (SendError::Exhausted.into(), 503, "upstream_exhausted"),
        (Refused::WrongProtocol, 502, "upstream_protocol"),
        (Cut::ProofEnded.into(), 401, "session_ended"),
        (Cut::NotAllowed.into(), 403, "no_longer_allowed"),
        (Cut::Idle.into(), 408, "idle"),
        (Refused::OwnPage, 500, "internal"),
    ];
    for (refused, status, code) in table {
        let words = refused.words();
        assert_eq!(
            (words.status.as_u16(), words.code),
            (status, code),
            "{refused:?}"
        );
        assert!(
            !words.detail.contains("secret-internal-name") && !words.detail.contains("10.1.2.3"),
            "{refused:?}"
        );
        let response = refusal(&refused, Audience::Program, &mut entry(Method::GET));
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(
            response.headers().contains_key("www-authenticate"),
            status == 401,
            "{refused:?}"
        );
        assert_eq!(
            response.headers().contains_key("retry-after"),
            status == 503,
            "{refused:?}"
        );
        assert_eq!(response.headers()["wayleave-response"], "true");
        assert!(
            !response.headers().contains_key("strict-transport-security"),
            "plain http"
        );
    }
}

#[test]
fn each_reader_gets_what_it_understands() {
    let kind = |audience| {
        let response = refusal(&Refused::SignInRequired, audience, &mut entry(Method::GET));
        (
            response.status().as_u16(),
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .to_owned(),
            response.headers().get("grpc-status").cloned(),
        )
    };
    assert_eq!(
        kind(Audience::Program),
        (401, "application/problem+json".into(), None)
    );
    assert_eq!(
        kind(Audience::Navigation),
        (401, "text/html; charset=utf-8".into(), None)
    );
    let (status, content_type, grpc) = kind(Audience::Grpc);
    assert_eq!(
        (
            status,
            content_type.as_str(),
            grpc.unwrap().to_str().unwrap()
        ),
        (200, "application/grpc", "16")
    );
}

#[test]
fn invalid_tokens_are_named_and_missing_ones_are_not() {
    let challenge = |refused: Refused| refused.challenge();
    assert_eq!(
        challenge(Refused::SignInRequired).as_deref(),
        Some("Bearer")
    );
    assert_eq!(
        challenge(Refused::BadToken(BearerFault::Time)).as_deref(),
        Some("Bearer error=\"invalid_token\"")
    );
}

#[test]
fn answers_to_head_have_no_body() {
    use http_body::Body;
    let refuse = |method| refusal(&Refused::NoRoute, Audience::Program, &mut entry(method));
    assert!(refuse(Method::HEAD).body().is_end_stream());
    assert!(!refuse(Method::GET).body().is_end_stream());
}
