//! The mesh identities that a policy's mappings can give, as Istio's `principals`.
//!
//! istiod turns a value without `*` into an exact comparison, and one that ends in `*` into a prefix, both with `spiffe://` in front. A value that
//! begins with `*`, and `namespaces` and `serviceAccounts`, become regular expressions in which a `.` is any character; none of them is written.

use crate::identity::spiffe_id::TrustDomain;
use crate::policy::compile::CompiledPolicy;
use crate::policy::model::Mapping;
use crate::policy::template::IdentityTemplate;

/// What the identities of one mapping have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pattern {
    /// The identity is fixed.
    Exact(String),
    /// It begins so, at least up to `/sa/`.
    Prefix(String),
}

impl Pattern {
    pub(super) fn of(mapping: &Mapping, own: &TrustDomain) -> Option<Self> {
        let template = IdentityTemplate::parse(&mapping.spiffe_id).ok()?;
        let (beginning, is_whole) = template.beginning(own);
        Some(if is_whole {
            Self::Exact(beginning)
        } else {
            Self::Prefix(beginning)
        })
    }

    /// As Istio wants it.
    pub(super) fn principal(&self) -> String {
        match self {
            Self::Exact(text) => text.clone(),
            Self::Prefix(text) => format!("{text}*"),
        }
    }

    /// Whether every identity of the other is one of these.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => one == other,
            (Self::Prefix(one), Self::Exact(other) | Self::Prefix(other)) => other.starts_with(one),
            (Self::Exact(_), Self::Prefix(_)) => false,
        }
    }

    /// Whether an identity could be of both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

/// Everybody whom the edge can bring.
pub(super) fn everybody(policy: &CompiledPolicy) -> Vec<String> {
    let own = policy.trust_domain();
    let mappings = policy.policy().mappings.iter();
    let patterns: Vec<Pattern> = mappings
        .filter_map(|mapping| Pattern::of(mapping, own))
        .collect();
    shortest(&patterns)
}

/// The same identities in as few values as can be.
pub(super) fn shortest(patterns: &[Pattern]) -> Vec<String> {
    let is_needed = |(at, pattern): &(usize, &Pattern)| {
        patterns.iter().enumerate().all(|(other_at, other)| {
            let comes_first = other_at < *at || !pattern.covers(other);
            !(other_at != *at && other.covers(pattern) && comes_first)
        })
    };
    let needed = patterns.iter().enumerate().filter(is_needed);
    let mut principals: Vec<String> = needed.map(|(_, pattern)| pattern.principal()).collect();
    principals.sort();
    principals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(templates: &[&str]) -> Vec<Pattern> {
        let own = TrustDomain::parse("td").unwrap();
        let of = |template: &&str| {
            let mapping = Mapping {
                name: "m".into(),
                from: Vec::new(),
                spiffe_id: (*template).to_owned(),
            };
            Pattern::of(&mapping, &own).unwrap()
        };
        templates.iter().map(of).collect()
    }

    #[test]
    fn b13_names_are_compared_whole_or_from_the_beginning() {
        for (templates, expected) in [
            (
                &["spiffe://{trust_domain}/ns/te.ams/sa/s.re"][..],
                &["td/ns/te.ams/sa/s.re"][..],
            ),
            (
                &["spiffe://td/ns/people/sa/p.-{user}.x"],
                &["td/ns/people/sa/p.-*"],
            ),
            (
                &[
                    "spiffe://td/ns/people/sa/sre",
                    "spiffe://td/ns/people/sa/{user}",
                    "spiffe://td/ns/people/sa/{provider}.{subject}",
                    "spiffe://td/ns/peoples/sa/sre",
                ],
                &["td/ns/people/sa/*", "td/ns/peoples/sa/sre"],
            ),
        ] {
            assert_eq!(shortest(&patterns(templates)), expected, "{templates:?}");
        }
    }

    #[test]
    fn fixed_and_varying_identities_meet_where_one_could_be_the_other() {
        let all = patterns(&[
            "spiffe://td/ns/people/sa/sre",
            "spiffe://td/ns/people/sa/{user}",
            "spiffe://td/ns/people/sa/s{user}",
            "spiffe://td/ns/other/sa/{user}",
        ]);
        let meets =
            |one: usize| -> Vec<bool> { all.iter().map(|other| all[one].meets(other)).collect() };
        assert_eq!(meets(0), [true, true, true, false]);
        assert_eq!(meets(3), [false, false, false, true]);
    }
}
