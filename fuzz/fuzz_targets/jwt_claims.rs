//! Feeds `invariants/jwt_claims.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/jwt_claims.rs"]
mod jwt_claims;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jwt_claims::check(bytes));
