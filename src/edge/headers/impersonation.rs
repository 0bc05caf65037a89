//! What a Kubernetes API server is told: the edge's own credential, and whom the request is for.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::edge::headers::{ValueFault, encoded, value};
use crate::identity::principal::Principal;
use crate::policy::kubernetes::Impersonation;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
/// Kubernetes' own audit log has what stands in these.
const DECISION: HeaderName = HeaderName::from_static("impersonate-extra-wayleave-decision");
const AGENT: HeaderName = HeaderName::from_static("impersonate-extra-wayleave-agent");
const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");

/// How a WebSocket's client names a token of its own among the protocols it speaks.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Whom an API server is to take a request for, and what it knows us by.
pub struct Told<'a> {
    /// The user and the groups.
    pub impersonation: &'a Impersonation,
    /// `None` where the connection itself proves who we are.
    pub credential: Option<HeaderValue>,
}

/// Takes away every credential of the client's, and sets what is told. What it said of whom the request is for has been removed already.
pub(super) fn set(
    headers: &mut HeaderMap,
    told: &Told<'_>,
    request_id: &HeaderValue,
    principal: Option<&Principal>,
) -> Result<(), ValueFault> {
    headers.remove(AUTHORIZATION);
    drop_bearer_protocols(headers)?;
    if let Some(credential) = &told.credential {
        headers.insert(AUTHORIZATION, credential.clone());
    }
    headers.insert(USER, name(&told.impersonation.user)?);
    for group in &told.impersonation.groups {
        headers.append(GROUP, name(group)?);
    }
    headers.insert(DECISION, request_id.clone());
    if let Some(agents) = principal.and_then(Principal::acting) {
        headers.insert(AGENT, value(&encoded(&agents))?);
    }
    Ok(())
}

/// API servers read UTF-8.
fn name(text: &str) -> Result<HeaderValue, ValueFault> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| ValueFault)
}

fn drop_bearer_protocols(headers: &mut HeaderMap) -> Result<(), ValueFault> {
    let lines = headers.get_all(WEBSOCKET_PROTOCOL).iter();
    let lines: Option<Vec<&str>> = lines.map(|line| line.to_str().ok()).collect();
    let lines = lines.ok_or(ValueFault)?;
    let is_bearer = |protocol: &&str| {
        let start = protocol.get(..BEARER_PROTOCOL.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(BEARER_PROTOCOL))
    };
    let all = || {
        { lines.iter() }
            .flat_map(|line| line.split(','))
            .map(str::trim)
    };
    if !all().any(|protocol| is_bearer(&protocol)) {
        return Ok(());
    }
    let kept: Vec<&str> = all().filter(|protocol| !is_bearer(protocol)).collect();
    let kept = value(&kept.join(", "))?;
    headers.insert(WEBSOCKET_PROTOCOL, kept);
    Ok(())
}
