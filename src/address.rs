//! What a request addresses: origin, host and path, each in one canonical form. Pure.
//!
//! Whatever is ambiguous is refused here and never repaired, so that the rules, the router and the upstream
//! cannot understand one request in two ways.

pub mod host;
pub mod origin;
pub mod path;
