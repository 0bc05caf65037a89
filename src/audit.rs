//! What happened, kept so that nobody can change it afterwards: events in a hash-chained log with signed checkpoints, and decisions that are
//! written to disk before a request goes on.

pub mod chain;
pub mod checkpoint;
pub mod decision;
pub mod event;
pub mod export;
pub mod spool;
pub mod verify;
