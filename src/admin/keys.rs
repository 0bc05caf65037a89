//! Signing keys: who may see them, have another one made, and take one out of use; and the one that is made when it is time.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::actor::{Actor, NotPermitted};
use crate::audit::event::Event;
use crate::clock::{SharedClock, Timestamp};
use crate::policy::roles::Permission;
use crate::store::{Store, StoreError};
use crate::token::assertion::Minter;
pub use crate::token::ring::{KeyFact, KeyState};
use crate::token::ring::{LEAD, new_key};

/// Why nothing was done about a key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Who asks may not.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key after this one is there already.
    #[error("key {0} is published and signs from {1} on; revoke it, or wait until then")]
    UnderWay(Arc<str>, String),
    /// Somebody else rotated meanwhile.
    #[error("another key was made meanwhile; look at the keys again")]
    Overtaken,
    /// There is no such key.
    #[error("there is no key {0}")]
    Unknown(String),
    /// It was revoked before.
    #[error("the key was revoked already")]
    Revoked,
}

/// What comes of a rotation.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The key that signs now.
    pub active: KeyFact,
    /// From then on the new one signs.
    pub signs_from: Timestamp,
    /// Until then the one that signs now is published.
    pub published_until: Timestamp,
}

/// What comes of taking a key out of use.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// The key.
    pub key: KeyFact,
    /// It is the one that signs, so another one has to at once.
    pub signs: bool,
}

/// The signing keys of all edges on a store.
#[derive(Clone)]
pub struct Keys {
    /// Where they are.
    pub store: Store,
    /// Who signs with them in this process.
    pub minter: Arc<Minter>,
    /// How long one signs.
    pub lifetime: Duration,
    /// How long one is published before.
    pub lead: Duration,
    /// The time.
    pub clock: SharedClock,
}

impl Keys {
    /// How long a key is published before it signs, when edges may go without the store for so long: one that has not heard of a key must not meet it.
    pub fn lead(max_staleness: Duration) -> Duration {
        LEAD.max(max_staleness.saturating_add(Duration::from_secs(600)))
    }

    /// All of them, newest first.
    pub async fn list(&self, actor: &Actor) -> Result<Vec<KeyFact>, KeysError> {
        actor.check(Permission::ReadSettings)?;
        self.minter.reload(&self.store).await?;
        Ok(self.minter.keys())
    }

    /// What making another key comes to, or why there is none to be made.
    pub async fn preview_rotation(&self, actor: &Actor) -> Result<Rotation, KeysError> {
        actor.check(Permission::RotateKeys)?;
        self.minter.reload(&self.store).await?;
        self.coming()
    }

    fn coming(&self) -> Result<Rotation, KeysError> {
        let keys = self.minter.keys();
        let of_state = |state| keys.iter().find(|key| key.state == state).cloned();
        if let Some(next) = of_state(KeyState::Next) {
            return Err(KeysError::UnderWay(next.kid, next.signs_from.rfc3339()));
        }
        let active = of_state(KeyState::Active).ok_or(KeysError::Overtaken)?;
        let signs_from = self.clock.now().plus(self.lead);
        Ok(Rotation {
            active,
            signs_from,
            published_until: signs_from.plus(crate::token::ring::KEPT),
        })
    }

    /// Makes another key, which is published now and signs later.
    pub async fn rotate(&self, actor: &Actor) -> Result<Rotation, KeysError> {
        let rotation = self.preview_rotation(actor).await?;
        self.add(&rotation, &actor.name()).await?;
        Ok(rotation)
    }

    async fn add(&self, rotation: &Rotation, by: &str) -> Result<(), KeysError> {
        let key = new_key(self.clock.now(), rotation.signs_from)?;
        let event = Event::signing_key_made(by, &key.kid, &key.signs_from.rfc3339());
        let newest = &rotation.active.kid;
        let is_added = self.store.add_signing_key(newest, &key, &event).await?;
        self.minter.reload(&self.store).await?;
        if !is_added {
            return Err(KeysError::Overtaken);
        }
        tracing::info!(by, key = key.kid, signs_from = %key.signs_from.rfc3339(), "a signing key was made");
        Ok(())
    }

    /// What taking a key out of use comes to.
    pub async fn preview_revocation(
        &self,
        actor: &Actor,
        kid: &str,
    ) -> Result<Revocation, KeysError> {
        actor.check(Permission::RotateKeys)?;
        self.minter.reload(&self.store).await?;
        let keys = self.minter.keys();
        let key = keys.into_iter().find(|key| *key.kid == *kid);
        let key = key.ok_or_else(|| KeysError::Unknown(kid.to_owned()))?;
        match key.state {
            KeyState::Revoked => Err(KeysError::Revoked),
            KeyState::Active => Ok(Revocation { key, signs: true }),
            KeyState::Next | KeyState::Retired | KeyState::Archived => {
                Ok(Revocation { key, signs: false })
            }
        }
    }

    /// Takes a key out of use, at every edge as soon as it hears of it; another one signs at once if that one did.
    pub async fn revoke(&self, actor: &Actor, kid: &str) -> Result<Revocation, KeysError> {
        let revocation = self.preview_revocation(actor, kid).await?;
        let by = actor.name();
        let now = self.clock.now();
        let successor = new_key(now, now)?;
        let events = [
            Event::signing_key_revoked(&by, kid),
            Event::signing_key_made(&by, &successor.kid, &now.rfc3339()),
        ];
        let is_revoked = self
            .store
            .revoke_signing_key(kid, &successor, events)
            .await?;
        self.minter.reload(&self.store).await?;
        if !is_revoked {
            return Err(KeysError::Revoked);
        }
        tracing::warn!(by, key = kid, "a signing key was revoked");
        Ok(revocation)
    }

    /// Reads the keys again, makes the next one when it is time, and deletes private halves that are not needed any more. Every edge does; the store
    /// lets one do it.
    pub async fn keep(&self) -> Result<(), KeysError> {
        self.minter.reload(&self.store).await?;
        let keys = self.minter.keys();
        for key in keys.iter().filter(|key| key.is_to_forget) {
            self.store.forget_private_half(&key.kid).await?;
        }
        let is_due = |rotation: &Rotation| {
            let signs_until = rotation.active.signs_from.plus(self.lifetime);
            rotation.signs_from >= signs_until
        };
        match self.coming() {
            Ok(rotation) if is_due(&rotation) => match self.add(&rotation, "wayleave").await {
                // Another edge did it.
                Err(KeysError::Overtaken) => Ok(()),
                outcome => outcome,
            },
            Ok(_) | Err(KeysError::UnderWay(..)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
