//! Use cases: check permission, validate, read or write. Console, API and command line all call these.

pub mod access;
pub mod activity;
pub mod actor;
pub mod attention;
pub mod drafts;
pub mod editing;
pub mod events;
pub mod explain;
pub mod failure;
pub mod foresight;
mod granted;
pub mod istio;
pub mod keys;
pub mod objects;
pub mod ownership;
pub mod people;
pub mod policy_file;
pub mod policy_rules;
pub mod rebase;
pub mod replay;
pub mod review;
pub mod revisions;
pub mod sessions;
pub mod settings;
pub mod steps;
