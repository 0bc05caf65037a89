//! How much there was of what: counted where decisions and sign-ins are written, in slots of a few minutes, all edges together.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::store::dialect::{Transaction, args};
use crate::store::{Store, StoreError, within};

/// Length of a slot, in microseconds.
pub const SLOT: i64 = 5 * 60 * 1_000_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Requests that were let through.
    Allowed,
    /// Requests that were refused.
    Denied,
    /// People who signed in.
    SignIn,
}

impl Counted {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::SignIn => "sign_in",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Allowed, Self::Denied, Self::SignIn]
            .into_iter()
            .find(|counted| counted.as_str() == text)
    }
}

/// One count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// When the slot began.
    pub at: Timestamp,
    /// Of what.
    pub counted: Counted,
    /// On which route; empty for sign-ins.
    pub route: String,
    /// How much.
    pub count: i64,
}

/// Counts on their way into the store, in the order in which everybody writes them.
#[derive(Default)]
pub(in crate::store) struct Counts(BTreeMap<(i64, &'static str, String), i64>);

impl Counts {
    pub(in crate::store) fn add(&mut self, at: i64, counted: Counted, route: &str, count: i64) {
        let key = (at.div_euclid(SLOT), counted.as_str(), route.to_owned());
        let sum = self.0.entry(key).or_default();
        *sum = sum.saturating_add(count);
    }
}

impl Transaction {
    /// Comes after every other write but those of events and the change feed: others wait for these rows until the commit.
    pub(in crate::store) async fn count(&mut self, counts: &Counts) -> Result<(), StoreError> {
        for ((slot, outcome, route), count) in &counts.0 {
            self.execute(
                "INSERT INTO activity (slot, outcome, route, count) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (slot, outcome, route) DO UPDATE SET count = activity.count + excluded.count",
                args![*slot, *outcome, route.as_str(), *count],
            )
            .await?;
        }
        Ok(())
    }
}

impl Store {
    /// All counts of slots that began at a moment or later, oldest first.
    pub async fn activity(&self, since: Timestamp) -> Result<Vec<Count>, StoreError> {
        let rows: Vec<(i64, String, String, i64)> = within(self.database.fetch(
            "SELECT slot, outcome, route, count FROM activity WHERE slot >= $1 ORDER BY slot, outcome, route",
            args![since.micros().div_euclid(SLOT)],
        ))
        .await?;
        let read = |(slot, outcome, route, count): (i64, String, String, i64)| {
            let counted = Counted::parse(&outcome).ok_or_else(|| StoreError::Inconsistent {
                table: "activity",
                id: format!("{slot}/{outcome}/{route}"),
                what: "outcome".to_owned(),
            })?;
            Ok(Count {
                at: Timestamp::from_micros(slot.saturating_mul(SLOT)),
                counted,
                route,
                count,
            })
        };
        rows.into_iter().map(read).collect()
    }
}
