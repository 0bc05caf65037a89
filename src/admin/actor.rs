//! Who asks for a use case, and what they may do.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::audit::event;
use crate::audit::event::drafts::Doer;
use crate::identity::principal::Principal;
use crate::policy::compile::CompiledPolicy;
use crate::policy::roles::{Permission, Role};

/// Somebody who looks after the edge.
#[derive(Clone, Debug)]
pub enum Actor {
    /// Whoever has the operator token: may do everything, and says who they are.
    Operator {
        /// What they say to be called.
        name: Option<String>,
    },
    /// Somebody who is signed in.
    Person {
        /// Who.
        principal: Arc<Principal>,
        /// Their roles under the policy that was in force when they asked.
        roles: BTreeSet<Role>,
    },
}

/// Somebody asked for what they may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs the permission {}, which none of your roles has", .0.as_str())]
pub struct NotPermitted(pub Permission);

impl Actor {
    /// Somebody who is signed in, as the policy in force sees them.
    pub fn person(principal: Arc<Principal>, policy: &CompiledPolicy) -> Self {
        let roles = policy.roles_of(&principal);
        Self::Person { principal, roles }
    }

    /// Whether they may.
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Operator { .. } => true,
            Self::Person { roles, .. } => roles.iter().any(|role| role.permits(permission)),
        }
    }

    /// Refuses unless they may.
    pub fn check(&self, permission: Permission) -> Result<(), NotPermitted> {
        if self.may(permission) {
            Ok(())
        } else {
            Err(NotPermitted(permission))
        }
    }

    /// What tells them from everybody else.
    pub fn key(&self) -> String {
        match self {
            Self::Operator { .. } => String::new(),
            Self::Person { principal, .. } => {
                format!("{}\n{}", principal.issuer, principal.subject)
            }
        }
    }

    /// Tells the process's log that they were refused something. Whoever only looks may not know that it is not for them.
    pub fn told_off(&self, refused: NotPermitted, method: &str, path: &str) {
        let (actor, permission) = (self.name(), refused.0.as_str());
        match method {
            "GET" => {
                tracing::debug!(%actor, permission, path, "a look at administration was refused")
            }
            _ => tracing::warn!(%actor, permission, method, path, "administration was refused"),
        }
    }

    /// How history and audit log call them.
    pub fn name(&self) -> String {
        match self {
            Self::Operator { name: None } => "operator".to_owned(),
            Self::Operator { name: Some(name) } => format!("operator ({name})"),
            Self::Person { principal, .. } => event::actor(principal),
        }
    }

    /// The same for an event; `name` is [`Self::name`].
    pub fn doer<'a>(&'a self, name: &'a str) -> Doer<'a> {
        let principal = self.principal().map(AsRef::as_ref);
        Doer { name, principal }
    }

    /// Whoever is signed in; nobody knows that of an operator.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        match self {
            Self::Operator { .. } => None,
            Self::Person { principal, .. } => Some(principal),
        }
    }
}
