//! Any text is a policy or a list of faults; a policy survives the way through the store's JSON.

use wayleave::policy::json::{from_json, to_json};
use wayleave::policy::yaml;

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match yaml::parse(text) {
        Ok(policy) => assert_eq!(from_json(to_json(&policy)).as_ref(), Ok(&policy)),
        Err(faults) => assert!(!faults.is_empty()),
    }
}
