//! The mesh's side: the certificates that prove a mesh identity, and TLS with those who are to see them.

pub mod authority;
pub mod csr;
pub mod svid;
pub mod svids;
pub mod tls;
pub mod verify;
