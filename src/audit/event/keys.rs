//! Events of signing keys: made, revoked.

use serde_json::json;

use crate::audit::event::Event;

impl Event {
    /// A key was made that signs from then on.
    pub fn signing_key_made(by: &str, kid: &str, signs_from: &str) -> Self {
        let details = json!({ "key": kid, "signs_from": signs_from });
        Self::new("signing_key_made", by.to_owned(), details)
    }

    /// A key was taken out of use at once.
    pub fn signing_key_revoked(by: &str, kid: &str) -> Self {
        let details = json!({ "key": kid });
        Self::new("signing_key_revoked", by.to_owned(), details)
    }
}
