//! What would come of a document, before it is written: everything that somebody should see first, in one step.

use std::time::Duration;

use crate::admin::actor::Actor;
use crate::admin::objects::WINDOW;
use crate::admin::replay::{Replayed, Window};
use crate::admin::revisions::{Plan, Revisions, RevisionsError};
use crate::clock::Timestamp;
use crate::policy::roles::Permission;
use crate::policy::yaml::PolicyFault;

/// Longer nobody waits for a replay.
const REPLAY_DEADLINE: Duration = Duration::from_secs(4);

/// What would come of a document that has no faults.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// What it would change, and what is odd about it.
    pub plan: Plan,
    /// How many tests of its own it passes: all there are.
    pub tests: usize,
    /// Who would lose or gain what, by what people did lately.
    pub replayed: Foresight,
}

/// What is told of what people did.
#[derive(Clone, Debug)]
pub enum Foresight {
    /// This would have changed for them.
    Told(Replayed),
    /// The document changes nothing.
    Unchanged,
    /// It took too long.
    TooLate,
    /// It is not for whoever asks.
    Withheld,
}

impl Revisions {
    /// Tells what would come of a document, or all that is wrong with it, failing tests included; of what people did only to those who may know it.
    pub async fn foresee(
        &self,
        actor: &Actor,
        text: &str,
        now: Timestamp,
    ) -> Result<Result<Foreseen, Vec<PolicyFault>>, RevisionsError> {
        let (policy, document) = match self.rules.read(text) {
            Ok(read) => read,
            Err(faults) => return Ok(Err(faults)),
        };
        let plan = self.plan_of(&policy, &document, now).await?;
        let tests = policy.tests.len();
        let window = Window {
            since: now.minus(WINDOW),
            until: now,
        };
        let replayed = if plan.changes.is_empty() {
            Foresight::Unchanged
        } else if !actor.may(Permission::ReadAudit) {
            Foresight::Withheld
        } else {
            let replay = self.replay_policy(policy, window);
            match tokio::time::timeout(REPLAY_DEADLINE, replay).await {
                Ok(replayed) => Foresight::Told(replayed?),
                Err(_) => Foresight::TooLate,
            }
        };
        Ok(Ok(Foreseen {
            plan,
            tests,
            replayed,
        }))
    }
}
