//! What the access rules say now of a place that somebody wants to open: decided anew on each page, whatever an address or a form says.

use std::sync::Arc;

use http::HeaderMap;

use crate::access::Place;
use crate::address::host::Host;
use crate::identity::principal::Principal;
use crate::policy::decide::{Facts, Verdict};
use crate::policy::model::Approval;
use crate::policy::when::RequestHeaders;
use crate::portal::{Portal, PortalError, Visitor};
use crate::web::ask::Wanted;
use crate::web::request_info::RequestInfo;

/// What there is to do about a place.
pub(super) enum Standing {
    /// They may open it, or need only sign in for it.
    Open,
    /// They may ask for it.
    Ask(Askable),
    /// Nothing.
    Closed,
}

/// What may be asked for.
pub(super) struct Askable {
    /// The rule that takes an approval.
    pub(super) rule: Arc<str>,
    /// The route's name.
    pub(super) route: Arc<str>,
    /// What the rule asks.
    pub(super) approval: Approval,
}

impl Portal {
    /// Decides what somebody wants to do, from where and with the browser that they are here with.
    pub(super) fn standing(
        &self,
        visitor: &Visitor,
        wanted: &Wanted,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Standing {
        let policy = self.snapshots.current();
        let Some(route) = policy.route(&wanted.host, &wanted.path) else {
            return Standing::Closed;
        };
        let of_request = RequestHeaders::read(policy.header_names(), |name| {
            headers.get_all(name).iter().map(|value| value.as_bytes())
        });
        let principal = visitor.principal();
        let grants = self.grants.current();
        let facts = Facts {
            principal: Some(principal),
            route,
            method: &wanted.method,
            path: &wanted.path,
            now: self.access.now().to_jiff(),
            peer: Some(info.client),
            headers: Some(&of_request),
            grants: grants.of(principal),
        };
        match policy.decide(&facts) {
            Verdict::Allow { .. } | Verdict::StepUp { .. } => Standing::Open,
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
    pub(super) fn has_heard_of(&self, principal: &Principal, rule: &str) -> bool {
        let now = self.access.now().to_jiff();
        let grants = self.grants.current();
        let mut theirs = grants.of(principal).iter();
        theirs.any(|grant| *grant.rule == *rule && now < grant.until)
    }
}

/// What was wanted when somebody asked.
pub(super) fn wanted(place: &Place) -> Result<Wanted, PortalError> {
    let (path, query) = match place.target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (place.target.as_str(), None),
    };
    Ok(Wanted {
        method: place.method.clone(),
        host: Host::parse(&place.host).map_err(|_| PortalError::Request)?,
        path: path.to_owned(),
        query,
    })
}

/// Where a browser goes to open it: an address of the host's, which is one of ours.
pub(super) fn location(wanted: &Wanted, info: &RequestInfo) -> String {
    let origin = info.origin.at_host(wanted.host.clone());
    format!("{origin}{}", wanted.target())
}

/// Whether following a link does what was wanted.
pub(super) fn is_a_link(wanted: &Wanted) -> bool {
    matches!(wanted.method.as_str(), "GET" | "HEAD")
}

/// For pages.
pub(super) fn what(wanted: &Wanted) -> String {
    format!("{} {}{}", wanted.method, wanted.host, wanted.path)
}
