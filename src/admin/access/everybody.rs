//! Requests and grants of everybody, for those who look after the edge; and what waits for somebody. Seeing is a permission; who decides the rules
//! say, for administrators as for anybody else.

use crate::access::{AccessId, Closed, GrantRecord, Request};
use crate::admin::access::May;
use crate::admin::access::{Access, AccessError, Actor};
use crate::admin::actor;
use crate::admin::failure::Failure;
use crate::identity::principal::Principal;
use crate::policy::roles::Permission;

/// How many requests are told of that are not open any more.
const CLOSED: i64 = 50;

/// A request or grant, and whether whoever looks decides about it.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// It.
    pub what: T,
    /// Why whoever looks does not decide about it, if they do not.
    pub hindrance: Option<String>,
}

/// What there is of everybody.
#[derive(Clone, Debug, Default)]
pub struct Everybodys {
    /// Open requests, those that wait longest first.
    pub open: Vec<Seen<Request>>,
    /// Grants that nobody was asked for and nobody has looked at since.
    pub to_review: Vec<Seen<GrantRecord>>,
    /// Grants that hold, those that end first first.
    pub live: Vec<Seen<GrantRecord>>,
    /// Requests that are not open any more, the newest first.
    pub closed: Vec<Closed>,
}

/// How much waits for somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Requests that they could decide.
    pub open: usize,
    /// What was taken without asking, and they could review.
    pub to_review: usize,
}

impl Waiting {
    /// Both together.
    pub const fn all(self) -> usize {
        self.open + self.to_review
    }
}

impl Access {
    /// Everything that waits or holds, and what was decided lately.
    pub async fn everybodys(&self, actor: &actor::Actor) -> Result<Everybodys, Failure> {
        actor.check(Permission::ReadRequests)?;
        let seen = |grants: Vec<GrantRecord>| -> Vec<Seen<GrantRecord>> {
            let all = grants.into_iter().map(|grant| Seen {
                hindrance: self.hindrance(
                    actor,
                    Self::may_look_after,
                    &grant.principal,
                    &grant.rule,
                ),
                what: grant,
            });
            all.collect()
        };
        let open = self.store.open_access_requests().await?;
        let open = open.into_iter().map(|request| {
            let asked = request.asked();
            Seen {
                hindrance: self.hindrance(actor, Self::may_decide, &asked.principal, &asked.rule),
                what: request,
            }
        });
        Ok(Everybodys {
            open: open.collect(),
            to_review: seen(self.store.grants_to_review().await?),
            live: seen(self.store.live_grants().await?),
            closed: self.store.closed_access_requests(CLOSED).await?,
        })
    }

    /// A grant that somebody is about to take away, if they may and it still holds.
    pub async fn revocable(
        &self,
        actor: Actor<'_>,
        id: &AccessId,
    ) -> Result<GrantRecord, AccessError> {
        let grant = self.others_grant(actor.principal, id).await?;
        if grant.is_live(self.now()) {
            Ok(grant)
        } else {
            Err(AccessError::Over)
        }
    }

    /// How much waits for somebody's decision.
    pub async fn waiting(&self, principal: &Principal) -> Result<Waiting, AccessError> {
        if !self.looks_after_anything(principal) {
            return Ok(Waiting::default());
        }
        Ok(Waiting {
            open: self.open_for(principal).await?.len(),
            to_review: self.to_review_for(principal).await?.len(),
        })
    }

    fn hindrance(
        &self,
        actor: &actor::Actor,
        may: May,
        whose: &Principal,
        rule: &str,
    ) -> Option<String> {
        match actor.principal() {
            Some(principal) => {
                let judged = may(self, principal, whose, rule);
                judged.err().map(|error| error.to_string())
            }
            None => Some(AccessError::NotApprover.to_string()),
        }
    }
}
