//! Feeds `invariants/claim_mapping.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/claim_mapping.rs"]
mod claim_mapping;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| claim_mapping::check(bytes));
