//! Who somebody is: to their identity provider (a [`principal::Principal`]) and to the mesh (a [`spiffe_id::MeshIdentity`]). Pure.
//!
//! Knows no clock, no HTTP and no store. A person is (issuer, subject) and nothing else; e-mail and name are labels.

pub mod algorithm;
pub mod aws;
pub mod bundle;
pub mod email;
pub mod encode;
pub mod principal;
pub mod public_keys;
pub mod spiffe_id;
pub mod unseen;
