//! Verifying a whole log: every event follows the one before it, and every signed checkpoint agrees.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::audit::chain::{Break, Entry, Follower, Link, START};
use crate::audit::checkpoint::{self, Keys, Signed};
use crate::audit::event::{POLICY_WRITTEN, PRUNED};
use crate::clock::Timestamp;

/// An edge signs ten minutes after an event; longer no log goes on without a checkpoint.
const UNSIGNED_AT_MOST: i64 = 60 * 60 * 1_000_000;

/// How far the clocks of edges may differ.
const SKEW: i64 = 60 * 60;

/// What was deleted at the beginning of a log, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Events up to this one.
    pub up_to: i64,
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
    /// How long before, in seconds, the last of them was signed for: the youngest event that is gone was at least so old.
    pub age: i64,
}

impl Pruned {
    /// The same in a sentence, for whoever has to judge whether that was meant.
    pub fn words(&self) -> String {
        let seconds = Duration::from_secs(u64::try_from(self.age).unwrap_or_default());
        let age = humantime::format_duration(seconds);
        let at = Timestamp::from_micros(self.at).rfc3339();
        let up_to = self.up_to;
        format!(
            "Events up to {up_to} were pruned at {at}, and all of them were at least {age} old."
        )
    }
}

/// What an event says of events that were pruned; nothing but zeros before there is one.
#[derive(Clone, Copy, Default)]
struct Pruning {
    up_to: i64,
    /// In microseconds since the Unix epoch.
    at: i64,
    /// How long events are kept, in seconds.
    kept: i64,
}

/// The policy as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The newest revision.
    pub revision: i64,
    /// The SHA-256 of its rows, in hexadecimal digits.
    pub digest: String,
    /// The newest event while that was so.
    pub seq: i64,
}

/// What an event says of a revision that was written.
struct Told {
    seq: i64,
    revision: i64,
    /// Not of earlier releases.
    digest: Option<String>,
}

/// What a checkpoint says of its event.
#[derive(Clone, Copy)]
struct Said {
    link: Link,
    at: i64,
}

/// Reads a log's events in order.
pub struct Verifier {
    signed: BTreeMap<i64, Said>,
    /// The end of an older export, and its hash.
    older: Option<(i64, Link)>,
    /// The policy that the log has to tell of.
    in_force: Option<InForce>,
    /// The newest revision that it told of, up to the event of that.
    told: Option<Told>,
    follower: Option<Follower>,
    events: u64,
    /// The number before the first event that is there.
    begins_after: i64,
    /// What the log says of when it was pruned last.
    pruned: Pruning,
    /// The latest time of an event that no checkpoint covers yet.
    latest: i64,
    /// The first event after the last checkpoint, and its time.
    unsigned: Option<(i64, i64)>,
}

/// What was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Events whose hashes are right.
    pub events: u64,
    /// Checkpoints that are signed, and agree.
    pub checkpoints: usize,
    /// The last event.
    pub last: i64,
    /// The last event that a checkpoint covers; what is newer is vouched for by the chain alone.
    pub signed_to: i64,
    /// What is gone, if the log does not begin with its first event.
    pub pruned: Option<Pruned>,
    /// The revision in force, if the log says what it was when it was written, and it is that.
    pub policy: Option<i64>,
}

impl Verifier {
    /// `checkpoints` are signed JWTs with the events that they are said to be about, `keys` what the edge says it has. One that a revoked key signed counts
    /// only where one that a good key signed comes after it, which the chain between has to lead to: whoever has the revoked key cannot make that.
    pub fn new<'a>(
        checkpoints: impl Iterator<Item = (i64, &'a str)>,
        keys: &Keys,
    ) -> Result<Self, Break> {
        let (mut signed, mut doubtful) = (BTreeMap::new(), Vec::new());
        for (seq, token) in checkpoints {
            let what = "the checkpoint is not signed by a key of this edge, or is another event's";
            let verified = checkpoint::verify(token, keys).filter(|signed| signed.seq == seq);
            let Signed {
                link,
                at,
                by_revoked,
                ..
            } = verified.ok_or(Break { seq, what })?;
            if by_revoked {
                doubtful.push((seq, Said { link, at }));
            } else {
                signed.insert(seq, Said { link, at });
            }
        }
        let good_until = signed.keys().next_back().copied().unwrap_or(0);
        signed.extend(doubtful.into_iter().filter(|(seq, _)| *seq < good_until));
        Ok(Self {
            signed,
            older: None,
            in_force: None,
            told: None,
            follower: None,
            events: 0,
            begins_after: 0,
            pruned: Pruning::default(),
            latest: 0,
            unsigned: None,
        })
    }

    /// The log has to go on from an older export of it, which ends so.
    pub fn extends(&mut self, seq: i64, link: Link) {
        self.older = Some((seq, link));
    }

    /// The log has to tell of the policy that is in force, as it is.
    pub fn tells_of(&mut self, in_force: InForce) {
        self.in_force = Some(in_force);
    }

    /// The next event.
    pub fn event(&mut self, entry: &Entry) -> Result<(), Break> {
        let follower = match &mut self.follower {
            Some(follower) => follower,
            empty @ None => {
                self.begins_after = entry.seq - 1;
                empty.insert(first(&self.signed, entry.seq)?)
            }
        };
        follower.follow(entry)?;
        if !is_filed_right(entry) {
            return Err(Break {
                seq: entry.seq,
                what: "the store has it under another kind or actor than it says itself, so that a search misses it",
            });
        }
        if { self.in_force.as_ref() }.is_some_and(|policy| entry.seq <= policy.seq) {
            self.told = told(entry).or(self.told.take());
        }
        self.events += 1;
        let (seq, link) = follower.at();
        self.pruned = pruning(entry).unwrap_or(self.pruned);
        self.latest = self.latest.max(entry.at);
        if self
            .older
            .is_some_and(|(end, known)| end == seq && known != link)
        {
            let what = "the older export has another event here";
            return Err(Break { seq, what });
        }
        match self.signed.get(&seq) {
            Some(signed) if signed.link != link => Err(Break {
                seq,
                what: "a signed checkpoint says that another event was written here",
            }),
            // Otherwise whoever is at the store could say that something happened long after what was pruned.
            Some(signed) if self.latest / 1_000_000 > signed.at + SKEW => Err(Break {
                seq,
                what: "an event up to here says that it happened after the checkpoint was signed",
            }),
            Some(_) => {
                (self.unsigned, self.latest) = (None, 0);
                Ok(())
            }
            None => {
                let (first, at) = *self.unsigned.get_or_insert((seq, entry.at));
                match entry.at.saturating_sub(at) > UNSIGNED_AT_MOST {
                    true => Err(Break {
                        seq: first,
                        what: "no checkpoint covers this event, although an edge signs after ten minutes",
                    }),
                    false => Ok(()),
                }
            }
        }
    }

    /// There are no more events; `head` is what the store says of the newest one, if it was asked.
    pub fn end(self, head: Option<(i64, &str)>) -> Result<Verified, Break> {
        let broken = |seq, what| Err(Break { seq, what });
        let (last, link) = self.follower.map_or((0, START), |follower| follower.at());
        let signed_last = self.signed.keys().next_back().copied().unwrap_or(0);
        let stated_last = head.map_or(0, |(seq, _)| seq);
        let known_last = self.older.map_or(0, |(seq, _)| seq);
        if signed_last.max(stated_last).max(known_last) > last {
            return broken(last + 1, "the event is missing");
        }
        let pruned = self.beginning()?;
        if self.older.is_some() && known_last <= self.begins_after {
            return broken(
                self.begins_after,
                "the log begins after the older export ends, so that nothing shows that it goes on from it",
            );
        }
        if head.is_some_and(|(seq, hash)| seq == last && hash != link.to_string()) {
            return broken(
                last,
                "the newest event is not the one that the store has noted",
            );
        }
        let policy = self.policy()?;
        Ok(Verified {
            events: self.events,
            checkpoints: self.signed.len(),
            last,
            signed_to: signed_last,
            pruned,
            policy,
        })
    }

    /// The revision in force, if it is what the log says; `None` where that says nothing of it.
    fn policy(&self) -> Result<Option<i64>, Break> {
        let Some((policy, told)) = self.in_force.as_ref().zip(self.told.as_ref()) else {
            return Ok(None);
        };
        let broken = |what| {
            Err(Break {
                seq: told.seq,
                what,
            })
        };
        match &told.digest {
            _ if told.revision != policy.revision => broken(
                "the policy in force is not the revision that was written here, which is the newest that the log tells of",
            ),
            Some(digest) if *digest != policy.digest => broken(
                "the policy in force is not what was written here under the number of its revision",
            ),
            Some(_) => Ok(Some(policy.revision)),
            None => Ok(None),
        }
    }

    /// What is gone at the beginning; a break where the log does not say so, or says that it was to be kept.
    fn beginning(&self) -> Result<Option<Pruned>, Break> {
        let Pruning { up_to, at, kept } = self.pruned;
        let broken = |what| Err(Break { seq: 1, what });
        if self.begins_after != up_to {
            return broken(
                "the events from here on are gone, and no event says that they were pruned",
            );
        }
        let Some(signed) = self.signed.get(&up_to).filter(|_| up_to > 0) else {
            return Ok(None);
        };
        let age = at / 1_000_000 - signed.at;
        if age + SKEW < kept {
            return broken(
                "the events from here on are gone, and some were not as old as the log says that they are kept",
            );
        }
        Ok(Some(Pruned { up_to, at, age }))
    }
}

fn is_filed_right(entry: &Entry) -> bool {
    let Some(filed) = &entry.filed else {
        return true;
    };
    let body: serde_json::Value = serde_json::from_str(&entry.body).unwrap_or_default();
    body["kind"] == *filed.kind && body["actor"] == *filed.actor
}

/// What an event says, if it is of this kind; most are not, and are not parsed.
fn of_kind(entry: &Entry, kind: &str) -> Option<serde_json::Value> {
    if !entry.body.contains(kind) {
        return None;
    }
    let body: serde_json::Value = serde_json::from_str(&entry.body).ok()?;
    (body["kind"] == kind).then_some(body)
}

/// What an event says of events that were pruned.
fn pruning(entry: &Entry) -> Option<Pruning> {
    let body = of_kind(entry, PRUNED)?;
    Some(Pruning {
        up_to: body["up_to"].as_i64()?,
        at: entry.at,
        kept: body["kept"].as_i64().unwrap_or_default(),
    })
}

fn told(entry: &Entry) -> Option<Told> {
    let body = of_kind(entry, POLICY_WRITTEN)?;
    Some(Told {
        seq: entry.seq,
        revision: body["revision"].as_i64()?,
        digest: body["digest"].as_str().map(str::to_owned),
    })
}

fn first(signed: &BTreeMap<i64, Said>, seq: i64) -> Result<Follower, Break> {
    if seq == 1 {
        return Ok(Follower::after(0, START));
    }
    let before = signed.get_key_value(&(seq - 1));
    let (before, said) = before.ok_or(Break {
        seq: 1,
        what: "the events from here on are gone, and no signed checkpoint says that they were pruned",
    })?;
    Ok(Follower::after(*before, said.link))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000;

    /// Events at these minutes, each of which says `said`.
    fn log(minutes: &[i64], said: &str) -> Vec<Entry> {
        let mut link = START;
        let numbered = (1..).zip(minutes);
        numbered
            .map(|(seq, minute)| {
                let (at, body) = (minute * MINUTE, format!("{{\"kind\":\"{said}\"}}"));
                link = link.next(seq, at, &body);
                Entry {
                    seq,
                    at,
                    body,
                    hash: link.to_string(),
                    filed: None,
                }
            })
            .collect()
    }

    fn verify(entries: &[Entry], older: Option<&Entry>) -> Result<Verified, Break> {
        let mut verifier = Verifier::new(std::iter::empty(), &Keys::none())?;
        if let Some(older) = older {
            verifier.extends(older.seq, Link::parse(&older.hash).unwrap());
        }
        entries.iter().try_for_each(|entry| verifier.event(entry))?;
        verifier.end(None)
    }

    fn first_bad(outcome: Result<Verified, Break>) -> i64 {
        outcome.unwrap_err().seq
    }

    #[test]
    fn k10_what_nobody_signed_for_an_hour_is_not_whole() {
        let short = verify(&log(&[0, 10, 59], "x"), None).unwrap();
        assert_eq!((short.last, short.signed_to), (3, 0));
        assert_eq!(first_bad(verify(&log(&[0, 10, 61], "x"), None)), 1);
    }

    #[test]
    fn k10_a_log_goes_on_from_an_older_export_or_is_not_whole() {
        let (whole, rewritten) = (log(&[0, 1, 2, 3], "x"), log(&[0, 1, 2, 3], "y"));
        assert!(verify(&whole, Some(&whole[1])).is_ok());
        assert!(verify(&whole, Some(&whole[3])).is_ok());
        assert!(
            verify(&rewritten, None).is_ok(),
            "nothing shows it but that"
        );
        assert_eq!(first_bad(verify(&rewritten, Some(&whole[1]))), 2);
        assert_eq!(first_bad(verify(&whole[..2], Some(&whole[3]))), 3);
    }

    /// A log that was pruned up to its third event, for which a checkpoint was signed at this minute.
    fn pruned(signed_at: i64, pruned_at: i64, kept: i64) -> Result<Verified, Break> {
        let said = |what: &str| format!("{{\"kind\":\"{PRUNED}\",\"up_to\":3,{what}}}");
        let mut entries = log(&[0, 1, 2, pruned_at], "x");
        let link = Link::parse(&entries[2].hash).unwrap();
        entries[3].body = said(&format!("\"kept\":{}", kept * 60));
        entries[3].hash = link
            .next(4, pruned_at * MINUTE, &entries[3].body)
            .to_string();
        let mut verifier = Verifier::new(std::iter::empty(), &Keys::none())?;
        let at = signed_at * 60;
        verifier.signed.insert(3, Said { link, at });
        let last = Link::parse(&entries[3].hash).unwrap();
        let at = 10 * 24 * 60 * 60;
        verifier.signed.insert(4, Said { link: last, at });
        verifier.event(&entries[3])?;
        verifier.end(None)
    }

    #[test]
    fn k10_what_was_pruned_is_told_and_was_old_enough() {
        let day = 24 * 60;
        let gone = pruned(2, 5 * day, 4 * day).unwrap().pruned.unwrap();
        assert_eq!((gone.up_to, gone.age), (3, 5 * 86400 - 120));
        assert!(gone.words().contains("4days 23h 58m"), "{}", gone.words());
        // Younger than it says that events are kept, or pruned later than was signed for.
        assert_eq!(first_bad(pruned(2, 3 * day, 4 * day)), 1);
        assert_eq!(first_bad(pruned(2, 12 * day, 4 * day)), 4);
        // Whoever prunes by hand and says that nothing is kept does not hide it.
        assert_eq!(pruned(2, 20, 0).unwrap().pruned.unwrap().age, 18 * 60);
    }

    #[test]
    fn k10_a_policy_that_was_changed_behind_the_logs_back_is_found() {
        let said = |revision: i64, more: &str| {
            format!("{POLICY_WRITTEN}\",\"revision\":{revision},{more}\"x\":\"")
        };
        let verified = |said: &str, revision: i64, digest: &str, seq: i64| {
            let mut verifier = Verifier::new(std::iter::empty(), &Keys::none())?;
            let digest = digest.to_owned();
            verifier.tells_of(InForce {
                revision,
                digest,
                seq,
            });
            let entries = log(&[0, 1], said);
            entries.iter().try_for_each(|entry| verifier.event(entry))?;
            verifier.end(None).map(|verified| verified.policy)
        };
        let written = said(4, "\"digest\":\"ab\",");
        assert_eq!(verified(&written, 4, "ab", 2), Ok(Some(4)));
        assert_eq!(verified(&written, 4, "ac", 2).unwrap_err().seq, 2);
        // One that the log does not tell of, and one that is gone.
        assert_eq!(verified(&written, 5, "ab", 2).unwrap_err().seq, 2);
        assert_eq!(verified(&written, 3, "ab", 1).unwrap_err().seq, 1);
        // What was written afterwards says nothing of it, nor does an event of an earlier release.
        assert_eq!(verified(&written, 3, "cd", 0), Ok(None));
        assert_eq!(verified(&said(4, ""), 4, "ab", 2), Ok(None));
        assert_eq!(verified(&said(4, ""), 5, "ab", 2).unwrap_err().seq, 2);
    }

    #[test]
    fn k10_an_event_under_another_kind_or_actor_is_found() {
        let mut entries = log(&[0], "x");
        for (kind, actor, is_whole) in [("x", "a", true), ("y", "a", false), ("x", "b", false)] {
            let link = START.next(1, 0, "{\"kind\":\"x\",\"actor\":\"a\"}");
            entries[0].body = "{\"kind\":\"x\",\"actor\":\"a\"}".to_owned();
            entries[0].hash = link.to_string();
            entries[0].filed = Some(crate::audit::chain::Filed {
                kind: kind.to_owned(),
                actor: actor.to_owned(),
            });
            assert_eq!(verify(&entries, None).is_ok(), is_whole, "{kind} {actor}");
        }
    }
}
