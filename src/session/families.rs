//! Families of tokens: what a program was given on behalf of a session, and what access tokens lead to.
//!
//! A family is good as long as its session is, or for less. As with sessions, an end is final: nothing that was read before it brings a family back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::session::{Lookup, Session, SessionError, SessionId, Sessions, label, locked};

/// Ends remembered at most.
const ENDED: usize = 200_000;

/// Identifies a family in the store, the feed and its access tokens (`sid`); not a secret, and not usable as a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FamilyId(pub Arc<str>);

impl FamilyId {
    /// A new one.
    pub fn generate() -> Self {
        Self(hex::encode(crate::secret::random::<16>()).into())
    }

    /// What logs may say of it.
    pub fn label(&self) -> String {
        label(&self.0)
    }
}

/// Why a family ended before its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyEnd {
    /// Its program gave it back, as at `wayleave logout`.
    Revoked,
    /// The person ended it from their own page.
    SignedOut,
    /// A refresh token came a second time: somebody has a copy.
    RefreshReused,
    /// The authorization code that began it came a second time.
    CodeReused,
}

/// A family that is known in this process.
pub struct Family {
    /// The store's.
    pub id: FamilyId,
    session: Arc<Session>,
    ended: AtomicBool,
}

impl Family {
    /// Whether it ended by itself; its session has to be asked beside it.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// A live family and its live session.
#[derive(Clone)]
pub struct Granted {
    /// The family.
    pub family: Arc<Family>,
    /// What it is derived from.
    pub session: Arc<Session>,
}

/// Every family that anybody in this process holds.
pub struct Families {
    known: Mutex<HashMap<FamilyId, Weak<Family>>>,
    ended: Cache<FamilyId, ()>,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            ended: Cache::new(ENDED),
        }
    }
}

impl Families {
    /// Acts on the change feed, and on an end of this process's own.
    pub fn ended(&self, id: &FamilyId) {
        let mut known = locked(&self.known);
        self.ended.insert(id.clone(), ());
        if let Some(family) = known.remove(id).and_then(|family| family.upgrade()) {
            family.ended.store(true, Ordering::Release);
        }
    }

    /// Forgets what nobody holds any more.
    pub(in crate::session) fn tidy(&self) {
        locked(&self.known).retain(|_, family| family.strong_count() > 0);
    }

    fn known(&self, id: &FamilyId) -> Option<Arc<Family>> {
        locked(&self.known).get(id).and_then(Weak::upgrade)
    }

    /// The one copy of a family in this process; ended already if an end came in while it was read.
    fn publish(&self, id: &FamilyId, session: Arc<Session>) -> Arc<Family> {
        let mut known = locked(&self.known);
        let family = Arc::new(Family {
            id: id.clone(),
            session,
            ended: AtomicBool::new(self.ended.contains_key(id)),
        });
        if !family.has_ended() {
            known.insert(id.clone(), Arc::downgrade(&family));
        }
        family
    }
}

impl Sessions {
    /// What an access token leads to, from memory only; `NotCached` also when the session is due for a refresh that has to be waited for.
    pub fn cached_family(&self, id: &FamilyId) -> Lookup<Granted> {
        let Some(family) = self.families.known(id) else {
            return Lookup::NotCached;
        };
        match self.used(self.judged(family.session.newest())) {
            Lookup::Live(session) => Lookup::Live(Granted { family, session }),
            Lookup::None => Lookup::None,
            Lookup::NotCached => Lookup::NotCached,
        }
    }

    /// The same, from the store if need be; refreshes the session (single-flight) if it is due.
    pub async fn load_family(&self, id: &FamilyId) -> Result<Option<Granted>, SessionError> {
        let family = match self.cached_family(id) {
            Lookup::Live(granted) => return Ok(Some(granted)),
            Lookup::None => return Ok(None),
            Lookup::NotCached => {
                let now = self.clock.now();
                let known = self.families.known(id);
                match known.filter(|family| family.session.newest().is_live(now)) {
                    Some(family) => family,
                    None => match self.read_family(id).await? {
                        Some(family) => family,
                        None => return Ok(None),
                    },
                }
            }
        };
        let session = Arc::clone(family.session.newest());
        let session = self.up_to_date(session).await?;
        Ok(session
            .filter(|_| !family.has_ended())
            .map(|session| Granted { family, session }))
    }

    async fn read_family(&self, id: &FamilyId) -> Result<Option<Arc<Family>>, SessionError> {
        let Some(record) = self.store.session_of_family(id).await? else {
            return Ok(None);
        };
        let session = self.admitted(record).await?;
        Ok(session.map(|session| self.families.publish(id, session)))
    }

    /// A live session by its id.
    pub async fn load_by_id(&self, id: &SessionId) -> Result<Option<Arc<Session>>, SessionError> {
        let Some(record) = self.store.session(id).await? else {
            return Ok(None);
        };
        match self.admitted(record).await? {
            Some(session) => self.up_to_date(session).await,
            None => Ok(None),
        }
    }

    /// Ends a family everywhere; false if it had ended before.
    pub async fn end_family(&self, id: &FamilyId, reason: FamilyEnd) -> Result<bool, SessionError> {
        self.families.ended(id);
        Ok(self.store.end_family(id, reason).await?)
    }
}
