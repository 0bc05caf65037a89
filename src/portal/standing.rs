//! What the access rules say now of a place that a browser wants to open.

use http::HeaderMap;

use crate::access::Place;
use crate::address::host::Host;
use crate::admin::access::standing::{Attempt, Standing};
use crate::policy::compile::CompiledPolicy;
use crate::policy::when::RequestHeaders;
use crate::portal::{Portal, PortalError, Visitor};
use crate::web::ask::Wanted;
use crate::web::request_info::RequestInfo;

impl Portal {
    /// Decides what somebody wants to do, from where and with the browser that they are here with.
    pub(super) fn standing(
        &self,
        visitor: &Visitor,
        wanted: &Wanted,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Standing {
        let of_browser = |policy: &CompiledPolicy| {
            let lines = |name: &str| headers.get_all(name).iter().map(|value| value.as_bytes());
            Some(RequestHeaders::read(policy.header_names(), lines))
        };
        let principal = wanted.through(visitor.principal());
        self.access.standing(Attempt {
            principal: &principal,
            method: &wanted.method,
            host: &wanted.host,
            path: &wanted.path,
            peer: info.client,
            headers: of_browser,
        })
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
        agents: Vec::new(),
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
