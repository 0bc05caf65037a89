//! Feeds `invariants/aws_request.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/aws_request.rs"]
mod aws_request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aws_request::check(bytes));
