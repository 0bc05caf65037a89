//! The composition root: from a configuration to a running edge, and the only place that knows everyone.
//!
//! [`serve`] is the process; [`compose`] puts the parts together and starts them; [`follow`] keeps them up to date; [`health`] and [`admin_listener`] say how they are.

pub mod admin_listener;
pub mod checkpoints;
pub mod compose;
pub mod console;
pub mod follow;
pub mod health;
pub mod heartbeat;
pub mod inspect;
pub mod jwks;
pub mod reload;
pub mod roots;
pub mod rotation;
pub mod serve;
pub mod ship;
mod vouching;
mod witness;
