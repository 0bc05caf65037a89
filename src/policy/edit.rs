//! Editing one object of a document: its piece of the text is another, and everything else stays as its authors wrote it.
//!
//! In an editor an object stands alone, without the list around it: [`shown`] takes a piece out of the list's indentation, [`edited`] puts it back.

use serde_json::Value;

use crate::policy::document::{Document, ORDER, Part, written_object};
use crate::policy::kind::Kind;
use crate::policy::model::Policy;
use crate::policy::yaml::{self, PolicyFault, lines_of_items};

/// Where the lines of a list's items stand by themselves.
const INDENT: usize = 2;

/// What is to be done with a document.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a> {
    /// What it is.
    pub kind: Kind,
    /// The object as it is called now; `None` for a new one.
    pub name: Option<&'a str>,
    /// What it is to say, as [`shown`]; `None` takes it out.
    pub object: Option<&'a str>,
    /// The object of the same kind that it goes before; `None` leaves it where it is, and puts a new one last.
    pub before: Option<&'a str>,
}

/// A document that was edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The whole text.
    pub text: String,
    /// The lines of the object in it, from 1; none if it was taken out.
    pub lines: std::ops::Range<u64>,
    /// The object's place among its kind.
    pub at: usize,
}

/// Why a document cannot be edited so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditFault {
    /// There is nothing of this name.
    #[error("there is no {0} called {1}")]
    Unknown(String, String),
    /// The text is no object; places are lines of it.
    #[error("the text cannot be read")]
    Faults(Vec<PolicyFault>),
}

/// An object of a document as an editor shows it.
pub fn object_text(text: &str, policy: &Policy, kind: Kind, name: &str) -> Option<String> {
    let names = policy.names(kind);
    let at = names.iter().position(|known| *known == name)?;
    let document = Document::of(text, policy);
    let mut parts = document.parts.iter();
    let part = parts.find(|known| known.name == kind.part())?;
    part.items.get(at).map(|piece| shown(piece))
}

/// The document with one object another.
pub fn edited(text: &str, policy: &Policy, edit: &Edit<'_>) -> Result<Edited, EditFault> {
    let unknown = |name: &str| EditFault::Unknown(edit.kind.to_string(), name.to_owned());
    let part_name = edit.kind.part();
    let names = policy.names(edit.kind);
    let place = |name: &str| names.iter().position(|known| *known == name);
    let at = match edit.name {
        Some(name) => Some(place(name).ok_or_else(|| unknown(name))?),
        None => None,
    };
    let before = match edit.before {
        Some(name) => Some(place(name).ok_or_else(|| unknown(name))?),
        None => None,
    };
    let mut document = Document::of(text, policy);
    let index = part_index(&mut document, part_name);
    let Some(part) = document.parts.get_mut(index) else {
        return Err(unknown(part_name));
    };
    let was_empty = part.items.is_empty();
    let old = at.and_then(|at| part.items.get(at).cloned());
    let Some(object) = edit.object else {
        if let Some(at) = at.filter(|at| *at < part.items.len()) {
            part.items.remove(at);
        }
        if part.items.is_empty() {
            part.heading = emptied(&part.heading, part_name);
        }
        return Ok(Edited {
            text: document.text(),
            lines: 0..0,
            at: 0,
        });
    };
    let piece = piece(object, old.as_deref(), part);
    check_alone(part_name, &piece)?;
    if was_empty {
        part.heading = filled(&part.heading, part_name);
    }
    let at = put(part, piece, at, before);
    end_lines(&mut document);
    Ok(Edited {
        lines: lines_of(&document, index, at),
        text: document.text(),
        at,
    })
}

fn put(part: &mut Part, piece: String, at: Option<usize>, before: Option<usize>) -> usize {
    let last = part.items.len();
    let to = match (at, before) {
        (Some(at), None) => {
            if let Some(item) = part.items.get_mut(at) {
                *item = piece;
                return at;
            }
            last
        }
        (Some(at), Some(before)) if at < last => {
            part.items.remove(at);
            if before > at { before - 1 } else { before }
        }
        (_, Some(before)) => before,
        (None, None) => last,
    };
    let to = to.min(part.items.len());
    part.items.insert(to, piece);
    to
}

/// The part's place; it is made where the document lacks it.
fn part_index(document: &mut Document, name: &str) -> usize {
    let found = document.parts.iter().position(|part| part.name == name);
    found.unwrap_or_else(|| {
        end_lines(document);
        let is_first = document.parts.is_empty();
        let gap = if is_first { "" } else { "\n" };
        document.parts.push(Part {
            name: name.to_owned(),
            heading: format!("{gap}{name}:\n"),
            items: Vec::new(),
        });
        document.parts.len() - 1
    })
}

/// Whatever follows a piece begins on a line of its own.
fn end_lines(document: &mut Document) {
    for part in &mut document.parts {
        for text in std::iter::once(&mut part.heading).chain(&mut part.items) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
        }
    }
}

fn lines_of(document: &Document, part: usize, item: usize) -> std::ops::Range<u64> {
    let lines = |text: &str| u64::try_from(text.matches('\n').count()).unwrap_or(u64::MAX);
    let mut line = 1;
    for (index, known) in document.parts.iter().enumerate() {
        line += lines(&known.heading);
        for (at, piece) in known.items.iter().enumerate() {
            let end = line + lines(piece);
            if (index, at) == (part, item) {
                return line..end;
            }
            line = end;
        }
    }
    0..0
}

/// The heading of a part that has no objects any more.
fn emptied(heading: &str, name: &str) -> String {
    let lines = heading.split_inclusive('\n').map(|line| {
        let rest = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(':'));
        rest.map_or_else(|| line.to_owned(), |rest| format!("{name}: []{rest}"))
    });
    lines.collect()
}

/// The heading of a part that gets its first object.
fn filled(heading: &str, name: &str) -> String {
    let lines = heading.split_inclusive('\n').map(|line| {
        let Some(rest) = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(':'))
        else {
            return line.to_owned();
        };
        let comment = rest.find('#').and_then(|at| rest.get(at..));
        match comment {
            Some(comment) => format!("{name}: {comment}"),
            None => format!("{name}:\n"),
        }
    });
    lines.collect()
}

/// It is one object by itself, so that it cannot swallow what follows it.
fn check_alone(part: &str, piece: &str) -> Result<(), EditFault> {
    let alone = format!("{part}:\n{piece}");
    let is_one = lines_of_items(&alone)
        .is_some_and(|parts| matches!(parts.as_slice(), [only] if only.items.len() == 1));
    if is_one {
        return Ok(());
    }
    let mut faults = match yaml::parse(&alone) {
        Err(faults) => faults,
        Ok(_) => vec![PolicyFault {
            line: 0,
            column: 0,
            key: String::new(),
            message: "it must be one object, written as a mapping".to_owned(),
        }],
    };
    for fault in &mut faults {
        // The heading is no line of it.
        fault.line = fault.line.saturating_sub(1);
        fault.column = fault.column.saturating_sub(4);
    }
    Err(EditFault::Faults(faults))
}

/// How a piece stands in its list.
struct Shape<'a> {
    /// Before the dash.
    indent: usize,
    /// Before what follows it.
    content: usize,
    /// Comments above, with the list's indentation.
    lead: Vec<&'a str>,
    /// From the dash on.
    body: Vec<&'a str>,
    /// What only separates it from what follows.
    tail: String,
}

fn spaces(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn shape(piece: &str) -> Shape<'_> {
    let lines: Vec<&str> = piece.lines().collect();
    let is_dash = |line: &&str| line.trim_start().starts_with('-');
    let dash = lines.iter().position(is_dash).unwrap_or(0);
    let first = lines.get(dash).copied().unwrap_or_default();
    let indent = spaces(first);
    let after = first.trim_start().trim_start_matches('-');
    let content = indent + 1 + spaces(after).max(1);
    let is_tail = |line: &&&str| {
        let text = line.trim_start();
        text.is_empty() || (text.starts_with('#') && spaces(line) <= indent)
    };
    let below = lines.get(dash + 1..).unwrap_or_default();
    let tail = below.iter().rev().take_while(is_tail).count();
    let end = lines.len().saturating_sub(tail);
    let tail = lines.get(end..).unwrap_or_default();
    Shape {
        indent,
        content,
        lead: lines.get(..dash).unwrap_or_default().to_vec(),
        body: lines.get(dash..end).unwrap_or_default().to_vec(),
        tail: tail.iter().map(|line| format!("{line}\n")).collect(),
    }
}

/// A piece without its list: comments above, and the object from the first column on.
pub fn shown(piece: &str) -> String {
    let shape = shape(piece);
    let without = |line: &str, columns: usize| {
        let columns = spaces(line).min(columns);
        line.get(columns..).unwrap_or_default().to_owned()
    };
    let lead = shape.lead.iter().map(|line| without(line, shape.indent));
    let body = shape.body.iter().enumerate().map(|(number, line)| {
        if number == 0 {
            let dashless = line.trim_start().trim_start_matches('-');
            return dashless.trim_start().to_owned();
        }
        without(line, shape.content)
    });
    let mut text: String = lead.chain(body).map(|line| line + "\n").collect();
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The opposite of [`shown`], in the list of `part`.
fn piece(object: &str, old: Option<&str>, part: &Part) -> String {
    let sibling = old.or(part.items.first().map(String::as_str));
    let indent = sibling.map_or(INDENT, |piece| shape(piece).indent);
    let tail = old.map(|piece| shape(piece).tail).unwrap_or_default();
    let object = object.replace("\r\n", "\n");
    let (outer, mut text) = (" ".repeat(indent), String::new());
    let mut is_above = true;
    for line in object.trim_end().lines() {
        let is_remark = line.trim().is_empty() || line.trim_start().starts_with('#');
        let lead = match (is_above, is_remark) {
            (true, true) => outer.clone(),
            (true, false) => format!("{outer}- "),
            (false, _) => format!("{outer}  "),
        };
        is_above = is_above && is_remark;
        text.push_str(format!("{lead}{line}").trim_end());
        text.push('\n');
    }
    text + &tail
}

/// An object's text that says `after` where it said `before`: lines of fields that stay the same are kept with their comments.
pub fn merged(text: &str, before: &Value, after: &Value) -> String {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        return written_object(after);
    };
    let lines = text.lines().map(|line| format!("{line}\n"));
    let lines: Vec<String> = lines.collect();
    let above = lines.iter().take_while(|line| is_remark(line)).count();
    let lead = lines.get(..above).unwrap_or_default().concat();
    let Some(fields) = fields(lines.get(above..).unwrap_or_default()) else {
        return lead + &written_object(after);
    };
    let one = |name: &str| {
        let value = new.get(name)?;
        let alone = Value::Object([(name.to_owned(), value.clone())].into_iter().collect());
        Some(written_object(&alone))
    };
    let mut merged = lead;
    for (name, lines) in &fields {
        if old.get(name) == new.get(name) && new.contains_key(name) {
            merged.push_str(lines);
        } else {
            merged.push_str(&one(name).unwrap_or_default());
        }
    }
    let rank = |name: &str| ORDER.iter().position(|known| *known == name);
    let is_there = |name: &str| fields.iter().any(|(known, _)| known == name);
    let mut more: Vec<&String> = new.keys().filter(|name| !is_there(name)).collect();
    more.sort_by_key(|name| (rank(name).unwrap_or(ORDER.len()), *name));
    for name in more {
        merged.push_str(&one(name).unwrap_or_default());
    }
    merged
}

fn is_remark(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

/// The lines of each field; `None` where fields do not stand on lines of their own.
fn fields(lines: &[String]) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut remarks = String::new();
    for line in lines {
        if is_remark(line) {
            remarks.push_str(line);
            continue;
        }
        let name: String = line
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect();
        let is_field = line
            .get(name.len()..)
            .is_some_and(|rest| rest.starts_with(':'));
        if is_field && !name.is_empty() {
            fields.push((name, std::mem::take(&mut remarks) + line));
        } else if line.starts_with([' ', '-']) {
            let (_, text) = fields.last_mut()?;
            text.push_str(&std::mem::take(&mut remarks));
            text.push_str(line);
        } else {
            return None;
        }
    }
    if let Some((_, text)) = fields.last_mut() {
        text.push_str(&remarks);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::json::to_json;
    use crate::policy::properties::policies;

    const TEXT: &str = "\
# What this is.
rules:
  # The first.
  - name: a            # here
    # Who.
    from: [{ signed_in: true }]
    action: allow

  - { name: b, action: deny, from: [] }
# At the end.
";

    fn change(text: &str, edit: Edit<'_>) -> Result<String, EditFault> {
        let policy = yaml::parse(text).unwrap();
        edited(text, &policy, &edit).map(|edited| edited.text)
    }

    fn rule<'a>(name: Option<&'a str>, object: Option<&'a str>) -> Edit<'a> {
        Edit {
            kind: Kind::Rule,
            name,
            object,
            before: None,
        }
    }

    #[test]
    fn an_object_stands_alone_and_goes_back() {
        let policy = yaml::parse(TEXT).unwrap();
        let a = object_text(TEXT, &policy, Kind::Rule, "a").unwrap();
        assert_eq!(
            a,
            "# The first.\nname: a            # here\n# Who.\nfrom: [{ signed_in: true }]\naction: allow\n"
        );
        let b = object_text(TEXT, &policy, Kind::Rule, "b").unwrap();
        assert_eq!(b, "{ name: b, action: deny, from: [] }\n");
        for (name, text) in [("a", a), ("b", b)] {
            assert_eq!(change(TEXT, rule(Some(name), Some(&text))).unwrap(), TEXT);
        }
    }

    #[test]
    fn a_part_without_objects_keeps_what_is_said_of_it() {
        let text =
            "# About rules: all of them.\nrules: # here\n  - { name: b, action: deny, from: [] }\n";
        let empty = change(text, rule(Some("b"), None)).unwrap();
        assert_eq!(empty, "# About rules: all of them.\nrules: [] # here\n");
        let one = "name: c\naction: deny\nfrom: []\n";
        let filled = change(&empty, rule(None, Some(one))).unwrap();
        assert!(
            filled.starts_with("# About rules: all of them.\nrules: # here\n"),
            "{filled}"
        );
    }

    #[test]
    fn everything_else_stays_as_it_was() {
        let other = change(
            TEXT,
            rule(Some("b"), Some("name: c\r\naction: deny\r\nfrom: []")),
        );
        let (kept, _) = TEXT.split_once("  - { name: b").unwrap();
        let expected =
            format!("{kept}  - name: c\n    action: deny\n    from: []\n# At the end.\n");
        assert_eq!(other.unwrap(), expected);
        let new = change(
            TEXT,
            rule(None, Some("{ name: c, action: deny, from: [] }")),
        )
        .unwrap();
        assert_eq!(
            new,
            format!("{TEXT}  - {{ name: c, action: deny, from: [] }}\n")
        );
        let gone = change(TEXT, rule(Some("a"), None)).unwrap();
        assert_eq!(
            gone,
            "# What this is.\nrules:\n  - { name: b, action: deny, from: [] }\n# At the end.\n"
        );
        let none = change(&gone, rule(Some("b"), None)).unwrap();
        assert_eq!(none, "# What this is.\nrules: []\n");
        let again = change(
            &none,
            rule(None, Some("{ name: d, action: deny, from: [] }")),
        )
        .unwrap();
        assert_eq!(
            again,
            "# What this is.\nrules:\n  - { name: d, action: deny, from: [] }\n"
        );
        let first = change(
            "{}",
            rule(None, Some("{ name: d, action: deny, from: [] }")),
        )
        .unwrap();
        assert_eq!(first, "rules:\n  - { name: d, action: deny, from: [] }\n");
        assert!(matches!(
            change(TEXT, rule(Some("x"), None)),
            Err(EditFault::Unknown(..))
        ));
    }

    #[test]
    fn an_object_can_be_moved() {
        let moved = Edit {
            before: Some("a"),
            ..rule(Some("b"), Some("{ name: b, action: deny, from: [] }"))
        };
        let text = change(TEXT, moved).unwrap();
        let policy = yaml::parse(&text).unwrap();
        assert_eq!(policy.names(Kind::Rule), ["b", "a"]);
    }

    #[test]
    fn k1_what_is_written_is_one_object_and_swallows_nothing() {
        for hostile in [
            "name: a\n- name: b",
            "name: \"a",
            "# nothing",
            "",
            "{ name: a",
            "name: a\n---\nname: b",
            "&x name: a",
        ] {
            let outcome = change(TEXT, rule(None, Some(hostile)));
            assert!(
                matches!(outcome, Err(EditFault::Faults(_))),
                "{hostile}: {outcome:?}"
            );
        }
    }

    #[test]
    fn lines_of_the_object_are_found() {
        let policy = yaml::parse(TEXT).unwrap();
        let edit = rule(Some("b"), Some("# Why.\nname: b\naction: deny\nfrom: []"));
        let edited = edited(TEXT, &policy, &edit).unwrap();
        let lines: Vec<&str> = edited.text.lines().collect();
        let first = usize::try_from(edited.lines.start).unwrap() - 1;
        assert_eq!(lines[first], "  # Why.");
    }

    #[test]
    fn fields_that_stay_keep_their_comments() {
        let text =
            "# Above.\nname: a   # here\n# Who.\nfrom:\n- groups: [x]   # x\naction: allow\n";
        let before =
            serde_json::json!({ "name": "a", "from": [{ "groups": ["x"] }], "action": "allow" });
        let mut after = before.clone();
        after["action"] = "deny".into();
        after["mode"] = "shadow".into();
        assert_eq!(
            merged(text, &before, &after),
            "# Above.\nname: a   # here\n# Who.\nfrom:\n- groups: [x]   # x\naction: deny\nmode: shadow\n"
        );
        let flow = "# Above.\n{ name: a, from: [{ groups: [x] }], action: allow }\n";
        let rewritten = merged(flow, &before, &after);
        assert!(
            rewritten.starts_with("# Above.\nname: a\naction: deny\n"),
            "{rewritten}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_object_can_be_taken_out_and_put_back(policy in policies()) {
            let text = crate::policy::document::written(&policy);
            for kind in Kind::ALL {
                for name in policy.names(kind) {
                    let object = object_text(&text, &policy, kind, name).unwrap();
                    let edit = Edit { kind, name: Some(name), object: Some(&object), before: None };
                    prop_assert_eq!(&edited(&text, &policy, &edit).unwrap().text, &text);
                    let json = to_json(&policy);
                    let object_json = json.of(kind).iter().find(|one| one["name"] == *name).unwrap();
                    prop_assert_eq!(merged(&object, object_json, object_json), object);
                }
            }
        }
    }
}
