//! Events as text, JSON lines and CSV.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::audit::chain::Entry;
use crate::clock::Timestamp;

/// The columns of [`as_csv`].
pub(super) const CSV_HEADING: &str = "seq,time,kind,actor,event,hash";

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

/// With the event as it was hashed: sorted keys, no spaces.
pub(super) fn as_json(entry: &Entry) -> String {
    let time = Timestamp::from_micros(entry.at).rfc3339();
    json!({ "seq": entry.seq, "at": entry.at, "time": time, "hash": entry.hash, "event": parsed(entry) }).to_string()
}

/// Reads a line of [`as_json`], or of a checkpoint.
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

/// RFC 4180.
pub(super) fn as_csv(entry: &Entry) -> String {
    let mut event = parsed(entry);
    let (kind, actor) = (taken(&mut event, "kind"), taken(&mut event, "actor"));
    let time = Timestamp::from_micros(entry.at).rfc3339();
    let fields = [
        entry.seq.to_string(),
        time,
        kind,
        actor,
        event.to_string(),
        entry.hash.clone(),
    ];
    fields.map(|field| quoted(&field)).join(",")
}

/// What a spreadsheet would take for a formula is made text.
fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if is_formula { "'" } else { "" };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

fn parsed(entry: &Entry) -> Value {
    serde_json::from_str(&entry.body).unwrap_or_else(|_| entry.body.clone().into())
}

fn taken(event: &mut Value, name: &str) -> String {
    let taken = event.as_object_mut().and_then(|event| event.remove(name));
    let text = taken.as_ref().and_then(Value::as_str).unwrap_or_default();
    printable(text)
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

/// Names and paths are other people's words: nothing in them may move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<char>>(),
            false => vec![character],
        })
        .collect()
}
