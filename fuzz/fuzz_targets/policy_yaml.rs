//! Feeds `invariants/policy_yaml.rs`, which says what must hold.
#![no_main]

#[path = "../invariants/policy_yaml.rs"]
mod policy_yaml;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policy_yaml::check(bytes));
