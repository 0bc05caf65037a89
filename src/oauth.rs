//! The home host as an OAuth 2.0 authorization server: programs of people who signed in get tokens, and what they may ask with them.
//!
//! In the order in which a program meets them: [`protected_resource`], [`metadata`], [`register`], [`authorize`] or [`device`], [`token`] with its [`grants`], [`api`] and [`svids`], then
//! [`revoke`] and [`introspect`]. Everything is derived from a session, of a person or (by [`machines`]) of a program, and ends with it; what programs
//! do for a person who lets them ([`register`], [`delegation`]) says so in its tokens. The issuer is the home host's origin as the
//! request reached it; tokens for a route are for that route's origin alone.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request};

use crate::address::host::Host;
use crate::clock::SharedClock;
use crate::config::checked::{AgentsConfig, TokensConfig};
use crate::identity::principal::Principal;
use crate::mesh::svids::Svids;
use crate::oauth::client::Client;
use crate::oauth::fault::OAuthFault;
use crate::oauth::rate::Rates;
use crate::oauth::refused::Untold;
use crate::oidc::Providers;
use crate::policy::kubernetes::Cluster;
use crate::secret::TokenHash;
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::session::{Session, SessionError, Sessions};
use crate::snapshot::Snapshots;
use crate::snapshot::grants::LiveGrants;
use crate::store::Store;
use crate::token::assertion::Minter;
use crate::token::dpop::{self, Proofs, Proven};
use crate::token::programs::Programs;
use crate::web::csrf::is_form;
use crate::web::parameters::Parameters;
use crate::web::receive;
use crate::web::request_info::RequestInfo;

pub mod accounts;
pub mod acting;
pub mod api;
pub mod authorize;
pub mod aws;
pub mod caller;
pub mod certificates;
pub mod client;
pub mod delegation;
pub mod device;
pub mod endpoints;
pub mod fault;
pub mod grants;
pub mod introspect;
pub mod issue;
pub mod machines;
pub mod metadata;
pub mod protected_resource;
pub mod rate;
pub mod refused;
pub mod register;
pub mod reply;
pub mod revoke;
pub mod svids;
pub mod target;
pub mod token;
pub mod user_code;

/// Largest form that programs send, in bytes: two of our tokens and what belongs to them.
const FORM_LIMIT: usize = 40 * 1024;

/// The authorization server. Put together by the composition root.
pub struct OAuth {
    pub(crate) store: Store,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) providers: Arc<Providers>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) grants: Arc<LiveGrants>,
    pub(crate) minter: Arc<Minter>,
    pub(crate) svids: Arc<Svids>,
    /// What programs prove themselves by.
    pub(crate) programs: Programs,
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) clock: SharedClock,
    pub(crate) config: TokensConfig,
    pub(crate) agents: AgentsConfig,
    /// Kubernetes clusters that the edge has a credential for.
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) home_host: Host,
    pub(crate) rates: Rates,
    /// Refused exchanges of which no event tells.
    pub(crate) untold: Untold,
}

/// A request of a program to one of our endpoints, its form read.
pub(crate) struct Asked {
    pub(crate) info: RequestInfo,
    pub(crate) headers: HeaderMap,
    path: String,
    pub(crate) form: Parameters,
    /// Whom a token that came with it stands for, once that is verified.
    pub(crate) verified: OnceLock<Arc<Principal>>,
}

impl Asked {
    /// Reads a form. What comes with a client's credentials in its head is refused: no client there is has such.
    async fn read(info: &RequestInfo, request: Request<Body>) -> Result<Self, OAuthFault> {
        let (head, body) = request.into_parts();
        if head.headers.contains_key(http::header::AUTHORIZATION) {
            return Err(OAuthFault::InvalidClient);
        }
        if !is_form(&head.headers) {
            return Err(OAuthFault::InvalidRequest(
                "the body must be application/x-www-form-urlencoded",
            ));
        }
        let body = receive::body(body, FORM_LIMIT).await.map_err(|_| {
            OAuthFault::InvalidRequest("the body is too long, too slow or broken off")
        })?;
        let form = Parameters::parse(&body, FORM_LIMIT)
            .map_err(|_| OAuthFault::InvalidRequest("a parameter is given twice"))?;
        Ok(Self {
            info: info.clone(),
            headers: head.headers,
            path: head.uri.path().to_owned(),
            form,
            verified: OnceLock::new(),
        })
    }

    /// A parameter that must be there.
    fn required(&self, name: &'static str) -> Result<&str, OAuthFault> {
        self.form.one(name).ok_or(OAuthFault::Missing(name))
    }
}

impl OAuth {
    /// All endpoints, on the home host. Requests carry [`RequestInfo`] in their extensions.
    pub fn router(self: Arc<Self>) -> Router {
        endpoints::router(self)
    }

    /// What is served at hosts of routes.
    pub fn route_router(self: Arc<Self>) -> Router {
        endpoints::route_router(self)
    }

    /// A client that there is: the built-in one, or one that registered itself while that is allowed.
    pub(crate) async fn client(&self, id: Option<&str>) -> Result<Client, OAuthFault> {
        match id {
            Some(client::COMMAND_LINE) => Ok(Client::CommandLine),
            Some(id) if self.agents.registration && id.starts_with(client::REGISTERED) => {
                let found = self.store.client(id).await?;
                let found = found.ok_or(OAuthFault::InvalidClient)?;
                Ok(Client::Registered(Box::new(found)))
            }
            Some(_) | None => Err(OAuthFault::InvalidClient),
        }
    }

    /// The issuer of what is asked for here.
    fn issuer(&self, info: &RequestInfo) -> String {
        info.origin.to_string()
    }

    /// The live session of a browser, and the cookie that leads to it.
    async fn browser_session(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Option<(Arc<Session>, TokenHash)>, SessionError> {
        match session_cookie(headers, info.origin.scheme) {
            PresentedCookie::One(cookie) => {
                let host = info.origin.host.as_str();
                let session = self.sessions.load(cookie, host).await?;
                Ok(session.map(|session| (session, cookie)))
            }
            PresentedCookie::None | PresentedCookie::Unusable => Ok(None),
        }
    }

    /// The thumbprint of the key that a request proves, if it brings a proof; a bad one is refused.
    fn proven_key(&self, asked: &Asked) -> Result<Option<String>, OAuthFault> {
        let Some(proof) = dpop::presented(&asked.headers).map_err(OAuthFault::InvalidProof)? else {
            return Ok(None);
        };
        let request = Proven {
            method: "POST",
            origin: &asked.info.origin.to_string(),
            path: &asked.path,
            token: None,
        };
        let key = self.proofs.verify(proof, request, self.clock.now());
        key.map(Some).map_err(OAuthFault::InvalidProof)
    }

    /// The same, where what is asked for is bound to the key: without one only if the configuration has it so for this kind of client.
    fn binding_key(&self, asked: &Asked, client: &Client) -> Result<Option<String>, OAuthFault> {
        let key = self.proven_key(asked)?;
        let allow_unbound = match client {
            Client::CommandLine => self.config.allow_unbound,
            Client::Registered(_) => self.agents.bearer_tokens,
        };
        if key.is_none() && !allow_unbound {
            return Err(OAuthFault::InvalidProof(dpop::ProofFault::Missing));
        }
        Ok(key)
    }
}
