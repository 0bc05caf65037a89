//! Headers on their way in and out: what a client may not say is removed in all spellings, and then what we say is added.
//!
//! The order matters: what `Connection` nominates is removed before ours are set, so that nobody can have ours removed.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, COOKIE, HOST, SET_COOKIE, TE, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::address::origin::Origin;
use crate::identity::principal::{Groups, Principal};
use crate::policy::model::IdentityHeaders;
use crate::session::cookie;
use crate::token::assertion;

mod caching;
mod impersonation;
mod names;
mod trace;
mod trailers;

pub(in crate::edge) use caching::keep_out_of_shared_caches;
pub use impersonation::Told;
pub use trace::TraceContext;
pub(in crate::edge) use trailers::without_identity;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What we call ourselves in `Via` (RFC 9110 §7.6.3).
const PSEUDONYM: &str = "wayleave";

/// A request to change protocols (RFC 9110 §7.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeTo(HeaderValue);

impl UpgradeTo {
    /// Whether it is this one.
    pub fn is(&self, protocol: &str) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(protocol.as_bytes())
    }
}

/// What the upstream is told besides the client's own words.
pub struct Statement<'a> {
    /// Where the client addressed its request.
    pub origin: &'a Origin,
    /// The client's address; nothing it says of itself counts.
    pub client: IpAddr,
    /// The request's version, for `Via`.
    pub version: Version,
    /// Identifies the request.
    pub request_id: HeaderValue,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// The caller, if anybody is signed in.
    pub principal: Option<&'a Principal>,
    /// The signed assertion about the caller.
    pub assertion: Option<HeaderValue>,
    /// Which plain headers speak of the caller as well.
    pub plain: IdentityHeaders,
    /// What the upstream sees as `Host`; `None` is the public one.
    pub host: Option<&'a str>,
    /// The protocol to change to.
    pub upgrade: Option<&'a UpgradeTo>,
    /// What an API server is told instead of the assertion.
    pub kubernetes: Option<Told<'a>>,
}

/// Says which programs act for the caller, the one that asks first; absent where nothing does.
const AGENT: HeaderName = HeaderName::from_static("wayleave-agent");

/// A value that we would have to send is not one that a header can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value is no header value")]
pub struct ValueFault;

/// The one protocol that a HTTP/1.1 request asks to change to. HTTP/2 without TLS and TLS itself are never passed on: they would carry
/// requests past us.
pub fn upgrade_to(version: Version, headers: &HeaderMap) -> Option<UpgradeTo> {
    if version != Version::HTTP_11 {
        return None;
    }
    let nominated =
        tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    let mut given = headers.get_all(UPGRADE).iter();
    let (value, None) = (given.next()?, given.next()) else {
        return None;
    };
    let text = value.to_str().ok()?;
    let name = text.split('/').next().unwrap_or(text);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    let refused = ["h2c", "h2", "http", "tls"];
    let passed = !text.is_empty()
        && text.bytes().all(is_token)
        && !refused
            .iter()
            .any(|refused| name.eq_ignore_ascii_case(refused));
    (nominated && passed).then(|| UpgradeTo(value.clone()))
}

/// The protocol that an upstream's 101 changes to, if it is the one that was asked for.
pub fn agreed(answer: &HeaderMap, asked: &UpgradeTo) -> Option<HeaderValue> {
    let mut given = answer.get_all(UPGRADE).iter();
    match (given.next(), given.next()) {
        (Some(protocol), None) => protocol
            .as_bytes()
            .eq_ignore_ascii_case(asked.0.as_bytes())
            .then(|| protocol.clone()),
        _ => None,
    }
}

/// Whether the request has been through us before.
pub fn has_looped(headers: &HeaderMap) -> bool {
    headers
        .get_all(VIA)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|hop| {
            hop.split(u8::is_ascii_whitespace)
                .filter(|part| !part.is_empty())
                .nth(1)
        })
        .any(|by| by.eq_ignore_ascii_case(PSEUDONYM.as_bytes()))
}

/// Takes away everything a client may not say to an upstream, and our own credentials: cookies always, `Authorization` when it was meant for us.
pub fn strip_request(headers: &mut HeaderMap, strip_authorization: bool) {
    let nominated = nominated(headers);
    let removed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let text = name.as_str();
            names::is_hop_by_hop(text) || names::is_identity_like(text) || nominated.contains(name)
        })
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
    }
    if strip_authorization {
        headers.remove(AUTHORIZATION);
    }
    if headers.contains_key(COOKIE) {
        cookie::strip_own_cookies(headers);
    }
}

/// Removes what must not reach the upstream, then sets what it is told by us.
pub fn rewrite_request(
    headers: &mut HeaderMap,
    strip_authorization: bool,
    statement: &Statement<'_>,
) -> Result<(), ValueFault> {
    let wants_trailers = is_grpc(headers)
        && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    strip_request(headers, strip_authorization);
    set_host(headers, statement)?;
    let origin = statement.origin;
    headers.insert(X_FORWARDED_FOR, value(&statement.client.to_string())?);
    headers.insert(
        X_FORWARDED_PROTO,
        HeaderValue::from_static(origin.scheme.as_str()),
    );
    headers.insert(X_FORWARDED_PORT, port(origin.port));
    headers.insert(X_REQUEST_ID, statement.request_id.clone());
    if !statement.trace.continued {
        headers.remove(trace::TRACESTATE);
    }
    headers.insert(trace::TRACEPARENT, statement.trace.traceparent());
    headers.append(VIA, via(statement.version));
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(UpgradeTo(protocol)) = statement.upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    if let Some(told) = &statement.kubernetes {
        // It passes requests on to pods, which have no business with an assertion.
        return impersonation::set(headers, told, &statement.request_id, statement.principal);
    }
    if let Some(assertion) = &statement.assertion {
        headers.insert(assertion::HEADER, assertion.clone());
    }
    match statement.principal {
        Some(principal) => {
            if let Some(agents) = principal.acting() {
                headers.insert(AGENT, value(&encoded(&agents))?);
            }
            set_plain(headers, statement.plain, principal)
        }
        None => Ok(()),
    }
}

/// Takes off an answer what is between us and the upstream, what only we may say, and cookies that would replace ours.
pub fn rewrite_response(headers: &mut HeaderMap) {
    let nominated = nominated(headers);
    let removed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let text = name.as_str();
            names::is_hop_by_hop(text)
                // It would lead browsers past us.
                || text == "alt-svc"
                || text.starts_with("wayleave-")
                || nominated.contains(name)
        })
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
    }
    drop_own_set_cookies(headers);
}

/// What an answer with status 101 says of the protocol, to be set after [`rewrite_response`].
pub fn set_switching(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn drop_own_set_cookies(headers: &mut HeaderMap) {
    if !headers
        .get_all(SET_COOKIE)
        .iter()
        .any(cookie::sets_own_cookie)
    {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter(|value| !cookie::sets_own_cookie(value))
        .cloned()
        .collect();
    headers.remove(SET_COOKIE);
    for value in kept {
        headers.append(SET_COOKIE, value);
    }
}

/// The comma-separated members of a header, without the white space around them.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// What `Connection` names. Nobody can nominate what a message cannot do without.
pub(super) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    if !headers.contains_key(CONNECTION) {
        return Vec::new();
    }
    tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| {
            !matches!(
                name.as_str(),
                "host"
                    | "content-length"
                    | "content-type"
                    | "set-cookie"
                    | "authorization"
                    | "cookie"
                    | "close"
                    | "keep-alive"
            )
        })
        .collect()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The public host goes along as `X-Forwarded-Host` whatever the upstream sees as `Host`.
fn set_host(headers: &mut HeaderMap, statement: &Statement<'_>) -> Result<(), ValueFault> {
    let origin = statement.origin;
    let is_default = origin.port == origin.scheme.default_port();
    let public = match headers.get(HOST) {
        Some(given) if is_default && given == origin.host.as_str() => given.clone(),
        _ => value(&origin.authority())?,
    };
    let seen = match statement.host {
        Some(host) => value(host)?,
        None => public.clone(),
    };
    headers.insert(X_FORWARDED_HOST, public);
    headers.insert(HOST, seen);
    Ok(())
}

fn port(port: u16) -> HeaderValue {
    match port {
        443 => HeaderValue::from_static("443"),
        80 => HeaderValue::from_static("80"),
        _ => HeaderValue::from(port),
    }
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(if version == Version::HTTP_2 {
        "2.0 wayleave"
    } else {
        "1.1 wayleave"
    })
}

fn value(text: &str) -> Result<HeaderValue, ValueFault> {
    HeaderValue::from_str(text).map_err(|_| ValueFault)
}

/// The names of one family: user, e-mail, groups, display name.
fn family(plain: IdentityHeaders) -> Option<[HeaderName; 4]> {
    let names = match plain {
        IdentityHeaders::Assertion => return None,
        IdentityHeaders::XForwarded => [
            "x-forwarded-user",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-forwarded-preferred-username",
        ],
        IdentityHeaders::XAuthRequest => [
            "x-auth-request-user",
            "x-auth-request-email",
            "x-auth-request-groups",
            "x-auth-request-preferred-username",
        ],
        IdentityHeaders::Remote => [
            "remote-user",
            "remote-email",
            "remote-groups",
            "remote-name",
        ],
    };
    Some(names.map(HeaderName::from_static))
}

/// Values that are not visible ASCII are percent-encoded, so that no upstream reads them in two ways. A group with a comma would be two
/// groups to the upstream, so it is left out; what is not known is not sent.
fn set_plain(
    headers: &mut HeaderMap,
    plain: IdentityHeaders,
    principal: &Principal,
) -> Result<(), ValueFault> {
    let Some([user, email, groups, name]) = family(plain) else {
        return Ok(());
    };
    headers.insert(user, value(&encoded(&principal.subject))?);
    if let Some(address) = &principal.email {
        headers.insert(email, value(&encoded(address.as_str()))?);
    }
    if let Groups::Known(known) = &principal.groups {
        let listed: Vec<String> = known
            .iter()
            .filter(|group| !group.contains(','))
            .map(|group| encoded(group))
            .collect();
        headers.insert(groups, value(&listed.join(","))?);
    }
    if let Some(label) = &principal.display_name {
        headers.insert(name, value(&encoded(label))?);
    }
    Ok(())
}

fn encoded(text: &str) -> String {
    const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    percent_encoding::utf8_percent_encode(text, ENCODED).to_string()
}

/// Whether the page that opens a tunnel, by its `Origin`, may do so (RFC 6455 §10.2): the request's own origin, or one that the route lists.
pub fn may_open_tunnel(origin: &Origin, listed: &[String], given: Option<&HeaderValue>) -> bool {
    let Some(given) = given.and_then(|given| given.to_str().ok()) else {
        return false;
    };
    given == origin.to_string() || listed.iter().any(|allowed| allowed == given)
}

#[cfg(test)]
mod tests;
