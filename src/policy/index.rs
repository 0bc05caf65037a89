//! Which rules can apply at all: rules of one action, found by what their callers and paths must be.
//!
//! Every item of a rule's `from` is entered under one condition that it cannot do without, the most selective one; what has none is
//! gone through in turn. An index may find too much, never too little: whatever it finds is still judged in full.

use crate::identity::principal::{Groups, Principal};
use crate::policy::model::Action;
use crate::policy::source::{CompiledSource, TextSet};

/// Item `source` of the rule in slot `rule`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) rule: u32,
    pub(super) source: u32,
}

type Entries = foldhash::HashMap<Box<str>, Vec<Entry>>;

/// Entries of rules of one action, each list in the order of the rules.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    by_email: Entries,
    by_subject: Entries,
    by_group: Entries,
    by_email_domain: Entries,
    by_path: Entries,
    rest: Vec<Entry>,
    /// Deny only: what is under groups as well, for callers whose groups are not known.
    any_group: Vec<Entry>,
    /// What applies to callers who are not signed in.
    pub(super) anyone: Vec<Entry>,
    /// Deny only: items of nothing but `not_…` fields, which nobody knows to apply to a caller who is not signed in.
    pub(super) excluding: Vec<Entry>,
}

impl RuleIndex {
    /// Enters an item. `exact_paths` are all paths its rule can apply to, if these can be listed.
    pub(super) fn enter(
        &mut self,
        entry: Entry,
        source: &CompiledSource,
        action: Action,
        exact_paths: Option<&[&str]>,
    ) {
        if source.anyone {
            self.anyone.push(entry);
        }
        if source.only_excludes() && action == Action::Deny {
            self.excluding.push(entry);
        }
        if let Some(emails) = exact(source.emails.as_ref()) {
            add(&mut self.by_email, &emails.exact, entry);
        } else if let Some(subjects) = exact(source.subjects.as_ref()) {
            add(&mut self.by_subject, &subjects.exact, entry);
        } else if let Some(groups) = exact(source.groups.as_ref()) {
            add(&mut self.by_group, &groups.exact, entry);
            if action == Action::Deny && source.asks_for_groups() {
                self.any_group.push(entry);
            }
        } else if let Some(paths) = exact_paths {
            add(&mut self.by_path, paths, entry);
        } else if let Some(domains) = &source.email_domains {
            add(&mut self.by_email_domain, domains, entry);
        } else {
            self.rest.push(entry);
        }
    }

    /// Every entry, some more than once.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let found = [
            &self.by_email,
            &self.by_subject,
            &self.by_group,
            &self.by_email_domain,
            &self.by_path,
        ];
        let found = found.into_iter().flat_map(|entries| entries.values());
        found
            .chain([&self.rest, &self.any_group, &self.anyone, &self.excluding])
            .flatten()
            .copied()
    }

    /// Every list that may hold an entry for this caller and path.
    pub(super) fn candidates<'a>(
        &'a self,
        principal: &'a Principal,
        path: &'a str,
    ) -> impl Iterator<Item = &'a [Entry]> {
        let found = |entries: &'a Entries, key: &str| entries.get(key).map(Vec::as_slice);
        let email = principal.email.as_ref();
        let by_email = email.and_then(|email| found(&self.by_email, email.as_str()));
        // Most policies have none of these, and to find the domain costs more than not to find a rule.
        let by_domain = email
            .filter(|_| !self.by_email_domain.is_empty())
            .and_then(|email| found(&self.by_email_domain, email.domain()));
        [
            by_email,
            by_domain,
            found(&self.by_subject, &principal.subject),
            found(&self.by_path, path),
            Some(self.rest.as_slice()),
        ]
        .into_iter()
        .flatten()
        .chain(self.of_groups(&principal.groups))
    }

    /// Every entry that may hold for this caller, whatever the path; some more than once.
    pub(super) fn entries_of<'a>(
        &'a self,
        principal: &'a Principal,
    ) -> impl Iterator<Item = Entry> + 'a {
        // No path is empty, so nothing is found twice by it.
        let lists = self.candidates(principal, "");
        let by_path = self.by_path.values().map(Vec::as_slice);
        lists.chain(by_path).flatten().copied()
    }

    /// The lists of the caller's groups; the smaller side is gone through, the larger one looked up in.
    fn of_groups<'a>(&'a self, groups: &'a Groups) -> impl Iterator<Item = &'a [Entry]> {
        let (known, unknown) = match groups {
            Groups::Known(groups) => (Some(groups), None),
            Groups::Missing => (None, Some(self.any_group.as_slice())),
        };
        let (few_rules, few_groups) = match known {
            Some(groups) if self.by_group.len() < groups.len() => (Some(groups), None),
            other => (None, other),
        };
        let by_rules = few_rules.into_iter().flat_map(|groups| {
            let entries = self.by_group.iter();
            entries.filter_map(|(group, list)| groups.contains(&**group).then_some(list.as_slice()))
        });
        let by_groups = few_groups
            .into_iter()
            .flatten()
            .filter_map(|group| self.by_group.get(&**group).map(Vec::as_slice));
        unknown.into_iter().chain(by_rules).chain(by_groups)
    }
}

fn exact(set: Option<&TextSet>) -> Option<&TextSet> {
    set.filter(|set| set.is_exact())
}

fn add<'a, K: AsRef<str> + 'a>(
    entries: &mut Entries,
    keys: impl IntoIterator<Item = &'a K>,
    entry: Entry,
) {
    for key in keys {
        entries.entry(key.as_ref().into()).or_default().push(entry);
    }
}
