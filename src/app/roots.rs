//! Looking at the files with roots that routes name (`upstream.tls.ca_file`): what cannot be read there shows in the log as soon as the policy is in force, and
//! not only once somebody is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::lifecycle::Lifecycle;
use crate::mesh::tls::check_roots;
use crate::policy::model::{Policy, Transport};
use crate::snapshot::Snapshots;

/// Looks at those of the policy in force, and again after each change of it.
pub fn start(snapshots: &Arc<Snapshots>, changed: Arc<Notify>, lifecycle: &Lifecycle) {
    let snapshots = Arc::clone(snapshots);
    lifecycle.spawn("roots of routes", async move {
        let mut told = Vec::new();
        loop {
            let named = named(snapshots.current().policy());
            let looking = tokio::task::spawn_blocking(move || faults(named));
            let found = looking.await.unwrap_or_default();
            for fault in found.iter().filter(|fault| !told.contains(*fault)) {
                let Fault { route, file, error } = fault;
                tracing::warn!(
                    route,
                    file,
                    error,
                    "the roots of a route cannot be used, so its upstream is not trusted (upstream.tls.ca_file)"
                );
            }
            told = found;
            changed.notified().await;
        }
    });
}

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    route: String,
    file: String,
    error: String,
}

/// Each file, with the first route that names it.
fn named(policy: &Policy) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for route in &policy.routes {
        if let Transport::Tls {
            ca_file: Some(file),
            ..
        } = &route.upstream.transport
        {
            files
                .entry(file.clone())
                .or_insert_with(|| route.name.to_string());
        }
    }
    files
}

fn faults(named: BTreeMap<String, String>) -> Vec<Fault> {
    let faults = named.into_iter().filter_map(|(file, route)| {
        let error = check_roots(&file).err()?.to_string();
        Some(Fault { route, file, error })
    });
    faults.collect()
}
