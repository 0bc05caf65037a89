//! Access policy: routes, identity mappings and access rules. Pure: facts in, decision out.
//!
//! Knows no tokio, HTTP, SQL or clock. Nothing is allowed unless a rule allows it; what cannot be read denies;
//! an absent field means "no condition" while an empty list matches nothing.
//!
//! In reading order: [`model`] (policy as data), [`yaml`] and [`json`] (its two texts, one reader), [`check`] (what holds between its parts),
//! [`compile`] and [`decide`] (the hot path), [`reach`] (what somebody may open), [`svids`] (what goes into their own hands), [`kubernetes`] (who they are in a cluster), [`when`] (what may change from one request to the next), [`explain`] (the same question answered slowly and in words),
//! [`istio`] (the same for the workload's own proxy), and [`roles`], who may look after all this.

pub mod accounts;
mod approval;
pub mod check;
pub mod compile;
pub mod decide;
pub mod diff;
pub mod document;
pub mod draft;
pub mod edit;
pub mod explain;
pub mod hours;
mod index;
pub mod istio;
pub mod json;
pub mod kind;
pub mod kubernetes;
pub mod lint;
pub mod machines;
pub mod matcher;
pub mod model;
pub mod reach;
pub mod roles;
pub mod search;
mod source;
pub mod svids;
pub mod template;
pub mod trial;
pub mod when;
pub mod words;
pub mod yaml;

#[cfg(test)]
pub(crate) mod properties;
