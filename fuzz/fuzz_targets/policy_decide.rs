//! Feeds `invariants/policy_decide.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/policy_decide.rs"]
mod policy_decide;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policy_decide::check(bytes));
