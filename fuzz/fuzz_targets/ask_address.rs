//! Feeds `invariants/ask_address.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/ask_address.rs"]
mod ask_address;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ask_address::check(bytes));
