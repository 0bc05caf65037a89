//! A policy's text: cut into one piece per object, so that what an author wrote is kept object by object, and put together again.
//!
//! The pieces of a document, in order, are the document, byte for byte. A text whose objects do not stand on lines of their own (flow style) is
//! written anew before it is cut.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

use crate::policy::json::to_json;
use crate::policy::kind::Kind;
use crate::policy::model::Policy;
use crate::policy::yaml::{self, PlacedPart, PolicyFault, lines_of_items};

/// A policy without anything.
const EMPTY: &str = "{}\n";

/// Fields in the order in which people write them; others follow.
pub(super) const ORDER: [&str; 11] = [
    "name",
    "action",
    "mode",
    "host",
    "prefix",
    "address",
    "addresses",
    "from",
    "to",
    "when",
    "require",
];

/// A document in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// In the order written; each part at most once.
    pub parts: Vec<Part>,
}

/// One part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The key: one of [`PARTS`](crate::policy::kind::PARTS).
    pub name: String,
    /// The lines up to the first object, with the comments above.
    pub heading: String,
    /// One per object, in the order of the policy's objects of this part.
    pub items: Vec<String>,
}

impl Document {
    /// Cuts the text that a policy was read from.
    pub fn of(text: &str, policy: &Policy) -> Self {
        Self::cut_or_written(text, lines_of_items(text), policy)
    }

    fn cut_or_written(text: &str, placed: Option<Vec<PlacedPart>>, policy: &Policy) -> Self {
        let written_anew = || {
            let text = written(policy);
            cut(&text, lines_of_items(&text)?)
        };
        placed
            .and_then(|placed| cut(text, placed))
            .or_else(written_anew)
            .unwrap_or_default()
    }

    /// The whole text.
    pub fn text(&self) -> String {
        if self.parts.is_empty() {
            return EMPTY.to_owned();
        }
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(&part.heading);
            part.items.iter().for_each(|item| text.push_str(item));
        }
        text
    }
}

/// Reads a text as [`yaml::parse`] does, and cuts it.
pub fn read(text: &str) -> Result<(Policy, Document), Vec<PolicyFault>> {
    let (policy, placed) = yaml::parse_placed(text)?;
    let document = Document::cut_or_written(text, placed, &policy);
    Ok((policy, document))
}

/// A policy as text, by no author.
pub fn written(policy: &Policy) -> String {
    let json = to_json(policy);
    let mut text = String::new();
    for kind in Kind::ALL {
        let objects = json.of(kind);
        if objects.is_empty() {
            continue;
        }
        text.push_str(&format!("{}:\n", kind.part()));
        for object in objects {
            for (number, line) in written_object(object).lines().enumerate() {
                let lead = if number == 0 { "  - " } else { "    " };
                text.push_str(&format!("{lead}{line}\n"));
            }
        }
    }
    if text.is_empty() {
        text.push_str(EMPTY);
    }
    text
}

/// An object as text, by no author.
pub fn written_object(object: &Value) -> String {
    // A value of JSON can always be written.
    let yaml = serde_saphyr::to_string(&Ordered(object)).unwrap_or_default();
    format!("{}\n", yaml.trim_end())
}

/// `None` where the objects do not stand on lines of their own.
fn cut(text: &str, placed: Vec<PlacedPart>) -> Option<Document> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    // Where each piece begins: headings and items in turn.
    let mut starts = Vec::new();
    for part in &placed {
        let (name, line, items) = (&part.name, part.line, &part.items);
        if !lines.get(line)?.starts_with(name.as_str()) {
            return None;
        }
        starts.push(with_comments_above(&lines, line));
        for &item in items {
            if !lines.get(item)?.trim_start().starts_with("- ") {
                return None;
            }
            starts.push(with_comments_above(&lines, item));
        }
    }
    *starts.first_mut()? = 0;
    if !starts.is_sorted_by(|before, after| before < after) {
        return None;
    }
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let pieces = starts.iter().zip(ends);
    let mut pieces = pieces.map(|(&start, end)| lines.get(start..end).map(<[&str]>::concat));
    let mut parts = Vec::new();
    for part in placed {
        let heading = pieces.next()??;
        let items = part.items.iter().map(|_| pieces.next()?);
        parts.push(Part {
            name: part.name,
            heading,
            items: items.collect::<Option<_>>()?,
        });
    }
    Some(Document { parts })
}

/// The first of the comment lines right above a line, or that line.
fn with_comments_above(lines: &[&str], line: usize) -> usize {
    let above = lines.get(..line).unwrap_or_default().iter().rev();
    let comments = above.take_while(|line| line.trim_start().starts_with('#'));
    line - comments.count()
}

/// A value whose fields are written in our order.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let rank = |name: &str| ORDER.iter().position(|known| *known == name);
                let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
                sorted.sort_by_key(|(name, _)| (rank(name).unwrap_or(ORDER.len()), *name));
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (name, value) in sorted {
                    map.serialize_entry(name, &Ordered(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Ordered(item))?;
                }
                list.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::properties::policies;

    const TEXT: &str = "\
# What this is.

routes:
  # The first.
  - name: a
    host: a.example          # here
    upstream:
      addresses: ['u:1']
      tls: { server_name: u }

  - name: b
    host: b.example
    upstream: { addresses: ['u:1'], tls: { server_name: u } }

# Who may.
rules:
- { name: r, action: allow, from: [{ signed_in: true }] }
# At the end.
";

    #[test]
    fn the_pieces_of_a_document_are_the_document() {
        let policy = yaml::parse(TEXT).unwrap();
        let document = Document::of(TEXT, &policy);
        assert_eq!(document.text(), TEXT);
        let names: Vec<(&str, usize)> = document
            .parts
            .iter()
            .map(|part| (part.name.as_str(), part.items.len()))
            .collect();
        assert_eq!(names, [("routes", 2), ("rules", 1)]);
        assert!(document.parts[0].items[0].starts_with("  # The first.\n  - name: a\n"));
        assert!(document.parts[0].items[0].ends_with("{ server_name: u }\n\n"));
        assert_eq!(document.parts[1].heading, "# Who may.\nrules:\n");
    }

    #[test]
    fn what_cannot_be_cut_is_written_anew() {
        for text in [
            "{}",
            "{ rules: [{ name: r, action: deny, from: [] }] }",
            "rules: [{ name: r, action: deny, from: [] },\n  { name: s, action: deny, from: [] }]\n",
            "rules:\n  [{ name: r, action: deny, from: [] }]\n",
            "---\nrules:\n  - name: r\n    action: deny\n    from: []\n",
            "'rules':\n  - { name: r, action: deny, from: [] }\n",
        ] {
            let policy = yaml::parse(text).unwrap();
            let document = Document::of(text, &policy);
            let whole = document.text();
            assert_eq!(yaml::parse(&whole).unwrap(), policy, "{text}");
            assert_eq!(Document::of(&whole, &policy), document);
        }
    }

    proptest! {
        #[test]
        fn a_policy_that_is_written_reads_as_the_same_policy(policy in policies()) {
            let text = written(&policy);
            prop_assert_eq!(yaml::parse(&text).unwrap(), policy.clone(), "{}", text);
            let document = Document::of(&text, &policy);
            prop_assert_eq!(document.text(), text);
        }
    }
}
