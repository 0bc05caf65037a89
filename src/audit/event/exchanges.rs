//! Events of exchanges at the token endpoint that gave nothing.

use serde_json::json;

use crate::audit::event::{Event, actor, person};
use crate::identity::principal::Principal;

/// An exchange that was refused.
#[derive(Clone, Copy, Debug)]
pub struct RefusedExchange<'a> {
    /// The error code that the program was told.
    pub reason: &'a str,
    /// In words of ours: nothing of what was sent.
    pub why: &'a str,
    /// The name of the trusted issuer that the token says it is of, if there is such a one. Whether it is, nobody may have verified.
    pub issuer: Option<&'a str>,
    /// The service account that an assertion says it is of, if there is such a one. The same of it.
    pub service_account: Option<&'a str>,
    /// Whom the token stands for, where that was verified.
    pub principal: Option<&'a Principal>,
    /// Where the request came from.
    pub peer: &'a str,
    /// How many more there were of which no event tells.
    pub untold: u64,
}

impl Event {
    /// Somebody presented a token that nothing was given for.
    pub fn exchange_refused(refused: &RefusedExchange<'_>) -> Self {
        let details = json!({
            "reason": refused.reason,
            "why": refused.why,
            "issuer": refused.issuer,
            "service_account": refused.service_account,
            "person": refused.principal.map(person),
            "peer": refused.peer,
            "untold": refused.untold,
        });
        let actor = refused.principal.map_or_else(|| "nobody".to_owned(), actor);
        Self::new("exchange_refused", actor, details)
    }
}
