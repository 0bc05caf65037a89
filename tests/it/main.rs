//! Tests against the real thing: real databases, identity providers, Envoy, Chromium. `make test` starts them all.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, what must not fail is the test's own footing"
)]

mod access;
mod access_served;
mod accounts;
mod agents;
mod api_schema;
mod audit;
mod aws;
mod aws_programs;
mod browser;
mod certificates;
mod check;
mod conditions;
mod console_live;
mod draft_cli;
mod drafts;
mod edge;
mod edge_bodies;
mod edge_floods;
mod edge_grpc;
mod edge_requests;
mod edge_streams;
mod edge_tokens;
mod exhaustion;
mod forward;
mod istio;
mod keys;
mod kubernetes;
mod login;
mod machines;
mod mesh;
mod oauth;
mod oauth_device;
mod oidc;
mod outbound;
mod parts;
mod people_api;
mod policy_cli;
mod policy_writes;
mod portal;
mod process;
mod programs;
mod secrets;
mod serve;
mod sign_in;
mod sign_in_backchannel;
mod sign_in_ends;
mod sign_in_keys;
mod sign_in_tickets;
mod store;
mod svid;
mod token_matrix;
