//! Feeds `invariants/request_path.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/request_path.rs"]
mod request_path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| request_path::check(bytes));
