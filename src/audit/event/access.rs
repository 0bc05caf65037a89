//! Events of access for a time: asked for, decided, taken at once, reviewed, ended.

use serde_json::{Value, json};

use crate::audit::event::{Event, actor, person};
use crate::identity::principal::Principal;

/// What an event of a request or grant is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The request's id, and its grant's.
    pub id: &'a str,
    /// Who wants or has the access.
    pub person: &'a Principal,
    /// The rule that it is about.
    pub rule: &'a str,
    /// What logs call the session of whoever acts, if there is one.
    pub session: Option<&'a str>,
}

impl About<'_> {
    fn with(&self, more: Value) -> Value {
        let mut details = json!({
            "request": self.id,
            "person": person(self.person),
            "rule": self.rule,
            "session": self.session,
        });
        if let (Some(details), Value::Object(more)) = (details.as_object_mut(), more) {
            details.extend(more);
        }
        details
    }
}

impl Event {
    /// Somebody asked for access.
    pub fn access_asked(about: About<'_>, route: &str, reason: &str, seconds: u64) -> Self {
        let more = json!({ "route": route, "reason": reason, "seconds": seconds });
        Self::new("access_asked", actor(about.person), about.with(more))
    }

    /// Somebody approved of it.
    pub fn access_granted(about: About<'_>, by: &Principal, until: &str) -> Self {
        let more = json!({ "until": until, "by": person(by) });
        Self::new("access_granted", actor(by), about.with(more))
    }

    /// Somebody took it without asking.
    pub fn access_break_glass(about: About<'_>, route: &str, reason: &str, until: &str) -> Self {
        let more = json!({ "route": route, "reason": reason, "until": until });
        Self::new("access_break_glass", actor(about.person), about.with(more))
    }

    /// Somebody looked at what was taken without asking.
    pub fn access_reviewed(about: About<'_>, by: &Principal, note: &str) -> Self {
        let more = json!({ "note": note, "by": person(by) });
        Self::new("access_reviewed", actor(by), about.with(more))
    }

    /// Somebody refused it.
    pub fn access_refused(about: About<'_>, by: &Principal, why: &str) -> Self {
        let more = json!({ "why": why, "by": person(by) });
        Self::new("access_refused", actor(by), about.with(more))
    }

    /// Whoever asked took it back.
    pub fn access_withdrawn(about: About<'_>) -> Self {
        let details = about.with(json!({}));
        Self::new("access_withdrawn", actor(about.person), details)
    }

    /// Nobody decided it in time.
    pub fn access_expired(about: About<'_>) -> Self {
        let details = about.with(json!({}));
        Self::new("access_expired", actor(about.person), details)
    }

    /// A grant is over; `by` ended it, or its time was up.
    pub fn access_ended(about: About<'_>, by: Option<&Principal>, how: &str) -> Self {
        let more = json!({ "how": how, "by": by.map(person) });
        let actor = actor(by.unwrap_or(about.person));
        Self::new("access_ended", actor, about.with(more))
    }
}
