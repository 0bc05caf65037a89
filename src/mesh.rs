//! The mesh's side: the certificates that prove a mesh identity.

pub mod authority;
pub mod svid;
pub mod verify;
