//! Any text is a policy or a list of faults; a policy survives the way through the store's JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wayleave::policy::json::{from_json, to_json};
use wayleave::policy::yaml;

fuzz_target!(|text: &str| {
    match yaml::parse(text) {
        Ok(policy) => assert_eq!(from_json(to_json(&policy)).as_ref(), Ok(&policy)),
        Err(faults) => assert!(!faults.is_empty()),
    }
});
