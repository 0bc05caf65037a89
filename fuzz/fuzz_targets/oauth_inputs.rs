//! Feeds `invariants/oauth_inputs.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/oauth_inputs.rs"]
mod oauth_inputs;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oauth_inputs::check(bytes));
