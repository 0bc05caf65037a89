//! Use cases that change state: check, validate, write. Console, API and command line all call these.

pub mod access;
pub mod explain;
mod granted;
pub mod policy_file;
pub mod policy_rules;
pub mod replay;
pub mod revisions;
