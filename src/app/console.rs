//! Puts the console together, and what works for it beside the requests.

use std::sync::Arc;

use axum::Router;

use crate::admin::access::Access;
use crate::admin::attention::Attention;
use crate::admin::events::LastVerification;
use crate::admin::keys::Keys;
use crate::admin::ownership::{self, Ownership};
use crate::admin::revisions::Revisions;
use crate::admin::sessions::SessionBook;
use crate::app::inspect::Inspector;
use crate::clock::{SharedClock, Timestamp};
use crate::console::live::Live;
use crate::console::{Console, endpoints};
use crate::policy::model::Policy;
use crate::policy::roles::has_owner;
use crate::session::Sessions;
use crate::snapshot::Snapshots;
use crate::store::StoreError;
use crate::telemetry::latency::Latency;

/// What the console is made of.
pub struct ConsoleParts {
    /// The policy's use cases.
    pub revisions: Revisions,
    /// Requests for access, and grants.
    pub access: Access,
    /// Who is signed in.
    pub sessions: Arc<Sessions>,
    /// The policy in force.
    pub snapshots: Arc<Snapshots>,
    /// What should be looked at.
    pub attention: Arc<Attention>,
    /// What may be told of configuration and parts.
    pub inspector: Arc<Inspector>,
    /// The signing keys.
    pub keys: Keys,
    /// How long requests took.
    pub latency: Latency,
    /// Pages that are open.
    pub live: Arc<Live>,
    /// The time.
    pub clock: SharedClock,
}

/// The console's pages.
pub fn router(parts: ConsoleParts) -> Router {
    let store = parts.revisions.store.clone();
    let book = SessionBook {
        store: store.clone(),
        sessions: parts.sessions.clone(),
    };
    endpoints::router(Arc::new(Console {
        sessions: parts.sessions,
        book,
        access: parts.access,
        snapshots: parts.snapshots,
        ownership: Ownership::new(parts.revisions.clone(), parts.clock.clone()),
        revisions: parts.revisions,
        store,
        attention: parts.attention,
        verification: LastVerification::default(),
        inspect: parts.inspector,
        keys: parts.keys,
        latency: parts.latency,
        live: parts.live,
        clock: parts.clock,
    }))
}

/// While nobody can be owner, tells whoever reads the log how somebody becomes it.
pub async fn offer_ownership(
    revisions: &Revisions,
    policy: &Policy,
    home: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    if has_owner(policy) {
        return Ok(());
    }
    if let Some(file) = &revisions.follows {
        tracing::info!(
            "nobody is owner of this edge: {home}/console/claim shows the lines that {} needs",
            file.display()
        );
        return Ok(());
    }
    let code = ownership::offer(&revisions.store, now).await?;
    tracing::warn!(
        code,
        "nobody is owner of this edge yet: sign in, open {home}/console/claim, and enter this code; it is good once, and for a day"
    );
    Ok(())
}
