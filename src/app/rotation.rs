//! Keeps the signing keys: follows what other edges did, and makes the next one when it is time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::admin::keys::Keys;
use crate::lifecycle::Lifecycle;
use crate::telemetry::causes::Causes;

/// How often they are looked at when nothing is heard.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After a failure it is tried again this soon: a revoked key must not go on for long.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks at the keys at once when `changed` says so.
pub fn start(keys: Keys, changed: Arc<Notify>, lifecycle: &Lifecycle) {
    lifecycle.spawn("signing keys", async move {
        let mut is_failing = false;
        loop {
            match keys.keep().await {
                Ok(()) => is_failing = false,
                Err(error) if !is_failing => {
                    is_failing = true;
                    tracing::warn!(
                        error = %Causes(&error),
                        "the signing keys cannot be looked at; trying again"
                    );
                }
                Err(_) => {}
            }
            let wait = if is_failing { AGAIN } else { LOOK_EVERY };
            let _heard_or_not = tokio::time::timeout(wait, changed.notified()).await;
        }
    });
}
