//! Differences between policies as people read them: object by object, field by field, each line with its sign.

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::console::kinds;
use crate::policy::diff::{Change, FieldChange};
use crate::policy::document::written_object;
use crate::policy::kind::Kind;

/// One object that differs.
pub(super) struct ObjectChange {
    /// `added`, `removed`, `changed` or `moved`.
    pub(super) what: &'static str,
    pub(super) badge: &'static str,
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// Its page, where there is one.
    pub(super) path: Option<String>,
    pub(super) lines: Vec<Line>,
}

/// A line of a difference.
pub(super) struct Line {
    /// `added`, `removed` or nothing.
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) text: String,
}

const ADDED: (&str, &str) = ("added", "+");
const REMOVED: (&str, &str) = ("removed", "\u{2212}");
const SAME: (&str, &str) = ("", " ");

fn line((class, sign): (&'static str, &'static str), text: &str) -> Line {
    Line {
        class,
        sign,
        text: text.trim_end().to_owned(),
    }
}

/// All of them.
pub(super) fn changes(changes: &[Change]) -> Vec<ObjectChange> {
    changes.iter().map(change).collect()
}

fn change(change: &Change) -> ObjectChange {
    let whole = |object: &Value, sign| {
        let text = written_object(object);
        text.lines().map(|text| line(sign, text)).collect()
    };
    match change {
        Change::Added { kind, name, object } => {
            about("added", "good", *kind, name, whole(object, ADDED))
        }
        Change::Removed { kind, name, object } => ObjectChange {
            path: None,
            ..about("removed", "bad", *kind, name, whole(object, REMOVED))
        },
        Change::Changed { kind, name, fields } => {
            let lines = fields.iter().flat_map(field).collect();
            about("changed", "warn", *kind, name, lines)
        }
        Change::Reordered { mappings } => ObjectChange {
            what: "reordered",
            badge: "warn",
            kind: "mappings",
            name: "are tried in this order".to_owned(),
            path: None,
            lines: mappings.iter().map(|name| line(SAME, name)).collect(),
        },
    }
}

fn about(
    what: &'static str,
    badge: &'static str,
    kind: Kind,
    name: &str,
    lines: Vec<Line>,
) -> ObjectChange {
    let pages = kinds::of(kind);
    ObjectChange {
        what,
        badge,
        kind: pages.one,
        name: name.to_owned(),
        path: Some(pages.object(name)),
        lines,
    }
}

fn field(change: &FieldChange) -> Vec<Line> {
    let said = |value: &Option<Value>| {
        let (last, way) = change.field.split_last()?;
        let mut said = json!({ last: value.as_ref()? });
        for step in way.iter().rev() {
            said = json!({ step: said });
        }
        Some(written_object(&said))
    };
    let (before, after) = change.sides();
    let before = said(&before).unwrap_or_default();
    let after = said(&after).unwrap_or_default();
    let diff = TextDiff::from_lines(&before, &after);
    let lines = diff.iter_all_changes().map(|change| {
        let sign = match change.tag() {
            ChangeTag::Equal => SAME,
            ChangeTag::Delete => REMOVED,
            ChangeTag::Insert => ADDED,
        };
        line(sign, change.value())
    });
    lines.collect()
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> Vec<ObjectChange> {
    vec![ObjectChange {
        what: "changed",
        badge: "warn",
        kind: "rule",
        name: text.to_owned(),
        path: Some("/console/rules/r".to_owned()),
        lines: vec![line(REMOVED, text), line(ADDED, text), line(SAME, text)],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_shown_line_by_line() {
        let lines = field(&FieldChange {
            field: vec!["when".to_owned(), "hours".to_owned()],
            before: Some(json!(["a", "b"])),
            after: Some(json!(["a", "c"])),
        });
        let shown: Vec<String> = lines
            .iter()
            .map(|line| format!("{}{}", line.sign, line.text.trim()))
            .collect();
        assert_eq!(shown, [" when:", " hours:", " - a", "\u{2212}- b", "+- c"]);
        let lines = field(&FieldChange {
            field: vec!["mode".to_owned()],
            before: Some(json!("shadow")),
            after: None,
        });
        let shown: Vec<&str> = lines.iter().map(|line| line.text.trim()).collect();
        assert_eq!(shown, ["mode: shadow", "mode: enforce"]);
    }
}
