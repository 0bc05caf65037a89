//! Asking the provider again: once per session in this process, and once across replicas by a lease in the store.
//! Runs in [`Sessions::maintain`], not in a request, so that a client that leaves cannot lose a rotated refresh token.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use crate::session::live::Due;
use crate::session::{
    EndReason, ProviderTokens, RefreshFault, Refreshed, Session, SessionError, SessionId,
    SessionRecord, Sessions,
};
use crate::store::StoreError;

/// Longest wait of a request for a refresh.
const WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the provider's answer.
const PROVIDER: Duration = Duration::from_secs(8);
/// How long a lease keeps other replicas away; longer than everything done under it.
const LEASE: Duration = Duration::from_secs(30);
/// Pause after a provider or store that did not answer.
const PAUSE: Duration = Duration::from_secs(10);

/// Tells those who wait that the refresh is over.
pub(in crate::session) type Ended = watch::Receiver<bool>;

/// One refresh to do; dropping it tells those who wait.
pub(in crate::session) struct Job {
    pub(in crate::session) id: SessionId,
    pub(in crate::session) done: watch::Sender<bool>,
}

impl Sessions {
    /// Asks for a refresh, or joins the one under way.
    pub(in crate::session) fn request_refresh(&self, session: &Arc<Session>) -> Ended {
        session.queued.store(true, Ordering::Relaxed);
        let mut under_way = self.refreshing();
        if let Some(waiting) = under_way.get(&session.id) {
            return waiting.clone();
        }
        let (done, waiting) = watch::channel(false);
        under_way.insert(session.id.clone(), waiting.clone());
        let id = session.id.clone();
        if self
            .jobs
            .send(Job {
                id: id.clone(),
                done,
            })
            .is_err()
        {
            under_way.remove(&id);
        }
        waiting
    }

    /// The session once its refresh is over; `None` if that ended it.
    pub(in crate::session) async fn refreshed(
        &self,
        session: &Arc<Session>,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        if !session.backs_off(self.clock.now()) {
            let mut waiting = self.request_refresh(session);
            let _over = tokio::time::timeout(WAIT, waiting.wait_for(|done| *done)).await;
        }
        let session = session.newest();
        if session.has_ended() {
            return Ok(None);
        }
        let now = self.clock.now();
        if !session.within_grace(now) {
            return Err(SessionError::ProviderUnavailable);
        }
        Ok(session.is_live(now).then(|| Arc::clone(session)))
    }

    pub(in crate::session) async fn work(&self, job: Job) {
        if let Some(session) = self.known(&job.id) {
            if let Err(fault) = self.refresh(&session).await {
                tracing::warn!(error = %fault, "a session could not be refreshed");
                self.not_refreshed(session.newest());
            }
            session.queued.store(false, Ordering::Relaxed);
        }
        self.refreshing().remove(&job.id);
        job.done.send_replace(true);
    }

    /// Within the grace time the session goes on; after it, whoever uses it has to ask anew.
    fn not_refreshed(&self, session: &Arc<Session>) {
        let now = self.clock.now();
        session.retry_after(now.plus(PAUSE));
        if !session.within_grace(now) {
            session.end.cancel();
        }
    }

    async fn refresh(&self, session: &Arc<Session>) -> Result<(), StoreError> {
        let deadline = tokio::time::Instant::now() + WAIT;
        let until = loop {
            let Some(record) = self.store.session(&session.id).await? else {
                self.ended_elsewhere(&session.id);
                return Ok(());
            };
            self.adopt(session, record);
            if session.newest().refresh_due(self.clock.now()) == Due::No {
                return Ok(());
            }
            let until = self.clock.now().plus(LEASE);
            if self.store.lease_refresh(&session.id, until).await? {
                break until;
            }
            if tokio::time::Instant::now() >= deadline {
                self.not_refreshed(session.newest());
                return Ok(());
            }
            // Another replica asks the provider; its result will be in the store.
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        // Read under the lease: what another replica stored before it gave the lease back is seen.
        let record = self.store.session(&session.id).await?;
        let tokens = self.store.provider_tokens(&session.id).await?;
        let (Some(record), Some(tokens)) = (record, tokens) else {
            self.ended_elsewhere(&session.id);
            return Ok(());
        };
        if record.refresh_at > session.newest().refresh_at() {
            self.adopt(session, record);
            return self.store.release_refresh(&session.id, until).await;
        }
        let asking = self.refresher.refresh(&record.principal, &tokens);
        match tokio::time::timeout(PROVIDER, asking).await {
            Ok(Ok(refreshed)) => self.keep(session, record, tokens, refreshed).await,
            Ok(Err(RefreshFault::Refused)) => {
                self.end_here_and_everywhere(&session.id, EndReason::RefreshRefused)
                    .await
            }
            Ok(Err(RefreshFault::Unavailable)) | Err(_) => {
                self.not_refreshed(session.newest());
                self.store.release_refresh(&session.id, until).await
            }
        }
    }

    async fn keep(
        &self,
        session: &Arc<Session>,
        mut record: SessionRecord,
        before: ProviderTokens,
        refreshed: Refreshed,
    ) -> Result<(), StoreError> {
        let person = (&record.principal.issuer, &record.principal.subject);
        if person != (&refreshed.principal.issuer, &refreshed.principal.subject) {
            return self
                .end_here_and_everywhere(&session.id, EndReason::RefreshRefused)
                .await;
        }
        // A provider that does not rotate sends no new refresh token (RFC 6749 §6).
        let tokens = ProviderTokens {
            refresh_token: refreshed.tokens.refresh_token.or(before.refresh_token),
            id_token: refreshed.tokens.id_token.or(before.id_token),
        };
        let before = std::mem::replace(&mut record.principal, refreshed.principal);
        // A refresh is no sign-in: an ID token that comes with one may say nothing of that (OIDC Core §12.2).
        let after = &mut record.principal;
        after.acr = after.acr.take().or(before.acr);
        after.auth_time = after.auth_time.or(before.auth_time);
        record.refresh_at = self.clock.now().plus(self.config.refresh_every);
        let mut attempt = 0;
        loop {
            match self.store.store_refreshed(&record, &tokens).await {
                Ok(true) => break,
                Ok(false) => {
                    self.ended_elsewhere(&session.id);
                    return Ok(());
                }
                // A rotated token that is not kept is lost, and with it the session.
                Err(_) if attempt < 2 => attempt += 1,
                Err(fault) => return Err(fault),
            }
        }
        self.adopt(session, record);
        Ok(())
    }
}
