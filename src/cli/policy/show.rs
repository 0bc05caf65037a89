//! What the edge says of revisions, as text for people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::refusal::one_line;
use crate::policy::diff::FieldChange;

pub(super) const ADDED: Style = AnsiColor::Green.on_default();
pub(super) const REMOVED: Style = AnsiColor::Red.on_default();
pub(super) const CHANGED: Style = AnsiColor::Yellow.on_default();

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

pub(super) fn history(said: &Value) -> String {
    let revisions = list(said, "revisions");
    if revisions.is_empty() {
        return "There is no revision yet; `wayleave policy apply FILE` makes the first.\n"
            .to_owned();
    }
    let lines = revisions
        .iter()
        .map(|record| format!("{}\n", one_line(record)));
    let mut said: String = lines.collect();
    // The first one has no parent.
    let last = revisions.last().filter(|last| !last["parent"].is_null());
    if let Some(last) = last.and_then(|last| last["revision"].as_i64()) {
        let _fits = writeln!(said, "Older ones: wayleave policy history --before {last}");
    }
    said
}

pub(super) fn revision(said: &Value) -> String {
    let record = &said["revision"];
    let parent = match record["parent"].as_i64() {
        Some(parent) => format!("made from revision {parent}"),
        None => "the first".to_owned(),
    };
    let changes = match (list(said, "changes"), record["parent"].as_i64()) {
        // A revision is made of another text or not at all.
        ([], Some(_)) => REWORDED.to_owned(),
        (list, _) => changes(list),
    };
    let approvals: String = list(said, "approvals")
        .iter()
        .filter(|approval| approval["counts"] == true)
        .map(approval)
        .collect();
    format!("{}\n{parent}\n{approvals}\n{changes}", one_line(record))
}

/// An approval in a line.
pub(super) fn approval(approval: &Value) -> String {
    let (by, at) = (text(approval, "by"), short(text(approval, "at")));
    let message = text(approval, "message");
    format!("{ADDED}approved{ADDED:#} by {by}, {at}: {message}\n")
}

/// Where the texts differ and the policies do not.
const REWORDED: &str = "Only comments or layout differ.\n";

pub(super) fn reworded(_said: &Value) -> String {
    REWORDED.to_owned()
}

pub(super) fn diff(said: &Value) -> String {
    changes(list(said, "changes"))
}

pub(super) fn plan(plan: &Value) -> String {
    let parent = match plan["parent"].as_i64() {
        Some(parent) => format!("revision {parent}"),
        None => "nothing: there is no revision yet".to_owned(),
    };
    let mut said = if plan["is_empty"] == true {
        format!("Nothing to change: this is {parent}.\n")
    } else if list(plan, "changes").is_empty() {
        format!("Compared with {parent} only comments or layout differ.\n")
    } else {
        format!(
            "Compared with {parent}:\n\n{}",
            changes(list(plan, "changes"))
        )
    };
    said.push_str(&findings(plan));
    if plan["replay"] == WITHHELD {
        said.push_str("\nWhom it would change anything for is told to those alone who may read the audit log.\n");
    }
    if plan["replay"]["requests"]
        .as_i64()
        .is_some_and(|requests| requests > 0)
    {
        let _fits = write!(said, "\n{}", replayed(&plan["replay"]));
    }
    if let Some(file) = plan["follows"].as_str() {
        let _fits = writeln!(
            said,
            "\nThis edge follows {file}: it changes when that file does."
        );
    }
    said
}

/// What stands in place of a replay for those who may not know what others did.
pub(super) const WITHHELD: &str = "withheld";

pub(super) fn findings(plan: &Value) -> String {
    let findings = list(plan, "findings").iter();
    findings
        .map(|finding| {
            let (object, message) = (text(finding, "object"), text(finding, "message"));
            format!("{CHANGED}look at{CHANGED:#} {object}: {message}\n")
        })
        .collect()
}

/// From when on there was something to decide again: what is older than decisions are kept is not there.
fn began(said: &Value) -> String {
    let since = text(said, "since");
    match said["recorded_since"].as_str() {
        Some(recorded) if recorded > since => {
            format!("{} (nothing older is recorded)", short(recorded))
        }
        _ => short(since),
    }
}

pub(super) fn replayed(said: &Value) -> String {
    let since = began(said);
    let requests = &said["requests"];
    let effects = list(said, "effects");
    if requests.as_i64() == Some(0) {
        return format!(
            "No request is recorded since {since}, so what people would notice is not known.\n"
        );
    }
    if effects.is_empty() {
        return format!(
            "Of {requests} requests since {since} each would be decided as it was; what nobody asked for is not among them.\n"
        );
    }
    let mut lines = format!("Of {requests} requests since {since}:\n");
    for effect in effects {
        let (style, would) = match text(effect, "change") {
            "loses" => (REMOVED, "- would lose"),
            "signs_in_again" => (CHANGED, "~ would sign in again for"),
            "needs_approval" => (CHANGED, "~ would need an approval for"),
            "gains" => (ADDED, "+ would gain"),
            "could_sign_in_again" => (ADDED, "+ would gain, by signing in again,"),
            "could_ask" => (ADDED, "+ could ask for"),
            _ => (CHANGED, "~ would go under another mesh identity:"),
        };
        let who = effect["person"]
            .as_str()
            .unwrap_or("whoever is not signed in");
        let (method, host, path) = (
            text(effect, "method"),
            text(effect, "host"),
            text(effect, "path"),
        );
        let (count, last) = (&effect["count"], short(text(effect, "last_at")));
        let _fits = writeln!(
            lines,
            "  {style}{would}{style:#} {who}: {method} {host}{path} ({}, last {last})",
            times(count)
        );
    }
    let more = said["more"].as_u64().filter(|more| *more > 0);
    if let Some(more) = more {
        let _fits = writeln!(lines, "  and {more} more");
    }
    let _fits = writeln!(lines, "{}", affected(list(said, "sums")));
    lines
}

/// How many people it is about.
fn affected(sums: &[Value]) -> String {
    let told = sums.iter().map(|sum| {
        let would = match text(sum, "change") {
            "loses" => "would lose something",
            "signs_in_again" => "would sign in again",
            "needs_approval" => "would need an approval",
            "gains" => "would gain something",
            "could_sign_in_again" => "would gain something by signing in again",
            "could_ask" => "could ask for something that was refused",
            _ => "would go as somebody else",
        };
        let people = sum["people"].as_u64().unwrap_or(0);
        let counted = match (people, sum["strangers"] == true) {
            (0, _) => "whoever is not signed in".to_owned(),
            (1, false) => "1 person".to_owned(),
            (1, true) => "1 person and whoever is not signed in".to_owned(),
            (many, false) => format!("{many} people"),
            (many, true) => format!("{many} people and whoever is not signed in"),
        };
        format!("{counted} {would}")
    });
    let told: Vec<String> = told.collect();
    format!("In all {}.", told.join("; "))
}

fn times(count: &Value) -> String {
    match count.as_i64() {
        Some(1) => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

/// Down to the minute.
pub(super) fn short(moment: &str) -> String {
    let moment = moment.get(..16).unwrap_or(moment);
    format!("{} UTC", moment.replace('T', " "))
}

pub(super) fn written(said: &Value) -> String {
    let revision = &said["revision"];
    match said["is_new"].as_bool() {
        Some(true) => format!("Revision {revision} is the policy now.\n"),
        _ => format!("Nothing to change: this is revision {revision}.\n"),
    }
}

pub(super) fn changes(changes: &[Value]) -> String {
    if changes.is_empty() {
        return "Nothing differs.\n".to_owned();
    }
    changes.iter().map(change).collect()
}

fn change(change: &Value) -> String {
    let of = format!("{} {}", text(change, "kind"), text(change, "name"));
    match text(change, "change") {
        "added" => format!(
            "{ADDED}+ {of}{ADDED:#}\n{}",
            object(&change["object"], ADDED)
        ),
        "removed" => format!(
            "{REMOVED}- {of}{REMOVED:#}\n{}",
            object(&change["object"], REMOVED)
        ),
        "reordered" => {
            let names: Vec<&str> = list(change, "mappings")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            format!(
                "{CHANGED}~ order of the mappings{CHANGED:#}: {}\n",
                names.join(", ")
            )
        }
        _ => {
            let fields: String = list(change, "fields").iter().map(field).collect();
            format!("{CHANGED}~ {of}{CHANGED:#}\n{fields}")
        }
    }
}

fn object(object: &Value, style: Style) -> String {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| *name != "name")
        .map(|(name, value)| format!("    {style}{name}: {value}{style:#}\n"))
        .collect()
}

fn field(change: &Value) -> String {
    let path: Vec<&str> = list(change, "field")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut said = format!("    {}:\n", path.join("."));
    let sides = FieldChange::deserialize(change).map(|change| change.sides());
    let (before, after) = sides.unwrap_or_default();
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    for (sign, value, style) in [("-", before, REMOVED), ("+", after, ADDED)] {
        if !value.is_null() {
            let _fits = writeln!(said, "      {style}{sign} {value}{style:#}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replay_ends_with_how_many_people_it_is_about() {
        let effect = |change: &str, person: Option<&str>| {
            json!({
                "change": change, "person": person, "method": "GET", "host": "a.example", "path": "/", "count": 1,
                "last_at": "2027-01-31T18:00:00Z",
            })
        };
        let effects = [
            effect("loses", Some("alice")),
            effect("loses", Some("alice")),
            effect("loses", Some("bob")),
            effect("gains", None),
        ];
        let sums = json!([
            { "change": "loses", "people": 2, "strangers": false },
            { "change": "gains", "people": 0, "strangers": true },
        ]);
        let mut said = json!({ "since": "2027-01-31T18:00:00Z", "requests": 4, "sums": sums, "effects": effects, "more": 0 });
        let all = "In all 2 people would lose something; whoever is not signed in would gain something.\n";
        assert!(replayed(&said).ends_with(all), "{}", replayed(&said));
        said["more"] = 3.into();
        assert!(replayed(&said).contains("and 3 more\nIn all 2 people"));
    }

    #[test]
    fn a_rule_that_is_enforced_from_now_on_says_so() {
        let fields = json!([{ "field": ["mode"], "before": "shadow", "after": null }]);
        let change = json!({ "change": "changed", "kind": "rule", "name": "r", "fields": fields });
        let said = changes(&[change]);
        let said = anstream::adapter::strip_str(&said).to_string();
        assert!(
            said.contains("- \"shadow\"") && said.contains("+ \"enforce\""),
            "{said}"
        );
    }
}
