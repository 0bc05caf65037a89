//! Signed-in people at the edge: sessions, their cookies, their refreshing and their end.
//!
//! Invariants: a cookie is good for one host; only hashes are stored; a session that has ended never comes back;
//! activity never extends the absolute age. A session known in memory needs no store to be recognised.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::clock::{SharedClock, Timestamp};
use crate::config::checked::SessionConfig;
use crate::identity::principal::Principal;
use crate::secret::{SecretString, Token, TokenHash, random, sha256};
use crate::store::{Store, StoreError};

pub mod cookie;
mod families;
mod live;
pub mod open;
mod refresh;

pub use families::{Families, Family, FamilyEnd, FamilyId, Granted};
pub use live::{CookieBinding, Due, Session};

/// Cookies known in memory at most.
const CACHED_COOKIES: usize = 200_000;
/// Time between two rounds of writing uses back.
const TICK: Duration = Duration::from_secs(15);
/// Refreshes under way at once.
const REFRESHES: usize = 64;

/// Identifies a session in store, feed and (shortened) logs; not a secret, and not usable as a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub Arc<str>);

impl SessionId {
    /// What logs may say of a session: enough to find its requests and events, and not its id.
    pub fn label(&self) -> String {
        label(&self.0)
    }
}

fn label(id: &str) -> String {
    let hash = sha256(id.as_bytes());
    hex::encode(hash.get(..6).unwrap_or_default())
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The person asked for it.
    SignedOut,
    /// The provider sent a back-channel logout.
    ProviderLogout,
    /// The provider refused to refresh.
    RefreshRefused,
    /// Another sign-in of the same browser took its place.
    Replaced,
    /// Its time was up: idle for too long, or absolutely.
    Expired,
    /// Somebody who looks after the edge ended it: as the audit log calls them.
    Revoked(Arc<str>),
}

/// A session as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Never told to anybody; cookies lead to it.
    pub id: SessionId,
    /// Who it is, as the provider said last.
    pub principal: Principal,
    /// The provider's own session id (`sid`), for back-channel logout.
    pub provider_sid: Option<String>,
    /// Where they signed in from, if that is known.
    pub peer: Option<IpAddr>,
    /// What they signed in with, if that is known, as in "Firefox on Linux".
    pub browser: Option<Arc<str>>,
    /// When they signed in.
    pub created_at: Timestamp,
    /// When it was last used; written some seconds later.
    pub last_seen: Timestamp,
    /// Absolute end.
    pub expires_at: Timestamp,
    /// When the provider has to be asked again.
    pub refresh_at: Timestamp,
}

/// How somebody came who has signed in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The host that gets the first cookie.
    pub host: &'a str,
    /// Where the request came from.
    pub peer: Option<IpAddr>,
    /// What it came from, as in "Firefox on Linux".
    pub browser: Option<&'a str>,
    /// The cookie of a session that this one takes the place of.
    pub replaces: Option<TokenHash>,
}

/// What the provider gave us for a session; sealed in the store.
#[derive(Clone, Debug, Default)]
pub struct ProviderTokens {
    /// Spent at the next refresh; providers that rotate give another.
    pub refresh_token: Option<SecretString>,
    /// For `id_token_hint` at sign-out.
    pub id_token: Option<SecretString>,
}

/// Looks sessions up, keeps them fresh, ends them.
pub struct Sessions {
    store: Store,
    clock: SharedClock,
    config: SessionConfig,
    refresher: Arc<dyn Refresher>,
    by_cookie: Cache<TokenHash, Arc<CookieBinding>>,
    /// Every session that anybody in this process holds, be it a cookie, a worker or an open stream.
    by_id: Mutex<HashMap<SessionId, Weak<Session>>>,
    /// Sessions that ended lately: a read that began before the end must not bring one back.
    ended: Cache<SessionId, ()>,
    refreshing: Mutex<HashMap<SessionId, refresh::Ended>>,
    jobs: mpsc::UnboundedSender<refresh::Job>,
    todo: Mutex<Option<mpsc::UnboundedReceiver<refresh::Job>>>,
    /// Ends that the store does not know yet.
    unwritten_ends: Mutex<Vec<(SessionId, EndReason)>>,
    /// Families of tokens that were derived from sessions.
    pub families: Families,
    /// What sessions have open at this edge.
    pub open: open::OpenStreams,
}

/// What a provider answers to a refresh.
pub struct Refreshed {
    /// Who it is, as the provider said last.
    pub principal: Principal,
    /// In place of those that were spent.
    pub tokens: ProviderTokens,
}

/// Why a refresh gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshFault {
    /// The provider refuses: the session has to end.
    Refused,
    /// No answer, or not a sensible one: the session may go on for the grace time.
    Unavailable,
}

/// Asks the identity provider; implemented by `oidc`.
pub trait Refresher: Send + Sync + 'static {
    /// Asks the session's provider anew. Bounded in time.
    fn refresh<'a>(
        &'a self,
        principal: &'a Principal,
        tokens: &'a ProviderTokens,
    ) -> Pin<Box<dyn Future<Output = Result<Refreshed, RefreshFault>> + Send + 'a>>;

    /// Whether somebody may still be who they came as, in a session until this moment; where not, no session of theirs counts.
    fn vouches_for(&self, principal: &Principal, until: Timestamp) -> bool;
}

/// What a cookie or token leads to.
pub enum Lookup<T = Arc<Session>> {
    /// It is known and has not ended.
    Live(T),
    /// It leads nowhere: unknown, ended, expired, or of another host.
    None,
    /// In memory there is nothing, and the store has to be asked.
    NotCached,
}

/// Why the sessions could not say.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SessionError {
    #[error("the store cannot be asked about the session")]
    Store(#[from] StoreError),
    #[error("the session cannot be refreshed at its identity provider at present")]
    ProviderUnavailable,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    /// Needs [`Self::maintain`] to run, which does the refreshing.
    pub fn new(
        store: Store,
        clock: SharedClock,
        config: SessionConfig,
        refresher: Arc<dyn Refresher>,
    ) -> Arc<Self> {
        let (jobs, todo) = mpsc::unbounded_channel();
        Arc::new(Self {
            store,
            clock,
            config,
            refresher,
            by_cookie: Cache::new(CACHED_COOKIES),
            by_id: Mutex::default(),
            ended: Cache::new(CACHED_COOKIES),
            refreshing: Mutex::default(),
            jobs,
            todo: Mutex::new(Some(todo)),
            unwritten_ends: Mutex::default(),
            families: Families::default(),
            open: open::OpenStreams::default(),
        })
    }

    /// From memory only; takes no lock that anybody holds across an await, and does not touch the store.
    /// `NotCached` also when the session is due for a refresh that has to be waited for.
    pub fn cached(&self, cookie: TokenHash, host: &str) -> Lookup {
        self.used(self.bound(cookie, host))
    }

    /// What was found is used.
    fn used(&self, found: Lookup) -> Lookup {
        if let Lookup::Live(session) = &found {
            session.touch(self.clock.now());
        }
        found
    }

    /// [`Self::cached`], and no use of the session.
    fn bound(&self, cookie: TokenHash, host: &str) -> Lookup {
        let Some(binding) = self.by_cookie.get(&cookie) else {
            return Lookup::NotCached;
        };
        if *binding.host != *host {
            return Lookup::None;
        }
        self.judged(binding.session.newest())
    }

    /// Whether a session in memory can be used as it is. That it is looked at is no use of it.
    fn judged(&self, session: &Arc<Session>) -> Lookup {
        let now = self.clock.now();
        if session.has_ended() || now >= session.expires_at {
            return Lookup::None;
        }
        if !session.is_live(now) {
            return Lookup::NotCached;
        }
        match session.refresh_due(now) {
            Due::Now => return Lookup::NotCached,
            Due::Soon if !session.queued.load(Ordering::Relaxed) => {
                let _in_background = self.request_refresh(session);
            }
            Due::Soon | Due::No => {}
        }
        Lookup::Live(Arc::clone(session))
    }

    /// The session of a cookie, from the store if need be; refreshes it (single-flight) if it is due.
    pub async fn load(
        &self,
        cookie: TokenHash,
        host: &str,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        let found = self.look_up(cookie, host).await?;
        Ok(found.inspect(|session| session.touch(self.clock.now())))
    }

    /// The same, for what a page asks for by itself while nobody does anything: that is no use of the session, which ends as if it were closed.
    pub async fn look_up(
        &self,
        cookie: TokenHash,
        host: &str,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        let session = match self.bound(cookie, host) {
            Lookup::Live(session) => return Ok(Some(session)),
            Lookup::None => return Ok(None),
            Lookup::NotCached => match self.due_in_memory(cookie) {
                Some(session) => session,
                None => match self.read(cookie, host).await? {
                    Some(session) => session,
                    None => return Ok(None),
                },
            },
        };
        self.renewed(session).await
    }

    /// The session once its provider was asked, if that is due; its use is recorded.
    async fn up_to_date(
        &self,
        session: Arc<Session>,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        let session = self.renewed(session).await?;
        Ok(session.inspect(|session| session.touch(self.clock.now())))
    }

    /// The same, and no use of the session.
    async fn renewed(&self, session: Arc<Session>) -> Result<Option<Arc<Session>>, SessionError> {
        match session.refresh_due(self.clock.now()) {
            Due::Now => self.refreshed(&session).await,
            Due::Soon | Due::No => Ok(Some(session)),
        }
    }

    /// A cached session that lacks nothing but a refresh; its cookie's host was compared by `cached`.
    fn due_in_memory(&self, cookie: TokenHash) -> Option<Arc<Session>> {
        let binding = self.by_cookie.get(&cookie)?;
        let session = binding.session.newest();
        session
            .is_live(self.clock.now())
            .then(|| Arc::clone(session))
    }

    async fn read(
        &self,
        cookie: TokenHash,
        host: &str,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        let Some(record) = self.store.session_by_cookie(cookie, host).await? else {
            self.by_cookie.remove(&cookie);
            return Ok(None);
        };
        let session = self.admitted(record).await?;
        if let Some(session) = &session {
            self.bind(cookie, host, session);
        }
        Ok(session)
    }

    /// A session that was read from the store, unless it was not used for too long or has ended meanwhile.
    async fn admitted(&self, record: SessionRecord) -> Result<Option<Arc<Session>>, SessionError> {
        if self.clock.now().since(record.last_seen) >= self.config.idle {
            self.end_here_and_everywhere(&record.id, EndReason::Expired)
                .await?;
            return Ok(None);
        }
        let session = self.publish(record);
        let is_good = !session.has_ended() && self.is_vouched_for(&session);
        Ok(is_good.then_some(session))
    }

    fn bind(&self, cookie: TokenHash, host: &str, session: &Arc<Session>) {
        let binding = CookieBinding {
            host: host.into(),
            session: Arc::clone(session),
        };
        self.by_cookie.insert(cookie, Arc::new(binding));
    }

    /// The one copy of a session in this process, brought up to date with what the store says.
    fn publish(&self, record: SessionRecord) -> Arc<Session> {
        let known = self
            .known(&record.id)
            .filter(|known| known.is_live(self.clock.now()));
        if let Some(known) = known {
            return self.adopt(&known, record);
        }
        let mut by_id = locked(&self.by_id);
        let session = Session::new(record, self.config);
        if self.ended.contains_key(&session.id) {
            session.finish();
        } else {
            by_id.insert(session.id.clone(), Arc::downgrade(&session));
        }
        drop(by_id);
        self.vetted(session)
    }

    fn adopt(&self, session: &Arc<Session>, record: SessionRecord) -> Arc<Session> {
        let mut by_id = locked(&self.by_id);
        let session = session.newest();
        session.touch(record.last_seen);
        // One that could not be vouched for is shown to its streams as ended, and comes back as a new copy.
        let given_up = session.end.is_cancelled() && record.refresh_at > session.refresh_at();
        if *session.principal == record.principal && !given_up {
            if record.refresh_at > session.refresh_at() {
                session.refreshed(record.refresh_at);
            }
            return Arc::clone(session);
        }
        if record.refresh_at < session.refresh_at() || session.has_ended() {
            // Read before a refresh that is known already.
            return Arc::clone(session);
        }
        let fresh = Session::new(record, self.config);
        by_id.insert(fresh.id.clone(), Arc::downgrade(&fresh));
        session.retire(Some(Arc::clone(&fresh)));
        drop(by_id);
        self.vetted(fresh)
    }

    fn is_vouched_for(&self, session: &Session) -> bool {
        self.refresher
            .vouches_for(&session.principal, session.expires_at)
    }

    /// To be called once the session can be found: then a change of providers either finds it, or is found here.
    fn vetted(&self, session: Arc<Session>) -> Arc<Session> {
        if !self.is_vouched_for(&session) {
            session.retire(None);
        }
        session
    }

    /// Takes sessions out of use whose provider is no longer configured, and cuts what they opened. They have not ended: the store keeps them until
    /// their time is up, and a provider that was taken out by mistake finds its people signed in when it is back.
    pub fn providers_changed(&self) {
        let known: Vec<_> = locked(&self.by_id)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for session in known {
            if !self.is_vouched_for(&session) {
                session.retire(None);
            }
        }
    }

    fn known(&self, id: &SessionId) -> Option<Arc<Session>> {
        locked(&self.by_id).get(id).and_then(Weak::upgrade)
    }

    fn refreshing(&self) -> MutexGuard<'_, HashMap<SessionId, refresh::Ended>> {
        locked(&self.refreshing)
    }

    /// Starts a session after a sign-in, with a new id and a cookie; ends the one that it replaces.
    /// Without a refresh token the provider is not asked again: the session lasts to its absolute or idle end, and its
    /// groups are as fresh as the sign-in.
    pub async fn start(
        &self,
        principal: Principal,
        tokens: ProviderTokens,
        provider_sid: Option<String>,
        arrival: Arrival<'_>,
    ) -> Result<(Arc<Session>, Token), SessionError> {
        let host = arrival.host;
        if let Some(replaced) = arrival.replaces
            && let Some(old) = self.store.session_by_cookie(replaced, host).await?
        {
            self.end(&old.id, EndReason::Replaced).await?;
        }
        let until = self.clock.now().plus(self.config.absolute);
        self.begin(principal, tokens, provider_sid, arrival, until)
            .await
    }

    /// Starts the session of a program whose token is good until a moment; nobody gets its cookie.
    pub async fn start_for_program(
        &self,
        principal: Principal,
        until: Timestamp,
        arrival: Arrival<'_>,
    ) -> Result<Arc<Session>, SessionError> {
        let until = until.min(self.clock.now().plus(self.config.absolute));
        let none = ProviderTokens::default();
        let begun = self.begin(principal, none, None, arrival, until).await?;
        Ok(begun.0)
    }

    async fn begin(
        &self,
        principal: Principal,
        tokens: ProviderTokens,
        provider_sid: Option<String>,
        arrival: Arrival<'_>,
        expires_at: Timestamp,
    ) -> Result<(Arc<Session>, Token), SessionError> {
        let (now, host) = (self.clock.now(), arrival.host);
        let refresh_at = match tokens.refresh_token {
            Some(_) => now.plus(self.config.refresh_every),
            None => expires_at,
        };
        let record = SessionRecord {
            id: SessionId(hex::encode(random::<16>()).into()),
            principal,
            provider_sid,
            peer: arrival.peer,
            browser: arrival.browser.map(Arc::from),
            created_at: now,
            last_seen: now,
            expires_at,
            refresh_at,
        };
        let token = Token::generate();
        self.store
            .create_session(&record, &tokens, token.hash(), host)
            .await?;
        let session = self.publish(record);
        self.bind(token.hash(), host, &session);
        Ok((session, token))
    }

    /// Gives a live session a cookie for one more host; `None` if it has ended.
    pub async fn add_cookie(
        &self,
        session: &SessionId,
        host: &str,
    ) -> Result<Option<Token>, SessionError> {
        let token = Token::generate();
        let added = self
            .store
            .add_session_cookie(session, token.hash(), host)
            .await?;
        Ok(added.then_some(token))
    }

    /// Ends a session everywhere. If the store does not answer it has ended in this process, and is ended in the store
    /// as soon as that answers.
    pub async fn end(&self, session: &SessionId, reason: EndReason) -> Result<(), SessionError> {
        Ok(self.end_here_and_everywhere(session, reason).await?)
    }

    async fn end_here_and_everywhere(
        &self,
        session: &SessionId,
        reason: EndReason,
    ) -> Result<(), StoreError> {
        self.ended_elsewhere(session);
        let ended = self.store.end_session(session, reason.clone()).await;
        if ended.is_err() {
            locked(&self.unwritten_ends).push((session.clone(), reason));
        }
        ended.map(drop)
    }

    /// Ends what a provider's logout token names; returns how many ended.
    pub async fn end_from_provider(
        &self,
        issuer: &str,
        subject: Option<&str>,
        sid: Option<&str>,
    ) -> Result<usize, SessionError> {
        let reason = EndReason::ProviderLogout;
        let ended = self
            .store
            .end_sessions_of(issuer, subject, sid, reason)
            .await?;
        for id in &ended {
            self.ended_elsewhere(id);
        }
        Ok(ended.len())
    }

    /// Ends these, which somebody chose from a list; returns how many had not ended before. Unlike other ends it fails when the store does not
    /// answer: nobody shall believe that it was done.
    pub async fn end_chosen(
        &self,
        ids: &[SessionId],
        reason: &EndReason,
    ) -> Result<usize, StoreError> {
        let ended = self.store.end_sessions(ids, reason).await?;
        for id in &ended {
            self.ended_elsewhere(id);
        }
        Ok(ended.len())
    }

    /// Sessions that were not used for this long are over.
    pub fn idle(&self) -> Duration {
        self.config.idle
    }

    /// The provider's tokens, for sign-out.
    pub async fn provider_tokens(
        &self,
        session: &SessionId,
    ) -> Result<Option<ProviderTokens>, SessionError> {
        Ok(self.store.provider_tokens(session).await?)
    }

    /// Acts on the change feed: called by the follower for ended sessions.
    pub fn ended_elsewhere(&self, session: &SessionId) {
        let mut by_id = locked(&self.by_id);
        self.ended.insert(session.clone(), ());
        if let Some(known) = by_id.remove(session).and_then(|known| known.upgrade()) {
            known.finish();
        }
    }

    /// Acts on the change feed: the session is read again, in the background.
    pub fn refreshed_elsewhere(&self, session: &SessionId) {
        if let Some(known) = self.known(session) {
            let _in_background = self.request_refresh(&known);
        }
    }

    /// Writes `last_seen` in batches, ends what is over, refreshes sessions in use; runs until cancelled.
    pub async fn maintain(self: Arc<Self>) {
        let Some(mut todo) = locked(&self.todo).take() else {
            return;
        };
        let mut under_way = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                Some(job) = todo.recv(), if under_way.len() < REFRESHES => {
                    let this = Arc::clone(&self);
                    under_way.push(async move { this.work(job).await }.boxed());
                }
                Some(()) = under_way.next() => {}
                _ = ticks.tick() => {
                    let this = Arc::clone(&self);
                    under_way.push(async move { this.tick().await }.boxed());
                }
            }
        }
    }

    async fn tick(&self) {
        let now = self.clock.now();
        let mut seen = Vec::new();
        let mut due = Vec::new();
        let mut over = Vec::new();
        locked(&self.by_id).retain(|_, known| {
            let Some(session) = known.upgrade() else {
                return false;
            };
            if now >= session.expires_at {
                over.push(session);
                return false;
            }
            if let Some(at) = session.unwritten() {
                seen.push((session.id.clone(), at));
            }
            if session.is_live(now)
                && session.refresh_due(now) != Due::No
                && !session.backs_off(now)
            {
                due.push(session);
            }
            true
        });
        for session in over {
            session.finish();
        }
        for session in due {
            let _in_background = self.request_refresh(&session);
        }
        self.families.tidy();
        if let Err(fault) = self.write_back(&seen).await {
            tracing::warn!(error = %fault, "uses and ends of sessions could not be written; they are kept for later");
        }
    }

    async fn write_back(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        let ends = std::mem::take(&mut *locked(&self.unwritten_ends));
        for (id, reason) in ends {
            // Goes back to the list if the store does not answer.
            let _kept = self.end_here_and_everywhere(&id, reason).await;
        }
        self.store.touch_sessions(seen).await?;
        for (id, at) in seen {
            if let Some(session) = self.known(id) {
                session.written(*at);
            }
        }
        Ok(())
    }

    /// The present limit of waiting for the store, for messages.
    pub fn max_staleness(&self) -> Duration {
        self.config.max_staleness
    }
}
