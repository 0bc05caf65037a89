//! Logs and metrics. No token, cookie or secret in any of them.

pub mod access_log;
pub mod causes;
pub mod latency;
pub mod metrics;
pub mod text;
