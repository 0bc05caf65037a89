//! The composition root: from a configuration to a running edge, and the only place that knows everyone.
//!
//! [`serve`] is the process; [`compose`] puts the parts together and starts them; [`follow`] keeps them up to date; [`health`] and [`admin_listener`] say how they are;
//! [`policy_api`] is the operators' way to the policy, [`istio_api`] to its manifests for the mesh.

pub mod admin_listener;
pub mod audit_api;
pub mod checkpoints;
pub mod compose;
pub mod follow;
pub mod health;
pub mod istio_api;
pub mod jwks;
pub mod operators;
pub mod policy_api;
pub mod reload;
pub mod serve;
pub mod ship;
