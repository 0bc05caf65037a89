//! The data plane: what a connection's bytes and a request's parts must be before anything of ours looks at them.
//!
//! [`framing`] judges raw HTTP/1 heads, [`normalise`] gives a request its one reading, [`tls`] knows which certificate answers for which
//! name, [`body`] carries responses, and [`worker`] is the contract between a connection and whoever answers its requests.

pub mod body;
pub mod framing;
pub mod normalise;
pub mod tls;
pub mod worker;
