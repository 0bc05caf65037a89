//! The items of `from` as conditions on the assertion's claims: alternatives of conditions that must all hold.
//!
//! A claim that is absent has no value, so `notValues` holds for it. That is right where a deny rule takes what is not known against the caller, and
//! wrong where an allow rule wants to know; there the claim must have a value as well. Istio cannot tell groups that are not known from none at
//! all: people in no group are refused where the edge would look closer.

use crate::identity::principal::PrincipalKind;
use crate::policy::istio::manifest::{Condition, Key};
use crate::policy::istio::{Edge, Effect};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, People, Source};

/// Conditions that must all hold.
pub(super) type Together = Vec<Condition>;

/// More alternatives than this are not written.
const MOST: usize = 64;

/// Translates the items of one rule.
pub(super) struct Claims<'a> {
    pub(super) edge: &'a Edge,
    pub(super) people: &'a [People],
    pub(super) action: Action,
    /// What the conditions do not say.
    pub(super) losses: Vec<(Effect, String)>,
}

/// Alternatives; none of them is never, an empty one is always.
#[derive(Clone, Debug, PartialEq)]
struct Any(Vec<Together>);

impl Any {
    fn always() -> Self {
        Self(vec![Vec::new()])
    }

    fn never() -> Self {
        Self(Vec::new())
    }

    fn of(condition: Condition) -> Self {
        Self(vec![vec![condition]])
    }

    fn or(mut self, other: Self) -> Self {
        for together in other.0 {
            if !self.0.contains(&together) {
                self.0.push(together);
            }
        }
        self
    }

    fn and(self, other: &Self) -> Self {
        let mut product = Self::never();
        for one in &self.0 {
            for other in &other.0 {
                let mut together = one.clone();
                for condition in other {
                    if !together.contains(condition) {
                        together.push(condition.clone());
                    }
                }
                product.0.push(together);
            }
        }
        product
    }

    fn is_large(&self) -> bool {
        self.0.len() > MOST
    }
}

fn texts(wanted: &[TextMatch]) -> Vec<String> {
    wanted.iter().map(ToString::to_string).collect()
}

/// Istio takes an empty list for no condition.
fn has(key: Key, values: Vec<String>) -> Any {
    if values.is_empty() {
        return Any::never();
    }
    Any::of(Condition {
        key,
        values,
        not_values: Vec::new(),
    })
}

fn lacks(key: Key, not_values: Vec<String>) -> Any {
    if not_values.is_empty() {
        return Any::always();
    }
    Any::of(Condition {
        key,
        values: Vec::new(),
        not_values,
    })
}

fn has_any(key: Key) -> Any {
    has(key, vec!["*".to_owned()])
}

fn lacks_all(key: Key) -> Any {
    lacks(key, vec!["*".to_owned()])
}

/// A field of a source, to be said or to be denied.
enum Field<'a> {
    /// A claim that everybody has.
    Plain(Key, Vec<String>),
    NotPlain(Key, Vec<String>),
    Emails(Vec<String>),
    NotEmails(Vec<String>),
    Groups(&'a [TextMatch]),
    NotGroups(&'a [TextMatch]),
    /// The assertion does not have it.
    Unseen(&'static str),
}

impl Claims<'_> {
    /// Alternatives for one item of the rule.
    pub(super) fn of(&mut self, source: &Source) -> Vec<Together> {
        if source.anyone {
            return Any::always().0;
        }
        let Some(mut alternatives) = self.source(source) else {
            return Vec::new();
        };
        // Strangers whom a deny rule may mean are refused by both; whom it cannot mean have no assertion.
        if self.action == Action::Allow || !self.only_excepts(source) {
            let signed_in = has(Key::Issuer, vec![self.edge.issuer.clone()]);
            alternatives = signed_in.and(&alternatives);
        }
        alternatives.0
    }

    fn lose(&mut self, effect: Effect, why: impl Into<String>) {
        self.losses.push((effect, why.into()));
    }

    /// What follows from an item that is not written.
    fn leave_out(&mut self, why: impl Into<String>) {
        let effect = match self.action {
            Action::Allow => Effect::RefusesMore,
            Action::Deny => Effect::LeavesToTheEdge,
        };
        self.lose(effect, why);
    }

    /// `None` if it cannot be said.
    fn source(&mut self, source: &Source) -> Option<Any> {
        let mut all = Any::always();
        for field in self.fields(source) {
            let said = self.said(&field);
            let Some(said) = said else {
                if let Field::Unseen(what) = field {
                    self.leave_out(format!("the assertion does not say {what}"));
                }
                return None;
            };
            all = all.and(&said);
        }
        if let Some(names) = &source.people {
            let mut any = Any::never();
            for one in self.named(names) {
                if let Some(said) = self.source(&one) {
                    any = any.or(said);
                }
            }
            all = all.and(&any);
        }
        if let Some(names) = &source.not_people {
            for one in self.named(names) {
                all = all.and(&self.other_than(&one));
                if all.is_large() {
                    break;
                }
            }
        }
        if all.is_large() {
            self.leave_out(format!("it would take more than {MOST} alternatives"));
            return None;
        }
        Some(all)
    }

    fn named(&self, names: &[std::sync::Arc<str>]) -> Vec<Source> {
        let meant = self
            .people
            .iter()
            .filter(|people| names.contains(&people.name));
        meant.flat_map(|people| people.from.clone()).collect()
    }

    fn fields<'s>(&self, source: &'s Source) -> Vec<Field<'s>> {
        // Each by its name: a field that were forgotten here would be one that the workload does not ask for.
        let Source {
            anyone: _,
            signed_in: _,
            emails,
            email_domains,
            subjects,
            groups,
            providers,
            kinds,
            claims,
            people: _,
            agents,
            not_agents: _,
            not_emails,
            not_subjects,
            not_groups,
            not_providers,
            not_claims,
            not_people: _,
        } = source;
        let names =
            |names: &Vec<std::sync::Arc<str>>| names.iter().map(ToString::to_string).collect();
        let plain = |key, names: Vec<String>| Field::Plain(key, names);
        let other = |key, names: Vec<String>| Field::NotPlain(key, names);
        let of_domains = |domains: &Vec<String>| {
            let values = domains.iter().map(|domain| format!("*@{domain}"));
            Field::Emails(values.collect())
        };
        let agents = agents
            .as_ref()
            .map(|_| Field::Unseen("which agent acts, in a way that Istio can compare"));
        let claims = claims.as_ref().or(not_claims.as_ref());
        let fields = [
            providers
                .as_ref()
                .map(|all| plain(Key::Provider, names(all))),
            not_providers
                .as_ref()
                .map(|all| other(Key::Provider, names(all))),
            kinds
                .as_ref()
                .map(|all| plain(Key::Provider, self.of_kinds(all))),
            subjects.as_ref().map(|all| plain(Key::Subject, texts(all))),
            not_subjects
                .as_ref()
                .map(|all| other(Key::Subject, texts(all))),
            emails.as_ref().map(|all| Field::Emails(texts(all))),
            email_domains.as_ref().map(of_domains),
            not_emails.as_ref().map(|all| Field::NotEmails(texts(all))),
            groups.as_deref().map(Field::Groups),
            not_groups.as_deref().map(Field::NotGroups),
            agents,
            claims.map(|_| Field::Unseen("other claims")),
        ];
        fields.into_iter().flatten().collect()
    }

    /// A person's provider is one that people sign in at.
    fn of_kinds(&self, kinds: &[PrincipalKind]) -> Vec<String> {
        let names = kinds.iter().flat_map(|kind| match kind {
            PrincipalKind::User => &self.edge.providers,
            PrincipalKind::Workload => &self.edge.issuers,
        });
        names.map(ToString::to_string).collect()
    }

    /// The field holds, as the rule's action reads it.
    fn said(&mut self, field: &Field<'_>) -> Option<Any> {
        Some(match field {
            Field::Plain(key, values) => has(*key, values.clone()),
            Field::NotPlain(key, values) => lacks(*key, values.clone()),
            Field::Emails(values) => has(Key::Email, values.clone()),
            Field::NotEmails(values) => {
                let others = lacks(Key::Email, values.clone());
                match self.action {
                    Action::Allow => has_any(Key::Email).and(&others),
                    Action::Deny => others,
                }
            }
            Field::Groups([]) => Any::never(),
            Field::NotGroups([]) => Any::always(),
            Field::Groups(wanted) => match self.action {
                Action::Allow => has(Key::Groups, texts(wanted)),
                Action::Deny => self.or_unknown(has(Key::Groups, texts(wanted))),
            },
            Field::NotGroups(other) => match self.action {
                Action::Allow => self.and_known(lacks(Key::Groups, texts(other))),
                Action::Deny => lacks(Key::Groups, texts(other)),
            },
            Field::Unseen(_) => return None,
        })
    }

    /// For `not_people`: the caller is certainly not meant, or for a deny rule perhaps not.
    fn other_than(&mut self, source: &Source) -> Any {
        let mut any = Any::never();
        for field in self.fields(source) {
            let denied = self.denied(&field);
            any = any.or(denied);
        }
        // Who has no address may be the one who is excepted by theirs.
        let asks = source.emails.is_some() || source.email_domains.is_some();
        if asks && self.action == Action::Allow {
            any = any.and(&has_any(Key::Email));
        }
        any
    }

    fn denied(&mut self, field: &Field<'_>) -> Any {
        match field {
            Field::Plain(key, values) => lacks(*key, values.clone()),
            Field::NotPlain(key, values) => has(*key, values.clone()),
            Field::Emails(values) => lacks(Key::Email, values.clone()),
            Field::NotEmails(values) => {
                let meant = has(Key::Email, values.clone());
                match self.action {
                    Action::Allow => meant,
                    Action::Deny => meant.or(lacks_all(Key::Email)),
                }
            }
            Field::Groups([]) => Any::always(),
            Field::NotGroups([]) => Any::never(),
            Field::Groups(wanted) => match self.action {
                Action::Allow => self.and_known(lacks(Key::Groups, texts(wanted))),
                Action::Deny => lacks(Key::Groups, texts(wanted)),
            },
            Field::NotGroups(other) => match self.action {
                Action::Allow => has(Key::Groups, texts(other)),
                Action::Deny => self.or_unknown(has(Key::Groups, texts(other))),
            },
            Field::Unseen(what) => {
                self.leave_out(format!("the assertion does not say {what}"));
                Any::never()
            }
        }
    }

    fn or_unknown(&mut self, any: Any) -> Any {
        let why = "people in no group at all are taken for people of whom no groups are known";
        self.lose(Effect::RefusesMore, why);
        any.or(lacks_all(Key::Groups))
    }

    fn and_known(&mut self, any: Any) -> Any {
        let why = "people in no group at all are taken for people of whom no groups are known";
        self.lose(Effect::RefusesMore, why);
        has_any(Key::Groups).and(&any)
    }

    /// Whether nothing is asked of whoever comes but not to be somebody, here or in what is named. The edge asks strangers to sign in then.
    fn only_excepts(&self, source: &Source) -> bool {
        let asks = source.anyone
            || source.signed_in
            || source.emails.is_some()
            || source.email_domains.is_some()
            || source.subjects.is_some()
            || source.groups.is_some()
            || source.providers.is_some()
            || source.kinds.is_some()
            || source.agents.is_some()
            || source.claims.is_some();
        let named = source.people.as_ref();
        let is_unclear = |names: &Vec<_>| {
            let named = self.named(names);
            named.iter().any(|one| self.only_excepts(one))
        };
        !asks && named.is_none_or(is_unclear)
    }
}
