//! What benchmarks of the store have in common: the product's allocator, a store, and an operator who writes policy into it.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use wayleave::admin::policy_rules::PolicyRules;
use wayleave::admin::revisions::{Revisions, Writing};
use wayleave::clock::SystemClock;
use wayleave::config::checked::StoreConfig;
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::check::Known;
use wayleave::policy::model::Revision;
use wayleave::secret::Sealer;
use wayleave::store::Store;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whether this is meant: `cargo test --all-targets` runs benchmarks as well.
pub(crate) fn is_asked_for() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

/// The database of `WAYLEAVE_BENCH_STORE`, or one in this folder.
#[expect(
    clippy::disallowed_methods,
    reason = "the database to use is the caller's to name"
)]
pub(crate) fn url(folder: &tempfile::TempDir) -> String {
    let file = || format!("sqlite://{}/store.db", folder.path().display());
    std::env::var("WAYLEAVE_BENCH_STORE").unwrap_or_else(|_| file())
}

pub(crate) async fn open(url: &str) -> Store {
    let config = StoreConfig {
        url: url.into(),
        key: Arc::new(Sealer::new(&[7; 32])),
        connections: 4,
    };
    Store::open(&config, Arc::new(SystemClock)).await.unwrap()
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("td").unwrap()
}

pub(crate) fn revisions(store: &Store) -> Revisions {
    Revisions {
        store: store.clone(),
        rules: PolicyRules {
            trust_domain: trust_domain(),
            known: Known::default(),
        },
        follows: None,
        approvals: 0,
    }
}

pub(crate) fn writing(parent: Option<i64>) -> Writing {
    Writing {
        parent: parent.map(Revision),
        message: "m".to_owned(),
        is_emergency: false,
    }
}
