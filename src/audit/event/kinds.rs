//! Every kind of event, and how it is told: one table for filters, lists and pages.

use serde_json::Value;

use crate::audit::event::{POLICY_WRITTEN, PRUNED};
use crate::audit::export::printable;

/// A kind of event.
#[derive(Debug)]
pub struct Kind {
    /// Its stable name.
    pub name: &'static str,
    /// What people call it.
    pub words: &'static str,
    /// What an event of it tells, in parts that end with a comma: `{name}` stands for a value, `{name~}` for one that is a code word. A part without its value is
    /// left out.
    told: &'static str,
}

const fn kind(name: &'static str, words: &'static str, told: &'static str) -> Kind {
    Kind { name, words, told }
}

/// All of them.
pub const KINDS: &[Kind] = &[
    kind("sign_in", "Signed in", "at {person.provider}, from {peer}"),
    kind("session_ended", "Session ended", "{person}: {reason~}"),
    kind(
        "tokens_granted",
        "Program let in",
        "{client} for {person}, from {peer}",
    ),
    kind(
        "exchange_refused",
        "Program refused",
        "{issuer}, {why}, from {peer}",
    ),
    kind(
        "agent_delegated",
        "Agent let act",
        "at {route} for {person}, from {peer}",
    ),
    kind(
        "tokens_ended",
        "Program's tokens ended",
        "{client} for {person}, {reason~}",
    ),
    kind(
        "svid_issued",
        "SVID given",
        "{mesh_identity} to {person}, rule {rule}, until {expires_at}, from {peer}",
    ),
    kind(
        "svid_refused",
        "SVID refused",
        "to {person}, {why}, from {peer}",
    ),
    kind("denied", "Refused", "{method} {host}{path}"),
    kind(
        POLICY_WRITTEN,
        "Policy written",
        "revision {revision}: {message}, as revision {restores} was",
    ),
    kind(
        "policy_emergency",
        "Policy written past approvals",
        "revision {revision}: {message}",
    ),
    kind(
        "draft_saved",
        "Draft saved",
        "draft {draft}, version {version}",
    ),
    kind(
        "draft_rebased",
        "Draft rebased",
        "draft {draft}, version {version}",
    ),
    kind(
        "draft_submitted",
        "Draft submitted",
        "draft {draft}, version {version}",
    ),
    kind(
        "draft_commented",
        "Draft commented on",
        "draft {draft}: {comment}",
    ),
    kind(
        "draft_approved",
        "Draft approved",
        "draft {draft}, version {version}, {message}",
    ),
    kind(
        "draft_rejected",
        "Draft rejected",
        "draft {draft}, version {version}, {message}",
    ),
    kind(
        "draft_applied",
        "Draft applied",
        "draft {draft}, revision {revision}, approved by {approvers}",
    ),
    kind("draft_discarded", "Draft discarded", "draft {draft}"),
    kind(
        "access_asked",
        "Access asked for",
        "rule {rule}, route {route}, {reason}",
    ),
    kind(
        "access_granted",
        "Access granted",
        "to {person}, rule {rule}, until {until}",
    ),
    kind(
        "access_refused",
        "Access refused",
        "to {person}, rule {rule}, {why}",
    ),
    kind("access_withdrawn", "Request withdrawn", "rule {rule}"),
    kind(
        "access_expired",
        "Request expired",
        "of {person}, rule {rule}",
    ),
    kind(
        "access_break_glass",
        "Glass broken",
        "rule {rule}, route {route}, until {until}, {reason}",
    ),
    kind(
        "access_reviewed",
        "Broken glass reviewed",
        "of {person}, rule {rule}, {note}",
    ),
    kind(
        "access_ended",
        "Access ended",
        "of {person}, rule {rule}, {how~}",
    ),
    kind(
        "signing_key_made",
        "Signing key made",
        "{key}, signs from {signs_from}",
    ),
    kind("signing_key_revoked", "Signing key revoked", "{key}"),
    kind(PRUNED, "Log pruned", "up to event {up_to}"),
];

/// The kind of this name.
pub fn named(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

impl Kind {
    /// An event of this kind in a few words.
    pub fn says(&self, event: &Value) -> String {
        let parts = self.told.split(", ").filter_map(|part| filled(part, event));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// A part with its values; `None` when it lacks one.
fn filled(part: &str, event: &Value) -> Option<String> {
    let mut pieces = part.split('{');
    let mut said = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, after) = piece.split_once('}')?;
        let word = name.strip_suffix('~');
        let mut value = event;
        for step in word.unwrap_or(name).split('.') {
            value = &value[step];
        }
        let text = shown(value)?;
        said.push_str(&if word.is_some() {
            text.replace('_', " ")
        } else {
            text
        });
        said.push_str(after);
    }
    Some(said)
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(printable(text)).filter(|text| !text.is_empty()),
        Value::Array(values) => {
            let all: Vec<String> = values.iter().filter_map(shown).collect();
            (!all.is_empty()).then(|| all.join(" and "))
        }
        Value::Object(_) => person(value),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

/// What the log calls a person that an event is about, as it does its actors.
pub fn person(value: &Value) -> Option<String> {
    let subject = value["subject"].as_str()?;
    Some(match value["email"].as_str() {
        Some(email) => printable(email),
        None => {
            let provider = value["provider"].as_str().unwrap_or_default();
            printable(&format!("{provider}/{subject}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every name that is given to a constructor of events.
    fn made() -> Vec<String> {
        let sources = [
            include_str!("../event.rs"),
            include_str!("access.rs"),
            include_str!("drafts.rs"),
            include_str!("exchanges.rs"),
            include_str!("keys.rs"),
            include_str!("svids.rs"),
        ];
        let mut names = vec![PRUNED.to_owned(), POLICY_WRITTEN.to_owned()];
        for source in sources {
            let text: String = source.split_whitespace().collect();
            for before in ["Self::new(\"", ".event(\"", "=>(\""] {
                for (at, _) in text.match_indices(before) {
                    let rest = &text[at + before.len()..];
                    names.push(rest.split('"').next().unwrap().to_owned());
                }
            }
        }
        names
    }

    #[test]
    fn every_kind_that_is_written_is_in_the_table_and_in_the_documentation() {
        let documented = include_str!("../../../docs/audit.md");
        let mut made = made();
        made.sort();
        made.dedup();
        for name in &made {
            assert!(named(name).is_some(), "{name} is not in the table");
        }
        assert_eq!(made.len(), KINDS.len());
        for kind in KINDS {
            let name = kind.name;
            assert!(documented.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn k1_an_event_is_told_by_what_it_has() {
        let says = |name: &str, event: Value| named(name).unwrap().says(&event);
        let bob = json!({ "provider": "okta", "subject": "7", "email": "bob@corp.example" });
        let nameless = json!({ "provider": "okta", "subject": "7\u{1b}", "email": null });
        let granted = json!({ "person": bob, "rule": "ops", "until": "2027" });
        assert_eq!(
            says("access_granted", granted),
            "to bob@corp.example, rule ops, until 2027"
        );
        assert_eq!(
            says(
                "session_ended",
                json!({ "person": nameless, "reason": "signed_out" })
            ),
            "okta/7\\u{1b}: signed out"
        );
        // As it was written before it had a peer.
        assert_eq!(says("sign_in", json!({ "person": bob })), "at okta");
        let applied = json!({ "draft": 3, "revision": 4, "approvers": [bob] });
        assert_eq!(
            says("draft_applied", applied),
            "draft 3, revision 4, approved by bob@corp.example"
        );
    }
}
