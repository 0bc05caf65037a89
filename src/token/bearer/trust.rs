//! What is trusted of an issuer, wherever that is written: in the configuration or in the policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::Value;
use url::Url;

use crate::config::checked::{IssuerReach, TrustedIssuerConfig};
use crate::identity::principal::PrincipalKind;
use crate::identity::public_keys::KeySet;
use crate::policy::machines::{ClaimConditions, IssuerKeys, JwtTrust};
use crate::policy::matcher::TextMatch;
use crate::token::claims::{self, Claims};
use crate::token::jwks::KeySource;
use crate::token::outbound::{Outbound, OutboundError, Reach};

/// An issuer, and what is taken from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trust {
    pub(super) name: Arc<str>,
    pub(super) issuer: Arc<str>,
    keys: IssuerKeys,
    pub(super) audiences: Vec<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) kind: PrincipalKind,
    /// Texts, and no lists of them.
    exact_claims: BTreeMap<String, String>,
    required_claims: ClaimConditions,
    not_claims: ClaimConditions,
    pub(super) subject_claim: Option<Arc<str>>,
    pub(super) groups_claim: Option<Arc<str>>,
    pub(super) claims: Vec<Arc<str>>,
    pub(super) trust_email: bool,
    /// Whether an e-mail address counts that it vouches for. A program of the policy has none: rules that name addresses are about people.
    pub(super) gives_email: bool,
    /// A token counts no longer than this after it was issued.
    pub(super) at_most: Option<Duration>,
    reach: IssuerReach,
}

impl Trust {
    pub(super) fn configured(config: TrustedIssuerConfig) -> Self {
        let keys = config.jwks_url.map(|url| IssuerKeys::Url(url.into()));
        Self {
            name: config.name,
            issuer: config.issuer,
            keys: keys.unwrap_or(IssuerKeys::Discovery),
            audiences: config.audiences,
            algorithms: config.algorithms,
            kind: config.kind,
            exact_claims: config.required_claims,
            required_claims: BTreeMap::new(),
            not_claims: BTreeMap::new(),
            subject_claim: None,
            groups_claim: config.groups_claim.map(Into::into),
            claims: config.claims,
            trust_email: config.trust_email,
            gives_email: true,
            at_most: None,
            reach: config.reach,
        }
    }

    /// As a policy has it. Where its keys may be fetched from is not the policy's to say.
    pub(super) fn of_policy(
        name: &Arc<str>,
        jwt: &JwtTrust,
        at_most: Option<Duration>,
        reach: &IssuerReach,
    ) -> Self {
        Self {
            name: Arc::clone(name),
            issuer: Arc::clone(&jwt.issuer),
            keys: jwt.keys.clone(),
            audiences: jwt.audiences.clone(),
            algorithms: jwt.algorithms.clone(),
            kind: PrincipalKind::Workload,
            exact_claims: BTreeMap::new(),
            required_claims: jwt.required_claims.clone().unwrap_or_default(),
            not_claims: jwt.not_claims.clone().unwrap_or_default(),
            subject_claim: jwt.subject_claim.clone(),
            groups_claim: jwt.groups_claim.clone(),
            claims: jwt.claims.clone(),
            trust_email: false,
            gives_email: false,
            at_most,
            reach: reach.clone(),
        }
    }

    pub(super) fn outbound(&self) -> Result<Outbound, OutboundError> {
        Outbound::new(Reach {
            ca_file: self.reach.ca_file.as_deref(),
            allowed_private_networks: &self.reach.allowed_private_networks,
            insecure_allow_http_loopback: self.reach.insecure_allow_http_loopback,
        })
    }

    pub(super) fn source(&self) -> KeySource {
        match &self.keys {
            IssuerKeys::Discovery => KeySource::Discovery(self.issuer.clone()),
            // Both kinds of text were read as what they are before.
            IssuerKeys::Url(url) => match Url::parse(url) {
                Ok(url) => KeySource::Url(url),
                Err(_) => KeySource::Given(Arc::default()),
            },
            IssuerKeys::Written(keys) => {
                KeySource::Given(Arc::new(KeySet::parse_written(keys).unwrap_or_default()))
            }
        }
    }

    /// The first claim that is not as it has to be.
    pub(super) fn unmet(&self, said: &Claims) -> Option<&str> {
        let differs = |(name, value): &(&String, &String)| {
            claims::select(said, name).and_then(Value::as_str) != Some(value)
        };
        if let Some((name, _)) = self.exact_claims.iter().find(differs) {
            return Some(name);
        }
        let lacks = |(name, values): &(&Arc<str>, &Vec<TextMatch>)| !holds(said, name, values);
        // One of a shape that cannot be compared may be the very one that is not meant.
        let has = |(name, values): &(&Arc<str>, &Vec<TextMatch>)| {
            let value = claims::select(said, name).filter(|value| !value.is_null());
            value.is_some() && (texts(said, name).is_none() || holds(said, name, values))
        };
        let lacking = self.required_claims.iter().find(lacks);
        let unwanted = || self.not_claims.iter().find(has);
        lacking.or_else(unwanted).map(|(name, _)| &**name)
    }
}

/// The values of a claim, if they can be compared.
fn texts(said: &Claims, name: &Arc<str>) -> Option<Vec<Arc<str>>> {
    let mut kept = claims::kept(said, std::slice::from_ref(name));
    kept.remove(name)
}

/// Any of a claim's values meets any condition.
fn holds(said: &Claims, name: &Arc<str>, conditions: &[TextMatch]) -> bool {
    let values = texts(said, name).unwrap_or_default();
    let meets = |value: &Arc<str>| conditions.iter().any(|condition| condition.matches(value));
    values.iter().any(meets)
}
