//! Feeds `invariants/framing.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/framing.rs"]
mod framing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| framing::check(bytes));
