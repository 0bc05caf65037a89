//! The admin console: pages that show what is and change it through [`crate::admin`]; they decide nothing themselves.
//!
//! [`endpoints`] is all of it in one table, each page with the permission it needs; [`guard`] says who comes in, [`frame`] is what surrounds
//! every page, [`answer`] how a page says yes or no. A page is a file here and a template of the same name; its file has handler, view and sample.
//!
//! Invariants: no page without a session of the home host; no form is read before its origin and token are verified ([`guard::Submitted`]);
//! every page can be read and every form sent without a script.

use std::sync::Arc;

use axum::extract::State;

use crate::admin::access::Access;
use crate::admin::attention::Attention;
use crate::admin::events::LastVerification;
use crate::admin::keys::Keys;
use crate::admin::ownership::Ownership;
use crate::admin::revisions::Revisions;
use crate::admin::sessions::SessionBook;
use crate::admin::settings::Inspect;
use crate::clock::SharedClock;
use crate::session::Sessions;
use crate::snapshot::Snapshots;
use crate::store::Store;
use crate::telemetry::latency::Latency;

pub mod answer;
mod audit;
mod changes;
pub mod chart;
mod claim;
pub mod cursor;
mod decision;
mod drafts;
mod edit;
pub mod endpoints;
mod form;
pub mod frame;
pub mod guard;
mod keys;
mod kinds;
pub mod link;
pub mod live;
mod object;
mod objects;
mod overview;
mod people;
mod person;
mod preview;
mod programs;
mod requests;
mod revisions;
mod sessions;
mod settings;
mod simulator;
#[cfg(test)]
mod tests;

/// How handlers get at [`Console`]: `State(console): Shared`.
pub type Shared = State<Arc<Console>>;

/// What the pages work with.
pub struct Console {
    /// Who is signed in.
    pub sessions: Arc<Sessions>,
    /// The policy in force, which says who may see what.
    pub snapshots: Arc<Snapshots>,
    /// The policy's use cases.
    pub revisions: Revisions,
    /// Where the use cases keep what they show.
    pub store: Store,
    /// Sessions of everybody.
    pub book: SessionBook,
    /// Requests for access, and grants.
    pub access: Access,
    /// Becoming the first owner.
    pub ownership: Ownership,
    /// What should be looked at.
    pub attention: Arc<Attention>,
    /// The audit log's last verification.
    pub verification: LastVerification,
    /// What may be told of configuration and parts.
    pub inspect: Arc<dyn Inspect>,
    /// The signing keys.
    pub keys: Keys,
    /// How long requests took on this edge.
    pub latency: Latency,
    /// Pages that are open.
    pub live: Arc<live::Live>,
    /// The time.
    pub clock: SharedClock,
}
