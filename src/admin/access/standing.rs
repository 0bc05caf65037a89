//! What the access rules say now of a place that somebody wants to open: decided anew each time, whatever an address, a form or a program says.

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::host::Host;
use crate::admin::access::Access;
use crate::identity::principal::{Principal, Requirement};
use crate::policy::compile::CompiledPolicy;
use crate::policy::decide::{Facts, Verdict};
use crate::policy::model::Approval;
use crate::policy::when::RequestHeaders;

/// What there is to do about a place.
#[derive(Debug)]
pub enum Standing {
    /// They may open it.
    Open,
    /// They may once they have signed in again.
    StepUp(Unmet),
    /// They may ask for it.
    Ask(Askable),
    /// Nothing.
    Closed,
}

/// Another sign-in that is all that is missing.
#[derive(Debug)]
pub struct Unmet {
    /// The rule that asks for it.
    pub rule: Arc<str>,
    /// How they have to sign in.
    pub require: Requirement,
    /// Whether the rule then has to be asked for.
    pub asks: bool,
}

/// What may be asked for.
#[derive(Debug)]
pub struct Askable {
    /// The rule that takes an approval.
    pub rule: Arc<str>,
    /// The route's name.
    pub route: Arc<str>,
    /// What the rule asks.
    pub approval: Approval,
}

/// Somebody who wants to open something, and how they come.
pub struct Attempt<'a, H> {
    /// Who.
    pub principal: &'a Principal,
    /// Upper-case wire method.
    pub method: &'a str,
    /// The host.
    pub host: &'a Host,
    /// Canonical path.
    pub path: &'a str,
    /// Where they come from.
    pub peer: IpAddr,
    /// What they send of headers that rules look at; it is given the policy that says which.
    pub headers: H,
}

impl Access {
    /// Decides what somebody wants to do.
    pub fn standing<H>(&self, attempt: Attempt<'_, H>) -> Standing
    where
        H: FnOnce(&CompiledPolicy) -> Option<RequestHeaders>,
    {
        let policy = self.snapshots.current();
        let Some(route) = policy.asked_for(attempt.host, attempt.path) else {
            return Standing::Closed;
        };
        let principal = attempt.principal;
        let headers = (attempt.headers)(&policy);
        let grants = self.grants.current();
        let facts = Facts {
            principal: Some(principal),
            route,
            method: attempt.method,
            path: attempt.path,
            now: self.now().to_jiff(),
            peer: Some(attempt.peer),
            headers: headers.as_ref(),
            grants: grants.of(principal),
        };
        match policy.decide(&facts) {
            Verdict::Allow { .. } => Standing::Open,
            Verdict::StepUp { rule, require } => {
                let asks = policy.asks_for_approval(&rule, &facts);
                Standing::StepUp(Unmet {
                    rule,
                    require,
                    asks,
                })
            }
            Verdict::Ask { rule } => match policy.may_ask(principal, &rule) {
                Some(approval) => Standing::Ask(Askable {
                    approval: approval.clone(),
                    route: Arc::clone(&route.route.name),
                    rule,
                }),
                None => Standing::Closed,
            },
            Verdict::SignIn | Verdict::Deny(_) => Standing::Closed,
        }
    }

    /// Whether this process has heard of a grant of this rule.
    pub fn has_heard_of(&self, principal: &Principal, rule: &str) -> bool {
        let now = self.now().to_jiff();
        let grants = self.grants.current();
        let mut theirs = grants.of(principal).iter();
        theirs.any(|grant| *grant.rule == *rule && now < grant.until)
    }
}
