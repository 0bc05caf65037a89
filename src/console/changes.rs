//! Differences between policies as people read them: object by object, field by field, each line with its sign.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::console::answer::Refused;
use crate::console::{cursor, kinds, link};
use crate::policy::diff::{Change, FieldChange};
use crate::policy::document::written_object;
use crate::policy::kind::Kind;
use crate::web::parameters::Parameters;

/// So many objects are shown at once: a revision may have changed ten thousand.
const SHOWN: usize = 100;

/// Which of the objects that differ a page shows, and where the others are.
#[derive(Default)]
pub(super) struct Part {
    skipped: usize,
    /// The page's own address and query; a page that was sent a form has none, and shows the first objects.
    page: Option<(String, Vec<(&'static str, String)>)>,
}

impl Part {
    /// What is asked of the page at this address.
    pub(super) fn of(
        path: String,
        own: &[(&'static str, i64)],
        query: &Parameters,
    ) -> Result<Self, Refused> {
        let own = own.iter().map(|(name, value)| (*name, value.to_string()));
        Ok(Self {
            skipped: cursor::position(query, "skip")?,
            page: Some((path, own.collect())),
        })
    }

    /// The same page with other objects.
    fn from(&self, skipped: usize) -> Option<String> {
        let (path, own) = self.page.as_ref()?;
        let skipped = skipped.to_string();
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let query: Vec<(&str, &str)> = own.chain([("skip", &*skipped)]).collect();
        Some(format!("{}#changed", link::with_query(path, &query)))
    }
}

/// What differs, or a part of it.
pub(super) struct Changes {
    pub(super) shown: Vec<ObjectChange>,
    /// The first that is shown, from 1.
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) all: usize,
    /// What there is in all; nothing where all of it is shown.
    pub(super) counts: Vec<Count>,
    /// Where those before are.
    pub(super) before: Option<String>,
    /// Where the next ones are.
    pub(super) after: Option<String>,
}

/// How many objects of a kind differ in the same way.
pub(super) struct Count {
    pub(super) what: &'static str,
    pub(super) badge: &'static str,
    pub(super) objects: String,
}

impl Changes {
    /// Of these, what a part has.
    pub(super) fn of(all: &[Change], part: &Part) -> Self {
        let skipped = if part.skipped < all.len() {
            part.skipped
        } else {
            0
        };
        let shown: Vec<ObjectChange> = all.iter().skip(skipped).take(SHOWN).map(change).collect();
        let last = skipped + shown.len();
        let is_whole = shown.len() == all.len();
        let (before, after) = cursor::beside(skipped, SHOWN, all.len());
        Self {
            first: skipped + 1,
            last,
            all: all.len(),
            counts: if is_whole { Vec::new() } else { counts(all) },
            before: before.and_then(|skipped| part.from(skipped)),
            after: after.and_then(|skipped| part.from(skipped)),
            shown,
        }
    }

    /// Whether nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// Objects that are shown nowhere.
    pub(super) fn untold(&self) -> usize {
        match self.after {
            Some(_) => 0,
            None => self.all.saturating_sub(self.last),
        }
    }
}

fn counts(all: &[Change]) -> Vec<Count> {
    let mut found: BTreeMap<(&str, &str, Option<Kind>), usize> = BTreeMap::new();
    for change in all {
        let (what, badge) = what(change);
        let kind = match change {
            Change::Added { kind, .. }
            | Change::Removed { kind, .. }
            | Change::Changed { kind, .. } => Some(*kind),
            Change::Reordered { .. } => None,
        };
        *found.entry((what, badge, kind)).or_default() += 1;
    }
    let counts = found.into_iter().map(|((what, badge, kind), number)| {
        let objects = match (kind.map(kinds::of), number) {
            (None, _) => "mappings".to_owned(),
            (Some(pages), 1) => format!("1 {}", pages.one),
            (Some(pages), many) => format!("{many} {}", pages.many.to_lowercase()),
        };
        Count {
            what,
            badge,
            objects,
        }
    });
    counts.collect()
}

/// One object that differs.
pub(super) struct ObjectChange {
    /// `added`, `removed`, `changed` or `reordered`.
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

/// What became of an object, and how it looks.
const fn what(change: &Change) -> (&'static str, &'static str) {
    match change {
        Change::Added { .. } => ("added", "good"),
        Change::Removed { .. } => ("removed", "bad"),
        Change::Changed { .. } => ("changed", "warn"),
        Change::Reordered { .. } => ("reordered", "warn"),
    }
}

fn change(change: &Change) -> ObjectChange {
    let whole = |object: &Value, sign| {
        let text = written_object(object);
        text.lines().map(|text| line(sign, text)).collect()
    };
    let what = what(change);
    match change {
        Change::Added { kind, name, object } => about(what, *kind, name, whole(object, ADDED)),
        Change::Removed { kind, name, object } => ObjectChange {
            path: None,
            ..about(what, *kind, name, whole(object, REMOVED))
        },
        Change::Changed { kind, name, fields } => {
            let lines = fields.iter().flat_map(field).collect();
            about(what, *kind, name, lines)
        }
        Change::Reordered { mappings } => ObjectChange {
            what: what.0,
            badge: what.1,
            kind: "mappings",
            name: "are tried in this order".to_owned(),
            path: None,
            lines: mappings.iter().map(|name| line(SAME, name)).collect(),
        },
    }
}

fn about(
    (what, badge): (&'static str, &'static str),
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
pub(super) fn sample(text: &str) -> Changes {
    let one = ObjectChange {
        what: "changed",
        badge: "warn",
        kind: "rule",
        name: text.to_owned(),
        path: Some("/console/rules/r".to_owned()),
        lines: vec![line(REMOVED, text), line(ADDED, text), line(SAME, text)],
    };
    Changes {
        shown: vec![one],
        first: 2,
        last: 2,
        all: 3,
        counts: vec![Count {
            what: "changed",
            badge: "warn",
            objects: text.to_owned(),
        }],
        before: Some("/console/revisions/7?skip=0#changed".to_owned()),
        after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(kind: Kind, number: usize) -> Change {
        Change::Added {
            kind,
            name: format!("o{number}"),
            object: json!({ "name": format!("o{number}") }),
        }
    }

    #[test]
    fn every_object_of_many_is_on_a_page() {
        let rules = (0..250).map(|number| added(Kind::Rule, number));
        let all: Vec<Change> = rules.chain([added(Kind::Route, 250)]).collect();
        let mut names = Vec::new();
        let mut query = Parameters::default();
        loop {
            let own = [("from", 1), ("to", 2)];
            let part = Part::of("/console/revisions/compare".to_owned(), &own, &query).unwrap();
            let page = Changes::of(&all, &part);
            assert_eq!(page.counts[0].objects, "1 route");
            assert_eq!(page.counts[1].objects, "250 rules");
            assert_eq!((page.first, page.untold()), (names.len() + 1, 0));
            names.extend(page.shown.into_iter().map(|object| object.name));
            let Some(next) = page.after else { break };
            let (_, next) = next.split_once("?from=1&to=2&").unwrap();
            let next = next.strip_suffix("#changed").unwrap();
            query = Parameters::parse(next.as_bytes(), 100).unwrap();
        }
        let expected: Vec<String> = (0..251).map(|number| format!("o{number}")).collect();
        assert_eq!(names, expected);
        // A page without an address says how many it leaves out.
        let page = Changes::of(&all, &Part::default());
        assert_eq!((page.last, page.untold()), (100, 151));
        let few = Changes::of(&all[..100], &Part::default());
        assert!(few.counts.is_empty() && few.untold() == 0);
    }

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
