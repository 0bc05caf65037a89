//! Refusals and failures as people and programs see them (RFC 9457). What is said here is public; causes go to the log.

use askama::Template;
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::json;

use crate::address::origin::Scheme;
use crate::web::audience::Audience;
use crate::web::{security_headers, stylesheet};

/// A refusal or failure of ours.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable, machine-readable: `not_allowed`, `sign_in_required`, `upstream_refused_identity` …; also the access log's `reason`.
    pub code: &'static str,
    /// A short heading in plain words.
    pub title: &'static str,
    /// One or two sentences: what happened and what can be done. Nothing internal.
    pub detail: String,
    /// The request's id, for whoever is asked about it.
    pub request_id: String,
    /// Present when the rules decided.
    pub decision: Option<Refusal>,
    /// `WWW-Authenticate` for 401.
    pub authenticate: Option<String>,
    /// `Retry-After` in seconds for 503.
    pub retry_after: Option<u32>,
    /// Where signing in (again) starts, offered as a link or `Location`-like member; same origin path.
    pub sign_in_path: Option<String>,
    /// Where access can be asked for, on the home host.
    pub ask_url: Option<String>,
}

/// What a refused person is told.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Identifies the decision.
    pub decision_id: String,
    /// Who they are to us: e-mail or subject, provider, groups.
    pub who: String,
    /// Their groups; `None` when they are not known.
    pub groups: Option<Vec<String>>,
    /// What was refused: method, host and path.
    pub what: String,
    /// Why, in plain words.
    pub why: String,
    /// What keeps rules that are for them from allowing it, in a sentence each.
    pub hints: Vec<String>,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    problem: &'a Problem,
    stylesheet: &'a str,
}

/// What gRPC's `grpc-message` percent-encodes (gRPC over HTTP/2, "Responses"): all but printable ASCII, and `%`.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

impl Problem {
    /// Page, problem+json or gRPC status; always with security headers, `Cache-Control: no-store`, and `Wayleave-Response: true`.
    ///
    /// HSTS is on it: browsers ignore that on plain http (RFC 6797 §8.1), and the routers of our own pages take it off there.
    pub fn into_response(self, audience: Audience) -> Response<Body> {
        let mut response = match audience {
            Audience::Navigation => self.page(),
            Audience::Program => self.json(),
            Audience::Grpc => self.grpc(),
            Audience::Kubernetes => self.status_object(),
            Audience::KubernetesDiscovery => {
                typed(self.status, "text/plain; charset=utf-8", self.sentences())
            }
        };
        let headers = response.headers_mut();
        if audience != Audience::Grpc
            && let Some(challenge) = self.authenticate.as_deref()
            && let Ok(value) = HeaderValue::from_str(challenge)
        {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        security_headers::apply(headers, Scheme::Https);
        response
    }

    fn page(&self) -> Response<Body> {
        let page = ProblemPage {
            problem: self,
            stylesheet: &stylesheet::PATH,
        };
        // Rendering into memory cannot fail; if it did, the plain title is still an answer.
        let text = page.render().unwrap_or_else(|_| self.title.to_owned());
        typed(self.status, "text/html; charset=utf-8", text)
    }

    fn json(&self) -> Response<Body> {
        let mut members = json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "request_id": self.request_id,
        });
        if let Some(decision) = &self.decision {
            members["decision_id"] = json!(decision.decision_id);
            members["reason"] = json!(decision.why);
        }
        if let Some(path) = &self.sign_in_path {
            members["sign_in"] = json!(path);
        }
        if let Some(url) = &self.ask_url {
            members["ask_for_access"] = json!(url);
        }
        typed(self.status, "application/problem+json", members.to_string())
    }

    /// All that is said of it, in a line for people.
    fn sentences(&self) -> String {
        let mut said = self.detail.clone();
        if let Some(decision) = &self.decision {
            said.push_str(&format!(" {}", decision.why));
        }
        if let Some(url) = &self.ask_url {
            said.push_str(&format!(" Ask for access at {url}"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            said.push_str(" Sign in with `wayleave login`.");
        }
        said.push_str(&format!(" (request {})", self.request_id));
        said
    }

    /// What kubectl reads, and prints the message of.
    fn status_object(&self) -> Response<Body> {
        let mut details = json!({
            "causes": [{ "reason": self.code, "message": self.title }],
        });
        if let Some(seconds) = self.retry_after {
            details["retryAfterSeconds"] = json!(seconds);
        }
        let status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.sentences(),
            "reason": status_reason(self.status),
            "details": details,
            "code": self.status.as_u16(),
        });
        typed(self.status, "application/json", status.to_string())
    }

    /// Trailers-only: the status stands in the headers of an answer without a body.
    fn grpc(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert("grpc-status", HeaderValue::from(grpc_status(self.status)));
        let ask = self.ask_url.iter();
        let ask: String = ask.map(|url| format!(" Ask for access at {url}")).collect();
        let text = format!("{}{ask} (request {})", self.detail, self.request_id);
        let message = utf8_percent_encode(&text, GRPC_MESSAGE).to_string();
        if let Ok(value) = HeaderValue::from_str(&message) {
            headers.insert("grpc-message", value);
        }
        response
    }
}

fn typed(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Kubernetes' word for a status (`metav1.StatusReason`); empty where it has none.
const fn status_reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        413 => "RequestEntityTooLarge",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        408 | 504 => "Timeout",
        _ => "",
    }
}

/// The canonical code for a status (gRPC status codes; 2 is UNKNOWN).
const fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        401 => 16,
        403 => 7,
        404 => 5,
        408 | 504 => 4,
        413 | 429 => 8,
        502 | 503 => 14,
        500 => 13,
        400..500 => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{Problem, Refusal};
    use crate::web::audience::Audience;

    const CANARY: &str = "</script><svg onload=alert(1)>\"'";

    fn problem() -> Problem {
        Problem {
            status: StatusCode::FORBIDDEN,
            code: "not_allowed",
            title: "Not allowed",
            detail: CANARY.to_owned(),
            request_id: CANARY.to_owned(),
            decision: Some(Refusal {
                decision_id: CANARY.to_owned(),
                who: CANARY.to_owned(),
                groups: Some(vec![CANARY.to_owned()]),
                what: CANARY.to_owned(),
                why: CANARY.to_owned(),
                hints: Vec::new(),
            }),
            authenticate: None,
            retry_after: Some(3),
            sign_in_path: Some(CANARY.to_owned()),
            ask_url: Some(CANARY.to_owned()),
        }
    }

    #[tokio::test]
    async fn e14_nothing_is_reflected_unescaped() {
        let response = problem().into_response(Audience::Navigation);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(response.headers().contains_key("content-security-policy"));
        let body = axum::body::to_bytes(response.into_body(), 100_000)
            .await
            .expect("a body");
        let text = String::from_utf8_lossy(&body);
        assert!(!text.contains("<svg") && !text.contains("</script>"));
        assert_eq!(text.matches("alert(1)").count(), 9);
    }

    #[tokio::test]
    async fn kubectl_gets_a_status_object_that_says_whom_to_ask() {
        let mut refused = problem();
        refused.detail = "Not this.".to_owned();
        refused.request_id = "7".to_owned();
        refused.ask_url = Some("https://home/ask".to_owned());
        let plain = refused.clone().into_response(Audience::KubernetesDiscovery);
        let response = refused.into_response(Audience::Kubernetes);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 100_000).await;
        let status: serde_json::Value =
            serde_json::from_slice(&body.expect("a body")).expect("JSON");
        let said = ["kind", "apiVersion", "status", "reason"].map(|name| status[name].as_str());
        let expected = ["Status", "v1", "Failure", "Forbidden"].map(Some);
        assert_eq!((said, status["code"].as_u64()), (expected, Some(403)));
        let message = format!("Not this. {CANARY} Ask for access at https://home/ask (request 7)");
        assert_eq!(status["message"], message);
        let text = axum::body::to_bytes(plain.into_body(), 100_000).await;
        assert_eq!(text.expect("a body"), message);
        assert_eq!(status["details"]["causes"][0]["reason"], "not_allowed");
        assert_eq!(status["details"]["retryAfterSeconds"], 3);
    }

    #[test]
    fn grpc_gets_a_status_without_a_body() {
        let mut refused = problem();
        refused.detail = "nö\r\n100%".to_owned();
        let response = refused.into_response(Audience::Grpc);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "7");
        let message = response.headers()["grpc-message"].to_str().expect("ascii");
        assert!(message.starts_with("n%C3%B6%0D%0A100%25"), "{message}");
    }
}
