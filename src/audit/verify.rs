//! Verifying a whole log: every event follows the one before it, and every signed checkpoint agrees.

use std::collections::BTreeMap;

use crate::audit::chain::{Break, Entry, Follower, Link, START};
use crate::audit::checkpoint::{self, Keys, Signed};
use crate::audit::event::PRUNED;

/// An edge signs ten minutes after an event; longer no log goes on without a checkpoint.
const UNSIGNED_AT_MOST: i64 = 60 * 60 * 1_000_000;

/// Reads a log's events in order.
pub struct Verifier {
    signed: BTreeMap<i64, Link>,
    /// The end of an older export, and its hash.
    older: Option<(i64, Link)>,
    follower: Option<Follower>,
    events: u64,
    /// The number before the first event that is there.
    begins_after: i64,
    /// Up to where the log itself says that it was pruned last.
    pruned_to: i64,
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
                link, by_revoked, ..
            } = verified.ok_or(Break { seq, what })?;
            if by_revoked {
                doubtful.push((seq, link));
            } else {
                signed.insert(seq, link);
            }
        }
        let good_until = signed.keys().next_back().copied().unwrap_or(0);
        signed.extend(doubtful.into_iter().filter(|(seq, _)| *seq < good_until));
        Ok(Self {
            signed,
            older: None,
            follower: None,
            events: 0,
            begins_after: 0,
            pruned_to: 0,
            unsigned: None,
        })
    }

    /// The log has to go on from an older export of it, which ends so.
    pub fn extends(&mut self, seq: i64, link: Link) {
        self.older = Some((seq, link));
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
        self.events += 1;
        let (seq, link) = follower.at();
        if let Some(up_to) = pruned_to(entry) {
            self.pruned_to = up_to;
        }
        if self
            .older
            .is_some_and(|(end, known)| end == seq && known != link)
        {
            let what = "the older export has another event here";
            return Err(Break { seq, what });
        }
        match self.signed.get(&seq) {
            Some(signed) if *signed != link => Err(Break {
                seq,
                what: "a signed checkpoint says that another event was written here",
            }),
            Some(_) => {
                self.unsigned = None;
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
        if self.begins_after != self.pruned_to {
            return broken(
                1,
                "the events from here on are gone, and no event says that they were pruned",
            );
        }
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
        Ok(Verified {
            events: self.events,
            checkpoints: self.signed.len(),
            last,
            signed_to: signed_last,
        })
    }
}

/// What an event says of events that were pruned.
fn pruned_to(entry: &Entry) -> Option<i64> {
    if !entry.body.contains(PRUNED) {
        return None;
    }
    let body: serde_json::Value = serde_json::from_str(&entry.body).ok()?;
    (body["kind"] == PRUNED).then(|| body["up_to"].as_i64())?
}

fn first(signed: &BTreeMap<i64, Link>, seq: i64) -> Result<Follower, Break> {
    if seq == 1 {
        return Ok(Follower::after(0, START));
    }
    let before = signed.get_key_value(&(seq - 1));
    let (before, link) = before.ok_or(Break {
        seq: 1,
        what: "the events from here on are gone, and no signed checkpoint says that they were pruned",
    })?;
    Ok(Follower::after(*before, *link))
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
}
