//! What the kinds of policy objects are called, and where their pages are.

use crate::policy::kind::Kind;

/// What a kind is called, and where its pages are.
pub(super) struct KindPages {
    pub(super) kind: Kind,
    /// The beginning of its pages' addresses, below `/console/`.
    pub(super) slug: &'static str,
    /// What its list is called.
    pub(super) many: &'static str,
    /// What one is called.
    pub(super) one: &'static str,
    /// What the list is for.
    pub(super) about: &'static str,
}

/// The pages of a kind.
pub(super) const fn of(kind: Kind) -> &'static KindPages {
    match kind {
        Kind::Rule => &KindPages {
            kind: Kind::Rule,
            slug: "rules",
            many: "Rules",
            one: "rule",
            about: "Who may do what. Rules that refuse come first, whatever their place; nothing is allowed unless a rule allows it.",
        },
        Kind::Route => &KindPages {
            kind: Kind::Route,
            slug: "routes",
            many: "Routes",
            one: "route",
            about: "Where requests go: a public host, and the workload behind it.",
        },
        Kind::Mapping => &KindPages {
            kind: Kind::Mapping,
            slug: "mappings",
            many: "Mappings",
            one: "mapping",
            about: "Who people are in the mesh. They are tried in this order, and the first that matches is used.",
        },
        Kind::People => &KindPages {
            kind: Kind::People,
            slug: "named-people",
            many: "Named people",
            one: "named people",
            about: "Callers under one name, so that rules need not describe them again.",
        },
        Kind::RouteGroup => &KindPages {
            kind: Kind::RouteGroup,
            slug: "route-groups",
            many: "Route groups",
            one: "route group",
            about: "Routes under one name, so that rules need not list them.",
        },
        Kind::RoleBinding => &KindPages {
            kind: Kind::RoleBinding,
            slug: "roles",
            many: "Roles",
            one: "role",
            about: "Who may look after this edge: owners, admins, approvers and auditors.",
        },
        Kind::TrustedIssuer => &KindPages {
            kind: Kind::TrustedIssuer,
            slug: "issuers",
            many: "Trusted issuers",
            one: "trusted issuer",
            about: "Whose tokens stand for programs: clusters, CI systems, clouds. Those of the configuration come on top.",
        },
        Kind::ServiceAccount => &KindPages {
            kind: Kind::ServiceAccount,
            slug: "service-accounts",
            many: "Service accounts",
            one: "service account",
            about: "Programs that no issuer vouches for: each proves a private key of its own.",
        },
        Kind::Test => &KindPages {
            kind: Kind::Test,
            slug: "tests",
            many: "Tests",
            one: "test",
            about: "What is expected of all this. A policy whose tests fail is not written.",
        },
    }
}

/// The pages of the kind of a stable name.
pub(super) fn named(name: &str) -> Option<&'static KindPages> {
    Kind::parse(name).map(of)
}

impl KindPages {
    /// Its list.
    pub(super) fn list(&self) -> String {
        format!("/console/{}", self.slug)
    }

    /// The page of an object. Names have no character that means anything in a path.
    pub(super) fn object(&self, name: &str) -> String {
        format!("/console/{}/{name}", self.slug)
    }
}
