//! Roles: who may look after the edge itself, and what each role permits.
//!
//! They are part of the policy, so that giving somebody a role is a revision like any other. Unknown facts count against whoever asks, as in an allow rule.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::identity::principal::{Principal, PrincipalKind};
use crate::policy::compile::CompiledPolicy;
use crate::policy::lint::may_mean_somebody;
use crate::policy::model::{Action, People, Policy, RoleBinding, Source};
use crate::policy::source::{self, CompiledSource, Named};

/// What somebody is to the edge. The later ones include nothing of the earlier: [`Role::permits`] says what each may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, and who is owner.
    Owner,
    /// Everything but who is owner.
    Admin,
    /// Reads policy, requests and grants, and approves changes of policy that others drafted.
    Approver,
    /// Reads everything and changes nothing.
    Auditor,
}

/// The words of the policy file for each role.
pub const ROLES: &[(&str, Role)] = &[
    ("owner", Role::Owner),
    ("admin", Role::Admin),
    ("approver", Role::Approver),
    ("auditor", Role::Auditor),
];

/// Something that not everybody may do. Each endpoint and page names the one it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See routes, rules, revisions, drafts; plan, explain and replay.
    ReadPolicy,
    /// Write drafts and revisions.
    WritePolicy,
    /// Approve drafts of others.
    ReviewPolicy,
    /// See events and recorded decisions.
    ReadAudit,
    /// See who asks for access and who has it for a time. Who may decide about it the rules say.
    ReadRequests,
    /// See who is signed in, and who has been.
    ReadSessions,
    /// End sessions of others.
    EndSessions,
    /// See configuration, keys and certificates.
    ReadSettings,
    /// Rotate signing keys.
    RotateKeys,
    /// Make somebody owner, or no owner any more.
    AppointOwners,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ReadPolicy,
        Self::WritePolicy,
        Self::ReviewPolicy,
        Self::ReadAudit,
        Self::ReadRequests,
        Self::ReadSessions,
        Self::EndSessions,
        Self::ReadSettings,
        Self::RotateKeys,
        Self::AppointOwners,
    ];

    /// A stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadPolicy => "read_policy",
            Self::WritePolicy => "write_policy",
            Self::ReviewPolicy => "review_policy",
            Self::ReadAudit => "read_audit",
            Self::ReadRequests => "read_requests",
            Self::ReadSessions => "read_sessions",
            Self::EndSessions => "end_sessions",
            Self::ReadSettings => "read_settings",
            Self::RotateKeys => "rotate_keys",
            Self::AppointOwners => "appoint_owners",
        }
    }
}

impl Role {
    /// Whether the role includes a permission.
    pub const fn permits(self, permission: Permission) -> bool {
        match permission {
            Permission::AppointOwners => matches!(self, Self::Owner),
            Permission::WritePolicy | Permission::EndSessions | Permission::RotateKeys => {
                matches!(self, Self::Owner | Self::Admin)
            }
            Permission::ReviewPolicy => matches!(self, Self::Owner | Self::Admin | Self::Approver),
            Permission::ReadAudit | Permission::ReadSessions | Permission::ReadSettings => {
                matches!(self, Self::Owner | Self::Admin | Self::Auditor)
            }
            Permission::ReadPolicy | Permission::ReadRequests => true,
        }
    }

    /// The word of the policy file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
        }
    }
}

/// A compiled [`RoleBinding`].
#[derive(Debug)]
pub(super) struct CompiledBinding {
    role: Role,
    from: Vec<Arc<CompiledSource>>,
}

impl CompiledBinding {
    pub(super) fn new(binding: &RoleBinding, policy: &Policy, named: &Named) -> Self {
        Self {
            role: binding.role,
            from: source::compile(&binding.from, &policy.people, named),
        }
    }
}

impl CompiledPolicy {
    /// The roles that somebody has.
    pub fn roles_of(&self, principal: &Principal) -> BTreeSet<Role> {
        let is_meant = |source: &Arc<CompiledSource>| source.holds(principal, Action::Allow);
        let bound = |binding: &&CompiledBinding| binding.from.iter().any(is_meant);
        let bindings = self.role_bindings.iter().filter(bound);
        bindings.map(|binding| binding.role).collect()
    }
}

/// Whether two policies differ in who is owner: by the bindings, or by what is named in them.
pub fn owners_differ(before: &Policy, after: &Policy) -> bool {
    owners(before) != owners(after)
}

/// Whether anybody can be owner.
pub fn has_owner(policy: &Policy) -> bool {
    // Programs look after nothing here.
    let may_be_a_person = |source: &Source| {
        let kinds = source.kinds.as_ref();
        kinds.is_none_or(|kinds| kinds.contains(&PrincipalKind::User))
    };
    let is_named = |name: &Arc<str>| {
        let mut people = policy.people.iter();
        let may_be = |source: &Source| may_mean_somebody(source) && may_be_a_person(source);
        people.any(|people| people.name == *name && people.from.iter().any(may_be))
    };
    let is_meant = |source: &Source| {
        let named = source.people.as_ref();
        may_mean_somebody(source)
            && may_be_a_person(source)
            && named.is_none_or(|names| names.iter().any(is_named))
    };
    let mut bindings = policy.role_bindings.iter();
    bindings.any(|binding| binding.role == Role::Owner && binding.from.iter().any(is_meant))
}

/// The bindings of owners, and the people whom these name, both in the order of their names.
fn owners(policy: &Policy) -> (Vec<&RoleBinding>, Vec<&People>) {
    let mut bindings: Vec<&RoleBinding> = policy
        .role_bindings
        .iter()
        .filter(|binding| binding.role == Role::Owner)
        .collect();
    bindings.sort_by_key(|binding| &binding.name);
    let sources = bindings.iter().flat_map(|binding| &binding.from);
    let named: HashSet<&Arc<str>> = sources
        .flat_map(|source| source.people.iter().chain(&source.not_people))
        .flatten()
        .collect();
    let all = policy.people.iter();
    let mut people: Vec<&People> = all.filter(|people| named.contains(&people.name)).collect();
    people.sort_by_key(|people| &people.name);
    (bindings, people)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::principal::Groups;
    use crate::identity::spiffe_id::TrustDomain;
    use crate::policy::model::Revision;
    use crate::policy::trial::nobody_yet;
    use crate::policy::yaml;

    const TEXT: &str = "
people:
  - { name: chiefs, from: [{ emails: [ada@corp.example] }] }
role_bindings:
  - { name: owners, role: owner, from: [{ people: [chiefs] }] }
  - { name: sre, role: admin, from: [{ groups: [sre] }] }
  - { name: not-contractors, role: auditor, from: [{ not_groups: [contractors] }] }
";

    fn roles(principal: &Principal) -> Vec<Role> {
        let policy = yaml::parse(TEXT).unwrap();
        let own = TrustDomain::parse("td").unwrap();
        let compiled = CompiledPolicy::new(policy, Revision(1), &own).unwrap();
        compiled.roles_of(principal).into_iter().collect()
    }

    #[test]
    fn roles_come_from_bindings_and_the_unknown_gives_none() {
        let mut ada = nobody_yet("okta", "1");
        ada.email = Some(crate::identity::email::Email::parse("ada@corp.example").unwrap());
        assert_eq!(roles(&ada), [Role::Owner, Role::Auditor]);
        let mut sre = nobody_yet("okta", "2");
        sre.groups = Groups::Known(["sre".into(), "contractors".into()].into());
        assert_eq!(roles(&sre), [Role::Admin]);
        sre.groups = Groups::Missing;
        assert_eq!(roles(&sre), []);
    }

    #[test]
    fn k8_owners_differ_by_their_bindings_and_by_whom_these_name() {
        let before = yaml::parse(TEXT).unwrap();
        for (from, to, differ) in [
            ("ada@corp.example", "eve@corp.example", true),
            ("role: owner", "role: admin", true),
            ("groups: [sre]", "groups: [staff]", false),
            ("name: owners", "name: bosses", true),
            // Others under a name are nobody's owners.
            (
                "people:\n",
                "people:\n  - { name: a, from: [{ groups: [x] }] }\n",
                false,
            ),
        ] {
            let after = yaml::parse(&TEXT.replace(from, to)).unwrap();
            assert_eq!(owners_differ(&before, &after), differ, "{from} -> {to}");
        }
    }

    #[test]
    fn k8_an_owner_is_somebody() {
        for (from, is_owned) in [
            ("{ people: [chiefs] }", true),
            ("{ groups: [] }", false),
            ("{ kinds: [workload] }", false),
            ("{ kinds: [user] }", true),
            ("{ people: [nobody] }", false),
        ] {
            let text = TEXT
                .replace("{ people: [chiefs] }", from)
                .replace("people:\n", "people:\n  - { name: nobody, from: [] }\n");
            assert_eq!(has_owner(&yaml::parse(&text).unwrap()), is_owned, "{from}");
        }
    }

    #[test]
    fn no_role_permits_what_one_above_it_does_not() {
        for permission in Permission::ALL {
            assert!(Role::Owner.permits(permission));
            let admin = Role::Admin.permits(permission);
            assert_eq!(admin, permission != Permission::AppointOwners);
            assert!(admin || !Role::Approver.permits(permission));
            assert!(admin || !Role::Auditor.permits(permission));
        }
    }
}
