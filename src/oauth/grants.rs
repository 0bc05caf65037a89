//! The grants of the token endpoint, one function each.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::oauth::authorize::AuthorizationCode;
use crate::oauth::client::Client;
use crate::oauth::fault::OAuthFault;
use crate::oauth::issue::{ACCESS_TOKEN, Issue};
use crate::oauth::machines::{ID_TOKEN, JWT};
use crate::oauth::target::Target;
use crate::oauth::{Asked, OAuth, register};
use crate::secret::{Token, TokenHash, sha256};
use crate::session::{FamilyEnd, FamilyId, Session};
use crate::store::device_grants::Poll;
use crate::store::token_families::{Acting, FamilyRecord, Rotation};
use crate::token::aws::REQUEST_TYPE;
use crate::token::dpop::ProofFault;

/// How long it is remembered which family a used code began.
const CODE_REMEMBERED: Duration = Duration::from_secs(600);

const USED_CODE: &str = "oauth-used-code";

const SESSION_ENDED: OAuthFault = OAuthFault::InvalidGrant("the session has ended; sign in again");

const NOT_THEIRS: OAuthFault =
    OAuthFault::InvalidGrant("the refresh token was given to another client or key");

impl OAuth {
    /// RFC 6749 §4.1.3, with PKCE (RFC 7636 §4.5).
    pub(super) async fn by_code(&self, asked: &Asked) -> Result<Value, OAuthFault> {
        let client = self.client(Some(asked.client_id()?)).await?;
        let key = self.binding_key(asked, &client)?;
        let verifier = asked.required("code_verifier")?;
        let redirect_uri = asked.required("redirect_uri")?;
        let unknown =
            OAuthFault::InvalidGrant("the code has expired, was used, or was never given");
        let Some(presented) = Token::parse(asked.required("code")?) else {
            return Err(unknown);
        };
        let Some(code) = self.take_code(&presented).await? else {
            self.end_what_it_began(&presented).await?;
            return Err(unknown);
        };
        let is_theirs = code.client == client.id()
            && code.redirect_uri == redirect_uri
            && is_verifier_of(verifier, &code.challenge)
            && code
                .key_thumbprint
                .is_none_or(|wanted| key.as_ref() == Some(&wanted));
        if !is_theirs {
            return Err(OAuthFault::InvalidGrant(
                "the code was given to another client, redirect_uri, code_verifier or key",
            ));
        }
        let target = self.target_of(asked, code.acting.as_ref())?;
        if let Client::Registered(client) = &client {
            let until = self.clock.now().plus(register::USED);
            self.store.keep_client(&client.id, until).await?;
        }
        let family = FamilyRecord {
            id: FamilyId::generate(),
            session: code.session,
            client: code.client,
            key_thumbprint: key,
            acting: code.acting,
        };
        let began = Some(presented.hash());
        self.begin_family(asked, family, "browser", &target, began)
            .await
    }

    /// What a token is asked for: anything, unless it was given to an agent, which has one route and may name no other.
    fn target_of(&self, asked: &Asked, acting: Option<&Acting>) -> Result<Target, OAuthFault> {
        let Some(acting) = acting else {
            return Ok(self.target(asked)?.unwrap_or(Target::Home));
        };
        if asked.form.one("audience").is_some() {
            return Err(OAuthFault::InvalidTarget(
                "an agent names its route by resource",
            ));
        }
        if let Some(resource) = asked.form.one("resource") {
            let (route, audience) = self.route_of(&asked.info, resource)?;
            if (&route, &audience) != (&acting.route, &acting.audience) {
                return Err(OAuthFault::InvalidTarget(
                    "this was given for another route",
                ));
            }
        }
        Ok(Target::Route(acting.audience.clone()))
    }

    async fn take_code(&self, code: &Token) -> Result<Option<AuthorizationCode>, OAuthFault> {
        let kept = self.store.take_once(AuthorizationCode::KIND, code.hash());
        let kept = kept.await?;
        kept.map(|bytes| serde_json::from_slice(&bytes).map_err(|_| OAuthFault::State))
            .transpose()
    }

    /// A code that comes a second time was seen by somebody else: what it began has to end (RFC 6749 §4.1.2).
    async fn end_what_it_began(&self, code: &Token) -> Result<(), OAuthFault> {
        let Some(family) = self.store.take_once(USED_CODE, code.hash()).await? else {
            return Ok(());
        };
        let family = String::from_utf8(family).map_err(|_| OAuthFault::State)?;
        let family = FamilyId(family.into());
        self.sessions
            .end_family(&family, FamilyEnd::CodeReused)
            .await?;
        Ok(())
    }

    async fn begin_family(
        &self,
        asked: &Asked,
        family: FamilyRecord,
        how: &str,
        target: &Target,
        code: Option<TokenHash>,
    ) -> Result<Value, OAuthFault> {
        let session = self.sessions.load_by_id(&family.session).await?;
        let session = session.ok_or(SESSION_ENDED)?;
        self.check_provider(&asked.info, target, &session.principal)?;
        let refresh = Token::generate();
        let peer = asked.info.client.to_string();
        if let Some(code) = code {
            let until = self.clock.now().plus(CODE_REMEMBERED);
            let id = family.id.0.as_bytes();
            self.store.put_once(USED_CODE, code, id, until).await?;
        }
        let created = self
            .store
            .create_family(&family, Some(refresh.hash()), how, &peer)
            .await?;
        if !created {
            return Err(SESSION_ENDED);
        }
        Ok(self.issued_to(asked, &session, &family, target, Some(&refresh)))
    }

    fn issued_to(
        &self,
        asked: &Asked,
        session: &Arc<Session>,
        family: &FamilyRecord,
        target: &Target,
        refresh: Option<&Token>,
    ) -> Value {
        let acting = family.acting.as_ref();
        let issue = Issue {
            session,
            family: &family.id,
            client: &family.client,
            key_thumbprint: family.key_thumbprint.clone(),
            target,
            agents: acting
                .map(|acting| acting.agent.clone())
                .into_iter()
                .collect(),
            route: acting.map(|acting| acting.route.to_string()),
            not_after: None,
        };
        self.issued(&asked.info, issue, refresh)
    }

    /// RFC 6749 §6. The session is looked at before the token is used up, so that what only fails for now can be tried again.
    pub(super) async fn by_refresh(&self, asked: &Asked) -> Result<Value, OAuthFault> {
        let client = self.client(Some(asked.client_id()?)).await?;
        let key = self.proven_key(asked)?;
        let unknown = OAuthFault::InvalidGrant(
            "the refresh token is unknown, or what it was given for has ended; sign in again",
        );
        let Some(presented) = Token::parse(asked.required("refresh_token")?) else {
            return Err(unknown);
        };
        let Some(family) = self.store.family_of_refresh(presented.hash()).await? else {
            return Err(unknown);
        };
        // Before it is said what belongs to somebody else's token.
        if family.client != client.id() {
            return Err(NOT_THEIRS);
        }
        let target = self.target_of(asked, family.acting.as_ref())?;
        let granted = self.sessions.load_family(&family.id).await?;
        let session = granted.ok_or(SESSION_ENDED)?.session;
        self.check_provider(&asked.info, &target, &session.principal)?;
        if let Client::Registered(client) = &client {
            // What the configuration does not let begin any more does not go on either.
            if key.is_none() && !self.agents.bearer_tokens {
                return Err(OAuthFault::InvalidProof(ProofFault::Missing));
            }
            let until = self.clock.now().plus(register::USED);
            self.store.keep_client(&client.id, until).await?;
        }
        let next = Token::generate();
        let rotated = self
            .store
            .rotate_refresh(presented.hash(), next.hash(), client.id(), key.as_deref())
            .await?;
        match rotated {
            Rotation::Rotated(family) => {
                Ok(self.issued_to(asked, &session, &family, &target, Some(&next)))
            }
            Rotation::Reused => {
                self.sessions.families.ended(&family.id);
                tracing::warn!(request_id = %asked.info.request_id, family = family.id.label(), "a refresh token came a second time; its family has ended");
                Err(OAuthFault::InvalidGrant(
                    "the refresh token was used before, so somebody has a copy; sign in again",
                ))
            }
            Rotation::Unknown => Err(unknown),
            Rotation::NotTheirs => Err(NOT_THEIRS),
        }
    }

    /// RFC 8628 §3.4.
    pub(super) async fn by_device(&self, asked: &Asked) -> Result<Value, OAuthFault> {
        let client = asked.own_client()?;
        let key = self.binding_key(asked, &client)?;
        let target = self.target(asked)?.unwrap_or(Target::Home);
        let Some(device) = Token::parse(asked.required("device_code")?) else {
            return Err(OAuthFault::ExpiredToken);
        };
        let polled = self
            .store
            .poll_device(device.hash(), client.id(), key.as_deref())
            .await?;
        match polled {
            Poll::Approved(_, session) => {
                let family = FamilyRecord {
                    id: FamilyId::generate(),
                    session,
                    client: client.id().to_owned(),
                    key_thumbprint: key,
                    acting: None,
                };
                self.begin_family(asked, family, "device", &target, None)
                    .await
            }
            Poll::Pending => Err(OAuthFault::AuthorizationPending),
            Poll::TooSoon => Err(OAuthFault::SlowDown),
            Poll::Denied => Err(OAuthFault::AccessDenied),
            Poll::Unknown => Err(OAuthFault::ExpiredToken),
        }
    }

    /// RFC 8693: an access token for our API becomes one for a route, of the same family and key, and lives no longer; a trusted issuer's JWT
    /// begins a family of its own. With an `actor_token` it is for whoever acts.
    pub(super) async fn by_exchange(&self, asked: &Asked) -> Result<Value, OAuthFault> {
        asked.without_credentials()?;
        let requested = asked.form.one("requested_token_type");
        if requested.is_some_and(|kind| kind != ACCESS_TOKEN) {
            let why = "requested_token_type must be an access token's";
            return Err(OAuthFault::InvalidRequest(why));
        }
        let target = self.route_target(asked)?;
        match asked.form.one("subject_token_type") {
            Some(ACCESS_TOKEN) => self.by_own_token(asked, target).await,
            Some(JWT | ID_TOKEN | REQUEST_TYPE) if Self::has_actor(asked) => {
                Err(OAuthFault::InvalidRequest(
                    "programs act for people, whose subject_token is an access token",
                ))
            }
            Some(JWT | ID_TOKEN) => self.by_machine(asked, target).await,
            Some(REQUEST_TYPE) => self.by_aws_role(asked, target).await,
            _ => Err(OAuthFault::InvalidRequest(
                "subject_token_type must be an access token's, a JWT's, an ID token's or urn:wayleave:token-type:aws-get-caller-identity",
            )),
        }
    }

    /// The route that a token is asked for, and nothing else.
    pub(super) fn route_target(&self, asked: &Asked) -> Result<Target, OAuthFault> {
        if asked.form.one("scope").is_some() {
            let why = "there are no scopes; the access rules say what may be done";
            return Err(OAuthFault::InvalidRequest(why));
        }
        match self.target(asked)? {
            Some(target @ Target::Route(_)) => Ok(target),
            Some(Target::Home) => Err(OAuthFault::InvalidTarget(
                "such a token is for a route, and not for this server",
            )),
            None => Err(OAuthFault::Missing("resource")),
        }
    }

    async fn by_own_token(&self, asked: &Asked, target: Target) -> Result<Value, OAuthFault> {
        let key = self.proven_key(asked)?;
        let (issuer, now) = (self.issuer(&asked.info), self.clock.now());
        let actor = match Self::has_actor(asked) {
            true => Some(self.actor(asked, &target).await?),
            false => None,
        };
        let token = asked.required("subject_token")?;
        let subject = match &actor {
            // One for a route is handed on for that route, and only by somebody who names themselves.
            Some(_) => self.minter.verify_any_access(token, &issuer, now),
            None => self.minter.verify_access(token, &issuer, &issuer, now),
        };
        // RFC 8693 §2.2.2 has invalid_request for it.
        let subject = subject.map_err(|_| {
            OAuthFault::InvalidRequest(
                "the subject_token is not an access token for this server, or has expired",
            )
        })?;
        if asked
            .form
            .one("client_id")
            .is_some_and(|id| id != subject.client)
        {
            return Err(OAuthFault::InvalidClient);
        }
        if subject.key_thumbprint.is_some() && subject.key_thumbprint != key {
            return Err(OAuthFault::InvalidProof(match key {
                Some(_) => crate::token::dpop::ProofFault::Key,
                None => crate::token::dpop::ProofFault::Missing,
            }));
        }
        let family = FamilyId(subject.family.as_str().into());
        let granted = self.sessions.load_family(&family).await?;
        let granted = granted.ok_or(SESSION_ENDED)?;
        let _first = asked.verified.set(Arc::clone(&granted.session.principal));
        self.check_provider(&asked.info, &target, &granted.session.principal)?;
        let key_thumbprint = self.wanted_binding(asked, &target, key)?;
        if let Some(actor) = actor {
            return self
                .delegated(asked, actor, &subject, &granted, key_thumbprint)
                .await;
        }
        let issue = Issue {
            session: &granted.session,
            family: &family,
            client: &subject.client,
            key_thumbprint,
            target: &target,
            agents: Vec::new(),
            route: None,
            not_after: Some(subject.expires_at),
        };
        Ok(self.issued(&asked.info, issue, None))
    }

    /// `bound=false` asks for a token that whoever has it can use; the key had to be proven all the same.
    pub(crate) fn wanted_binding(
        &self,
        asked: &Asked,
        target: &Target,
        key: Option<String>,
    ) -> Result<Option<String>, OAuthFault> {
        let wants_bound = match asked.form.one("bound") {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(OAuthFault::InvalidRequest("bound is true or false")),
        };
        let key = key.filter(|_| wants_bound);
        match key {
            None if !self.config.allow_unbound && !self.is_for_kubectl(asked, target) => {
                Err(OAuthFault::Unbound)
            }
            key => Ok(key),
        }
    }
}

/// RFC 7636 §4.1 and §4.6; S256 is the only method.
fn is_verifier_of(verifier: &str, challenge: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_well_made = (43..=128).contains(&verifier.len()) && verifier.bytes().all(is_allowed);
    let hashed = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
    let is_same: bool = hashed.as_bytes().ct_eq(challenge.as_bytes()).into();
    is_well_made && is_same
}
