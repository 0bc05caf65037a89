//! Feeds `invariants/policy_naive.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/policy_naive.rs"]
mod policy_naive;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policy_naive::check(bytes));
