//! What a rule requires beside being for somebody: how they signed in, and that somebody else approved.

use std::time::Duration;

use crate::identity::principal::{Principal, Requirement};
use crate::policy::decide::Facts;
use crate::policy::explain::{Outcome, list};
use crate::policy::model::{Approval, Rule};

/// What a rule requires and a caller does not have.
#[derive(Clone, Debug)]
pub(super) struct Unmet {
    /// How they would have to sign in.
    pub(super) sign_in: Option<Requirement>,
    /// Whether somebody else would have to approve.
    pub(super) approval: bool,
}

/// What is left of a rule that is for the caller and about the request.
pub(super) fn lacking(rule: &Rule, principal: &Principal, facts: &Facts<'_>) -> Outcome {
    let require = rule.require.as_ref();
    let sign_in =
        require.and_then(|require| Some((require, unmet(require, principal, facts.now)?)));
    let approval = rule.approval.as_ref();
    let approval = approval.filter(|_| facts.granted_until(&rule.name).is_none());
    let why = match (&sign_in, approval) {
        (None, None) => return Outcome::Applies,
        (Some((_, why)), None) => why.clone(),
        (None, Some(approval)) => wants_approval(approval),
        (Some((_, why)), Some(approval)) => format!("{why}, and {}", wants_approval(approval)),
    };
    let unmet = Unmet {
        sign_in: sign_in.map(|(require, _)| require.clone()),
        approval: approval.is_some(),
    };
    Outcome::Unmet(unmet, why)
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
        return Some(format!(
            "it asks for a sign-in of the class {}",
            list(wanted)
        ));
    }
    let is_met = require.age_is_met(principal, now.as_second());
    let limit = require.max_age.filter(|_| !is_met)?;
    let limit = Duration::from_secs(u64::from(limit));
    let limit = humantime::format_duration(limit);
    Some(format!("it asks for a sign-in that is at most {limit} old"))
}
