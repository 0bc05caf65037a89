//! Real peers.

pub(crate) mod envoy;
