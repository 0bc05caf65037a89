//! What a rule requires beside being for somebody: how they signed in, and that somebody else approved.

use std::time::Duration;

use crate::identity::principal::{Principal, Requirement};
use crate::policy::decide::Facts;
use crate::policy::explain::{Unheld, list};
use crate::policy::model::{Approval, Rule};

/// What a rule requires and a caller does not have.
#[derive(Clone, Debug)]
pub(super) struct Unmet {
    /// How they would have to sign in.
    pub(super) sign_in: Option<Requirement>,
    /// Whether somebody else would have to approve.
    pub(super) approval: bool,
}

/// What is left of a rule that is for the caller; `None` if nothing is.
pub(super) fn lacking(
    rule: &Rule,
    principal: &Principal,
    facts: &Facts<'_>,
) -> Option<(Unmet, Vec<Unheld>)> {
    let require = rule.require.as_ref();
    let sign_in =
        require.and_then(|require| Some((require, unmet(require, principal, facts.now)?)));
    let approval = rule.approval.as_ref();
    let approval = approval.filter(|_| facts.granted_until(&rule.name).is_none());
    let unmet = Unmet {
        sign_in: sign_in.as_ref().map(|(require, _)| (*require).clone()),
        approval: approval.is_some(),
    };
    let why = sign_in.map(|(_, why)| why);
    let why: Vec<Unheld> = { why.into_iter().chain(approval.map(wants_approval)) }
        .map(Unheld::from)
        .collect();
    (!why.is_empty()).then_some((unmet, why))
}

fn wants_approval(approval: &Approval) -> String {
    let at_most = humantime::format_duration(approval.at_most);
    let at_once = if approval.break_glass {
        "; in an emergency you can have it at once"
    } else {
        ""
    };
    format!("it asks for an approval by somebody else, for at most {at_most}{at_once}")
}

fn unmet(require: &Requirement, principal: &Principal, now: jiff::Timestamp) -> Option<String> {
    if !require.acr_is_met(principal) {
        let wanted = require.acr.as_deref().unwrap_or_default();
        let own = principal.acr.as_deref();
        let own = own.map_or_else(
            || "said to be of none".to_owned(),
            |own| format!("of {own}"),
        );
        let wanted = list(wanted);
        return Some(format!(
            "it asks for a sign-in of the class {wanted}, and yours was {own}"
        ));
    }
    let is_met = require.age_is_met(principal, now.as_second());
    let limit = require.max_age.filter(|_| !is_met)?;
    let limit = Duration::from_secs(u64::from(limit));
    let limit = humantime::format_duration(limit);
    let age = principal
        .auth_time
        .map(|at| now.as_second().saturating_sub(at));
    let age = age.and_then(|age| u64::try_from(age).ok());
    let age = age.map_or_else(
        || "of an unknown age".to_owned(),
        |age| {
            format!(
                "{} old",
                humantime::format_duration(Duration::from_secs(age))
            )
        },
    );
    Some(format!(
        "it asks for a sign-in that is at most {limit} old, and yours is {age}"
    ))
}
