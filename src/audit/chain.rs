//! The chain of hashes: each event's covers the one before it, so that none can be changed, left out or put in without every later hash being wrong.

use std::fmt;

use crate::secret::sha256;

/// What the first event follows.
pub const START: Link = Link([0; 32]);

/// Kept apart from every other use of the hash, and from other forms of this log.
const DOMAIN: &[u8] = b"wayleave audit event 1\0";

/// A hash in the chain: SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link([u8; 32]);

impl Link {
    /// The hash of an event that follows this one. Lengths are fixed or stated, so that no two events have the same bytes.
    pub fn next(self, seq: i64, at: i64, body: &str) -> Self {
        let mut bytes = Vec::with_capacity(DOMAIN.len() + 56 + body.len());
        bytes.extend_from_slice(DOMAIN);
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(&seq.to_be_bytes());
        bytes.extend_from_slice(&at.to_be_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
        bytes.extend_from_slice(body.as_bytes());
        Self(sha256(&bytes))
    }

    /// Lower-case hexadecimal digits, as they are stored and exported.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        (hex::encode(bytes) == text).then_some(Self(bytes))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An event as it is kept and exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number; the next one's is one more.
    pub seq: i64,
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
    /// What, as JSON.
    pub body: String,
    /// Its own, in hexadecimal digits.
    pub hash: String,
    /// Under what a store has it to be found; `None` of an event that is in no store.
    pub filed: Option<Filed>,
}

/// What events are searched by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filed {
    /// What happened.
    pub kind: String,
    /// Who did it.
    pub actor: String,
}

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {seq}: {what}")]
pub struct Break {
    /// The first position that is wrong.
    pub seq: i64,
    /// In what way.
    pub what: &'static str,
}

/// Follows a chain from a place where its hash is known.
#[derive(Clone, Copy, Debug)]
pub struct Follower {
    seq: i64,
    link: Link,
}

impl Follower {
    /// After the event of this number, which has this hash; number 0 with [`START`] is the beginning.
    pub fn after(seq: i64, link: Link) -> Self {
        Self { seq, link }
    }

    /// The last event that was right, and its hash.
    pub fn at(&self) -> (i64, Link) {
        (self.seq, self.link)
    }

    /// Looks at the next event.
    pub fn follow(&mut self, entry: &Entry) -> Result<(), Break> {
        let expected = self.seq + 1;
        let broken = |seq, what| Err(Break { seq, what });
        if entry.seq != expected {
            return broken(expected, "the event is missing");
        }
        let link = self.link.next(entry.seq, entry.at, &entry.body);
        if Link::parse(&entry.hash) != Some(link) {
            return broken(expected, "the event is not the one that was written");
        }
        *self = Self {
            seq: expected,
            link,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(bodies: &[String]) -> Vec<Entry> {
        let mut link = START;
        let numbered = (1..).zip(bodies);
        numbered
            .map(|(seq, body)| {
                link = link.next(seq, seq * 10, body);
                Entry {
                    seq,
                    at: seq * 10,
                    body: body.clone(),
                    hash: link.to_string(),
                    filed: None,
                }
            })
            .collect()
    }

    fn check(entries: &[Entry]) -> Result<(), Break> {
        let mut follower = Follower::after(0, START);
        entries.iter().try_for_each(|entry| follower.follow(entry))
    }

    proptest! {
        #[test]
        fn k10_whatever_is_changed_is_found_where_it_is(
            bodies in proptest::collection::vec(".{0,20}", 2..20), at: proptest::sample::Index, how in 0..5,
        ) {
            let mut entries = chain(&bodies);
            prop_assert_eq!(check(&entries), Ok(()));
            let at = at.index(entries.len() - 1);
            match how {
                0 => entries[at].body.push('x'),
                1 => entries[at].at += 1,
                2 => { entries.remove(at); }
                3 => entries.swap(at, at + 1),
                _ => {
                    let twice = entries[at].clone();
                    entries.insert(at + 1, twice);
                }
            }
            let first = i64::try_from(at).unwrap() + if how == 4 { 2 } else { 1 };
            prop_assert_eq!(check(&entries).unwrap_err().seq, first);
        }
    }

    #[test]
    fn k10_an_event_with_a_hash_made_to_fit_breaks_the_next() {
        let mut entries = chain(&["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        entries[1].body = "x".to_owned();
        let before = Link::parse(&entries[0].hash).unwrap();
        entries[1].hash = before.next(2, 20, "x").to_string();
        assert_eq!(check(&entries).unwrap_err().seq, 3);
    }
}
