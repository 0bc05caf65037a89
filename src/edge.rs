//! The data plane: one thread per core, each with its own runtime, caches and upstream connections.
//!
//! Read [`request`] first: the life of one request from top to bottom. The steps, in order: [`normalise`], [`route`] (and [`own`], our pages),
//! [`authenticate`], [`authorize`], [`headers`], [`forward`] (or [`tunnel`], or [`tcp`]), [`respond`], [`access_log`]; [`streams`] looks at what is under way until it ends.
//! [`framing`] judges raw HTTP/1 heads before all that, [`tls`] knows which certificate answers for which name, [`body`] carries responses,
//! [`kubernetes`] knows what API servers need, and [`worker`] is the contract between a connection and whoever answers its requests.
//!
//! Invariants: only [`authorize`] makes a permit and only a permit is forwarded; no identity-like header of a client passes; a request travels
//! with its own caller's SVID; no lock and no database on the way of a request whose session is known.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::runtime::Handle;

use crate::address::host::Host;
use crate::audit::spool::Spool;
use crate::clock::SharedClock;
use crate::config::checked::{Limits, WhenFull};
use crate::edge::kubernetes::Clusters;
use crate::edge::metrics::EdgeMetrics;
use crate::session::Sessions;
use crate::sign_in::SignIn;
use crate::snapshot::grants::LiveGrants;
use crate::snapshot::{Freshness, Snapshots};
use crate::telemetry::access_log::AccessLog;
use crate::token::assertion::Minter;
use crate::token::bearer::BearerVerifier;
use crate::token::dpop::Proofs;

pub mod access_log;
pub mod access_token;
pub mod activity;
pub mod authenticate;
pub mod authorize;
pub mod body;
pub mod caller;
pub mod connection;
pub mod forward;
pub mod framing;
pub mod headers;
pub mod kubernetes;
pub mod listen;
pub mod local;
pub mod metrics;
pub mod normalise;
pub mod own;
pub mod record;
pub mod request;
pub mod respond;
pub mod room;
pub mod route;
pub mod streams;
pub mod tcp;
pub mod tls;
pub mod tunnel;
pub mod upstream;
pub mod worker;
pub mod workers;

/// What all workers share. Put together by the composition root.
pub struct Edge {
    /// The host that owns sign-in.
    pub home_host: Host,
    /// The policy in force.
    pub snapshots: Arc<Snapshots>,
    /// What is granted to whom.
    pub grants: Arc<LiveGrants>,
    /// Signed-in people.
    pub sessions: Arc<Sessions>,
    /// Tokens of trusted issuers.
    pub bearer: Arc<BearerVerifier>,
    /// Assertions for upstreams, and our own access tokens.
    pub minter: Arc<Minter>,
    /// Proofs of keys that were shown lately.
    pub proofs: Arc<Proofs>,
    /// The way to sign in.
    pub sign_in: Arc<SignIn>,
    /// Everything on the home host.
    pub home_router: Router,
    /// Our pages on hosts of routes.
    pub route_router: Router,
    /// Kubernetes clusters, and what they know us by.
    pub clusters: Arc<Clusters>,
    /// Sizes and deadlines.
    pub limits: Limits,
    /// The time.
    pub clock: SharedClock,
    /// When the store was last heard of.
    pub freshness: Arc<Freshness>,
    /// How long requests are allowed without word from the store.
    pub max_staleness: Duration,
    /// Where everything runs that is not a worker's.
    pub control: Handle,
    /// Where decisions are written down.
    pub spool: Spool,
    /// What becomes of requests that cannot be recorded.
    pub when_full: WhenFull,
    /// Where access log lines go.
    pub access_log: AccessLog,
    /// Counters and histograms.
    pub metrics: EdgeMetrics,
}
