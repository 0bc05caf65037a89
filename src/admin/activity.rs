//! How much there was of what lately, on all edges together, and which edges there are.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::admin::actor::Actor;
use crate::admin::failure::Failure;
use crate::clock::Timestamp;
use crate::policy::roles::Permission;
use crate::store::Store;
use crate::store::activity::{Counted, SLOT};
use crate::store::edges::EdgeRecord;

/// How many slots a picture has.
const SLOTS: i64 = 12;
/// An edge that said nothing for this long is not counted as running.
const SILENT_AFTER: Duration = Duration::from_secs(60);
/// How many routes are told of.
const ROUTES: usize = 8;

/// Which time is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// In slots of five minutes.
    Hour,
    /// In slots of two hours.
    Day,
}

impl Span {
    const fn slot(self) -> i64 {
        match self {
            Self::Hour => SLOT,
            Self::Day => 24 * SLOT,
        }
    }
}

/// What there was in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Requests that were let through.
    pub allowed: i64,
    /// Requests that were refused.
    pub denied: i64,
    /// People who signed in.
    pub sign_ins: i64,
}

impl Slot {
    fn add(&mut self, counted: Counted, count: i64) {
        match counted {
            Counted::Allowed => self.allowed += count,
            Counted::Denied => self.denied += count,
            Counted::SignIn => self.sign_ins += count,
        }
    }
}

/// What there was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// When the first slot began.
    pub since: Timestamp,
    /// Oldest first; the last is under way.
    pub slots: Vec<Slot>,
    /// All together.
    pub total: Slot,
    /// By route, the busiest first.
    pub routes: Vec<(String, Slot)>,
}

/// Counts requests and sign-ins. Recorded decisions arrive some seconds after the request.
pub async fn activity(
    store: &Store,
    actor: &Actor,
    span: Span,
    now: Timestamp,
) -> Result<Activity, Failure> {
    actor.check(Permission::ReadAudit)?;
    let length = span.slot();
    let first = now.micros().div_euclid(length) - (SLOTS - 1);
    let since = Timestamp::from_micros(first.saturating_mul(length));
    let mut slots = vec![Slot::default(); usize::try_from(SLOTS).unwrap_or_default()];
    let mut total = Slot::default();
    let mut routes: BTreeMap<String, Slot> = BTreeMap::new();
    for count in store.activity(since).await? {
        let index = count.at.micros().div_euclid(length) - first;
        let slot = usize::try_from(index).ok().and_then(|at| slots.get_mut(at));
        let Some(slot) = slot else { continue };
        slot.add(count.counted, count.count);
        total.add(count.counted, count.count);
        if count.counted != Counted::SignIn {
            let route = routes.entry(count.route).or_default();
            route.add(count.counted, count.count);
        }
    }
    let mut routes: Vec<(String, Slot)> = routes.into_iter().collect();
    routes.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.allowed + slot.denied));
    routes.truncate(ROUTES);
    Ok(Activity {
        since,
        slots,
        total,
        routes,
    })
}

/// The edges that said something of themselves lately.
pub async fn edges(
    store: &Store,
    actor: &Actor,
    now: Timestamp,
) -> Result<Vec<EdgeRecord>, Failure> {
    actor.check(Permission::ReadSettings)?;
    let mut edges = store.edges().await?;
    edges.retain(|edge| now.since(edge.seen_at) < SILENT_AFTER);
    Ok(edges)
}
