//! The kinds of objects of a policy. Whatever is done for each kind goes through [`Kind::ALL`] or a `match`, so that the compiler asks about a new one everywhere.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::policy::model::{Policy, Source};

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident $name:literal in $part:literal;)+) => {
        /// What an object of a policy is. Their order is that of the parts of a document that is written anew, and of the rows that a revision's digest
        /// in the audit log is of: another kind comes last.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])+ $kind,)+
        }

        impl Kind {
            /// Each of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$kind),+];

            /// A stable name: `route`, `trusted_issuer`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// The key of the part of a document that they stand in: `routes`, `trusted_issuers`.
            pub const fn part(self) -> &'static str {
                match self {
                    $(Self::$kind => $part,)+
                }
            }
        }

        /// The keys of the parts of a document, in the order of [`Kind::ALL`].
        pub const PARTS: [&str; Kind::ALL.len()] = [$($part),+];
    };
}
kinds! {
    /// A public host and where it leads.
    Route "route" in "routes";
    /// Routes that are named together.
    RouteGroup "route_group" in "route_groups";
    /// Callers who are named together.
    People "people" in "people";
    /// Who somebody is in the mesh.
    Mapping "mapping" in "mappings";
    /// What is allowed or denied.
    Rule "rule" in "rules";
    /// Issuers whose tokens programs bring.
    TrustedIssuer "trusted_issuer" in "trusted_issuers";
    /// Programs that have no issuer.
    ServiceAccount "service_account" in "service_accounts";
    /// Who may look after the edge.
    RoleBinding "role_binding" in "role_bindings";
    /// What the author expects.
    Test "test" in "tests";
}

impl Kind {
    /// The kind of a stable name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind whose objects stand in a part of a document.
    pub fn of_part(part: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.part() == part)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An object of a policy.
pub trait Object {
    /// Unique among its kind.
    fn name(&self) -> &Arc<str>;

    /// What it says, in the shape of the policy file; what has its default is left out.
    fn to_json(&self) -> Value;
}

impl Policy {
    /// The objects of a kind, in the order written.
    pub fn objects(&self, kind: Kind) -> Vec<&dyn Object> {
        fn all<T: Object>(objects: &[T]) -> Vec<&dyn Object> {
            objects.iter().map(|object| object as &dyn Object).collect()
        }
        match kind {
            Kind::Route => all(&self.routes),
            Kind::RouteGroup => all(&self.route_groups),
            Kind::People => all(&self.people),
            Kind::Mapping => all(&self.mappings),
            Kind::Rule => all(&self.rules),
            Kind::TrustedIssuer => all(&self.trusted_issuers),
            Kind::ServiceAccount => all(&self.service_accounts),
            Kind::RoleBinding => all(&self.role_bindings),
            Kind::Test => all(&self.tests),
        }
    }

    /// Names of the objects of a kind, in the order written.
    pub fn names(&self, kind: Kind) -> Vec<&str> {
        let objects = self.objects(kind).into_iter();
        objects.map(|object| object.name().as_ref()).collect()
    }

    /// Everything that says whom it is for, and how.
    pub fn callers(&self) -> Vec<Callers<'_>> {
        let all = Kind::ALL.into_iter().flat_map(|kind| match kind {
            Kind::People => each(kind, &self.people, |it| &it.from),
            Kind::Mapping => each(kind, &self.mappings, |it| &it.from),
            Kind::Rule => self.callers_of_rules(),
            Kind::RoleBinding => each(kind, &self.role_bindings, |it| &it.from),
            Kind::Route
            | Kind::RouteGroup
            | Kind::TrustedIssuer
            | Kind::ServiceAccount
            | Kind::Test => Vec::new(),
        });
        all.collect()
    }

    fn callers_of_rules(&self) -> Vec<Callers<'_>> {
        let mut all = each(Kind::Rule, &self.rules, |rule| &rule.from);
        let approvals = { self.rules.iter().enumerate() }.filter_map(|(index, rule)| {
            Some(Callers {
                kind: Kind::Rule,
                index,
                name: &rule.name,
                field: "require.approval",
                from: &rule.approval.as_ref()?.from,
            })
        });
        all.extend(approvals);
        all
    }
}

/// Whom an object is for.
#[derive(Clone, Copy, Debug)]
pub struct Callers<'a> {
    /// What the object is.
    pub kind: Kind,
    /// Its place among its kind.
    pub index: usize,
    /// Its name.
    pub name: &'a Arc<str>,
    /// The field of it that has the `from`; empty for the object itself.
    pub field: &'static str,
    /// Any of these.
    pub from: &'a [Source],
}

fn each<T: Object>(kind: Kind, objects: &[T], from: fn(&T) -> &Vec<Source>) -> Vec<Callers<'_>> {
    let callers = objects.iter().enumerate().map(|(index, object)| Callers {
        kind,
        index,
        name: object.name(),
        field: "",
        from: from(object),
    });
    callers.collect()
}

impl Callers<'_> {
    /// Where the list stands in the document, without its own key: `rules[2].require.approval`.
    pub fn key(&self) -> String {
        let (part, index) = (self.kind.part(), self.index);
        match self.field {
            "" => format!("{part}[{index}]"),
            field => format!("{part}[{index}].{field}"),
        }
    }
}
