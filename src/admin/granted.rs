//! What was granted to whom at a moment, for questions about the past.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::GrantRecord;
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::policy::decide::Grant;
use crate::store::{Store, StoreError};

/// Issuer and subject.
type Person = (Arc<str>, Arc<str>);

/// Grants of a time, by person.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<Person, Vec<GrantRecord>>);

impl History {
    /// What was granted between these moments.
    pub(super) async fn between(
        store: &Store,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut history = Self::default();
        for record in store.grants_between(since, until).await? {
            let person = person(&record.principal);
            history.0.entry(person).or_default().push(record);
        }
        Ok(history)
    }

    /// What was granted at this moment.
    pub(super) async fn of(store: &Store, at: Timestamp) -> Result<Self, StoreError> {
        Self::between(store, at, at.plus(Duration::from_micros(1))).await
    }

    /// What somebody could use at a moment of that time. Most have nothing, and cost nothing.
    pub(super) fn at(&self, principal: Option<&Principal>, at: Timestamp) -> Vec<Grant> {
        let Some(principal) = principal.filter(|_| !self.0.is_empty()) else {
            return Vec::new();
        };
        let theirs = self.0.get(&person(principal)).into_iter().flatten();
        let held = theirs.filter(|grant| {
            grant.at <= at && at < grant.until && grant.ended_at.is_none_or(|ended| at < ended)
        });
        let held = held.map(|grant| Grant {
            rule: Arc::clone(&grant.rule),
            until: grant.until.to_jiff(),
        });
        held.collect()
    }
}

fn person(principal: &Principal) -> Person {
    (
        Arc::clone(&principal.issuer),
        Arc::clone(&principal.subject),
    )
}
