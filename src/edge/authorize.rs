//! Deciding: the only place that makes a [`Permit`], and only out of an allow of the policy in force and a mesh identity.
//!
//! The fields of [`Allowed`] and [`Permit`] are private to this module, so a request that was not decided cannot be forwarded: it does not compile.

use std::rc::Rc;
use std::sync::Arc;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue};

use crate::clock::Timestamp;
use crate::edge::authenticate::Authenticated;
use crate::edge::caller::Caller;
use crate::edge::headers;
use crate::edge::local::PolicyView;
use crate::edge::route::Routed;
use crate::identity::principal::Requirement;
use crate::identity::spiffe_id::MeshIdentity;
use crate::policy::compile::MapFault;
use crate::policy::decide::{DenyReason, Facts, Grant, Shadow, Verdict};
use crate::policy::kubernetes::{Impersonation, ImpersonationFault};
use crate::snapshot::grants::Grants;

/// What the rules say of an authenticated request.
pub enum Decision {
    /// It may go on.
    Allow(Allowed),
    /// Nobody is signed in, and somebody who is might be allowed.
    SignIn(Authenticated),
    /// It might, once its caller has signed in as a rule asks.
    StepUp(Unmet),
    /// It may not.
    Deny(Denied),
}

/// A decision, and what rules in shadow mode would have changed.
pub struct Decided {
    /// What counts.
    pub decision: Decision,
    /// Reported, and of no other consequence.
    pub shadow: Option<Shadow>,
}

/// A request that a rule allows to callers who signed in otherwise.
pub struct Unmet {
    /// The request and who sent it.
    pub authenticated: Authenticated,
    /// How they would have to have signed in.
    pub require: Requirement,
}

/// Proof that a rule allows a request. It has no mesh identity yet.
pub struct Allowed {
    authenticated: Authenticated,
    rule: Arc<str>,
    /// When the grant ends that it takes, if it does; it may be taken away before.
    granted_until: Option<Timestamp>,
    /// Set when a tunnel is to be opened.
    tunnel: Option<Opener>,
}

/// Who opens a tunnel: the page's `Origin`, if it said one.
#[derive(Clone)]
struct Opener(Option<HeaderValue>);

/// Proof that a request may be forwarded, and as whom.
pub struct Permit {
    allowed: Allowed,
    identity: MeshIdentity,
    /// Set where an API server has to be told whom the request is for.
    impersonation: Option<Impersonation>,
}

/// A denial.
pub struct Denied {
    authenticated: Authenticated,
    reason: Denial,
}

/// Why a request is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The rules say so.
    Rules(DenyReason),
    /// This rule would allow it if somebody else approved.
    ApprovalRequired {
        /// The rule.
        rule: Arc<str>,
    },
    /// No identity mapping gives the caller a mesh identity.
    NoMeshIdentity(MapFault),
    /// There is nobody whom the cluster could take the caller for.
    NoClusterUser(ImpersonationFault),
    /// A page of another origin wants to open a tunnel with the visitor's session.
    ForeignPage,
}

/// What somebody who is denied can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Signing in as somebody else, or at another provider.
    AnotherAccount,
    /// Asking somebody for access.
    AskForAccess,
    /// Nothing; an administrator would have to change the policy.
    Nothing,
}

impl Denial {
    /// What can be done about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Rules(DenyReason::Rule { .. } | DenyReason::NoRule | DenyReason::Provider) => {
                Remedy::AnotherAccount
            }
            Self::Rules(DenyReason::Agent) => Remedy::Nothing,
            Self::ApprovalRequired { .. } => Remedy::AskForAccess,
            Self::NoMeshIdentity(MapFault::NoMapping) | Self::NoClusterUser(_) => {
                Remedy::AnotherAccount
            }
            Self::NoMeshIdentity(MapFault::Invalid { .. }) | Self::ForeignPage => Remedy::Nothing,
        }
    }

    /// Stable and machine-readable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rules(reason) => reason.code(),
            Self::ApprovalRequired { .. } => "approval_required",
            Self::NoMeshIdentity(fault) => fault.code(),
            Self::NoClusterUser(fault) => fault.code(),
            Self::ForeignPage => "foreign_page",
        }
    }
}

/// A refusal is explained by going through all rules; where there are more, only to those who ask for it with the decision's id.
const MOST_EXPLAINED: usize = 10_000;

impl Denied {
    /// What may be told to whoever was refused because no rule allows it: what keeps rules that are for them from applying.
    pub fn hints(&self, now: Timestamp) -> Vec<String> {
        let policy = &self.authenticated.routed().view().policy;
        let is_unallowed = matches!(self.reason, Denial::Rules(DenyReason::NoRule));
        if !is_unallowed || policy.policy().rules.len() > MOST_EXPLAINED {
            return Vec::new();
        }
        policy
            .explain(&facts(&self.authenticated, &[], now))
            .for_the_caller()
    }

    /// Why.
    pub fn reason(&self) -> &Denial {
        &self.reason
    }

    /// The request and who sent it.
    pub fn authenticated(&self) -> &Authenticated {
        &self.authenticated
    }

    /// The rule that denies it, or that would allow it.
    pub fn rule(&self) -> Option<&Arc<str>> {
        match &self.reason {
            Denial::Rules(DenyReason::Rule { rule }) | Denial::ApprovalRequired { rule } => {
                Some(rule)
            }
            Denial::Rules(DenyReason::NoRule | DenyReason::Provider | DenyReason::Agent)
            | Denial::NoMeshIdentity(_)
            | Denial::NoClusterUser(_)
            | Denial::ForeignPage => None,
        }
    }
}

/// Decides by the revision that the request was routed with, and by what is granted now.
pub fn decide(authenticated: Authenticated, grants: &Grants, now: Timestamp) -> Decided {
    let policy = &authenticated.routed().view().policy;
    let facts = facts(&authenticated, granted(&authenticated, grants), now);
    let verdict = policy.decide(&facts);
    let shadow = policy.shadow(&facts, &verdict);
    let decision = match verdict {
        Verdict::Allow { rule, until } => Decision::Allow(Allowed {
            authenticated,
            rule,
            granted_until: until.map(|until| Timestamp::from_micros(until.as_microsecond())),
            tunnel: None,
        }),
        Verdict::SignIn => Decision::SignIn(authenticated),
        Verdict::StepUp { rule: _, require } => Decision::StepUp(Unmet {
            authenticated,
            require,
        }),
        Verdict::Ask { rule } => Decision::Deny(Denied {
            authenticated,
            reason: Denial::ApprovalRequired { rule },
        }),
        Verdict::Deny(reason) => Decision::Deny(Denied {
            authenticated,
            reason: Denial::Rules(reason),
        }),
    };
    Decided { decision, shadow }
}

fn facts<'a>(authenticated: &'a Authenticated, grants: &'a [Grant], now: Timestamp) -> Facts<'a> {
    let routed = authenticated.routed();
    let request = routed.request();
    Facts {
        principal: authenticated.principal(),
        route: routed.route(),
        method: routed.method_for_rules(),
        path: &request.path,
        now: now.to_jiff(),
        peer: Some(request.peer),
        headers: Some(&request.headers),
        grants,
    }
}

/// What is granted to the sender; nobody looks where no rule asks for it.
fn granted<'a>(authenticated: &Authenticated, grants: &'a Grants) -> &'a [Grant] {
    let policy = &authenticated.routed().view().policy;
    match authenticated.principal() {
        Some(principal) if policy.has_approvals() => grants.of(principal),
        Some(_) | None => &[],
    }
}

impl Allowed {
    /// Refuses tunnels that a foreign page opens: browsers send cookies along with a WebSocket's handshake, whichever page asks for it.
    pub fn for_tunnel(self, request: &HeaderMap) -> Result<Self, Denied> {
        self.opened_by(Opener(request.get(ORIGIN).cloned()))
    }

    fn opened_by(mut self, opener: Opener) -> Result<Self, Denied> {
        let routed = self.authenticated.routed();
        let listed = &routed.route().route.websocket_origins;
        let is_fine = !self.authenticated.caller().rides_on_a_cookie()
            || headers::may_open_tunnel(&routed.request().origin, listed, opener.0.as_ref());
        if is_fine {
            self.tunnel = Some(opener);
            return Ok(self);
        }
        Err(Denied {
            authenticated: self.authenticated,
            reason: Denial::ForeignPage,
        })
    }

    /// Finds the mesh identity that the request travels under, and whom a cluster is to take its caller for.
    pub fn map(self) -> Result<Permit, Denied> {
        let routed = self.authenticated.routed();
        let identity = self
            .authenticated
            .caller()
            .mesh_identity(&routed.view().policy);
        let found = identity
            .map_err(Denial::NoMeshIdentity)
            .and_then(|identity| {
                let told = routed
                    .route()
                    .impersonation(self.authenticated.principal(), &identity);
                let told = told.transpose().map_err(Denial::NoClusterUser)?;
                Ok((identity, told))
            });
        match found {
            Ok((identity, impersonation)) => Ok(Permit {
                allowed: self,
                identity,
                impersonation,
            }),
            Err(reason) => Err(Denied {
                authenticated: self.authenticated,
                reason,
            }),
        }
    }
}

impl Permit {
    /// The mesh identity that the request travels under.
    pub fn identity(&self) -> &MeshIdentity {
        &self.identity
    }

    /// Whom an API server is to take the request for, where it leads to one.
    pub fn impersonation(&self) -> Option<&Impersonation> {
        self.impersonation.as_ref()
    }

    /// The rule that allows the request.
    pub fn rule(&self) -> &Arc<str> {
        &self.allowed.rule
    }

    /// When the grant ends that it takes, if it does: then it has to be decided again and again for as long as it goes on.
    pub fn granted_until(&self) -> Option<Timestamp> {
        self.allowed.granted_until
    }

    /// The request and who sent it.
    pub fn authenticated(&self) -> &Authenticated {
        &self.allowed.authenticated
    }

    /// The request and its route.
    pub fn routed(&self) -> &Routed {
        self.allowed.authenticated.routed()
    }

    /// Who sent it.
    pub fn caller(&self) -> &Rc<Caller> {
        self.allowed.authenticated.caller()
    }

    /// The permit that the newest policy gives for what is under way, to a caller whose proof was looked at again; `None` if it
    /// gives none, or none to the page that opened the tunnel, or one that leads to another upstream, under another mesh identity or as another user of
    /// a cluster.
    pub fn again(
        &self,
        view: &Rc<PolicyView>,
        caller: &Rc<Caller>,
        grants: &Grants,
        now: Timestamp,
    ) -> Option<Self> {
        let before = self.routed();
        let routed = Routed::find(Rc::clone(view), Rc::clone(before.request())).ok()?;
        let (old, new) = (&before.route().route, &routed.route().route);
        if old.name != new.name || old.upstream != new.upstream {
            return None;
        }
        match decide(Authenticated::again(routed, Rc::clone(caller)), grants, now).decision {
            Decision::Allow(allowed) => {
                let allowed = match &self.allowed.tunnel {
                    Some(opener) => allowed.opened_by(opener.clone()).ok()?,
                    None => allowed,
                };
                let permit = allowed.map().ok()?;
                let is_same =
                    permit.identity == self.identity && permit.impersonation == self.impersonation;
                is_same.then_some(permit)
            }
            Decision::SignIn(_) | Decision::StepUp(_) | Decision::Deny(_) => None,
        }
    }
}
