//! Our tokens and other people's: verifying bearer JWTs of trusted issuers, JWKS, and minting the assertion.
//!
//! Invariants: an algorithm is a property of a key, never of a token; a claim of the wrong type refuses the token or counts
//! for nothing, it is never read as absent where it is required; everything is looked up under the issuer it belongs to.

pub mod access;
mod act;
pub mod assertion;
pub mod aws;
pub mod bearer;
pub mod certificate;
pub mod claims;
pub mod client_assertion;
pub mod dpop;
pub mod jwk;
pub mod jwks;
pub mod jws;
pub mod jwt_svid;
pub mod outbound;
pub mod programs;
pub mod ring;
mod trusted;
