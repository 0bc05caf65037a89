//! Feeds `invariants/spiffe_id_slug.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/spiffe_id_slug.rs"]
mod spiffe_id_slug;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spiffe_id_slug::check(bytes));
