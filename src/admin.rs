//! Use cases that change state: check, validate, write. Console, API and command line all call these.

pub mod actor;
pub mod drafts;
pub mod editing;
pub mod explain;
pub mod foresight;
pub mod objects;
pub mod policy_file;
pub mod policy_rules;
pub mod rebase;
pub mod replay;
pub mod review;
pub mod revisions;
pub mod steps;
