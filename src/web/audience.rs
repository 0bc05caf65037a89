//! Who will read an answer of ours: a person in a browser, a program, a gRPC client, or kubectl.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The reader of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A top-level navigation: pages and redirects are understood.
    Navigation,
    /// Anything else: problem+json, never a redirect to sign in.
    Program,
    /// gRPC: status in trailers-only form.
    Grpc,
    /// What speaks to a Kubernetes API server: `Status` objects. No request says so; where it leads does.
    Kubernetes,
    /// The same where such a server says what it serves. Of an answer there that is no such list kubectl prints the text, and nothing of an object.
    KubernetesDiscovery,
}

impl Audience {
    /// Fetch metadata decide (`Sec-Fetch-Mode: navigate`, and GET or HEAD); only without any of them does `Accept: text/html`.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        if is_grpc(headers) {
            return Self::Grpc;
        }
        if method != Method::GET && method != Method::HEAD {
            return Self::Program;
        }
        let has_metadata = [SEC_FETCH_MODE, SEC_FETCH_SITE, SEC_FETCH_DEST]
            .iter()
            .any(|name| headers.contains_key(name));
        let navigates = if has_metadata {
            headers
                .get(SEC_FETCH_MODE)
                .is_some_and(|mode| mode == "navigate")
        } else {
            accepts_html(headers)
        };
        if navigates {
            Self::Navigation
        } else {
            Self::Program
        }
    }
}

/// `application/grpc`, also with a suffix (`+proto`) or parameters; gRPC-Web is not meant.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let kind = kind
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    kind == "application/grpc" || kind.starts_with("application/grpc+")
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let kind = range.split(';').next().unwrap_or("").trim();
            kind.eq_ignore_ascii_case("text/html")
        })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::Audience;

    #[test]
    fn readers_are_told_apart() {
        use Audience::{Grpc, Navigation, Program};
        type Headers = &'static [(&'static str, &'static str)];
        let table: &[(Method, Headers, Audience)] = &[
            (Method::GET, &[("sec-fetch-mode", "navigate")], Navigation),
            (Method::HEAD, &[("sec-fetch-mode", "navigate")], Navigation),
            (Method::POST, &[("sec-fetch-mode", "navigate")], Program),
            (
                Method::GET,
                &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
                Program,
            ),
            (
                Method::GET,
                &[("sec-fetch-site", "same-origin"), ("accept", "text/html")],
                Program,
            ),
            (
                Method::GET,
                &[("accept", "text/html,application/xml;q=0.9")],
                Navigation,
            ),
            (Method::GET, &[("accept", "*/*")], Program),
            (Method::GET, &[], Program),
            (Method::POST, &[("content-type", "application/grpc")], Grpc),
            (
                Method::POST,
                &[("content-type", "Application/gRPC+proto; x=1")],
                Grpc,
            ),
            (
                Method::POST,
                &[("content-type", "application/grpc-web")],
                Program,
            ),
        ];
        for (method, headers, expected) in table {
            let map: HeaderMap = headers
                .iter()
                .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
                .collect();
            assert_eq!(
                Audience::of(method, &map),
                *expected,
                "{method} {headers:?}"
            );
        }
    }
}
