//! What is granted to whom, in memory: read from the store at start and whenever it changes, replaced as a whole, and read by workers without a lock.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::access::GrantRecord;
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::policy::decide::Grant;
use crate::store::{Store, StoreError};

/// By subject, within an issuer.
type BySubject = foldhash::HashMap<Arc<str>, Vec<Grant>>;

/// Grants by person. Those that are over since it was read are still in it: whoever decides looks at the time.
#[derive(Debug, Default)]
pub struct Grants(foldhash::HashMap<Arc<str>, BySubject>);

impl Grants {
    /// Puts grants in order by person.
    pub fn of_records(records: Vec<GrantRecord>) -> Self {
        let mut grants = Self::default();
        for record in records {
            grants.add(&record.principal, record.rule, record.until);
        }
        grants
    }

    fn add(&mut self, principal: &Principal, rule: Arc<str>, until: Timestamp) {
        let of_issuer = self.0.entry(Arc::clone(&principal.issuer)).or_default();
        let theirs = of_issuer.entry(Arc::clone(&principal.subject)).or_default();
        theirs.push(Grant {
            rule,
            until: until.to_jiff(),
        });
    }

    /// What was granted to somebody: to the same subject of the same issuer.
    pub fn of(&self, principal: &Principal) -> &[Grant] {
        let theirs = self.0.get(&principal.issuer);
        let theirs = theirs.and_then(|by_subject| by_subject.get(&principal.subject));
        theirs.map(Vec::as_slice).unwrap_or_default()
    }
}

/// The grants of now, atomically replaced.
#[derive(Debug, Default)]
pub struct LiveGrants {
    current: ArcSwap<Grants>,
    /// Held while they are read and replaced, so that no older reading replaces a newer one.
    reading: tokio::sync::Mutex<()>,
}

impl LiveGrants {
    /// Starts with what the store has.
    pub async fn load(store: &Store) -> Result<Arc<Self>, StoreError> {
        let this = Self::default();
        this.reload(store).await?;
        Ok(Arc::new(this))
    }

    /// Reads all of them again. What was in the store when this was called is at hand once it is done.
    pub async fn reload(&self, store: &Store) -> Result<(), StoreError> {
        let _turn = self.reading.lock().await;
        let records = store.live_grants().await?;
        self.current.store(Arc::new(Grants::of_records(records)));
        Ok(())
    }

    /// The grants at hand.
    pub fn current(&self) -> arc_swap::Guard<Arc<Grants>> {
        self.current.load()
    }
}
