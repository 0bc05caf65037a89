//! Sign-ins that begin, on their way into the store. Anybody can begin one without being known, so a flood of them must not keep others waiting: many
//! are written in one transaction, few wait, and what waits too long is refused. And it must not fill the disk: beyond a number the oldest give way.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};

use crate::sign_in::SignInError;
use crate::store::one_time::OneTime;
use crate::store::{Store, StoreError};
use crate::telemetry::causes::Causes;
use crate::telemetry::metrics::Metrics;

/// How many may wait for the store.
const QUEUE: usize = 1024;
/// How many go into one transaction at most.
const GROUP: usize = 256;
/// Longest wait of whoever begins one.
const WAIT: Duration = Duration::from_secs(5);
/// How many of a kind are kept.
const KEPT: usize = 20_000;
/// How many are written before they are counted again, and how many go when there are too many.
const COUNTED_EVERY: usize = KEPT / 10;

/// One that waits, and whoever waits for it; dropped when the store did not take it.
struct Write {
    value: OneTime,
    kept: oneshot::Sender<bool>,
}

/// What waits to be written. Needs [`Self::write`] to run.
pub struct PendingWrites {
    queue: mpsc::Sender<Write>,
    waiting: Mutex<Option<mpsc::Receiver<Write>>>,
    transactions: Counter,
    refused: Counter,
}

impl PendingWrites {
    /// Registers its metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let this = Self {
            queue,
            waiting: Mutex::new(Some(waiting)),
            transactions: Counter::default(),
            refused: Counter::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "wayleave_sign_in_transactions",
                "Transactions in which sign-ins that began were written to the store",
                this.transactions.clone(),
            );
            registry.register(
                "wayleave_sign_ins_refused",
                "Sign-ins that could not begin since too many others did",
                this.refused.clone(),
            );
        });
        this
    }

    /// Has a value written together with others'.
    pub(super) async fn put(&self, value: OneTime) -> Result<(), SignInError> {
        let (kept, told) = oneshot::channel();
        let is_queued = self.queue.try_send(Write { value, kept }).is_ok();
        let told = match is_queued {
            true => tokio::time::timeout(WAIT, told).await.ok(),
            false => None,
        };
        match told {
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(SignInError::State),
            Some(Err(_)) => Err(SignInError::NotKept),
            None => {
                self.refused.inc();
                Err(SignInError::Busy)
            }
        }
    }

    /// Writes down what waits, a group at a time; runs until cancelled. What comes meanwhile is the next group.
    pub(super) async fn write(&self, store: &Store) {
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut waiting) = waiting else {
            return;
        };
        let mut room = Room::default();
        let mut group = Vec::new();
        while waiting.recv_many(&mut group, GROUP).await > 0 {
            let (values, told): (Vec<_>, Vec<_>) = group
                .drain(..)
                .map(|write| (write.value, write.kept))
                .unzip();
            self.transactions.inc();
            match write_group(store, &mut room, &values).await {
                Ok(kept) => {
                    for (kept, told) in kept.into_iter().zip(told) {
                        // Whoever began it may have left.
                        let _heard = told.send(kept);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), count = values.len(), "sign-ins cannot be written down");
                }
            }
        }
    }
}

async fn write_group(
    store: &Store,
    room: &mut Room,
    values: &[OneTime],
) -> Result<Vec<bool>, StoreError> {
    room.make_for(store, values).await?;
    store.put_all_once(values).await
}

/// How many of each kind may be written before they are counted again.
#[derive(Default)]
struct Room(HashMap<&'static str, usize>);

impl Room {
    async fn make_for(&mut self, store: &Store, values: &[OneTime]) -> Result<(), StoreError> {
        let mut wanted = HashMap::<_, usize>::new();
        for value in values {
            *wanted.entry(value.kind()).or_default() += 1;
        }
        for (kind, wanted) in wanted {
            let room = self.0.entry(kind).or_default();
            if *room < wanted {
                store
                    .thin_once(kind, KEPT - COUNTED_EVERY, COUNTED_EVERY)
                    .await?;
                *room = COUNTED_EVERY;
            }
            *room = room.saturating_sub(wanted);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::{GROUP, PendingWrites, QUEUE};
    use crate::clock::{ManualClock, Timestamp};
    use crate::config::checked::StoreConfig;
    use crate::secret::{Sealer, Token, random};
    use crate::sign_in::SignInError;
    use crate::store::Store;
    use crate::store::one_time::OneTime;
    use crate::telemetry::metrics::Metrics;

    async fn store(folder: &tempfile::TempDir) -> Store {
        let config = StoreConfig {
            url: format!("sqlite://{}/store.db", folder.path().display()).into(),
            key: Arc::new(Sealer::new(&random())),
            connections: 4,
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        Store::open(&config, clock).await.unwrap()
    }

    fn attempt(store: &Store) -> (Token, OneTime) {
        let id = Token::generate();
        let until = Timestamp::from_seconds(1_800_000_600);
        let value = store.sealed_once("attempt", id.hash(), b"value", until);
        (id, value)
    }

    #[tokio::test]
    async fn l6_many_sign_ins_begin_in_few_transactions() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let writes = PendingWrites::new(&Metrics::default());
        let (ids, values): (Vec<_>, Vec<_>) = (0..QUEUE).map(|_| attempt(&store)).unzip();
        // All wait before the first is written, as they do while the store is busy with others.
        let mut all = Box::pin(join_all(values.into_iter().map(|value| writes.put(value))));
        assert!((&mut all).now_or_never().is_none());
        let told = tokio::select! {
            told = all => told,
            () = writes.write(&store) => unreachable!("it writes for ever"),
        };
        assert!(told.iter().all(Result::is_ok), "{told:?}");
        assert_eq!(writes.transactions.get(), (QUEUE / GROUP) as u64);
        for id in &ids {
            let kept = store.peek_once("attempt", id.hash()).await.unwrap();
            assert_eq!(kept.as_deref(), Some(&b"value"[..]));
        }
    }

    #[tokio::test]
    async fn l6_what_finds_no_place_in_the_queue_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let writes = PendingWrites::new(&Metrics::default());
        let waiting = (0..QUEUE).map(|_| writes.put(attempt(&store).1));
        let mut waiting = Box::pin(join_all(waiting));
        assert!((&mut waiting).now_or_never().is_none());
        let refused = writes.put(attempt(&store).1).now_or_never();
        assert!(matches!(refused, Some(Err(SignInError::Busy))));
        assert_eq!(writes.refused.get(), 1);
    }

    #[tokio::test]
    async fn l6_whoever_waits_for_a_store_that_takes_nothing_hears_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.close().await;
        let writes = PendingWrites::new(&Metrics::default());
        let told = tokio::select! {
            told = writes.put(attempt(&store).1) => told,
            () = writes.write(&store) => unreachable!("it writes for ever"),
        };
        assert!(matches!(told, Err(SignInError::NotKept)), "{told:?}");
    }
}
