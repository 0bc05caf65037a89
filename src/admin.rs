//! Use cases: check permission, validate, read or write. Console, API and command line all call these.

pub mod activity;
pub mod actor;
pub mod attention;
pub mod events;
pub mod explain;
pub mod failure;
pub mod ownership;
pub mod people;
pub mod policy_file;
pub mod policy_rules;
pub mod replay;
pub mod revisions;
pub mod sessions;
pub mod settings;
