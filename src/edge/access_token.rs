//! Our own access tokens at a route: verified once, remembered with the live session they lead to, and proven anew by each request that brings one bound to a key.

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::edge::Edge;
use crate::edge::authenticate::LOOKUP;
use crate::edge::caller::{Caller, Proof};
use crate::edge::normalise::Normalised;
use crate::edge::respond::Refused;
use crate::edge::route::Routed;
use crate::identity::principal::{Agent, Principal};
use crate::session::{FamilyId, Granted, Lookup, SessionError};
use crate::telemetry::causes::Causes;
use crate::token::access;
use crate::token::dpop::{self, ProofFault, Proven};
use crate::web::authorization::Scheme;

/// What an access token said, and what it leads to.
pub struct AccessProof {
    /// The family of tokens and its session.
    pub granted: Granted,
    /// Whose session it is, with the programs that act for them.
    pub principal: Arc<Principal>,
    /// The one route that it is good at; any of the origin's if `None`.
    pub route: Option<String>,
    /// The origin that it is good for, as text.
    pub audience: String,
    /// The thumbprint of the key that has to be proven, if it is bound to one.
    pub key_thumbprint: Option<String>,
    /// No request may bring it from then on; what is under way lasts as long as the session.
    pub expires_at: Timestamp,
}

impl AccessProof {
    /// Whether family and session are as they were.
    pub fn lives(&self, now: Timestamp) -> bool {
        !self.granted.family.has_ended() && self.granted.session.is_live(now)
    }

    /// The same with another copy of the session.
    pub fn renewed(&self, granted: Granted) -> Self {
        Self {
            principal: acting(&granted, self.principal.agents.clone()),
            granted,
            route: self.route.clone(),
            audience: self.audience.clone(),
            key_thumbprint: self.key_thumbprint.clone(),
            expires_at: self.expires_at,
        }
    }
}

fn acting(granted: &Granted, agents: Vec<Agent>) -> Arc<Principal> {
    let person = &granted.session.principal;
    if agents.is_empty() {
        return Arc::clone(person);
    }
    Arc::new(person.through(agents))
}

/// Whether a token is to be judged as ours: it names us as its issuer, be it true or not.
pub(in crate::edge) fn is_ours(edge: &Edge, request: &Normalised, token: &str) -> bool {
    access::claims_issuer(token, &home(edge, request))
}

fn home(edge: &Edge, request: &Normalised) -> String {
    request.origin.at_host(edge.home_host.clone()).to_string()
}

/// Verifies a token that is not remembered.
pub(in crate::edge) async fn verify(
    edge: &Edge,
    request: &Normalised,
    token: &str,
    now: Timestamp,
) -> Result<Rc<Caller>, Refused> {
    let audience = request.origin.to_string();
    let issuer = home(edge, request);
    let said = edge
        .minter
        .verify_access(token, &issuer, &audience, now)
        .map_err(Refused::BadAccessToken)?;
    let family = FamilyId(said.family.as_str().into());
    let granted = find(edge, family).await?.ok_or(Refused::TokenEnded)?;
    Ok(Rc::new(Caller::access(AccessProof {
        principal: acting(&granted, said.agents),
        granted,
        route: said.route,
        audience,
        key_thumbprint: said.key_thumbprint,
        expires_at: said.expires_at,
    })))
}

async fn find(edge: &Edge, family: FamilyId) -> Result<Option<Granted>, Refused> {
    match edge.sessions.cached_family(&family) {
        Lookup::Live(granted) => return Ok(Some(granted)),
        Lookup::None => return Ok(None),
        Lookup::NotCached => {}
    }
    let sessions = Arc::clone(&edge.sessions);
    let loading = edge
        .control
        .spawn(async move { sessions.load_family(&family).await });
    match tokio::time::timeout(LOOKUP, loading).await {
        Ok(Ok(Ok(granted))) => Ok(granted),
        Ok(Ok(Err(SessionError::Store(error)))) => {
            tracing::warn!(error = %Causes(&error), "the session of a token cannot be looked up");
            Err(Refused::StoreUnavailable)
        }
        Ok(Ok(Err(SessionError::ProviderUnavailable))) => Err(Refused::ProviderUnavailable),
        Ok(Err(_)) | Err(_) => Err(Refused::StoreUnavailable),
    }
}

/// What has to be looked at with every request, also of a token that is remembered: whether it is for this origin and route (security.md G9), and
/// whether who sends it holds its key.
pub(in crate::edge) fn prove(
    edge: &Edge,
    caller: &Caller,
    presented: (Scheme, &str),
    routed: &Routed,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(), Refused> {
    let request = routed.request();
    let (scheme, token) = presented;
    let Proof::Access(proof) = caller.proof() else {
        // Only our own tokens are bound to keys.
        return match scheme {
            Scheme::Bearer => Ok(()),
            Scheme::Dpop => Err(Refused::WrongScheme),
        };
    };
    let origin = request.origin.to_string();
    let route = &routed.route().route.name;
    let is_for_route = proof.route.as_ref().is_none_or(|own| **own == **route);
    if proof.audience != origin || !is_for_route {
        return Err(Refused::BadAccessToken(access::AccessFault::Audience));
    }
    let key = match (scheme, &proof.key_thumbprint) {
        (Scheme::Bearer, None) => return Ok(()),
        (Scheme::Dpop, Some(key)) => key,
        (Scheme::Bearer, Some(_)) | (Scheme::Dpop, None) => return Err(Refused::WrongScheme),
    };
    let shown = dpop::presented(headers).map_err(Refused::BadProof)?;
    let shown = shown.ok_or(Refused::BadProof(ProofFault::Missing))?;
    let proven = Proven {
        method: request.method.as_str(),
        origin: &origin,
        path: &request.path,
        token: Some(token),
    };
    edge.proofs
        .verify_for(shown, proven, key, now)
        .map_err(Refused::BadProof)
}
