//! Verifying a whole log: every event follows the one before it, and every signed checkpoint agrees.

use std::collections::BTreeMap;

use crate::audit::chain::{Break, Entry, Follower, Link, START};
use crate::audit::checkpoint::{self, Keys, Signed};

/// Reads a log's events in order.
pub struct Verifier {
    signed: BTreeMap<i64, Link>,
    follower: Option<Follower>,
    events: u64,
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
            follower: None,
            events: 0,
        })
    }

    /// The next event.
    pub fn event(&mut self, entry: &Entry) -> Result<(), Break> {
        let follower = match &mut self.follower {
            Some(follower) => follower,
            empty @ None => empty.insert(first(&self.signed, entry.seq)?),
        };
        follower.follow(entry)?;
        self.events += 1;
        let (seq, link) = follower.at();
        match self.signed.get(&seq) {
            Some(signed) if *signed != link => Err(Break {
                seq,
                what: "a signed checkpoint says that another event was written here",
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// There are no more events; `head` is what the store says of the newest one, if it was asked.
    pub fn end(self, head: Option<(i64, &str)>) -> Result<Verified, Break> {
        let (last, link) = self.follower.map_or((0, START), |follower| follower.at());
        let signed_last = self.signed.keys().next_back().copied().unwrap_or(0);
        let stated_last = head.map_or(0, |(seq, _)| seq);
        // A log of which everything was pruned has the checkpoint, and nothing after it.
        let is_all_pruned = self.events == 0 && signed_last == stated_last;
        if !is_all_pruned && signed_last.max(stated_last) > last {
            let what = "the event is missing";
            return Err(Break {
                seq: last + 1,
                what,
            });
        }
        if head.is_some_and(|(seq, hash)| seq == last && hash != link.to_string()) {
            return Err(Break {
                seq: last,
                what: "the newest event is not the one that the store has noted",
            });
        }
        Ok(Verified {
            events: self.events,
            checkpoints: self.signed.len(),
            last: last.max(signed_last),
        })
    }
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
