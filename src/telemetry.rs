//! Metrics. No token, cookie or secret in any of them.

pub mod metrics;
