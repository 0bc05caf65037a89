//! The registry of Prometheus metrics. Each component registers its own families and keeps the handles.

use std::sync::{Mutex, PoisonError};

use prometheus_client::registry::Registry;

/// All metrics of the process.
#[derive(Default)]
pub struct Metrics(Mutex<Registry>);

impl Metrics {
    /// Registers families; used while the process is put together.
    pub fn register<T>(&self, with: impl FnOnce(&mut Registry) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The OpenMetrics text of everything.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String does not fail.
        let _written = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}
