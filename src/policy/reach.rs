//! What somebody may open, route by route, and why not the rest: asked as a browser asks that opens each of them.

use std::net::IpAddr;

use crate::identity::principal::{Groups, Principal};
use crate::identity::spiffe_id::MeshIdentity;
use crate::policy::compile::{CompiledPolicy, CompiledRoute, MapFault};
use crate::policy::decide::{DenyReason, Facts, Grant, Verdict};
use crate::policy::kubernetes::ImpersonationFault;

mod parts;

pub use parts::{Part, Parts};

/// What becomes of somebody who opens a route.
pub struct Reach<'a> {
    /// The route.
    pub route: &'a CompiledRoute,
    /// What the rules say.
    pub verdict: Verdict,
    /// Why there is no mesh identity to travel under.
    pub unmapped: Option<MapFault>,
    /// Why they are nobody in the cluster that it leads to.
    pub unnamed: Option<ImpersonationFault>,
    /// How it was asked.
    facts: Facts<'a>,
}

impl Reach<'_> {
    /// Whether it opens; signing in once more is no obstacle.
    pub fn is_open(&self) -> bool {
        self.opened_by().is_some()
    }

    /// Whether asking for other paths or methods could come to something else.
    fn may_open_in_parts(&self) -> bool {
        let is_refused = match &self.verdict {
            Verdict::Ask { .. } | Verdict::Deny(DenyReason::NoRule | DenyReason::Agent) => true,
            // A deny rule may be about this path alone.
            Verdict::Deny(DenyReason::Rule { .. }) => true,
            Verdict::Deny(DenyReason::Provider) => false,
            Verdict::Allow { .. } | Verdict::StepUp { .. } | Verdict::SignIn => false,
        };
        let is_somebody = self.unmapped.is_none() && self.unnamed.is_none();
        is_refused && is_somebody && !self.route.route.is_tcp()
    }

    /// The rule that opens it, and whether only after another sign-in.
    pub fn opened_by(&self) -> Option<(&str, bool)> {
        match &self.verdict {
            _ if self.unmapped.is_some() || self.unnamed.is_some() => None,
            Verdict::Allow { rule, .. } => Some((rule, false)),
            Verdict::StepUp { rule, .. } => Some((rule, true)),
            Verdict::SignIn | Verdict::Ask { .. } | Verdict::Deny(_) => None,
        }
    }

    /// Why it does not open, as a code and in words.
    pub fn why_not(&self, principal: &Principal) -> Option<(&'static str, String)> {
        match (&self.verdict, &self.unmapped) {
            // Whatever else the rules say: without an identity nothing opens, in no part either.
            (Verdict::Deny(DenyReason::NoRule | DenyReason::Agent), Some(fault)) => {
                Some((fault.code(), fault.why()))
            }
            (Verdict::Deny(reason), _) => Some((reason.code(), reason.why(Some(principal)))),
            (Verdict::SignIn, _) => Some(("sign_in_required", "Signing in is needed.".to_owned())),
            (Verdict::Ask { rule, .. }, _) => Some(("approval_required", needs_approval(rule))),
            (_, Some(fault)) => Some((fault.code(), fault.why())),
            (Verdict::Allow { .. } | Verdict::StepUp { .. }, None) => {
                self.unnamed.map(|fault| (fault.code(), fault.why()))
            }
        }
    }
}

impl CompiledPolicy {
    /// Every route, in the policy's order, for somebody who has these grants. An address that is not known counts against them.
    pub fn reach<'a>(
        &'a self,
        principal: &'a Principal,
        now: jiff::Timestamp,
        peer: Option<IpAddr>,
        grants: &'a [Grant],
    ) -> Vec<Reach<'a>> {
        let asker = Asker {
            principal,
            now,
            peer,
            grants,
        };
        let identity = self.mesh_identity(Some(principal));
        let routes = self.routes().iter();
        let reach = routes.map(|route| self.reach_of(route, &asker, identity.as_ref()));
        reach.collect()
    }

    /// One route, as [`reach`](Self::reach) has them; `None` where there is none of this name.
    pub fn reach_of_route<'a>(
        &'a self,
        route: &str,
        principal: &'a Principal,
        now: jiff::Timestamp,
    ) -> Option<Reach<'a>> {
        let asker = Asker {
            principal,
            now,
            peer: None,
            grants: &[],
        };
        let route = { self.routes().iter() }.find(|known| *known.route.name == *route)?;
        let identity = self.mesh_identity(Some(principal));
        Some(self.reach_of(route, &asker, identity.as_ref()))
    }

    fn reach_of<'a>(
        &self,
        route: &'a CompiledRoute,
        asker: &Asker<'a>,
        identity: Result<&MeshIdentity, &MapFault>,
    ) -> Reach<'a> {
        let facts = Facts {
            principal: Some(asker.principal),
            route,
            method: route.route.opened_with(),
            path: &route.route.prefix,
            now: asker.now,
            peer: asker.peer,
            headers: None,
            grants: asker.grants,
        };
        Reach {
            route,
            facts,
            verdict: self.decide(&facts),
            unmapped: identity.err().cloned(),
            unnamed: identity.ok().and_then(|identity| {
                let told = route.impersonation(Some(asker.principal), identity);
                told.and_then(Result::err)
            }),
        }
    }
}

/// Somebody who may open some routes, and how they would come.
struct Asker<'a> {
    principal: &'a Principal,
    now: jiff::Timestamp,
    peer: Option<IpAddr>,
    grants: &'a [Grant],
}

/// What is said where only an approval is missing.
pub fn needs_approval(rule: &str) -> String {
    format!("The access rule {rule} allows it once somebody else has approved.")
}

impl DenyReason {
    /// Stable and machine-readable.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Rule { .. } => "denied_by_rule",
            Self::NoRule => "not_allowed",
            Self::Provider => "provider_not_accepted",
            Self::Agent => "agent_not_allowed",
        }
    }

    /// In plain words, for whoever is refused.
    pub fn why(&self, principal: Option<&Principal>) -> String {
        match self {
            Self::Rule { rule } => format!("The access rule {rule} forbids it."),
            Self::NoRule => match principal.map(|principal| &principal.groups) {
                Some(Groups::Missing) => "No access rule allows it. Your provider did not say which groups you are in, so rules about groups cannot apply.".to_owned(),
                Some(Groups::Known(_)) | None => "No access rule allows it.".to_owned(),
            },
            Self::Provider => match principal {
                Some(principal) => format!(
                    "This application does not accept people who signed in at {}.",
                    principal.provider
                ),
                None => "This application accepts other identity providers only.".to_owned(),
            },
            Self::Agent => match principal.and_then(Principal::acting) {
                Some(agents) => format!("You may do it yourself, and no access rule lets {agents} do it for you."),
                None => "No access rule lets a program do it for you.".to_owned(),
            },
        }
    }
}

impl MapFault {
    /// Stable and machine-readable.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoMapping => "no_mesh_identity",
            Self::Invalid { .. } => "mesh_identity_invalid",
        }
    }

    /// In plain words, for whoever is refused.
    pub fn why(&self) -> String {
        match self {
            Self::NoMapping => "No identity mapping gives you an identity in the mesh, and nobody is let in without one.".to_owned(),
            Self::Invalid { mapping, .. } => format!("The identity mapping {mapping} gives you no valid identity in the mesh."),
        }
    }
}
