//! SVIDs for people's own hands: an X.509-SVID for a key that they made, or a JWT-SVID for one audience.
//!
//! What is given here leads past the edge, is not taken back, and can be used by whoever has it and its key; so an access rule has to give it by name
//! ([`crate::policy::svids`]), it lives no longer than the session, the rule and the grant that it comes from, and it is in the log before it is given.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request, Response, StatusCode, header};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::address::host::Host;
use crate::audit::event::svids::{Given, Refused};
use crate::audit::event::{Event, FamilyEvent};
use crate::clock::Timestamp;
use crate::identity::spiffe_id::MeshIdentity;
use crate::mesh::csr::ProvenKey;
use crate::oauth::OAuth;
use crate::oauth::caller::ApiCaller;
use crate::oauth::svids::refusal::Refusal;
use crate::oauth::target::Target;
use crate::policy::compile::CompiledPolicy;
use crate::policy::decide::{Facts, Verdict};
use crate::policy::svids::{METHOD, SvidKind};
use crate::telemetry::causes::Causes;
use crate::token::jwt_svid::Audience;
use crate::web::ask::Wanted;
use crate::web::request_info::RequestInfo;
use crate::web::{receive, reply};

mod refusal;

/// The largest body, in bytes.
const LIMIT: usize = 8 * 1024;
/// What would end sooner is of no use.
const SHORTEST: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedX509 {
    /// A certificate signing request in PEM.
    csr: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedJwt {
    audience: String,
}

/// What the rules give.
struct Allowed {
    rule: Arc<str>,
    identity: MeshIdentity,
    until: Timestamp,
}

/// An SVID that waits to be told of.
struct Made {
    answer: Value,
    expires_at: Timestamp,
    id: String,
    thumbprint: Option<String>,
    audience: Option<String>,
}

/// Somebody who asks for one.
struct Asking<'a> {
    oauth: &'a OAuth,
    info: &'a RequestInfo,
    caller: &'a ApiCaller,
    kind: SvidKind,
    /// What logs call the session, and the family of tokens.
    labels: [String; 2],
    /// The policy that decides, from the first to the last.
    policy: Arc<CompiledPolicy>,
}

/// `POST /.wayleave/api/v1/svids/x509`.
pub(super) async fn x509(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    caller: ApiCaller,
    request: Request<Body>,
) -> Response<Body> {
    let asking = Asking::new(&oauth, &info, &caller, SvidKind::X509);
    let given = asking.given(request, |wanted: &WantedX509, allowed| {
        asking.certificate(wanted, allowed)
    });
    asking.answer(given.await).await
}

/// `POST /.wayleave/api/v1/svids/jwt`.
pub(super) async fn jwt(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    caller: ApiCaller,
    request: Request<Body>,
) -> Response<Body> {
    let asking = Asking::new(&oauth, &info, &caller, SvidKind::Jwt);
    let given = asking.given(request, |wanted: &WantedJwt, allowed| {
        asking.token(wanted, allowed)
    });
    asking.answer(given.await).await
}

/// `GET /.wayleave/spiffe-bundle.json`: what verifies JWT-SVIDs.
pub(super) async fn bundle(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
) -> Response<Body> {
    reply::json(&info, StatusCode::OK, &oauth.minter.spiffe_bundle())
}

impl<'a> Asking<'a> {
    fn new(oauth: &'a OAuth, info: &'a RequestInfo, caller: &'a ApiCaller, kind: SvidKind) -> Self {
        Self {
            oauth,
            info,
            caller,
            kind,
            labels: [caller.session.id.label(), caller.family.label()],
            policy: Arc::clone(&oauth.snapshots.current()),
        }
    }

    /// Who may comes first: nothing of what is sent is looked at for anybody else.
    async fn given<T: DeserializeOwned>(
        &self,
        request: Request<Body>,
        make: impl FnOnce(&T, &Allowed) -> Result<Made, Refusal>,
    ) -> Result<Value, Refusal> {
        let now = self.oauth.clock.now();
        let rates = &self.oauth.rates;
        if !rates.tokens.take(self.info.client, now)
            || !rates.svids.take_of(&self.caller.person(), now)
        {
            return Err(Refusal::TooMany);
        }
        let allowed = self.allowed()?;
        let wanted = read(request).await?;
        let made = make(&wanted, &allowed)?;
        let expires_at = made.expires_at.rfc3339();
        let event = Event::svid_issued(
            &self.told(),
            &Given {
                kind: self.kind.as_str(),
                mesh_identity: allowed.identity.as_str(),
                rule: &allowed.rule,
                revision: self.policy.revision.0,
                expires_at: &expires_at,
                id: &made.id,
                thumbprint: made.thumbprint.as_deref(),
                audience: made.audience.as_deref(),
                peer: &self.info.client.to_string(),
            },
        );
        let (session, family) = (&self.caller.session.id, &self.caller.family);
        let is_told = self.oauth.store.tell_of_svid(session, family, event).await;
        if !is_told? {
            return Err(Refusal::Ended);
        }
        let mut answer = made.answer;
        answer["spiffe_id"] = allowed.identity.as_str().into();
        answer["expires_at"] = expires_at.into();
        answer["rule"] = allowed.rule.as_ref().into();
        Ok(answer)
    }

    /// What the rules say now, and how long they go on to.
    fn allowed(&self) -> Result<Allowed, Refusal> {
        let Self {
            oauth,
            info,
            caller,
            policy,
            ..
        } = self;
        if !caller.is_bound {
            return Err(Refusal::Unbound);
        }
        let principal = caller.principal();
        let in_use = oauth.check_provider(info, &Target::Home, principal);
        in_use.map_err(|_| Refusal::Provider)?;
        let now = oauth.clock.now();
        let grants = oauth.grants.current();
        let facts = Facts {
            principal: Some(principal),
            route: policy.svid(self.kind),
            method: METHOD,
            path: self.kind.path(),
            now: now.to_jiff(),
            peer: Some(info.client),
            // What an SVID is used with later, nobody knows.
            headers: None,
            grants: grants.of(principal),
        };
        let rule = match policy.decide(&facts) {
            Verdict::Allow { rule, .. } => rule,
            Verdict::StepUp { rule, .. } => return Err(Refusal::StepUp { rule }),
            Verdict::Ask { rule } => {
                let ask_url = self.wanted().ask_url(&info.origin);
                return Err(Refusal::Ask { rule, ask_url });
            }
            Verdict::Deny(reason) => {
                let why = reason.why(Some(principal));
                return Err(Refusal::Rules { reason, why });
            }
            Verdict::SignIn => return Err(Refusal::Ended),
        };
        let identity = policy.mesh_identity(Some(principal));
        let identity = identity.map_err(Refusal::NoIdentity)?;
        let longest = now.plus(oauth.config.svid_lifetime);
        let longest = longest.min(caller.session.expires_at);
        let until = policy.goes_on(&facts, longest.to_jiff());
        let until = Timestamp::from_seconds(until.as_second());
        if until < now.plus(SHORTEST) {
            return Err(Refusal::TooShort { rule });
        }
        Ok(Allowed {
            rule,
            identity,
            until,
        })
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            method: METHOD.to_owned(),
            host: self.info.origin.host.clone(),
            path: self.kind.path().to_owned(),
            query: None,
            agents: Vec::new(),
        }
    }

    fn certificate(&self, wanted: &WantedX509, allowed: &Allowed) -> Result<Made, Refusal> {
        let key = ProvenKey::read(&wanted.csr, &allowed.identity).map_err(Refusal::Csr)?;
        let svids = &self.oauth.svids;
        let signed = svids.hand_out(&allowed.identity, &key, allowed.until)?;
        Ok(Made {
            answer: json!({ "svid": pem(&signed.chain), "bundle": pem(&signed.roots) }),
            expires_at: signed.not_after,
            id: signed.serial,
            thumbprint: Some(signed.thumbprint),
            audience: None,
        })
    }

    fn token(&self, wanted: &WantedJwt, allowed: &Allowed) -> Result<Made, Refusal> {
        let (home, policy) = (&self.info.origin.host, &self.policy);
        let is_ours = |host: &Host| host == home || policy.has_host(host);
        let audience = Audience::parse(&wanted.audience, is_ours).map_err(Refusal::Audience)?;
        let (minter, now) = (&self.oauth.minter, self.oauth.clock.now());
        let signed = minter.jwt_svid(&allowed.identity, &audience, now, allowed.until);
        Ok(Made {
            answer: json!({ "svid": signed.token, "audience": audience.as_str() }),
            expires_at: signed.expires_at,
            id: signed.id,
            thumbprint: None,
            audience: Some(audience.as_str().to_owned()),
        })
    }

    fn told(&self) -> FamilyEvent<'_> {
        let [session, family] = &self.labels;
        FamilyEvent {
            principal: self.caller.principal(),
            session,
            family,
            client: &self.caller.client,
        }
    }

    async fn answer(&self, given: Result<Value, Refusal>) -> Response<Body> {
        let refusal = match given {
            Ok(given) => return reply::json(self.info, StatusCode::OK, &given),
            Err(refusal) => refusal,
        };
        if refusal.is_told() {
            self.tell_of(&refusal).await;
        }
        refusal.answer(self.info, self.kind)
    }

    async fn tell_of(&self, refusal: &Refusal) {
        let refused = Refused {
            reason: refusal.code(),
            why: &refusal.to_string(),
            rule: refusal.rule(),
            revision: self.policy.revision.0,
            peer: &self.info.client.to_string(),
        };
        let event = Event::svid_refused(&self.told(), self.kind.as_str(), &refused);
        if let Err(error) = self.oauth.store.tell_of_refusal(event).await {
            // Nothing was given, so there is nothing to take back.
            tracing::warn!(request_id = %self.info.request_id, error = %Causes(&error), "a refused SVID is not in the audit log");
        }
    }
}

async fn read<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Refusal> {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        return Err(Refusal::Body("the body must be application/json"));
    }
    let body = receive::body(body, LIMIT).await;
    let body = body.map_err(|_| Refusal::Body("the body is too long, too slow or broken off"))?;
    serde_json::from_slice(&body).map_err(|_| Refusal::Body("the body is not the JSON of this"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// RFC 7468 §5.
fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
