//! Feeds `invariants/cookies.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/cookies.rs"]
mod cookies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cookies::check(bytes));
