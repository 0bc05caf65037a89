//! A live session in memory, shared by all workers: checking it costs a few atomic loads.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::config::checked::SessionConfig;
use crate::identity::principal::Principal;
use crate::session::{SessionId, SessionRecord};

const LIVE: u8 = 0;
const RETIRED: u8 = 1;
const ENDED: u8 = 2;

/// Whether a session's provider has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its tokens are good for a while.
    No,
    /// In the background; the session goes on meanwhile.
    Soon,
    /// Before the session is used again.
    Now,
}

/// What a cookie leads to: the host it is good for, and its session.
pub struct CookieBinding {
    /// The only host it is good for.
    pub host: Arc<str>,
    /// Where it leads.
    pub session: Arc<Session>,
}

/// A live session in memory; shared by all workers.
pub struct Session {
    /// The store's.
    pub id: SessionId,
    /// Who it is, as the provider said last.
    pub principal: Arc<Principal>,
    /// Its absolute end.
    pub expires_at: Timestamp,
    /// Cancelled the moment the session ends, whatever ends it; also when its principal changes or can no longer be vouched
    /// for, so that what was allowed to the former principal is decided anew.
    pub end: CancellationToken,
    config: SessionConfig,
    state: AtomicU8,
    last_seen: AtomicI64,
    written_seen: AtomicI64,
    refresh_at: AtomicI64,
    /// Not asked again before, since the provider did not answer.
    retry_at: AtomicI64,
    pub(in crate::session) queued: AtomicBool,
    /// The same session with its new principal.
    successor: OnceLock<Arc<Session>>,
}

impl Session {
    pub(in crate::session) fn new(record: SessionRecord, config: SessionConfig) -> Arc<Self> {
        Arc::new(Self {
            id: record.id.clone(),
            principal: Arc::new(record.principal.clone()),
            expires_at: record.expires_at,
            end: CancellationToken::new(),
            config,
            state: AtomicU8::new(LIVE),
            last_seen: AtomicI64::new(record.last_seen.micros()),
            written_seen: AtomicI64::new(record.last_seen.micros()),
            refresh_at: AtomicI64::new(record.refresh_at.micros()),
            retry_at: AtomicI64::new(i64::MIN),
            queued: AtomicBool::new(false),
            successor: OnceLock::new(),
        })
    }

    /// Whether it has not ended, is before its absolute end and was used within the idle time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state.load(Ordering::Acquire) == LIVE
            && now < self.expires_at
            && now.since(self.last_seen()) < self.config.idle
    }

    /// Records a use; never moves backwards, and never extends the absolute end.
    pub fn touch(&self, now: Timestamp) {
        self.last_seen.fetch_max(now.micros(), Ordering::Relaxed);
    }

    /// Whether the provider has to be asked. One that does not answer is left alone for a while within the grace time.
    pub fn refresh_due(&self, now: Timestamp) -> Due {
        let refresh_at = self.refresh_at();
        if now >= refresh_at.plus(self.config.refresh_grace) {
            return Due::Now;
        }
        if self.backs_off(now) || now < refresh_at.minus(self.config.refresh_every / 5) {
            return Due::No;
        }
        if now < refresh_at {
            Due::Soon
        } else {
            Due::Now
        }
    }

    pub(in crate::session) fn has_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) == ENDED
    }

    pub(in crate::session) fn backs_off(&self, now: Timestamp) -> bool {
        now.micros() < self.retry_at.load(Ordering::Relaxed)
    }

    pub(in crate::session) fn retry_after(&self, at: Timestamp) {
        self.retry_at.store(at.micros(), Ordering::Relaxed);
    }

    pub(in crate::session) fn within_grace(&self, now: Timestamp) -> bool {
        now < self.refresh_at().plus(self.config.refresh_grace)
    }

    pub(in crate::session) fn refresh_at(&self) -> Timestamp {
        Timestamp::from_micros(self.refresh_at.load(Ordering::Acquire))
    }

    pub(in crate::session) fn refreshed(&self, refresh_at: Timestamp) {
        self.refresh_at
            .store(refresh_at.micros(), Ordering::Release);
        self.retry_at.store(i64::MIN, Ordering::Relaxed);
    }

    pub(in crate::session) fn last_seen(&self) -> Timestamp {
        Timestamp::from_micros(self.last_seen.load(Ordering::Relaxed))
    }

    /// The last use, if the store does not know it yet.
    pub(in crate::session) fn unwritten(&self) -> Option<Timestamp> {
        let seen = self.last_seen();
        (seen.micros() > self.written_seen.load(Ordering::Relaxed)).then_some(seen)
    }

    pub(in crate::session) fn written(&self, seen: Timestamp) {
        self.written_seen
            .fetch_max(seen.micros(), Ordering::Relaxed);
    }

    pub(in crate::session) fn finish(&self) {
        self.state.store(ENDED, Ordering::Release);
        self.end.cancel();
        if let Some(successor) = self.successor.get() {
            successor.finish();
        }
    }

    /// Takes this copy out of use; whoever holds it looks the session up again.
    pub(in crate::session) fn retire(&self, successor: Option<Arc<Self>>) {
        if let Some(successor) = successor {
            let _first = self.successor.set(successor);
        }
        // An end is final.
        let _ended =
            self.state
                .compare_exchange(LIVE, RETIRED, Ordering::AcqRel, Ordering::Acquire);
        self.end.cancel();
    }

    /// The newest copy of this session.
    pub(in crate::session) fn newest(self: &Arc<Self>) -> &Arc<Self> {
        let mut newest = self;
        while let Some(next) = newest.successor.get() {
            newest = next;
        }
        newest
    }
}
