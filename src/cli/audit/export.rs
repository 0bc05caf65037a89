//! Events as text, and reading what was exported.

use std::fmt::Write;

use serde_json::Value;

use crate::audit::chain::Entry;
use crate::audit::event::kinds;
use crate::audit::export::{as_json, parsed, printable, taken};
use crate::clock::Timestamp;

/// A line of an exported log.
pub(super) enum Line {
    Event(Entry),
    /// The event that it is about, and the signed JWT.
    Checkpoint(i64, String),
    /// That it is no whole log.
    Filter,
}

/// On one line each: number, time, kind, actor, and the rest as it is.
pub(super) fn as_text(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let mut event = parsed(entry);
        let (kind, actor) = (taken(&mut event, "kind"), taken(&mut event, "actor"));
        let time = to_the_second(entry.at);
        let rest = leaves(&event, &actor).join(" ");
        let _fits = writeln!(
            text,
            "{:>6}  {time}  {kind:<19}  {actor}  {rest}",
            entry.seq
        );
    }
    if text.is_empty() {
        text.push_str("There is no such event.\n");
    }
    text
}

/// Reads a line of [`crate::audit::export::as_json`], or of a checkpoint.
pub(super) fn read(text: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(text).ok()?;
    if line["filter"].is_object() {
        return Some(Line::Filter);
    }
    let seq = line["seq"].as_i64().filter(|seq| *seq > 0)?;
    if let Some(token) = line["checkpoint"].as_str() {
        return Some(Line::Checkpoint(seq, token.to_owned()));
    }
    let entry = Entry {
        seq,
        at: line["at"].as_i64()?,
        body: line.get("event")?.to_string(),
        hash: line["hash"].as_str()?.to_owned(),
        filed: None,
    };
    // The hash says nothing of the time in words, of what stands beside it, or of names that stand there twice.
    (as_json(&entry) == text.trim_end()).then_some(Line::Event(entry))
}

fn to_the_second(micros: i64) -> String {
    let text = Timestamp::from_micros(micros).rfc3339();
    let text = text.get(..19).unwrap_or_default();
    format!("{} UTC", text.replace('T', " "))
}

/// `name=value` of everything that is neither list nor object, and of people other than the actor.
fn leaves(event: &Value, actor: &str) -> Vec<String> {
    let members = event.as_object().into_iter().flatten();
    let shown = members.filter_map(|(name, value)| match value {
        Value::Null => None,
        Value::Object(_) => {
            let person = kinds::person(value).filter(|person| person != actor)?;
            Some(format!("{name}={person}"))
        }
        Value::String(text) => Some(format!("{name}={}", printable(text))),
        // Of a denial: when it was first so, in microseconds.
        Value::Number(micros) if name == "at" => {
            let time = Timestamp::from_micros(micros.as_i64()?).rfc3339();
            Some(format!("{name}={time}"))
        }
        _ => Some(format!("{name}={value}")),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_who_it_is_about_and_when() {
        let person = |name: &str| json!({ "provider": "okta", "subject": name, "email": null });
        let row = |body: Value| {
            let entry = Entry {
                seq: 7,
                at: 1_800_000_005_123_456,
                body: body.to_string(),
                hash: String::new(),
                filed: None,
            };
            as_text(&[entry])
        };
        let granted = json!({
            "kind": "access_granted", "actor": "okta/alice", "person": person("bob"),
            "by": person("alice"), "rule": "ops", "until": null,
        });
        assert_eq!(
            row(granted),
            "     7  2027-01-15 08:00:05 UTC  access_granted       okta/alice  person=okta/bob rule=ops\n"
        );
        let denied =
            json!({ "kind": "denied", "actor": "nobody", "at": 1_800_000_004_000_000_i64 });
        assert!(row(denied).ends_with("at=2027-01-15T08:00:04.000Z\n"));
    }
}
