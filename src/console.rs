//! The admin console: pages that show what is and change it through [`crate::admin`]; they decide nothing themselves.
//!
//! [`endpoints`] is all of it in one table, each page with the permission it needs; [`guard`] says who comes in, [`frame`] is what surrounds
//! every page, [`answer`] how a page says yes or no. A page is a file here and a template of the same name; its file has handler, view and sample.
//!
//! Invariants: no page without a session of the home host; no form is read before its origin and token are verified ([`guard::Submitted`]);
//! every page can be read and every form sent without a script.

use std::sync::Arc;

use crate::admin::revisions::Revisions;
use crate::clock::SharedClock;
use crate::session::Sessions;
use crate::snapshot::Snapshots;
use crate::store::Store;

pub mod answer;
mod changes;
pub mod cursor;
mod drafts;
mod edit;
pub mod endpoints;
mod form;
pub mod frame;
pub mod guard;
mod kinds;
mod link;
pub mod moment;
mod object;
mod objects;
mod overview;
mod preview;
mod revisions;
mod simulator;
#[cfg(test)]
mod tests;

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
    /// The time.
    pub clock: SharedClock,
}
