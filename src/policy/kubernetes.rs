//! Routes to Kubernetes API servers: who somebody is there.
//!
//! The API server knows the edge by a credential of its own, and is told by impersonation headers whom each request is for. What stands in them comes from the
//! principal alone.

use std::path::Path;
use std::sync::Arc;

use crate::identity::email::Email;
use crate::identity::principal::{Groups, Principal};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Route, Transport};

/// What Kubernetes keeps for itself: its components, its service accounts, and the group that may do everything.
const SYSTEM: &str = "system:";

/// How a route to an API server says who asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kubernetes {
    /// The cluster of the configuration whose credential is sent; `None` where the certificate of the mesh identity is all there is.
    pub cluster: Option<Arc<str>>,
    /// What the user is called there.
    pub user: UserName,
    /// Goes before it.
    pub user_prefix: String,
    /// Which of the caller's groups are told of; all of them if `None`. What begins with `system:` is told of only where it is written out here.
    pub groups: Option<Vec<TextMatch>>,
    /// Goes before each of them.
    pub group_prefix: String,
}

/// What a user is called in a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserName {
    /// By the e-mail address that their provider vouches for.
    #[default]
    Email,
    /// By the issuer's `sub`.
    Subject,
    /// By the SPIFFE ID that they travel under.
    MeshIdentity,
}

/// Whom the API server is to take a request for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    /// `Impersonate-User`.
    pub user: String,
    /// `Impersonate-Group`, each.
    pub groups: Vec<String>,
}

/// Why somebody is nobody in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpersonationFault {
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    Nobody,
    /// The provider vouches for no e-mail address.
    #[error("the provider vouches for no e-mail address")]
    NoEmail,
    /// The name is one of those that Kubernetes keeps for itself.
    #[error("the name begins with system:, which Kubernetes keeps for itself")]
    System,
    /// A name has a character that no header can carry, or white space around it.
    #[error("the name of the user or of a group cannot be put into a header")]
    NotSendable,
}

impl ImpersonationFault {
    /// Stable and machine-readable.
    pub const fn code(self) -> &'static str {
        "no_kubernetes_user"
    }

    /// In plain words, for whoever is refused.
    pub fn why(self) -> String {
        format!(
            "The access rules allow it, but there is no user of the cluster that you could be: {self}."
        )
    }
}

/// A cluster of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// What routes call it.
    pub name: String,
    /// How its API server is reached and what it proves: the credential goes nowhere else.
    pub transport: Transport,
    /// Whether people's tokens for its routes may be bound to no key, as kubectl needs them.
    pub bearer_tokens: bool,
}

impl Cluster {
    /// Whether the far end of a route proves to be this cluster's API server.
    pub fn is_at(&self, route: &Route) -> bool {
        let file =
            |ca_file: &Option<String>| ca_file.as_deref().map(|file| Path::new(file).to_owned());
        match (&self.transport, &route.upstream.transport) {
            (
                Transport::Tls {
                    server_name,
                    ca_file,
                },
                Transport::Tls {
                    server_name: shown,
                    ca_file: roots,
                },
            ) => server_name == shown && file(ca_file) == file(roots),
            (own, other) => own == other,
        }
    }

    /// The cluster that a route leads to, if it does.
    pub fn of<'a>(clusters: &'a [Self], route: &Route) -> Option<&'a Self> {
        let name = route.kubernetes.as_ref()?.cluster.as_ref()?;
        let mut clusters = clusters.iter();
        clusters.find(|cluster| *cluster.name == **name && cluster.is_at(route))
    }
}

impl Kubernetes {
    /// Whom a request of this caller is for.
    pub fn impersonation(
        &self,
        principal: Option<&Principal>,
        mesh_identity: &str,
    ) -> Result<Impersonation, ImpersonationFault> {
        let principal = principal.ok_or(ImpersonationFault::Nobody)?;
        let name = match self.user {
            UserName::Email => principal.email.as_ref().map(Email::as_str),
            UserName::Subject => Some(&*principal.subject),
            UserName::MeshIdentity => Some(mesh_identity),
        };
        let name = name.ok_or(ImpersonationFault::NoEmail)?;
        let user = format!("{}{name}", self.user_prefix);
        if user.starts_with(SYSTEM) {
            return Err(ImpersonationFault::System);
        }
        // Groups that are not known are none: what Kubernetes allows by a group is then not allowed.
        let groups: Vec<String> = match &principal.groups {
            Groups::Known(known) => known.iter().filter_map(|group| self.group(group)).collect(),
            Groups::Missing => Vec::new(),
        };
        if std::iter::once(&user)
            .chain(&groups)
            .all(|name| is_sendable(name))
        {
            return Ok(Impersonation { user, groups });
        }
        Err(ImpersonationFault::NotSendable)
    }

    /// What a group is called in the cluster, if it is told of.
    fn group(&self, group: &str) -> Option<String> {
        let listed = self.groups.as_ref();
        let is_listed = |listed: &Vec<TextMatch>| listed.iter().any(|own| own.matches(group));
        let is_named = |listed: &Vec<TextMatch>| {
            let mut listed = listed.iter();
            listed.any(|own| matches!(own, TextMatch::Exact(name) if name == group))
        };
        let name = format!("{}{group}", self.group_prefix);
        let is_told = if name.starts_with(SYSTEM) {
            listed.is_some_and(is_named)
        } else {
            listed.is_none_or(is_listed)
        };
        is_told.then_some(name)
    }

    /// What is wrong with it wherever it stands: the field, and why.
    pub fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let mut faults = Vec::new();
        for (field, prefix) in [
            ("user_prefix", &self.user_prefix),
            ("group_prefix", &self.group_prefix),
        ] {
            // Also one that only begins so: what follows would complete it.
            if !prefix.is_empty()
                && (prefix.starts_with(SYSTEM) || SYSTEM.starts_with(prefix.as_str()))
            {
                faults.push((field, "names that begin with system: are Kubernetes' own"));
            } else if !prefix.is_empty() && !is_sendable(&format!("{prefix}x")) {
                faults.push((field, "it cannot be put into a header"));
            }
        }
        faults
    }
}

/// Whether the API server reads from a header what is put there: it takes white space off, and nothing carries control characters.
fn is_sendable(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::principal::PrincipalKind;

    const MESH: &str = "spiffe://td/ns/people/sa/ada";

    fn ada(groups: &[&str]) -> Principal {
        Principal {
            kind: PrincipalKind::User,
            provider: "okta".into(),
            issuer: "https://okta.example".into(),
            subject: "u-1".into(),
            email: Email::parse("ada@corp.example").ok(),
            display_name: None,
            groups: Groups::Known(groups.iter().map(|group| (*group).into()).collect()),
            claims: std::collections::BTreeMap::new(),
            acr: None,
            auth_time: None,
            agents: Vec::new(),
        }
    }

    fn groups_of(kubernetes: &Kubernetes, groups: &[&str]) -> Vec<String> {
        let told = kubernetes.impersonation(Some(&ada(groups)), MESH);
        told.unwrap().groups
    }

    #[test]
    fn a_user_is_called_as_the_route_says() {
        for (user, prefix, expected) in [
            (UserName::Email, "", "ada@corp.example"),
            (UserName::Email, "corp:", "corp:ada@corp.example"),
            (UserName::Subject, "okta:", "okta:u-1"),
            (UserName::MeshIdentity, "", MESH),
        ] {
            let kubernetes = Kubernetes {
                user,
                user_prefix: prefix.to_owned(),
                ..Kubernetes::default()
            };
            let told = kubernetes.impersonation(Some(&ada(&[])), MESH).unwrap();
            assert_eq!(told.user, expected);
        }
    }

    #[test]
    fn whoever_has_no_name_that_can_be_sent_is_nobody() {
        let by = |user| Kubernetes {
            user,
            ..Kubernetes::default()
        };
        let of = |kubernetes: &Kubernetes, principal: &Principal| {
            kubernetes.impersonation(Some(principal), MESH).unwrap_err()
        };
        assert_eq!(
            Kubernetes::default().impersonation(None, MESH),
            Err(ImpersonationFault::Nobody)
        );
        let mut person = ada(&[]);
        person.email = None;
        assert_eq!(
            of(&Kubernetes::default(), &person),
            ImpersonationFault::NoEmail
        );
        person.subject = "system:serviceaccount:kube-system:default".into();
        assert_eq!(
            of(&by(UserName::Subject), &person),
            ImpersonationFault::System
        );
        for odd in [
            "a\r\nImpersonate-Group: system:masters",
            " a",
            "a\u{85}",
            "a\t",
            "",
        ] {
            person.subject = odd.into();
            assert_eq!(
                of(&by(UserName::Subject), &person),
                ImpersonationFault::NotSendable,
                "{odd:?}"
            );
        }
        let grouped = ada(&["sre", "a\nb"]);
        assert_eq!(
            of(&Kubernetes::default(), &grouped),
            ImpersonationFault::NotSendable
        );
    }

    #[test]
    fn groups_of_kubernetes_own_are_told_of_only_where_they_are_written_out() {
        let all = ["ops", "sre", "system:masters", "system:nodes"];
        let listing = |groups: &[&str], prefix: &str| Kubernetes {
            groups: Some(
                groups
                    .iter()
                    .map(|text| TextMatch::parse(text).unwrap())
                    .collect(),
            ),
            group_prefix: prefix.to_owned(),
            ..Kubernetes::default()
        };
        assert_eq!(groups_of(&Kubernetes::default(), &all), ["ops", "sre"]);
        assert_eq!(groups_of(&listing(&["*"], ""), &all), ["ops", "sre"]);
        assert_eq!(groups_of(&listing(&["s*"], ""), &all), ["sre"]);
        assert_eq!(groups_of(&listing(&["system:*"], ""), &all), [""; 0]);
        assert_eq!(groups_of(&listing(&[], ""), &all), [""; 0]);
        let named = listing(&["sre", "system:masters"], "");
        assert_eq!(groups_of(&named, &all), ["sre", "system:masters"]);
        let prefixed = listing(&["s*"], "corp:");
        assert_eq!(
            groups_of(&prefixed, &all),
            ["corp:sre", "corp:system:masters", "corp:system:nodes"]
        );
    }

    #[test]
    fn no_prefix_leads_to_names_of_kubernetes_own() {
        for (prefix, is_fine) in [
            ("", true),
            ("corp:", true),
            ("System:", true),
            ("s", false),
            ("system", false),
            ("system:", false),
            ("system:x", false),
            (" x", false),
            ("x\n", false),
        ] {
            let kubernetes = Kubernetes {
                user_prefix: prefix.to_owned(),
                group_prefix: prefix.to_owned(),
                ..Kubernetes::default()
            };
            let expected = if is_fine { 0 } else { 2 };
            assert_eq!(kubernetes.faults().len(), expected, "{prefix:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_somebody_is_called_nothing_of_kubernetes_own_is_said_of_them(
            subject in ".{0,20}|system:.{0,9}",
            group in ".{0,20}|system:.{0,9}",
            prefix in "[a-z:]{0,4}",
            pattern in "[a-z:]{0,4}\\*",
        ) {
            let kubernetes = Kubernetes {
                user: UserName::Subject,
                user_prefix: prefix.clone(),
                group_prefix: prefix,
                groups: TextMatch::parse(&pattern).ok().map(|pattern| vec![pattern]),
                ..Kubernetes::default()
            };
            let mut person = ada(&[&group]);
            person.subject = subject.into();
            if let Ok(told) = kubernetes.impersonation(Some(&person), MESH) {
                let names = told.groups.iter().chain([&told.user]);
                for name in names {
                    prop_assert!(!name.starts_with("system:") && is_sendable(name));
                }
            }
        }
    }
}
