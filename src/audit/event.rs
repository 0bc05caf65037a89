//! What the log tells of: one constructor for each kind of event.

use serde_json::{Map, Value, json};

use crate::audit::decision::Decided;
use crate::identity::principal::{Agent, Principal};

pub mod access;
pub mod drafts;
pub mod exchanges;
pub mod keys;
pub mod kinds;
pub mod svids;

/// The kind of the event that says that older ones were deleted.
pub const PRUNED: &str = "audit_pruned";

/// The kind of the event that says that a revision of the policy was written.
pub const POLICY_WRITTEN: &str = "policy_written";

/// Something that happened, and who did it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    kind: &'static str,
    actor: String,
    details: Map<String, Value>,
}

/// What every event about a family of tokens tells.
pub struct FamilyEvent<'a> {
    /// Whose it is.
    pub principal: &'a Principal,
    /// The label of the session that it is derived from.
    pub session: &'a str,
    /// The family's own label.
    pub family: &'a str,
    /// Which program it was given to.
    pub client: &'a str,
}

impl FamilyEvent<'_> {
    fn event(&self, kind: &'static str, more: &[(&str, Value)]) -> Event {
        let mut event = Event::new(
            kind,
            actor(self.principal),
            json!({
                "person": person(self.principal), "session": self.session,
                "family": self.family, "client": self.client,
            }),
        );
        let more = more.iter().cloned();
        event
            .details
            .extend(more.map(|(name, value)| (name.to_owned(), value)));
        event
    }
}

impl Event {
    fn new(kind: &'static str, actor: String, details: Value) -> Self {
        let Value::Object(details) = details else {
            return Self::new(kind, actor, json!({}));
        };
        Self {
            kind,
            actor,
            details,
        }
    }

    /// Somebody signed in, from this address.
    pub fn sign_in(
        principal: &Principal,
        session: &str,
        expires_at: &str,
        peer: Option<&str>,
    ) -> Self {
        let details = json!({
            "person": person(principal), "session": session, "expires_at": expires_at, "peer": peer,
        });
        Self::new("sign_in", actor(principal), details)
    }

    /// A session ended: by itself or by its person, or else by whoever revoked it.
    pub fn session_ended(
        principal: &Principal,
        session: &str,
        reason: &str,
        by: Option<&str>,
    ) -> Self {
        let details = json!({ "person": person(principal), "session": session, "reason": reason });
        let actor = by.map_or_else(|| actor(principal), str::to_owned);
        Self::new("session_ended", actor, details)
    }

    /// A program was given tokens on somebody's behalf.
    /// Where an agent acts with them, it is told which, and at which route.
    pub fn tokens_granted(
        told: &FamilyEvent<'_>,
        acting: Option<(&Agent, &str)>,
        how: &str,
        is_bound: bool,
        peer: &str,
    ) -> Self {
        let agent = acting.map(|(agent, _)| json!(agent)).unwrap_or_default();
        let more = [
            ("agent", agent),
            ("route", acting.map(|(_, route)| route).into()),
            ("how", how.into()),
            ("bound", is_bound.into()),
            ("peer", peer.into()),
        ];
        told.event("tokens_granted", &more)
    }

    /// A program got a token to act for somebody at a route; `agents` are all that stand in between, that program first.
    pub fn agent_delegated(
        told: &FamilyEvent<'_>,
        agents: &[Agent],
        route: &str,
        peer: &str,
    ) -> Self {
        let more = [
            ("agents", json!(agents)),
            ("route", route.into()),
            ("peer", peer.into()),
        ];
        told.event("agent_delegated", &more)
    }

    /// Tokens that a program had are no longer good; with `refresh_reused` somebody has a copy of one.
    pub fn tokens_ended(told: &FamilyEvent<'_>, reason: &str) -> Self {
        told.event("tokens_ended", &[("reason", reason.into())])
    }

    /// Somebody was refused what they asked for.
    pub fn denied(decided: &Decided) -> Self {
        let decision = &decided.decision;
        let principal = decided.principal.as_deref();
        let details = json!({
            "decision": decision.id,
            "reason": decision.reason,
            "rule": decision.rule.as_deref(),
            "revision": decision.revision,
            "route": &*decision.route,
            "host": decision.host,
            "method": decision.method,
            "path": decision.path,
            "peer": decision.peer,
            "session": decision.session,
            "person": principal.map(person),
            "count": decided.count,
            "at": decided.first_at,
        });
        let actor = principal.map_or_else(|| "nobody".to_owned(), actor);
        Self::new("denied", actor, details)
    }

    /// Events up to this one were deleted, which were older than they are kept by the configuration: so many seconds.
    pub fn pruned(up_to: i64, kept: u64) -> Self {
        let details = json!({ "up_to": up_to, "kept": kept });
        Self::new(PRUNED, "wayleave".to_owned(), details)
    }

    /// What happened, as a stable name.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Who did it: an e-mail address, or provider and subject, or what an operator says to be called.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// JSON on one line: `kind`, `actor` and what belongs to the kind. This text is what is chained.
    pub fn body(&self) -> String {
        let mut body = self.details.clone();
        body.insert("kind".to_owned(), self.kind.into());
        body.insert("actor".to_owned(), self.actor.as_str().into());
        Value::Object(body).to_string()
    }
}

/// How somebody is called in the log: their vouched-for e-mail address, or else provider and subject.
pub fn actor(principal: &Principal) -> String {
    match &principal.email {
        Some(email) => email.as_str().to_owned(),
        None => format!("{}/{}", principal.provider, principal.subject),
    }
}

fn person(principal: &Principal) -> Value {
    let mut person = json!({
        "provider": &*principal.provider,
        "subject": &*principal.subject,
        "email": principal.email.as_ref().map(|email| email.as_str()),
    });
    // Absent where nothing acts for them, so that what was chained before reads as it did.
    if !principal.agents.is_empty() {
        person["agents"] = json!(principal.agents);
    }
    person
}
