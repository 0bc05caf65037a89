//! Whom a policy trusts that show something else than JWTs: one kind of them, as far as the configuration leaves them their names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::policy::machines::TrustedIssuer;

/// Those of one kind that count. [`crate::token::bearer`] has those that show JWTs, and says of all which do not count.
pub(super) struct Trusted {
    counting: ArcSwap<Vec<TrustedIssuer>>,
    sources: Mutex<Sources>,
    is_meant: fn(&TrustedIssuer) -> bool,
}

struct Sources {
    /// Names that the configuration has given.
    names: Vec<String>,
    policy: Vec<TrustedIssuer>,
}

impl Trusted {
    pub(super) fn new(names: Vec<String>, is_meant: fn(&TrustedIssuer) -> bool) -> Self {
        Self {
            counting: ArcSwap::default(),
            sources: Mutex::new(Sources {
                names,
                policy: Vec::new(),
            }),
            is_meant,
        }
    }

    /// Takes up the names of another configuration.
    pub(super) fn configure(&self, names: Vec<String>) {
        let mut sources = self.sources();
        sources.names = names;
        self.count(&sources);
    }

    /// Knows whom the policy in force trusts, and says whether that is anything new.
    pub(super) fn follow(&self, policy: &[TrustedIssuer]) -> bool {
        let mut sources = self.sources();
        sources.policy = policy.to_vec();
        self.count(&sources)
    }

    /// Those that count now.
    pub(super) fn all(&self) -> Arc<Vec<TrustedIssuer>> {
        self.counting.load_full()
    }

    /// The one of this name.
    pub(super) fn named(&self, name: &str) -> Option<TrustedIssuer> {
        let all = self.counting.load();
        all.iter().find(|issuer| *issuer.name == *name).cloned()
    }

    /// A policy that was written before the configuration took a name cannot have it as well: rules could not tell.
    fn count(&self, sources: &Sources) -> bool {
        let is_free = |issuer: &&TrustedIssuer| {
            let mut taken = sources.names.iter();
            (self.is_meant)(issuer) && !taken.any(|name| **name == *issuer.name)
        };
        let counting: Vec<_> = sources.policy.iter().filter(is_free).cloned().collect();
        let is_new = **self.counting.load() != counting;
        self.counting.store(Arc::new(counting));
        is_new
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
