//! The audit log: searched, exported, and verified.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::admin::actor::Actor;
use crate::admin::failure::Failure;
use crate::audit::chain::{Break, Entry, Link};
use crate::audit::checkpoint::Keys;
use crate::audit::verify::{InForce, Verified, Verifier};
use crate::clock::Timestamp;
use crate::policy::roles::Permission;
use crate::store::Store;
use crate::store::audit::{CheckpointRecord, EventFilter, PAGE};

/// Events that one verification reads at most.
const VERIFIED_AT_MOST: u64 = 200_000;

/// What a verification came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything follows from the beginning, or from the last that was pruned.
    Whole(Verified),
    /// Somebody was at it.
    Broken(Break),
    /// There is more than is read at once; up to here everything was in order.
    TooLong(i64),
}

/// A verification, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// When.
    pub at: Timestamp,
    /// What it came to.
    pub outcome: Outcome,
}

/// The last verification, for all who ask.
#[derive(Debug, Default)]
pub struct LastVerification {
    last: Mutex<Option<Verification>>,
    turn: tokio::sync::Mutex<()>,
}

/// The last events before a number, newest first.
pub async fn search(
    store: &Store,
    actor: &Actor,
    filter: &EventFilter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Entry>, Failure> {
    actor.check(Permission::ReadAudit)?;
    let before = before.unwrap_or(i64::MAX);
    Ok(store.events_before(before, filter, limit).await?)
}

/// The first events after a number, oldest first.
pub async fn page_after(
    store: &Store,
    actor: &Actor,
    filter: &EventFilter,
    after: i64,
    limit: i64,
) -> Result<Vec<Entry>, Failure> {
    actor.check(Permission::ReadAudit)?;
    Ok(store.events_after(after, filter, limit).await?)
}

/// What a log is verified with, besides its events.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What was signed.
    pub checkpoints: Vec<CheckpointRecord>,
    /// The policy that it has to tell of.
    pub policy: Option<InForce>,
}

/// What a log is verified with. It comes before the events: what is written meanwhile is not looked for.
pub async fn evidence(store: &Store, actor: &Actor) -> Result<Evidence, Failure> {
    actor.check(Permission::ReadAudit)?;
    Ok(Evidence {
        checkpoints: store.checkpoints().await?,
        policy: store.policy_in_force().await?,
    })
}

/// The number of the newest event, and its hash.
pub async fn head(store: &Store, actor: &Actor) -> Result<(i64, Link), Failure> {
    actor.check(Permission::ReadAudit)?;
    Ok(store.audit_head().await?)
}

impl LastVerification {
    /// What came of the last one.
    pub fn last(&self, actor: &Actor) -> Result<Option<Verification>, Failure> {
        actor.check(Permission::ReadAudit)?;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(last.clone())
    }

    /// Verifies the log with the keys that the edge publishes. One at a time: whoever waits gets the result of the other.
    pub async fn verify(
        &self,
        store: &Store,
        actor: &Actor,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Verification, Failure> {
        actor.check(Permission::ReadAudit)?;
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => {
                let before = self.last(actor)?.map(|last| last.at);
                let turn = self.turn.lock().await;
                // None came of it where it failed.
                let new = self.last(actor)?.filter(|last| Some(last.at) != before);
                if let Some(new) = new {
                    return Ok(new);
                }
                turn
            }
        };
        let evidence = evidence(store, actor).await?;
        let verification = Verification {
            at: now,
            outcome: outcome(store, keys, evidence).await?,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(verification.clone());
        Ok(verification)
    }
}

async fn outcome(store: &Store, keys: &Keys, evidence: Evidence) -> Result<Outcome, Failure> {
    let signed = evidence.checkpoints.iter();
    let signed = signed.map(|one| (one.seq, one.token.as_str()));
    let mut verifier = match Verifier::new(signed, keys) {
        Ok(verifier) => verifier,
        Err(broken) => return Ok(Outcome::Broken(broken)),
    };
    if let Some(policy) = evidence.policy {
        verifier.tells_of(policy);
    }
    let (head, link) = store.audit_head().await?;
    let (mut after, mut read) = (0, 0);
    loop {
        let page = store
            .events_after(after, &EventFilter::default(), PAGE)
            .await?;
        let page: Vec<Entry> = page.into_iter().filter(|entry| entry.seq <= head).collect();
        let Some(last) = page.last() else { break };
        after = last.seq;
        read += page.len() as u64;
        if let Err(broken) = page.iter().try_for_each(|entry| verifier.event(entry)) {
            return Ok(Outcome::Broken(broken));
        }
        if read >= VERIFIED_AT_MOST {
            return Ok(Outcome::TooLong(after));
        }
    }
    let head = (head > 0)
        .then(|| link.to_string())
        .map(|hash| (head, hash));
    let ended = verifier.end(head.as_ref().map(|(seq, hash)| (*seq, hash.as_str())));
    Ok(match ended {
        Ok(verified) => Outcome::Whole(verified),
        Err(broken) => Outcome::Broken(broken),
    })
}
