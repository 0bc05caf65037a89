//! Where a request leads: to our own pages, or along a route.

use std::rc::Rc;
use std::sync::Arc;

use crate::address::host::Host;
use crate::address::path::{PathFault, without_parameters};
use crate::edge::local::PolicyView;
use crate::edge::normalise::{Normalised, RequestFault};
use crate::edge::respond::Refused;
use crate::policy::compile::CompiledRoute;
use crate::sign_in::RESERVED_PREFIX;
use crate::web::resource_metadata;
use crate::web::stylesheet::STATIC_PREFIX;

/// Proof that a normalised request has a route of the policy in force.
#[derive(Clone)]
pub struct Routed {
    request: Rc<Normalised>,
    view: Rc<PolicyView>,
    route: Arc<CompiledRoute>,
}

/// Pages of ours that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Everything on the home host.
    Home,
    /// What lives under the reserved prefix on hosts of routes.
    Route,
}

/// Whether a request is for us and not for an upstream.
pub fn own_pages(home: &Host, view: &PolicyView, request: &Normalised) -> Option<Own> {
    if request.origin.host == *home {
        return Some(Own::Home);
    }
    if request.path.starts_with(STATIC_PREFIX) {
        // The page that says that no route leads there has a stylesheet as well.
        return Some(Own::Route);
    }
    // A route's metadata as a protected resource are ours to tell, since we give the tokens.
    if resource_metadata::is_metadata(&request.path) {
        return view
            .policy
            .has_host(&request.origin.host)
            .then_some(Own::Route);
    }
    (is_reserved(&request.path) && view.policy.has_host(&request.origin.host)).then_some(Own::Route)
}

fn is_reserved(path: &str) -> bool {
    path.starts_with(RESERVED_PREFIX) || is_bare_prefix(path)
}

/// The prefix without its last slash is ours as well: no upstream shall see it.
fn is_bare_prefix(path: &str) -> bool {
    RESERVED_PREFIX.strip_suffix('/') == Some(path)
}

/// Whether a path leads along the same route for servers that leave its parameters out: otherwise the rules of one route would be asked about what is
/// another's, or ours.
fn is_without_parameters(view: &PolicyView, request: &Normalised, route: &CompiledRoute) -> bool {
    let Some(path) = without_parameters(&request.path) else {
        return false;
    };
    let found = view.policy.route(&request.origin.host, &path);
    !is_reserved(&path) && found.is_some_and(|found| found.index == route.index)
}

impl Routed {
    /// Finds the route.
    pub fn find(view: Rc<PolicyView>, request: Rc<Normalised>) -> Result<Self, Refused> {
        let found = view.policy.route(&request.origin.host, &request.path);
        let route = Arc::clone(found.ok_or(Refused::NoRoute)?);
        if request.has_path_parameters
            && !(route.route.allow_path_parameters
                && is_without_parameters(&view, &request, &route))
        {
            return Err(RequestFault::Path(PathFault::PathParameter).into());
        }
        Ok(Self {
            request,
            view,
            route,
        })
    }

    /// The request.
    pub fn request(&self) -> &Rc<Normalised> {
        &self.request
    }

    /// Whether it leads to a Kubernetes API server.
    pub fn leads_to_a_cluster(&self) -> bool {
        self.route.route.kubernetes.is_some()
    }

    /// The method as access rules see it. What opens a way into a cluster's pods, as `kubectl exec` does, is a `POST` to them, also where WebSockets make a
    /// `GET` of it: whoever may only read may not do that.
    pub fn method_for_rules(&self) -> &str {
        if self.request.is_upgrade && self.leads_to_a_cluster() {
            return "POST";
        }
        self.request.method.as_str()
    }

    /// The revision that the route belongs to.
    pub fn view(&self) -> &Rc<PolicyView> {
        &self.view
    }

    /// The route.
    pub fn route(&self) -> &Arc<CompiledRoute> {
        &self.route
    }
}
