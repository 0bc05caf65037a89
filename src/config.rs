//! Configuration: [`raw`] as written, [`checked`] as usable. Pure but for reading the files it names and the environment it is given.
//!
//! Invariants: every fault is reported at once, each with its file and key; a key that is not known is a fault; an empty list is a fault and
//! never means "any"; secrets come from files or the environment and show in no `Debug`.

mod agents;
mod audit;
pub mod checked;
mod clusters;
pub mod environment;
pub mod faults;
mod issuers;
mod limits;
mod listeners;
mod load;
mod mesh;
mod providers;
pub mod raw;
mod secrets;
mod section;
mod session;
mod store;
mod tokens;

#[cfg(test)]
mod tests;

pub use checked::Config;
pub use faults::ConfigFault;

/// A commented example that names every key; `wayleave init` starts from it and a test keeps it complete.
pub const EXAMPLE: &str = include_str!("../deploy/wayleave.example.toml");
