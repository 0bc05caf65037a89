//! Feeds `invariants/return_url.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/return_url.rs"]
mod return_url;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| return_url::check(bytes));
