//! The authenticated caller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::email::Email;

/// What rules and mappings call the provider of the policy's own service accounts; nothing else may be called so.
pub const SERVICE_ACCOUNTS: &str = "service-accounts";

/// The issuer of the policy's own service accounts, which is nobody's address.
pub const SERVICE_ACCOUNTS_ISSUER: &str = "urn:wayleave:service-accounts";

/// The issuer of roles of AWS, which is nobody's address: STS says who they are, whatever region answers.
pub const AWS_ISSUER: &str = "urn:wayleave:aws";

/// What kind of caller a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person who signed in at an identity provider.
    User,
    /// A program whose token a trusted issuer signed, or that proved its own key.
    Workload,
}

impl PrincipalKind {
    /// The word of the policy file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Workload => "workload",
        }
    }
}

/// The groups a principal is in. That they are not known is never the same as being in none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// What the provider said, possibly nothing.
    Known(BTreeSet<Arc<str>>),
    /// The provider said nothing where groups were expected, or only pointed elsewhere; no rule that asks for a group matches,
    /// and a deny rule that asks for one applies.
    Missing,
}

/// The authenticated caller. Its key is (issuer, subject).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Whether a person or a program.
    pub kind: PrincipalKind,
    /// The configured name of the identity provider or trusted issuer.
    pub provider: Arc<str>,
    /// The issuer's URL, exactly as configured.
    pub issuer: Arc<str>,
    /// The `sub` of the issuer, exactly; it names the principal there for ever (OIDC Core §2).
    pub subject: Arc<str>,
    /// Present only when the provider vouches for it (`email_verified`, or the provider is set to be trusted in this).
    pub email: Option<Email>,
    /// A label for pages; never compared.
    pub display_name: Option<Arc<str>>,
    /// Compared exactly, case and all.
    pub groups: Groups,
    /// Values of the claims that the provider is configured to keep, by name; one that it left out has no values. What is not among them, or
    /// had another shape than texts, numbers and flags, is not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// How well the provider made sure who it is (OIDC Core §2 `acr`), if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<Arc<str>>,
    /// When the provider last saw them authenticate (OIDC Core §2 `auth_time`), in seconds since the Unix epoch, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// The programs that act for them, the one that asks first; empty when they ask themselves. No session has any: they come with a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Agent>,
}

/// The most agents that may stand between a person and a request, one acting for the next.
pub const LONGEST_CHAIN: usize = 2;

/// A program that acts for somebody (RFC 8693 §4.1 `act`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// What is proven of it, and what rules compare: the origin that its authorization code was sent to (`https://agent.example`), `loopback` for a program on
    /// the person's own computer, or the trusted issuer's name and its `sub` there (`robots/builder-1`).
    pub id: Arc<str>,
    /// Who names it: the home host for a client that registered, or the trusted issuer's URL.
    pub issuer: Arc<str>,
    /// Its name there: the client's id, or the issuer's `sub`.
    pub subject: Arc<str>,
    /// What it calls itself. Nobody verified it, and it is never compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
}

/// Classes that an authorization request asks for at most, and how long they are all together.
const MOST_CLASSES: usize = 10;
const LONGEST_CLASSES: usize = 1000;
/// A sign-in that may be younger than this only would be too old before anybody has used it.
pub const SHORTEST_AGE: u32 = 60;

/// How somebody has to have signed in; all that is present must be so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Authentication context classes (OIDC Core §2 `acr`), any of which will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<Vec<Arc<str>>>,
    /// How long ago they may have authenticated at the provider, in seconds (OIDC Core §3.1.2.1 `max_age`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
}

impl Requirement {
    /// Whether the class is one of those wanted; one that the provider did not say is not.
    pub fn acr_is_met(&self, principal: &Principal) -> bool {
        let acr = principal.acr.as_ref();
        let named = |wanted: &Vec<Arc<str>>| acr.is_some_and(|acr| wanted.contains(acr));
        self.acr.as_ref().is_none_or(named)
    }

    /// Whether the sign-in is recent enough at `now` (seconds since the Unix epoch); one of unknown age is not.
    pub fn age_is_met(&self, principal: &Principal, now: i64) -> bool {
        let is_recent = |limit: u32| {
            let at = principal.auth_time;
            at.is_some_and(|at| now.saturating_sub(at) <= i64::from(limit))
        };
        self.max_age.is_none_or(is_recent)
    }

    /// Whether all is met.
    pub fn is_met(&self, principal: &Principal, now: i64) -> bool {
        self.acr_is_met(principal) && self.age_is_met(principal, now)
    }

    /// The parameters of an authorization request that ask for such a sign-in (OIDC Core §3.1.2.1, RFC 9470 §4).
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let acr = self.acr.as_ref();
        let acr = acr.map(|classes| ("acr_values", classes.join(" ")));
        let max_age = self.max_age.map(|seconds| ("max_age", seconds.to_string()));
        acr.into_iter().chain(max_age).collect()
    }

    /// Reads these parameters; `None` if neither is there.
    pub fn of_parameters(
        acr_values: Option<&str>,
        max_age: Option<&str>,
    ) -> Result<Option<Self>, &'static str> {
        if acr_values.is_none() && max_age.is_none() {
            return Ok(None);
        }
        let classes = |text: &str| {
            let classes: Vec<Arc<str>> = text.split_ascii_whitespace().map(Arc::from).collect();
            let is_class = |class: &Arc<str>| class.bytes().all(|byte| byte.is_ascii_graphic());
            let is_fine = (1..=MOST_CLASSES).contains(&classes.len())
                && text.len() <= LONGEST_CLASSES
                && classes.iter().all(is_class);
            is_fine
                .then_some(classes)
                .ok_or("acr_values must be one to ten classes, divided by spaces")
        };
        let age = |text: &str| {
            let seconds = text.parse().ok();
            seconds
                .filter(|seconds| *seconds >= SHORTEST_AGE)
                .ok_or("max_age must be a number of seconds, and 60 at least")
        };
        Ok(Some(Self {
            acr: acr_values.map(classes).transpose()?,
            max_age: max_age.map(age).transpose()?,
        }))
    }
}

/// A person, and nothing of what is known of them now. The same human being at two issuers is two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId {
    /// The issuer's URL, exactly as configured.
    pub issuer: Arc<str>,
    /// The issuer's `sub`, exactly.
    pub subject: Arc<str>,
}

impl Principal {
    /// Who it is.
    pub fn person_id(&self) -> PersonId {
        PersonId {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
        }
    }

    /// The same person with programs that act for them.
    pub fn through(&self, agents: Vec<Agent>) -> Self {
        Self {
            agents,
            ..self.clone()
        }
    }

    /// Who acts for them, as logs and pages write it: the ids, the one that asks first. `None` when they ask themselves.
    pub fn acting(&self) -> Option<String> {
        let ids: Vec<&str> = self.agents.iter().map(|agent| &*agent.id).collect();
        (!ids.is_empty()).then(|| ids.join(" for "))
    }

    /// What pages and logs call this principal: e-mail if vouched for, else the subject.
    pub fn label(&self) -> &str {
        self.email.as_ref().map_or(&self.subject, Email::as_str)
    }
}
