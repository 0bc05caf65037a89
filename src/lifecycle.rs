//! Tasks and their end: every background task of the process is spawned here, is told to stop, and is waited for.
//! A task that ends before it is told to, or panics, has failed, and takes the process down with it.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A panic ends its task, and nothing else would tell.
struct Watch(CancellationToken);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel();
        }
    }
}

/// Spawns tasks and stops them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    drain: CancellationToken,
    stop: CancellationToken,
    failed: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Nothing runs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that runs until [`Self::stopping`]; ending earlier is a failure of the process.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let this = self.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that spawns long-lived tasks"
        )]
        tokio::spawn(self.tasks.track_future(async move {
            let _watch = Watch(this.failed.clone());
            let stop = this.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {
                    if !this.stop.is_cancelled() && !this.drain.is_cancelled() {
                        tracing::error!(task = name, "a background task ended unexpectedly");
                        this.failed.cancel();
                    }
                }
            }
        }));
    }

    /// Begins the drain: listeners stop accepting, requests under way go on.
    pub fn begin_drain(&self) {
        self.drain.cancel();
    }

    /// Resolves when the drain begins.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Resolves when everything has to stop now.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Resolves when a task ended that should not have.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Reports that something the process cannot do without has ended.
    pub fn fail(&self) {
        self.failed.cancel();
    }

    /// Stops every task and waits for them, `within` at most.
    pub async fn stop(&self, within: Duration) {
        self.drain.cancel();
        self.stop.cancel();
        self.tasks.close();
        let _ended = tokio::time::timeout(within, self.tasks.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_a_failure_of_the_process() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("a fault of ours", async {
            tokio::task::yield_now().await;
            panic!("as a fault of ours would");
        });
        let failed = tokio::time::timeout(Duration::from_secs(30), lifecycle.failed());
        failed.await.expect("it is told");
    }
}
