//! One reading of a request: origin, method, path and query, or a refusal. Everything after this decides and forwards on it alone.
//!
//! With HTTP/2 a raw `#` cannot be seen here: the library cuts it off. Decision and forwarded bytes both use what is left.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN,
};
use http::{Method, StatusCode, Version, request::Parts};

use crate::address::host::{Host, HostFault};
use crate::address::origin::Origin;
use crate::address::path::{PathFault, check_query, examine_path};
use crate::edge::framing::head::{FramingFault, METHODS};
use crate::edge::headers::nominated;
use crate::edge::worker::ConnectionInfo;
use crate::policy::when::RequestHeaders;

/// A request in its only reading.
#[derive(Clone, Debug)]
pub struct Normalised {
    /// Where it was addressed to: scheme, host and port as seen from outside.
    pub origin: Origin,
    /// One of those that are let through.
    pub method: Method,
    /// Checked by [`examine_path`].
    pub path: String,
    /// Without the question mark; rules never see it.
    pub query: Option<String>,
    /// To be refused with [`PathFault::PathParameter`] unless the route allows them.
    pub has_path_parameters: bool,
    /// Whether it asks to change protocols.
    pub is_upgrade: bool,
    /// The connection's other end.
    pub peer: IpAddr,
    /// The headers that rules of the policy in force look at.
    pub headers: RequestHeaders,
}

/// Why a request has no single reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RequestFault {
    #[error(transparent)]
    Framing(#[from] FramingFault),
    #[error(transparent)]
    Path(#[from] PathFault),
    #[error(transparent)]
    Host(#[from] HostFault),
    #[error("the request names no host, or two")]
    Authority,
    #[error("the request is for another port or certificate than this connection's")]
    Misdirected,
    #[error("the method is not supported")]
    Method,
    #[error("the request target is not an absolute path")]
    Target,
    #[error("a header name has another character than letters, digits and hyphens")]
    HeaderName,
    #[error("a header that may come once is repeated")]
    RepeatedHeader,
    #[error("a header that access rules look at has another character than those of ASCII")]
    HeaderValue,
}

impl RequestFault {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Framing(fault) => framing_status(fault),
            Self::Path(PathFault::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::NOT_IMPLEMENTED,
            Self::Path(_)
            | Self::Host(_)
            | Self::Authority
            | Self::Target
            | Self::HeaderName
            | Self::RepeatedHeader
            | Self::HeaderValue => StatusCode::BAD_REQUEST,
        }
    }
}

fn framing_status(fault: FramingFault) -> StatusCode {
    match fault {
        FramingFault::Method => StatusCode::NOT_IMPLEMENTED,
        FramingFault::TargetTooLong => StatusCode::URI_TOO_LONG,
        FramingFault::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        FramingFault::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        FramingFault::Expect => StatusCode::EXPECTATION_FAILED,
        FramingFault::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
        FramingFault::RequestLine
        | FramingFault::Target
        | FramingFault::LineEnd
        | FramingFault::Field
        | FramingFault::Host
        | FramingFault::ContentLength
        | FramingFault::TransferEncoding
        | FramingFault::LengthAndChunked
        | FramingFault::TunnelWithBody
        | FramingFault::Chunk => StatusCode::BAD_REQUEST,
    }
}

/// Reads a request in the only way, or says why there is none. `header_names` are those that rules look at; whether it is an upgrade was found out before.
pub fn normalise(
    connection: &ConnectionInfo,
    request: &Parts,
    header_names: &[Arc<str>],
    is_upgrade: bool,
) -> Result<Normalised, RequestFault> {
    if !METHODS.contains(&request.method.as_str()) || request.method == Method::CONNECT {
        return Err(RequestFault::Method);
    }
    check_headers(&request.headers)?;
    check_values(&request.headers, header_names)?;
    let (host, port) = authority(request)?;
    if port.unwrap_or(connection.scheme.default_port()) != connection.external_port {
        return Err(RequestFault::Misdirected);
    }
    // A browser may reuse a connection for every host of its certificate, and for no other (RFC 9110 §15.5.20).
    let covering = connection
        .certificate_names
        .as_ref()
        .map(|names| names.certificate_for(&host));
    if covering.is_some_and(|found| found.is_none() || found != connection.certificate) {
        return Err(RequestFault::Misdirected);
    }
    let shape = examine_path(request.uri.path())?;
    request.uri.query().map_or(Ok(()), check_query)?;
    Ok(Normalised {
        origin: Origin {
            scheme: connection.scheme,
            host,
            port: connection.external_port,
        },
        method: request.method.clone(),
        path: request.uri.path().to_owned(),
        query: request.uri.query().map(str::to_owned),
        has_path_parameters: shape.has_path_parameters,
        is_upgrade,
        peer: connection.peer.ip(),
        headers: read_headers(&request.headers, header_names),
    })
}

/// What rules look at. A header that `Connection` nominates does not reach the upstream (RFC 9110 §7.6.1), so for rules there is none.
fn read_headers(headers: &HeaderMap, names: &[Arc<str>]) -> RequestHeaders {
    let gone = match names.is_empty() {
        true => Vec::new(),
        false => nominated(headers),
    };
    RequestHeaders::read(names, |name| {
        let is_gone = gone.iter().any(|gone| gone.as_str() == name);
        let lines = headers.get_all(name).into_iter();
        lines.filter(move |_| !is_gone).map(HeaderValue::as_bytes)
    })
}

/// `_` and `.` become `-` in some servers, so that such a name could pass for one of ours.
fn check_headers(headers: &HeaderMap) -> Result<(), RequestFault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !headers.keys().all(|name| name.as_str().bytes().all(plain)) {
        return Err(RequestFault::HeaderName);
    }
    let single = [AUTHORIZATION, HOST, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN];
    if single
        .iter()
        .any(|name| headers.get_all(name).iter().nth(1).is_some())
    {
        return Err(RequestFault::RepeatedHeader);
    }
    Ok(())
}

/// Beyond ASCII a value is ISO 8859-1 to one server and UTF-8 to the next (RFC 9110 §5.5), so a rule and the upstream could read two values in
/// it. What no rule looks at is the upstream's own affair, and passes as it is.
fn check_values(headers: &HeaderMap, read: &[Arc<str>]) -> Result<(), RequestFault> {
    let mut values = read.iter().flat_map(|name| headers.get_all(&**name));
    if values.any(|value| !value.as_bytes().is_ascii()) {
        return Err(RequestFault::HeaderValue);
    }
    Ok(())
}

/// HTTP/1 has `Host` and no authority in its target, HTTP/2 `:authority` and perhaps the same `Host` once more.
fn authority(request: &Parts) -> Result<(Host, Option<u16>), RequestFault> {
    let header = match request.headers.get(HOST) {
        Some(value) => {
            let text = value.to_str().map_err(|_fault| HostFault::Character)?;
            Some(Host::parse_authority(text)?)
        }
        None => None,
    };
    let target = match request.uri.authority() {
        Some(authority) => Some(Host::parse_authority(authority.as_str())?),
        None => None,
    };
    if request.version != Version::HTTP_2 && target.is_some() {
        return Err(RequestFault::Target);
    }
    match (header, target) {
        (Some(header), Some(target)) if header != target => Err(RequestFault::Authority),
        (_, Some(found)) | (Some(found), None) => Ok(found),
        (None, None) => Err(RequestFault::Authority),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, StatusCode, Version};

    use super::normalise;
    use crate::address::{host::Host, origin::Scheme};
    use crate::edge::tls::{CertificateId, CertificateNames};
    use crate::edge::worker::ConnectionInfo;

    fn connection(version: Version) -> ConnectionInfo {
        let mut names = CertificateNames::default();
        names.add("app.example", CertificateId(0));
        names.add("same.example", CertificateId(0));
        names.add("other.example", CertificateId(1));
        ConnectionInfo {
            peer: ([127, 0, 0, 1], 1).into(),
            scheme: Scheme::Https,
            external_port: 443,
            server_name: Some(Host::parse("app.example").unwrap()),
            certificate: Some(CertificateId(0)),
            certificate_names: Some(Arc::new(names)),
            http2: version == Version::HTTP_2,
            presented: None,
        }
    }

    #[test]
    fn a_header_that_does_not_go_on_is_none_for_rules() {
        let request = Request::builder()
            .header("connection", "keep-alive, X-Team")
            .header("x-team", "blue")
            .header("x-other", "red")
            .body(())
            .unwrap();
        let names = ["x-team", "x-other"].map(Arc::from);
        let read = super::read_headers(request.headers(), &names);
        let count = |name: &str| read.lines(name).map(<[_]>::len);
        assert_eq!((count("x-team"), count("x-other")), (Some(0), Some(1)));
    }

    /// 200 stands for accepted.
    fn status(version: Version, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let connection = connection(version);
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        normalise(&connection, &parts, &[], false)
            .map_or_else(|fault| fault.status(), |_| StatusCode::OK)
            .as_u16()
    }

    #[test]
    fn b6_hosts_of_http1() {
        let cases = [
            ("App.Example", 200),
            ("app.example:443", 200),
            ("app.example:0443", 400),
            ("app.example.", 400),
            ("app.example:444", 421),
            ("a/b", 400),
            ("good@app.example", 400),
            ("", 400),
        ];
        for (host, expected) in cases {
            assert_eq!(
                status(Version::HTTP_11, "/", &[("host", host)]),
                expected,
                "{host}"
            );
        }
        assert_eq!(status(Version::HTTP_11, "/", &[]), 400);
        assert_eq!(
            status(
                Version::HTTP_11,
                "http://evil/adm",
                &[("host", "app.example")]
            ),
            400
        );
    }

    #[test]
    fn b14_another_certificate_is_misdirected() {
        let at = |uri: &str| status(Version::HTTP_2, uri, &[]);
        assert_eq!(at("https://app.example/"), 200);
        assert_eq!(at("https://same.example/"), 200);
        assert_eq!(at("https://other.example/"), 421);
        assert_eq!(at("https://unknown.example/"), 421);
        assert_eq!(
            status(
                Version::HTTP_2,
                "https://app.example/",
                &[("host", "evil.example")]
            ),
            400
        );
        assert_eq!(
            status(
                Version::HTTP_2,
                "https://app.example/",
                &[("host", "app.example")]
            ),
            200
        );
    }

    #[test]
    fn a8_what_rules_look_at_has_one_reading() {
        let read: &[Arc<str>] = &["x-env".into()];
        let with = |name: &str, value: &[u8]| {
            let request = Request::get("/").header("host", "app.example");
            let request = request.header(name, value).body(()).unwrap();
            let connection = connection(Version::HTTP_11);
            normalise(&connection, &request.into_parts().0, read, false)
                .map_or_else(|fault| fault.status(), |_| StatusCode::OK)
                .as_u16()
        };
        assert_eq!(with("x-env", b"prod"), 200);
        assert_eq!(with("x-env", b"prod\xff"), 400);
        assert_eq!(with("X-Env", "pröd".as_bytes()), 400);
        assert_eq!(with("x-title", "pröd".as_bytes()), 200);
        assert_eq!(with("x-title", b"\xff"), 200);
    }

    #[test]
    fn a8_lookalike_and_repeated_headers_are_refused() {
        let with = |headers: &[(&str, &str)]| {
            let all = [&[("host", "app.example")], headers].concat();
            status(Version::HTTP_11, "/", &all)
        };
        assert_eq!(with(&[("x-a", "1"), ("x-a", "2")]), 200);
        assert_eq!(with(&[("x_a", "1")]), 400);
        assert_eq!(with(&[("x.a", "1")]), 400);
        assert_eq!(with(&[("authorization", "a"), ("authorization", "b")]), 400);
        assert_eq!(with(&[("origin", "a"), ("origin", "a")]), 400);
    }
}
