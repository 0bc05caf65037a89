//! Roles of AWS: a program shows a GetCallerIdentity request that it signed (SigV4), the edge sends it to STS, and STS says whose it is.
//!
//! Nothing that was signed is verified here, since only AWS knows the keys. What is judged is that the request can do nothing else than ask who signed it, that it
//! was made for this edge, and lately; and whether the policy trusts whom STS names. Whether a request was shown before, all edges have to know of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use tokio::sync::Semaphore;
use url::Url;

use crate::clock::{SharedClock, Timestamp};
use crate::config::Config;
use crate::config::checked::PolicyIssuers;
use crate::identity::aws::AssumedRole;
use crate::identity::principal::{AWS_ISSUER, Groups, Principal, PrincipalKind};
use crate::policy::machines::{AWS_ACCOUNT, AWS_ROLE, AWS_SESSION_NAME, TrustedIssuer};
use crate::secret::TokenHash;
use crate::token::aws::answer::Told;
use crate::token::aws::request::{BODY, FORM, GOOD, LEEWAY, SignedRequest};
use crate::token::outbound::{Answer, Outbound, OutboundError, Reach};
use crate::token::trusted::Trusted;

pub mod answer;
pub mod request;
pub mod signing;

/// The `subject_token_type` of a signed request.
pub const REQUEST_TYPE: &str = "urn:wayleave:token-type:aws-get-caller-identity";

/// The signed header that names the edge that a request is for: the issuer of its authorization server.
pub const AUDIENCE: &str = "x-wayleave-audience";

/// The signed header that makes each request another: what one key signs in one second would be the same request.
pub const NONCE: &str = "x-wayleave-nonce";

/// How long what a role began lasts where the policy does not say.
const LASTS: Duration = Duration::from_secs(3600);

/// How many requests are at STS at once; whoever comes then is asked to come again.
const AT_ONCE: usize = 32;

/// Why a signed request is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum AwsFault {
    #[error("the policy trusts no role of AWS")]
    NobodyTrusted,
    #[error("it is not the base64url of a JSON object with url, headers and body, within 16 KiB")]
    Malformed,
    #[error(
        "url must be https://sts.REGION.amazonaws.com/ (in China .amazonaws.com.cn), or https://sts.amazonaws.com/"
    )]
    Url,
    #[error("body must be Action=GetCallerIdentity&Version=2011-06-15")]
    Body,
    #[error("headers has one that is doubled, is no text, or has no place in such a request")]
    Header,
    #[error(
        "authorization must be AWS4-HMAC-SHA256 for this region's sts, with Credential, SignedHeaders and Signature"
    )]
    Authorization,
    #[error(
        "all headers must be signed, and host, x-amz-date and x-wayleave-audience be among them"
    )]
    Unsigned,
    #[error("x-wayleave-audience must be this server's issuer")]
    Audience,
    #[error("x-amz-date is more than five minutes ago or ahead; is the clock right?")]
    Time,
    #[error("AWS does not accept it: {0}")]
    Refused(&'static str),
    #[error("whoever signed it has assumed no role")]
    NoRole,
    #[error("no trusted issuer of the policy has the role {0}")]
    Role(String),
    #[error("it was used before, and each is good once")]
    Replayed,
    #[error("AWS cannot be asked at present")]
    Unavailable,
}

/// Whom STS named, and that the policy trusts them; unless the request was shown before.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedRole {
    /// Who it is.
    pub principal: Principal,
    /// What it begins ends then.
    pub until: Timestamp,
    /// What is remembered of the request.
    pub id: TokenHash,
    /// For how long: longer than it is good.
    pub remembered: Timestamp,
}

/// Asks STS, and knows which roles the policy in force trusts.
pub struct AwsRoles {
    trusted: Trusted,
    sts: ArcSwap<Sts>,
    calls: Semaphore,
    clock: SharedClock,
}

struct Sts {
    outbound: Result<Outbound, OutboundError>,
    /// Asked in its place (tests).
    instead: Option<Url>,
}

impl Sts {
    fn of(config: &PolicyIssuers) -> Self {
        if let Some(url) = &config.insecure_sts_endpoint {
            tracing::warn!(%url, "policy_issuers.insecure_sts_endpoint: whatever listens there is believed to be AWS, and can be any role that the policy trusts");
        }
        let reach = &config.reach;
        Self {
            outbound: Outbound::new(Reach {
                ca_file: reach.ca_file.as_deref(),
                allowed_private_networks: &reach.allowed_private_networks,
                insecure_allow_http_loopback: reach.insecure_allow_http_loopback,
            }),
            instead: config.insecure_sts_endpoint.clone(),
        }
    }

    async fn ask(&self, request: &SignedRequest) -> Result<Told, AwsFault> {
        let unavailable = |error: &dyn std::fmt::Display| {
            tracing::warn!(host = request.host(), %error, "AWS cannot be asked whose request this is");
            AwsFault::Unavailable
        };
        let own = format!("https://{}/", request.host());
        let url = self.instead.as_ref().map_or(own.as_str(), Url::as_str);
        let asked = Request::post(url).body(BODY.as_bytes().to_vec());
        let mut asked = asked.map_err(|error| unavailable(&error))?;
        let headers = asked.headers_mut();
        headers.insert(HOST, request.host_value());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        for (name, value) in request.headers() {
            headers.insert(name.clone(), value.clone());
        }
        let outbound = self.outbound.as_ref().map_err(|error| unavailable(error))?;
        let answer = outbound.execute(asked).await;
        let Answer { status, body, .. } = answer.map_err(|error| unavailable(&error))?;
        let told = answer::read(status, &body);
        told.map_err(|fault| unavailable(&format!("{fault} (status {status})")))
    }
}

impl AwsRoles {
    /// Asks nobody yet.
    pub fn of(config: &Config, clock: SharedClock) -> Arc<Self> {
        let names = config.provider_names();
        Arc::new(Self::new(&config.policy_issuers, names, clock))
    }

    fn new(reach: &PolicyIssuers, names: Vec<String>, clock: SharedClock) -> Self {
        Self {
            trusted: Trusted::new(names, |issuer| !issuer.aws_roles().is_empty()),
            sts: ArcSwap::from_pointee(Sts::of(reach)),
            calls: Semaphore::new(AT_ONCE),
            clock,
        }
    }

    /// Takes up a configuration.
    pub fn configure(&self, config: &Config) {
        self.sts.store(Arc::new(Sts::of(&config.policy_issuers)));
        self.trusted.configure(config.provider_names());
    }

    /// Knows whom the policy in force trusts, and says whether that is anything new.
    pub fn follow(&self, policy: &[TrustedIssuer]) -> bool {
        self.trusted.follow(policy)
    }

    /// Whether the policy still trusts a role under the name that it came by.
    pub fn vouch_for(&self, principal: &Principal) -> bool {
        let is_role = principal.kind == PrincipalKind::Workload && *principal.issuer == *AWS_ISSUER;
        let named = self.trusted.named(&principal.provider);
        is_role && named.is_some_and(|issuer| has_role(&issuer, &principal.subject))
    }

    /// Judges a signed request that has to be for this audience, and asks STS whose it is.
    pub async fn verify(&self, shown: &str, audience: &str) -> Result<VerifiedRole, AwsFault> {
        if self.trusted.all().is_empty() {
            return Err(AwsFault::NobodyTrusted);
        }
        let now = self.clock.now();
        let request = SignedRequest::parse(shown)?;
        request.check(audience, now)?;
        let _one = { self.calls.try_acquire() }.map_err(|_| AwsFault::Unavailable)?;
        let sts = self.sts.load_full();
        let role = match sts.ask(&request).await? {
            Told::Refused(why) => return Err(AwsFault::Refused(why)),
            Told::Caller(caller) => caller.role().ok_or(AwsFault::NoRole)?,
        };
        // A partition answers for its own accounts alone.
        if role.partition != request.partition() {
            return Err(AwsFault::NoRole);
        }
        let arn = role.role_arn();
        let trusted = self.trusted.all();
        let Some(issuer) = trusted.iter().find(|issuer| has_role(issuer, &arn)) else {
            return Err(AwsFault::Role(arn));
        };
        Ok(VerifiedRole {
            principal: principal(&issuer.name, &role),
            until: request.made_at().plus(issuer.at_most.unwrap_or(LASTS)),
            id: request.id(),
            remembered: request.made_at().plus(GOOD).plus(LEEWAY).plus(LEEWAY),
        })
    }
}

fn has_role(issuer: &TrustedIssuer, arn: &str) -> bool {
    issuer.aws_roles().iter().any(|role| role.matches(arn))
}

/// A role under the name of who trusts it.
fn principal(provider: &Arc<str>, role: &AssumedRole) -> Principal {
    let claims = [
        (AWS_ACCOUNT, &role.account),
        (AWS_ROLE, &role.role),
        (AWS_SESSION_NAME, &role.session),
    ];
    let claims = claims.map(|(name, value)| (name.into(), vec![value.as_str().into()]));
    Principal {
        kind: PrincipalKind::Workload,
        provider: Arc::clone(provider),
        issuer: AWS_ISSUER.into(),
        subject: role.role_arn().into(),
        email: None,
        display_name: None,
        // There is nobody who could put it into one.
        groups: Groups::Known(BTreeSet::new()),
        claims: claims.into(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
