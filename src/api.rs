//! The HTTP API: translates between HTTP and use cases, and decides nothing.
//!
//! [`endpoints`] is the whole of it in one table, [`guard`] says who comes in, [`answer`] how it says no, [`openapi`] what programs are told of it. It is on the admin listener for
//! operators, and on the home host for people's programs. Handlers find the [`crate::admin::actor::Actor`] who asks among the request's extensions; only guards put one there.

use crate::admin::access::Access;
use crate::admin::keys::Keys;
use crate::admin::revisions::Revisions;
use crate::api::istio::FrontDoors;
use crate::store::Store;

pub mod access;
pub mod answer;
pub mod audit;
pub mod drafts;
pub mod endpoints;
pub mod guard;
pub mod istio;
pub mod keys;
pub mod openapi;
pub mod person;
pub mod policy;

/// What the endpoints work with.
pub struct Api {
    /// The policy's use cases.
    pub revisions: Revisions,
    /// Requests for access, and grants.
    pub access: Access,
    /// Where events are.
    pub store: Store,
    /// The signing keys, and who signs with them.
    pub keys: Keys,
    /// What workloads are told of this edge.
    pub front_doors: FrontDoors,
}
