//! The answer to a denial: who was denied what, why, and what can be done about it.

use http::{Response, StatusCode};

use crate::address::host::Host;
use crate::clock::Timestamp;
use crate::edge::access_log::Entry;
use crate::edge::authenticate::Authenticated;
use crate::edge::authorize::{Denial, Denied, Remedy};
use crate::edge::body::EdgeBody;
use crate::edge::metrics::Outcome;
use crate::edge::respond::answer;
use crate::identity::principal::{Groups, Principal};
use crate::policy::reach::needs_approval;
use crate::web::ask::Wanted;
use crate::web::audience::Audience;
use crate::web::problem::{Problem, Refusal};

/// The answer to a request that the rules, or the mappings, deny.
pub fn denial(
    denied: &Denied,
    home: &Host,
    (audience, now): (Audience, Timestamp),
    entry: &mut Entry,
) -> Response<EdgeBody> {
    let reason = denied.reason();
    entry.outcome(Outcome::Denied, reason.code());
    entry.decided(Outcome::Denied, reason.code());
    let detail = match reason.remedy() {
        Remedy::AnotherAccount if denied.authenticated().principal().is_none() => {
            "This is not allowed to whoever is not signed in. If you have an account here, sign in with it; otherwise ask your administrators."
        }
        Remedy::AnotherAccount => {
            "You are known here, but not allowed to do this. If another account of yours is, use that one; otherwise ask your administrators."
        }
        Remedy::AskForAccess => {
            "You may have this for a time, if somebody who decides about it approves. Ask for it, and say what you need it for."
        }
        Remedy::Nothing => {
            "This is not allowed. Your administrators can see why by the request's id."
        }
    };
    // Programs get the reason; people get what could be otherwise.
    let hints = match audience {
        Audience::Navigation => denied.hints(now),
        _ => Vec::new(),
    };
    let problem = Problem {
        status: StatusCode::FORBIDDEN,
        code: reason.code(),
        title: match reason.remedy() {
            Remedy::AskForAccess => "Access has to be asked for",
            Remedy::AnotherAccount | Remedy::Nothing => "Not allowed",
        },
        detail: detail.to_owned(),
        request_id: entry.id().to_string(),
        decision: Some(told(denied.authenticated(), reason, hints, entry)),
        authenticate: None,
        retry_after: None,
        sign_in_path: None,
        ask_url: (reason.remedy() == Remedy::AskForAccess)
            .then(|| ask_url(denied.authenticated(), home)),
    };
    answer(problem, audience, entry)
}

/// Where a person asks for what was denied.
fn ask_url(authenticated: &Authenticated, home: &Host) -> String {
    let routed = authenticated.routed();
    let request = routed.request();
    let wanted = Wanted {
        method: routed.method_for_rules().to_owned(),
        host: request.origin.host.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        agents: authenticated
            .principal()
            .into_iter()
            .flat_map(|principal| &principal.agents)
            .map(|agent| agent.id.to_string())
            .collect(),
    };
    wanted.ask_url(&request.origin.at_host(home.clone()))
}

fn told(
    authenticated: &Authenticated,
    reason: &Denial,
    hints: Vec<String>,
    entry: &Entry,
) -> Refusal {
    let principal = authenticated.principal();
    let request = authenticated.routed().request();
    Refusal {
        decision_id: entry.id().to_string(),
        who: principal.map_or_else(|| "not signed in".to_owned(), who),
        groups: principal.and_then(|principal| match &principal.groups {
            Groups::Known(names) => Some(names.iter().map(|name| name.to_string()).collect()),
            Groups::Missing => None,
        }),
        what: format!("{} {}{}", request.method, request.origin, request.path),
        why: why(reason, principal),
        hints,
    }
}

fn who(principal: &Principal) -> String {
    let person = format!("{}, signed in at {}", principal.label(), principal.provider);
    match principal.acting() {
        Some(agents) => format!("{agents} for {person}"),
        None => person,
    }
}

fn why(reason: &Denial, principal: Option<&Principal>) -> String {
    match reason {
        Denial::Rules(reason) => reason.why(principal),
        Denial::ApprovalRequired { rule } => needs_approval(rule),
        Denial::NoMeshIdentity(fault) => fault.why(),
        Denial::NoClusterUser(fault) => fault.why(),
        Denial::ForeignPage => {
            "A page of another site tried to open a connection with your session.".to_owned()
        }
    }
}
