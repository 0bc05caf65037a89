//! Who sent a request: by session cookie, by a token of ours or of a trusted issuer, or nobody.
//!
//! A token is judged whenever there is one, and a bad one is refused even beside a good cookie: two credentials never add up, and none
//! covers up for the other. What has been verified is remembered by the worker and looked at again on each use.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::address::host::Host;
use crate::clock::Timestamp;
use crate::edge::Edge;
use crate::edge::access_token;
use crate::edge::caller::{Caller, Proof};
use crate::edge::local::Worker;
use crate::edge::respond::Refused;
use crate::edge::route::Routed;
use crate::edge::upstream::Upstreams;
use crate::identity::principal::Principal;
use crate::secret::TokenHash;
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::session::{Lookup, Session, SessionError};
use crate::telemetry::causes::Causes;
use crate::token::bearer::{BearerFault, VerifiedBearer};
use crate::web::authorization::{Presented, presented_token};

/// Longest wait for the store, or for an issuer's keys.
pub(in crate::edge) const LOOKUP: Duration = Duration::from_secs(15);

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
    let caller = match presented_token(headers) {
        Presented::Nothing => by_cookie(worker, &routed, headers, now).await?,
        Presented::Token(scheme, token) => {
            let caller = by_token(worker, &routed, token, now).await?;
            access_token::prove(
                &worker.edge,
                &caller,
                (scheme, token),
                &routed,
                headers,
                now,
            )?;
            caller
        }
        Presented::Malformed => return Err(Refused::BadToken(BearerFault::Malformed)),
    };
    Ok(Authenticated { routed, caller })
}

async fn by_token<U: Upstreams>(
    worker: &Worker<U>,
    routed: &Routed,
    token: &str,
    now: Timestamp,
) -> Result<Rc<Caller>, Refused> {
    let known = worker.by_bearer.borrow_mut().find(token);
    if let Some(known) = known {
        if known.stands(&worker.edge, now) {
            known.touch(now);
            return Ok(known);
        }
        worker.by_bearer.borrow_mut().remove(token);
    }
    if access_token::is_ours(&worker.edge, routed.request(), token) {
        let verifying = access_token::verify(&worker.edge, routed.request(), token, now);
        let caller = Box::pin(verifying).await?;
        let remembered = Rc::clone(&caller);
        worker
            .by_bearer
            .borrow_mut()
            .insert(token.into(), remembered);
        return Ok(caller);
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
            tracing::warn!(error = %Causes(&error), "a session cannot be looked up");
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
        Proof::Access(proof) => {
            let session = &proof.granted.session;
            if proof.lives(now) && !session.end.is_cancelled() {
                return Renewal::Same;
            }
            match edge.sessions.cached_family(&proof.granted.family.id) {
                Lookup::Live(newer) if !newer.session.end.is_cancelled() => {
                    Renewal::Other(Rc::new(Caller::access(proof.renewed(newer))))
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
