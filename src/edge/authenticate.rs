//! Who sent a request: by session cookie, by bearer token, or nobody.
//!
//! A bearer token is judged whenever there is one, and a bad one is refused even beside a good cookie: two credentials never add up, and none
//! covers up for the other. What has been verified is remembered by the worker and looked at again on each use.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::address::host::Host;
use crate::clock::Timestamp;
use crate::edge::Edge;
use crate::edge::caller::{Caller, Proof};
use crate::edge::local::Worker;
use crate::edge::respond::Refused;
use crate::edge::route::Routed;
use crate::edge::upstream::Upstreams;
use crate::identity::principal::Principal;
use crate::secret::TokenHash;
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::session::{Lookup, Session, SessionError};
use crate::token::bearer::{BearerFault, VerifiedBearer};

/// Longest wait for the store, or for an issuer's keys.
const LOOKUP: Duration = Duration::from_secs(15);

/// Proof that it is known who sent a routed request, be it nobody.
#[derive(Clone)]
pub struct Authenticated {
    routed: Routed,
    caller: Rc<Caller>,
}

impl Authenticated {
    /// The request and its route.
    pub fn routed(&self) -> &Routed {
        &self.routed
    }

    /// Who sent it.
    pub fn caller(&self) -> &Rc<Caller> {
        &self.caller
    }

    /// Who sent it; `None` is nobody who is known.
    pub fn principal(&self) -> Option<&Principal> {
        self.caller.principal()
    }

    /// The same request under the newest policy, as somebody whose proof was looked at again.
    pub(in crate::edge) fn again(routed: Routed, caller: Rc<Caller>) -> Self {
        Self { routed, caller }
    }
}

/// Finds out who sent a request. Asks the store, or an issuer for its keys, only about what is not remembered.
pub async fn authenticate<U: Upstreams>(
    worker: &Worker<U>,
    routed: Routed,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Authenticated, Refused> {
    let caller = match bearer_token(headers) {
        Presented::Nothing => by_cookie(worker, &routed, headers, now).await?,
        Presented::Token(token) => by_bearer(worker, token, now).await?,
        Presented::Malformed => return Err(Refused::BadToken(BearerFault::Malformed)),
    };
    Ok(Authenticated { routed, caller })
}

#[derive(Debug, PartialEq, Eq)]
enum Presented<'a> {
    /// No `Authorization`, or one of another scheme, which is between the client and the upstream.
    Nothing,
    Token(&'a str),
    Malformed,
}

/// The scheme counts without case (RFC 9110 §11.1); what an upstream might read as bearer token is one.
fn bearer_token(headers: &HeaderMap) -> Presented<'_> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Presented::Nothing;
    };
    if given.next().is_some() {
        return Presented::Malformed;
    }
    let bytes = value.as_bytes().trim_ascii();
    let scheme = bytes
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'-'))
        .unwrap_or(bytes.len());
    if !bytes[..scheme].eq_ignore_ascii_case(b"bearer") {
        return Presented::Nothing;
    }
    let token = bytes[scheme..].strip_prefix(b" ").map(<[u8]>::trim_ascii);
    let is_token = |token: &&[u8]| {
        // Without a way out in between, which would be looked for at each of some hundred bytes.
        let all = token.iter().fold(true, |all, byte| all & is_token68(*byte));
        !token.is_empty() && all
    };
    match token.filter(is_token).map(std::str::from_utf8) {
        Some(Ok(token)) => Presented::Token(token),
        Some(Err(_)) | None => Presented::Malformed,
    }
}

/// RFC 9110 §11.2.
const fn is_token68(byte: u8) -> bool {
    const fn within(byte: u8, first: u8, last: u8) -> bool {
        byte.wrapping_sub(first) <= last - first
    }
    within(byte, b'a', b'z')
        | within(byte, b'A', b'Z')
        // `-`, `.`, `/` and digits are neighbours.
        | within(byte, b'-', b'9')
        | (byte == b'_')
        | (byte == b'~')
        | (byte == b'+')
        | (byte == b'=')
}

async fn by_bearer<U: Upstreams>(
    worker: &Worker<U>,
    token: &str,
    now: Timestamp,
) -> Result<Rc<Caller>, Refused> {
    let known = worker.by_bearer.borrow_mut().find(token);
    if let Some(known) = known {
        if known.stands(&worker.edge, now) {
            return Ok(known);
        }
        worker.by_bearer.borrow_mut().remove(token);
    }
    let verified = match worker.edge.bearer.verify_at_hand(token) {
        Ok(verified) => verified,
        Err(Some(fault)) => return Err(Refused::BadToken(fault)),
        Err(None) => Box::pin(verify_with_keys(&worker.edge, token.to_owned())).await?,
    };
    let token: Rc<str> = token.into();
    let caller = Rc::new(Caller::bearer(Rc::clone(&token), verified));
    worker
        .by_bearer
        .borrow_mut()
        .insert(token, Rc::clone(&caller));
    Ok(caller)
}

async fn verify_with_keys(edge: &Edge, token: String) -> Result<VerifiedBearer, Refused> {
    let bearer = Arc::clone(&edge.bearer);
    let verifying = edge
        .control
        .spawn(async move { bearer.verify(&token).await });
    match tokio::time::timeout(LOOKUP, verifying).await {
        Ok(Ok(verified)) => verified.map_err(Refused::BadToken),
        Ok(Err(_)) | Err(_) => Err(Refused::BadToken(BearerFault::KeysUnavailable)),
    }
}

async fn by_cookie<U: Upstreams>(
    worker: &Worker<U>,
    routed: &Routed,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Rc<Caller>, Refused> {
    let origin = &routed.request().origin;
    let cookie = match session_cookie(headers, origin.scheme) {
        PresentedCookie::One(cookie) => cookie,
        PresentedCookie::None => return Ok(Rc::clone(&worker.nobody)),
        PresentedCookie::Unusable => {
            worker.edge.metrics.unusable_cookies.inc();
            return Ok(Rc::clone(&worker.nobody));
        }
    };
    let known = worker.by_cookie.borrow_mut().find(&cookie);
    let known = known.filter(|known| known.is_session_at(&origin.host));
    if let Some(known) = &known
        && known.stands(&worker.edge, now)
    {
        known.touch(now);
        return Ok(Rc::clone(known));
    }
    let found = Box::pin(find_session(&worker.edge, cookie, &origin.host)).await?;
    let Some(session) = found else {
        worker.by_cookie.borrow_mut().remove(&cookie);
        return Ok(Rc::clone(&worker.nobody));
    };
    // The same session as before, due for a refresh: what is remembered of it stays good.
    if let Some(known) = known.filter(|known| known.is_of(&session)) {
        return Ok(known);
    }
    let caller = Rc::new(Caller::session(session, cookie, origin.host.clone()));
    worker
        .by_cookie
        .borrow_mut()
        .insert(cookie, Rc::clone(&caller));
    Ok(caller)
}

async fn find_session(
    edge: &Edge,
    cookie: TokenHash,
    host: &Host,
) -> Result<Option<Arc<Session>>, Refused> {
    match edge.sessions.cached(cookie, host.as_str()) {
        Lookup::Live(session) => return Ok(Some(session)),
        Lookup::None => return Ok(None),
        Lookup::NotCached => {}
    }
    let sessions = Arc::clone(&edge.sessions);
    let host = host.clone();
    let loading = edge
        .control
        .spawn(async move { sessions.load(cookie, host.as_str()).await });
    match tokio::time::timeout(LOOKUP, loading).await {
        Ok(Ok(Ok(session))) => Ok(session),
        Ok(Ok(Err(SessionError::Store(error)))) => {
            tracing::warn!(%error, "a session cannot be looked up");
            Err(Refused::StoreUnavailable)
        }
        Ok(Ok(Err(SessionError::ProviderUnavailable))) => Err(Refused::ProviderUnavailable),
        Ok(Err(_)) | Err(_) => Err(Refused::StoreUnavailable),
    }
}

/// What became of the proof that a stream was allowed by.
pub(in crate::edge) enum Renewal {
    /// It still holds.
    Same,
    /// The same caller, known anew: groups or other claims may differ.
    Other(Rc<Caller>),
    /// It cannot be had now; ask again shortly.
    Unclear,
    /// It has ended.
    Gone,
}

/// Looks at a caller's proof again, from memory only.
pub(in crate::edge) fn renewed(edge: &Edge, caller: &Rc<Caller>, now: Timestamp) -> Renewal {
    match caller.proof() {
        Proof::Nobody => Renewal::Same,
        Proof::Session {
            session,
            cookie,
            host,
        } => {
            if session.is_live(now) && !session.end.is_cancelled() {
                return Renewal::Same;
            }
            match edge.sessions.cached(*cookie, host.as_str()) {
                Lookup::Live(newer) if !newer.end.is_cancelled() => {
                    Renewal::Other(Rc::new(Caller::session(newer, *cookie, host.clone())))
                }
                Lookup::Live(_) | Lookup::None | Lookup::NotCached => Renewal::Gone,
            }
        }
        Proof::Bearer { token, verified } => {
            if now >= verified.expires_at {
                return Renewal::Gone;
            }
            if verified.generation == edge.bearer.generation() {
                return Renewal::Same;
            }
            match edge.bearer.verify_at_hand(token) {
                Ok(verified) => Renewal::Other(Rc::new(Caller::bearer(Rc::clone(token), verified))),
                Err(None) => {
                    let (bearer, token) = (Arc::clone(&edge.bearer), token.to_string());
                    // It fetches the keys, so that the next look finds them.
                    drop(
                        edge.control
                            .spawn(async move { bearer.verify(&token).await }),
                    );
                    Renewal::Unclear
                }
                Err(Some(_)) => Renewal::Gone,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;
    use http::{HeaderMap, HeaderValue};

    use super::{Presented, bearer_token};

    #[test]
    fn bearer_tokens_are_told_from_other_credentials() {
        let cases: &[(&[&str], Presented<'static>)] = &[
            (&[], Presented::Nothing),
            (&["Basic dTpw"], Presented::Nothing),
            (&["Negotiate YII="], Presented::Nothing),
            (&["Bearerish a"], Presented::Nothing),
            (&["Bearer a.b.c"], Presented::Token("a.b.c")),
            (&["bEARER   a.b-c_~+/="], Presented::Token("a.b-c_~+/=")),
            (&["Bearer"], Presented::Malformed),
            (&["Bearer "], Presented::Malformed),
            (&["Bearer\ta.b.c"], Presented::Malformed),
            (&["Bearer,a.b.c"], Presented::Malformed),
            (&["Bearer a b"], Presented::Malformed),
            (&["Bearer a,Basic b"], Presented::Malformed),
            (&["Bearer a", "Bearer a"], Presented::Malformed),
            (&["Basic a", "Bearer a"], Presented::Malformed),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in *given {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(bearer_token(&headers), *expected, "{given:?}");
        }
        let mut headers = HeaderMap::new();
        let bytes = HeaderValue::from_bytes(b"Bearer a\xff").unwrap();
        headers.insert(AUTHORIZATION, bytes);
        assert_eq!(bearer_token(&headers), Presented::Malformed);
    }
}
