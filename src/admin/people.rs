//! Who was ever seen, what they did last, and what they may open now.

use std::collections::BTreeMap;

use crate::admin::actor::Actor;
use crate::admin::failure::Failure;
use crate::audit::decision::Decided;
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::policy::compile::CompiledPolicy;
use crate::policy::roles::Permission;
use crate::store::people::{PersonId, PersonRecord};
use crate::store::{After, Store};

/// How many recorded decisions tell of somebody's last uses.
const LOOKED_AT: i64 = 300;

/// What somebody did last on a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// The route's name.
    pub route: String,
    /// When.
    pub at: Timestamp,
    /// Requests that were let through, among those looked at.
    pub allowed: i64,
    /// And refused.
    pub denied: i64,
}

/// What somebody may open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// The route's name.
    pub route: String,
    /// Its host and prefix.
    pub address: String,
    /// The rule that lets them in.
    pub rule: String,
    /// They have to sign in again first.
    pub steps_up: bool,
}

/// What is known of somebody.
#[derive(Clone, Debug)]
pub struct Person {
    /// As they were last.
    pub record: PersonRecord,
    /// Recorded decisions, newest first.
    pub decisions: Vec<Decided>,
    /// By route, the latest first.
    pub uses: Vec<LastUse>,
}

/// People, those seen last first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    contains: Option<&str>,
    after: Option<&After>,
    limit: i64,
) -> Result<Vec<PersonRecord>, Failure> {
    actor.check(Permission::ReadSessions)?;
    Ok(store.people(contains, after, limit).await?)
}

/// Somebody; their decisions only for whoever may see such.
pub async fn person(
    store: &Store,
    actor: &Actor,
    id: &PersonId,
) -> Result<Option<Person>, Failure> {
    actor.check(Permission::ReadSessions)?;
    let Some(record) = store.person(id).await? else {
        return Ok(None);
    };
    let decisions = match actor.may(Permission::ReadAudit) {
        true => store.decisions_about(id, LOOKED_AT).await?,
        false => Vec::new(),
    };
    Ok(Some(Person {
        uses: uses(&decisions),
        record,
        decisions,
    }))
}

fn uses(decisions: &[Decided]) -> Vec<LastUse> {
    let mut uses: BTreeMap<&str, LastUse> = BTreeMap::new();
    for decided in decisions {
        let route = &*decided.decision.route;
        let at = Timestamp::from_micros(decided.last_at);
        let last = uses.entry(route).or_insert_with(|| LastUse {
            route: route.to_owned(),
            at,
            allowed: 0,
            denied: 0,
        });
        last.at = last.at.max(at);
        match decided.decision.is_allowed {
            true => last.allowed += decided.count,
            false => last.denied += decided.count,
        }
    }
    let mut uses: Vec<LastUse> = uses.into_values().collect();
    uses.sort_by_key(|last| std::cmp::Reverse(last.at));
    uses
}

/// The routes whose beginning somebody may open now, by the policy's own decision; where they would come from is not known, and grants are not counted.
pub fn reachable(policy: &CompiledPolicy, principal: &Principal, now: Timestamp) -> Vec<Reachable> {
    let reach = policy.reach(principal, now.to_jiff(), None, &[]);
    let open = reach.iter().filter_map(|reach| {
        let (rule, steps_up) = reach.opened_by()?;
        let route = &reach.route.route;
        Some(Reachable {
            route: route.name.to_string(),
            address: format!("{}{}", route.host, route.prefix),
            rule: rule.to_owned(),
            steps_up,
        })
    });
    open.collect()
}
