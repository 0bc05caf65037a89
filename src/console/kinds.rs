//! What the kinds of policy objects are called, and where their pages are.

use crate::store::policy::ObjectKind;

/// A kind of object.
pub(super) struct Kind {
    pub(super) kind: ObjectKind,
    /// The beginning of its pages' addresses, below `/console/`.
    pub(super) slug: &'static str,
    /// What its list is called.
    pub(super) many: &'static str,
    /// What one is called.
    pub(super) one: &'static str,
    /// What the list is for.
    pub(super) about: &'static str,
}

const fn kind(
    kind: ObjectKind,
    slug: &'static str,
    many: &'static str,
    one: &'static str,
    about: &'static str,
) -> Kind {
    Kind {
        kind,
        slug,
        many,
        one,
        about,
    }
}

/// All of them.
pub(super) static KINDS: [Kind; 9] = [
    kind(
        ObjectKind::Rule,
        "rules",
        "Rules",
        "rule",
        "Who may do what. Rules that refuse come first, whatever their place; nothing is allowed unless a rule allows it.",
    ),
    kind(
        ObjectKind::Route,
        "routes",
        "Routes",
        "route",
        "Where requests go: a public host, and the workload behind it.",
    ),
    kind(
        ObjectKind::Mapping,
        "mappings",
        "Mappings",
        "mapping",
        "Who people are in the mesh. They are tried in this order, and the first that matches is used.",
    ),
    kind(
        ObjectKind::People,
        "named-people",
        "Named people",
        "named people",
        "Callers under one name, so that rules need not describe them again.",
    ),
    kind(
        ObjectKind::RouteGroup,
        "route-groups",
        "Route groups",
        "route group",
        "Routes under one name, so that rules need not list them.",
    ),
    kind(
        ObjectKind::RoleBinding,
        "roles",
        "Roles",
        "role",
        "Who may look after this edge: owners, admins, approvers and auditors.",
    ),
    kind(
        ObjectKind::TrustedIssuer,
        "issuers",
        "Trusted issuers",
        "trusted issuer",
        "Whose tokens stand for programs: clusters, CI systems, clouds. Those of the configuration come on top.",
    ),
    kind(
        ObjectKind::ServiceAccount,
        "service-accounts",
        "Service accounts",
        "service account",
        "Programs that no issuer vouches for: each proves a private key of its own.",
    ),
    kind(
        ObjectKind::Test,
        "tests",
        "Tests",
        "test",
        "What is expected of all this. A policy whose tests fail is not written.",
    ),
];

/// The one of a stable name.
pub(super) fn named(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.kind.as_str() == name)
}

/// What is said of a kind.
pub(super) fn of(kind: ObjectKind) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.kind == kind)
}

impl Kind {
    /// Its list.
    pub(super) fn list(&self) -> String {
        format!("/console/{}", self.slug)
    }

    /// The page of an object. Names have no character that means anything in a path.
    pub(super) fn object(&self, name: &str) -> String {
        format!("/console/{}/{name}", self.slug)
    }
}
