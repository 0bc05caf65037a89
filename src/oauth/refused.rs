//! Exchanges that gave nothing stand in the audit log, as far as there is room: so many of an address and of all, and how many were left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::audit::event::Event;
use crate::audit::event::exchanges::RefusedExchange;
use crate::oauth::fault::OAuthFault;
use crate::oauth::{Asked, OAuth};
use crate::telemetry::causes::Causes;

/// How many refusals no event told of since the last that one did.
#[derive(Debug, Default)]
pub struct Untold(AtomicU64);

impl OAuth {
    /// Tells of a refusal. What only failed, or was not understood as an exchange at all, is none.
    pub(super) async fn tell_refused(&self, asked: &Asked, fault: &OAuthFault) {
        if !fault.is_told() {
            return;
        }
        let peer = asked.info.client;
        if !self.rates.refusals.take(peer, self.clock.now()) {
            self.untold.0.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let verified = asked.verified.get().map(Arc::as_ref);
        let presented = asked.form.one(fault.parameter());
        let claimed = presented.and_then(|token| self.programs.bearer.claimed_issuer(token));
        let known = verified.map(|principal| &*principal.provider);
        let account = asked.form.one("client_assertion");
        let account = account.and_then(|assertion| self.programs.accounts.claimed(assertion));
        let untold = self.untold.0.swap(0, Ordering::Relaxed);
        let event = Event::exchange_refused(&RefusedExchange {
            reason: fault.code(),
            why: &fault.to_string(),
            issuer: known.or(claimed.as_deref()),
            service_account: account.as_deref(),
            principal: verified,
            peer: &peer.to_string(),
            untold,
        });
        if let Err(error) = self.store.tell_of_refusal(event).await {
            self.untold.0.fetch_add(untold + 1, Ordering::Relaxed);
            let request_id = &asked.info.request_id;
            tracing::warn!(%request_id, error = %Causes(&error), "the audit log cannot be told of a refused exchange");
        }
    }
}
