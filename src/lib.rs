//! Wayleave: an identity-aware access proxy that extends service-mesh identity beyond the cluster.
//!
//! In reading order: [`sign_in`] (a person's way in), [`policy`] (what is allowed), [`identity`] (who somebody is), [`session`] and [`store`]
//! (what is remembered), [`edge`] (what a request must be before it is looked at).

pub mod access;
pub mod address;
pub mod admin;
pub mod api;
pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod demo;
pub mod edge;
pub mod identity;
pub mod lifecycle;
pub mod mesh;
pub mod oauth;
pub mod oidc;
pub mod policy;
pub mod portal;
pub mod secret;
pub mod session;
pub mod sign_in;
pub mod snapshot;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod web;

// Evaluators and random policies of the tests are also compiled into the fuzz targets and the integration tests, where this is the crate's name.
#[cfg(test)]
extern crate self as wayleave;
