//! Conditions of which not everything may be known: the circumstances of a request, and claims.
//!
//! What is not known counts against the caller, as it does in `from`: in an allow rule it satisfies no condition, in a deny rule every one.
//! Headers are the client's word. Since servers differ in how they read a header that comes twice or as a list, an allow rule wants every line
//! to match as a whole, while for a deny rule one line, or one element of a list, is enough.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::once_with;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::identity::principal::Principal;
use crate::policy::decide::Facts;
use crate::policy::hours::Hours;
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, When};

/// The header lines of a request that rules are about, by lower-case name. A name that is not in it was not looked at, so nothing is known of it.
#[derive(Clone, Default)]
pub struct RequestHeaders(BTreeMap<Arc<str>, Vec<Box<[u8]>>>);

impl RequestHeaders {
    /// Looks at these names, and at no others; `lines` gives all of a name's, and none at all is knowledge too.
    pub fn read<'n, 'h, L>(names: &'n [Arc<str>], lines: impl Fn(&'n str) -> L) -> Self
    where
        L: Iterator<Item = &'h [u8]>,
    {
        let read = |name: &'n Arc<str>| (Arc::clone(name), lines(name).map(Into::into).collect());
        Self(names.iter().map(read).collect())
    }

    /// All lines of a name; `None` if it was not looked at.
    pub fn lines(&self, name: &str) -> Option<&[Box<[u8]>]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// The same of headers in a list.
    pub fn of_list<'a>(names: &'a [Arc<str>], list: &'a [(Arc<str>, String)]) -> Self {
        Self::read(names, |name| {
            let lines = list.iter().filter(move |(other, _)| **other == *name);
            lines.map(|(_, value)| value.as_bytes())
        })
    }
}

/// Values may be secrets.
impl fmt::Debug for RequestHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    /// Whether a condition that must hold does, for a rule of this action.
    pub(super) fn holds(self, action: Action) -> bool {
        match self {
            Self::Yes => true,
            Self::No => false,
            Self::Unknown => action == Action::Deny,
        }
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl When {
    /// Whether all circumstances are as a rule of this action wants them.
    pub(super) fn holds(&self, facts: &Facts<'_>, action: Action) -> bool {
        self.failures(facts, action).next().is_none()
    }

    /// The fields that do not hold; each is looked at when it is its turn.
    pub(super) fn failures<'a>(
        &'a self,
        facts: &'a Facts<'_>,
        action: Action,
    ) -> impl Iterator<Item = Failure<'a>> {
        let until = self.until.filter(|until| facts.now >= *until);
        let is_now = |hours: &&Vec<Hours>| hours.iter().any(|hours| hours.contains(facts.now));
        let hours = move || self.hours.as_ref().filter(|hours| !is_now(hours));
        let from = move || {
            let wanted = self.source_ips.as_ref();
            wanted.filter(|wanted| !within(wanted, facts.peer).holds(action))
        };
        let not_from = move || {
            let other = self.not_source_ips.as_ref();
            other.filter(|other| !within(other, facts.peer).negated().holds(action))
        };
        until
            .map(Failure::Until)
            .into_iter()
            .chain(
                once_with(hours)
                    .flatten()
                    .map(|hours| Failure::Hours(hours)),
            )
            .chain(
                once_with(from)
                    .flatten()
                    .map(|wanted| Failure::SourceIps(wanted)),
            )
            .chain(
                once_with(not_from)
                    .flatten()
                    .map(|other| Failure::NotSourceIps(other)),
            )
            .chain(self.header_failures(facts, action))
    }

    fn header_failures<'a>(
        &'a self,
        facts: &'a Facts<'_>,
        action: Action,
    ) -> impl Iterator<Item = Failure<'a>> {
        let wanted = self.headers.iter().flatten();
        let wanted =
            wanted.filter(move |(name, conditions)| !header(facts, name, conditions).holds(action));
        let other = self.not_headers.iter().flatten();
        let other = other.filter(move |(name, conditions)| {
            !header(facts, name, conditions).negated().holds(action)
        });
        wanted
            .map(|(name, conditions)| Failure::Header(name, conditions))
            .chain(other.map(|(name, conditions)| Failure::NotHeader(name, conditions)))
    }

    /// Whether time alone can change what it says.
    pub(super) fn varies(&self) -> bool {
        self.hours.is_some() || self.until.is_some()
    }

    /// The request headers that it looks at.
    pub(super) fn header_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let both = self.headers.iter().chain(&self.not_headers);
        both.flat_map(BTreeMap::keys)
    }
}

/// Which circumstance is not as wanted.
#[derive(Debug)]
pub(super) enum Failure<'a> {
    Until(jiff::Timestamp),
    Hours(&'a [Hours]),
    SourceIps(&'a [IpNet]),
    NotSourceIps(&'a [IpNet]),
    Header(&'a str, &'a [TextMatch]),
    NotHeader(&'a str, &'a [TextMatch]),
}

fn within(networks: &[IpNet], peer: Option<IpAddr>) -> Truth {
    match peer {
        _ if networks.is_empty() => Truth::No,
        // An IPv4 address on an IPv6 socket is an IPv4 address.
        Some(peer) => {
            let peer = peer.to_canonical();
            networks
                .iter()
                .any(|network| network.contains(&peer))
                .into()
        }
        None => Truth::Unknown,
    }
}

/// `Unknown` where readers could differ.
fn header(facts: &Facts<'_>, name: &str, conditions: &[TextMatch]) -> Truth {
    if conditions.is_empty() {
        return Truth::No;
    }
    let Some(lines) = facts.headers.and_then(|headers| headers.lines(name)) else {
        return Truth::Unknown;
    };
    let matches = |text: &str| conditions.iter().any(|condition| condition.matches(text));
    let (mut any, mut all) = (false, true);
    for line in lines {
        let Ok(line) = std::str::from_utf8(line) else {
            (any, all) = (true, false);
            continue;
        };
        let is_whole = matches(line);
        all &= is_whole;
        any |= is_whole || line.split(',').any(|element| matches(element.trim()));
    }
    match (any, all) {
        (false, _) => Truth::No,
        (true, true) => Truth::Yes,
        (true, false) => Truth::Unknown,
    }
}

/// Whether the caller's claims are as wanted. A claim that the caller's provider is not configured to keep is not known.
pub(super) fn claims_hold(
    wanted: &BTreeMap<Arc<str>, Vec<TextMatch>>,
    principal: &Principal,
    action: Action,
) -> bool {
    let mut each = wanted.iter();
    each.all(|(name, conditions)| claim(principal, name, conditions).holds(action))
}

/// Whether none of the claims is as described.
pub(super) fn claims_differ(
    other: &BTreeMap<Arc<str>, Vec<TextMatch>>,
    principal: &Principal,
    action: Action,
) -> bool {
    let mut each = other.iter();
    each.all(|(name, conditions)| claim(principal, name, conditions).negated().holds(action))
}

fn claim(principal: &Principal, name: &str, conditions: &[TextMatch]) -> Truth {
    if conditions.is_empty() {
        return Truth::No;
    }
    match principal.claims.get(name) {
        Some(values) => {
            let matches = |text: &Arc<str>| conditions.iter().any(|wanted| wanted.matches(text));
            values.iter().any(matches).into()
        }
        None => Truth::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_can_be_read_in_two_ways_helps_nobody() {
        let policy = crate::policy::properties::compile(Vec::new());
        let conditions = [
            TextMatch::parse("prod").unwrap(),
            TextMatch::parse("pre-*").unwrap(),
        ];
        for (lines, expected) in [
            (&[][..], Truth::No),
            (&[&b"prod"[..]][..], Truth::Yes),
            (&[b"pre-1"], Truth::Yes),
            (&[b"prod", b"pre-1"], Truth::Yes),
            (&[b"test"], Truth::No),
            (&[b"prod", b"test"], Truth::Unknown),
            (&[b"test,prod"], Truth::Unknown),
            (&[b"test, prod"], Truth::Unknown),
            (&[b"\xff"], Truth::Unknown),
            (&[b""], Truth::No),
        ] {
            let headers = RequestHeaders::read(&["x-env".into()], |_| lines.iter().copied());
            let facts = Facts {
                headers: Some(&headers),
                ..crate::policy::properties::facts(&policy)
            };
            assert_eq!(header(&facts, "x-env", &conditions), expected, "{lines:?}");
            assert_eq!(header(&facts, "x-other", &conditions), Truth::Unknown);
        }
        let nobody_knows = crate::policy::properties::facts(&policy);
        assert_eq!(header(&nobody_knows, "x-env", &conditions), Truth::Unknown);
        assert_eq!(header(&nobody_knows, "x-env", &[]), Truth::No);
    }

    #[test]
    fn an_ipv4_address_is_one_on_an_ipv6_socket_too() {
        let networks = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (peer, expected) in [
            ("10.1.2.3", Truth::Yes),
            ("::ffff:10.1.2.3", Truth::Yes),
            ("11.1.2.3", Truth::No),
            ("fd12::1", Truth::Yes),
            ("::1", Truth::No),
        ] {
            assert_eq!(
                within(&networks, Some(peer.parse().unwrap())),
                expected,
                "{peer}"
            );
        }
        assert_eq!(within(&networks, None), Truth::Unknown);
        assert_eq!(within(&[], None), Truth::No);
    }
}
