//! Events as text, and reading what was exported.

use std::fmt::Write;

use serde_json::Value;

use crate::audit::chain::Entry;
use crate::audit::export::{parsed, printable, taken};
use crate::clock::Timestamp;

/// A line of an exported log.
pub(super) enum Line {
    Event(Entry),
    /// The event that it is about, and the signed JWT.
    Checkpoint(i64, String),
}

/// On one line each: number, time, kind, actor, and the rest as it is.
pub(super) fn as_text(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let mut event = parsed(entry);
        let (kind, actor) = (taken(&mut event, "kind"), taken(&mut event, "actor"));
        let time = Timestamp::from_micros(entry.at).for_people();
        let rest: Vec<String> = leaves(&event);
        let _fits = writeln!(
            text,
            "{:>6}  {time}  {kind:<14}  {actor}  {}",
            entry.seq,
            rest.join(" ")
        );
    }
    if text.is_empty() {
        text.push_str("There is no such event.\n");
    }
    text
}

/// Reads a line of [`crate::audit::export::as_json`], or of a checkpoint.
pub(super) fn read(line: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(line).ok()?;
    let seq = line["seq"].as_i64()?;
    if let Some(token) = line["checkpoint"].as_str() {
        return Some(Line::Checkpoint(seq, token.to_owned()));
    }
    Some(Line::Event(Entry {
        seq,
        at: line["at"].as_i64()?,
        body: line.get("event")?.to_string(),
        hash: line["hash"].as_str()?.to_owned(),
    }))
}

/// `name=value` of everything that is neither list nor object, but of the person, whom the actor names already.
fn leaves(event: &Value) -> Vec<String> {
    let members = event.as_object().into_iter().flatten();
    members
        .filter(|(_, value)| !value.is_null() && !value.is_object())
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}={}", printable(text)),
            None => format!("{name}={value}"),
        })
        .collect()
}
