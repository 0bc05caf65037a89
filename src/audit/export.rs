//! Events as lines for other programs: JSON and CSV.

use serde_json::{Value, json};

use crate::audit::chain::Entry;
use crate::clock::Timestamp;
use crate::identity::unseen::is_unseen;

/// The columns of [`as_csv`].
pub const CSV_HEADING: &str = "seq,time,kind,actor,event,hash";

/// With the event as it was hashed: sorted keys, no spaces.
pub fn as_json(entry: &Entry) -> String {
    let time = Timestamp::from_micros(entry.at).rfc3339();
    json_text(
        &json!({ "seq": entry.seq, "at": entry.at, "time": time, "hash": entry.hash, "event": parsed(entry) }),
    )
}

/// RFC 4180.
pub fn as_csv(entry: &Entry) -> String {
    let mut event = parsed(entry);
    let (kind, actor) = (taken(&mut event, "kind"), taken(&mut event, "actor"));
    let time = Timestamp::from_micros(entry.at).rfc3339();
    let fields = [
        entry.seq.to_string(),
        time,
        kind,
        actor,
        json_text(&event),
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

/// JSON in which nothing is unseen.
fn json_text(value: &Value) -> String {
    let mut text = String::new();
    for character in value.to_string().chars() {
        if is_unseen(character) {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units);
            text.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(character);
        }
    }
    text
}

/// What an event says.
pub fn parsed(entry: &Entry) -> Value {
    serde_json::from_str(&entry.body).unwrap_or_else(|_| entry.body.clone().into())
}

/// Takes a text out of an event.
pub fn taken(event: &mut Value, name: &str) -> String {
    let taken = event.as_object_mut().and_then(|event| event.remove(name));
    let text = taken.as_ref().and_then(Value::as_str).unwrap_or_default();
    printable(text)
}

/// Names and paths are other people's words: nothing in them may move a terminal's cursor.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| match is_unseen(character) {
            true => character.escape_default().collect::<Vec<char>>(),
            false => vec![character],
        })
        .collect()
}
