//! The demonstration: an identity provider, a certificate authority and four mesh workloads, all made up on the spot. Reached from `wayleave demo` only.
//!
//! Invariants: everything listens on loopback addresses and nowhere else; every key is made anew and rests in a folder of mode 0700
//! that is removed at the end.

pub mod authority;
pub mod identity_provider;
pub mod stage;
pub mod workload;

use std::path::PathBuf;

/// Why there is no demonstration.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A certificate could not be made.
    #[error("a demo certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// A file of the demonstration could not be written.
    #[error("{file} cannot be written")]
    File {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else listens there.
    #[error("port {port} ({what}) cannot be had; choose another with {option} PORT")]
    Port {
        /// The port.
        port: u16,
        /// What it is for.
        what: &'static str,
        /// The option that chooses another.
        option: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A listener of the demonstration was not on loopback.
    #[error("the demonstration refuses to listen anywhere but on a loopback address")]
    NotLoopback,
    /// A key or certificate of our own making was refused.
    #[error("a demo certificate is not accepted: {0}")]
    Tls(String),
    /// A signing key could not be made.
    #[error("a demo signing key cannot be made")]
    Key,
}
