//! The items of `from`, compiled: whether a caller is meant.
//!
//! What is not known about a caller counts against them: in an allow rule or mapping an unknown group list satisfies no condition,
//! negated or not; in a deny rule it satisfies every one that could hold. E-mail conditions need a vouched-for address in both.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::identity::email::Email;
use crate::identity::principal::{Agent, Groups, Principal, PrincipalKind};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, People, Source};
use crate::policy::when::{claims_differ, claims_hold};

type Claims = BTreeMap<Arc<str>, Vec<TextMatch>>;

/// The compiled [`People`] of a policy, by name.
pub(super) type Named = HashMap<Arc<str>, Arc<[Arc<CompiledSource>]>>;

/// Values of one field: exact ones by hash, the others in turn.
#[derive(Debug)]
pub(super) struct TextSet {
    pub(super) exact: foldhash::HashSet<Box<str>>,
    others: Vec<TextMatch>,
}

/// One item of `from`.
#[derive(Debug)]
pub(super) struct CompiledSource {
    pub(super) anyone: bool,
    signed_in: bool,
    pub(super) emails: Option<TextSet>,
    pub(super) email_domains: Option<foldhash::HashSet<Box<str>>>,
    pub(super) subjects: Option<TextSet>,
    pub(super) groups: Option<TextSet>,
    providers: Option<Vec<Arc<str>>>,
    kinds: Option<Vec<PrincipalKind>>,
    claims: Option<Claims>,
    people: Option<Vec<Arc<[Arc<CompiledSource>]>>>,
    agents: Option<TextSet>,
    not_agents: Option<TextSet>,
    not_emails: Option<TextSet>,
    not_subjects: Option<TextSet>,
    not_groups: Option<TextSet>,
    not_providers: Option<Vec<Arc<str>>>,
    not_claims: Option<Claims>,
    not_people: Option<Vec<Arc<[Arc<CompiledSource>]>>>,
}

/// Compiles each of a policy's named people.
pub(super) fn named(people: &[People]) -> Named {
    // Nobody is named within what is named.
    let none = Named::new();
    let compile = |people: &People| {
        let sources = people
            .from
            .iter()
            .map(|source| Arc::new(CompiledSource::new(source, &none)));
        (Arc::clone(&people.name), sources.collect())
    };
    people.iter().map(compile).collect()
}

/// Compiles a `from`. An item that says nothing but who is named elsewhere is replaced by what stands there, so that indexes can see it; that is shared, since
/// many rules may name the same.
pub(super) fn compile(
    from: &[Source],
    people: &[People],
    named: &Named,
) -> Vec<Arc<CompiledSource>> {
    let mut compiled = Vec::with_capacity(from.len());
    for source in from {
        let only_named = Source {
            people: source.people.clone(),
            ..Source::default()
        };
        match &source.people {
            Some(names) if *source == only_named => {
                let meant = people.iter().filter(|people| names.contains(&people.name));
                let sources = meant.filter_map(|people| named.get(&people.name));
                compiled.extend(sources.flat_map(|sources| sources.iter().cloned()));
            }
            _ => compiled.push(Arc::new(CompiledSource::new(source, named))),
        }
    }
    compiled
}

impl TextSet {
    fn new(conditions: &[TextMatch]) -> Self {
        let mut set = Self {
            exact: foldhash::HashSet::default(),
            others: Vec::new(),
        };
        for condition in conditions {
            match condition {
                TextMatch::Exact(text) => {
                    set.exact.insert(text.as_str().into());
                }
                TextMatch::Prefix(_) | TextMatch::Suffix(_) | TextMatch::Present => {
                    set.others.push(condition.clone());
                }
            }
        }
        set
    }

    /// Whether all values are exact, so that an index by them finds everything.
    pub(super) fn is_exact(&self) -> bool {
        self.others.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.others.is_empty()
    }

    fn matches(&self, text: &str) -> bool {
        self.exact.contains(text) || self.others.iter().any(|other| other.matches(text))
    }

    /// Whether any of these groups matches; `None` when that is not known.
    fn matches_groups(&self, groups: &Groups) -> Option<bool> {
        if self.is_empty() {
            return Some(false);
        }
        match groups {
            Groups::Missing => None,
            // The smaller side is gone through, the larger one looked up in.
            Groups::Known(groups) if self.is_exact() && self.exact.len() < groups.len() => {
                Some(self.exact.iter().any(|group| groups.contains(&**group)))
            }
            Groups::Known(groups) => Some(groups.iter().any(|group| self.matches(group))),
        }
    }
}

impl CompiledSource {
    fn new(source: &Source, named: &Named) -> Self {
        let texts = |conditions: &Option<Vec<TextMatch>>| conditions.as_deref().map(TextSet::new);
        // Every name is known; one that were not would match nobody here and everybody in `not_people` of a deny rule.
        let people = |names: &Option<Vec<Arc<str>>>| {
            let found = |names: &Vec<Arc<str>>| {
                let found = names.iter().filter_map(|name| named.get(name).cloned());
                found.collect()
            };
            names.as_ref().map(found)
        };
        let Source {
            anyone,
            signed_in,
            emails,
            email_domains,
            subjects,
            groups,
            providers,
            kinds,
            claims,
            people: named_people,
            agents,
            not_agents,
            not_emails,
            not_subjects,
            not_groups,
            not_providers,
            not_claims,
            not_people,
        } = source;
        Self {
            anyone: *anyone,
            signed_in: *signed_in,
            emails: texts(emails),
            email_domains: email_domains.as_ref().map(|domains| {
                domains
                    .iter()
                    .map(|domain| domain.as_str().into())
                    .collect()
            }),
            subjects: texts(subjects),
            groups: texts(groups),
            providers: providers.clone(),
            kinds: kinds.clone(),
            claims: claims.clone(),
            people: people(named_people),
            agents: texts(agents),
            not_agents: texts(not_agents),
            not_emails: texts(not_emails),
            not_subjects: texts(not_subjects),
            not_groups: texts(not_groups),
            not_providers: not_providers.clone(),
            not_claims: not_claims.clone(),
            not_people: people(not_people),
        }
    }

    /// Whether only `not_…` fields stand here, or in what is named here beside nothing else. Somebody who is not signed in could satisfy them
    /// all, or none: nobody knows.
    pub(super) fn only_excludes(&self) -> bool {
        let asks = self.anyone
            || self.signed_in
            || self.emails.is_some()
            || self.email_domains.is_some()
            || self.subjects.is_some()
            || self.groups.is_some()
            || self.providers.is_some()
            || self.kinds.is_some()
            || self.agents.is_some()
            || self.claims.is_some();
        let named = self.people.as_ref();
        let is_unclear = |people: &[Arc<[Arc<Self>]>]| {
            let mut sources = people.iter().flat_map(|sources| sources.iter());
            sources.any(|source| source.only_excludes())
        };
        !asks && named.is_none_or(|people| is_unclear(people))
    }

    /// Whether it is for callers through whom these programs act; see [`Source::agents`]. That it is for the caller themselves is another question.
    pub(super) fn takes_agents(&self, agents: &[Agent], action: Action) -> bool {
        let Some(wanted) = &self.agents else {
            return action == Action::Deny || agents.is_empty();
        };
        let other = self.not_agents.as_ref();
        let is_named = |agent: &Agent| {
            wanted.matches(&agent.id) && !other.is_some_and(|other| other.matches(&agent.id))
        };
        match action {
            Action::Allow => !agents.is_empty() && agents.iter().all(is_named),
            Action::Deny => agents.iter().any(is_named),
        }
    }

    /// Whether it is for somebody in what is no question of rights: which name they go by in the mesh. What says nothing of agents is for people and for
    /// what acts for them.
    pub(super) fn describes(&self, principal: &Principal) -> bool {
        self.holds(principal, Action::Allow)
            && (self.agents.is_none() || self.takes_agents(&principal.agents, Action::Allow))
    }

    /// Whether `groups` could match if the groups are not known.
    pub(super) fn asks_for_groups(&self) -> bool {
        self.groups
            .as_ref()
            .is_some_and(|groups| !groups.is_empty())
    }

    /// Whether this caller, who is signed in, is meant in a rule of this action.
    pub(super) fn holds(&self, principal: &Principal, action: Action) -> bool {
        self.anyone
            || (self.labels_hold(principal)
                && self.email_holds(principal.email.as_ref(), action)
                && self.groups_hold(&principal.groups, action)
                && self.claims_are_held(principal, action)
                && self.people_hold(principal, action))
    }

    fn claims_are_held(&self, principal: &Principal, action: Action) -> bool {
        let wanted = self.claims.as_ref();
        let other = self.not_claims.as_ref();
        wanted.is_none_or(|wanted| claims_hold(wanted, principal, action))
            && other.is_none_or(|other| claims_differ(other, principal, action))
    }

    /// Being meant by `not_people` is decided the other way round: who may be excepted from an allow rule is.
    fn people_hold(&self, principal: &Principal, action: Action) -> bool {
        let among = |named: &[Arc<[Arc<Self>]>], action: Action| {
            let mut sources = named.iter().flat_map(|sources| sources.iter());
            sources.any(|source| source.holds(principal, action))
        };
        let wanted = self.people.as_ref();
        let other = self.not_people.as_ref();
        wanted.is_none_or(|named| among(named, action))
            && other.is_none_or(|named| {
                let may_be = action == Action::Allow
                    && principal.email.is_none()
                    && named
                        .iter()
                        .flat_map(|sources| sources.iter())
                        .any(|source| source.asks_for_email());
                !may_be && !among(named, action.opposite())
            })
    }

    fn asks_for_email(&self) -> bool {
        self.emails.is_some() || self.email_domains.is_some()
    }

    fn labels_hold(&self, principal: &Principal) -> bool {
        let Principal {
            provider,
            subject,
            kind,
            ..
        } = principal;
        self.providers
            .as_ref()
            .is_none_or(|wanted| wanted.contains(provider))
            && self
                .kinds
                .as_ref()
                .is_none_or(|wanted| wanted.contains(kind))
            && self
                .subjects
                .as_ref()
                .is_none_or(|wanted| wanted.matches(subject))
            && !self
                .not_providers
                .as_ref()
                .is_some_and(|other| other.contains(provider))
            && !self
                .not_subjects
                .as_ref()
                .is_some_and(|other| other.matches(subject))
    }

    fn email_holds(&self, email: Option<&Email>, action: Action) -> bool {
        let Some(email) = email else {
            let asks = self.asks_for_email();
            let excludes = self.not_emails.is_some();
            return !asks && (!excludes || action == Action::Deny);
        };
        self.emails
            .as_ref()
            .is_none_or(|wanted| wanted.matches(email.as_str()))
            && self
                .email_domains
                .as_ref()
                .is_none_or(|wanted| wanted.contains(email.domain()))
            && !self
                .not_emails
                .as_ref()
                .is_some_and(|other| other.matches(email.as_str()))
    }

    fn groups_hold(&self, groups: &Groups, action: Action) -> bool {
        let unknown = action == Action::Deny;
        let wanted = self.groups.as_ref();
        let other = self.not_groups.as_ref();
        wanted.is_none_or(|wanted| wanted.matches_groups(groups).unwrap_or(unknown))
            && other.is_none_or(|other| {
                other
                    .matches_groups(groups)
                    .map_or(unknown, |matched| !matched)
            })
    }
}
