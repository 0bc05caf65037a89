//! The configuration as written: a tree in which every value knows its place, so that every fault can name it.
//!
//! A tree and not derived types, since those give up at the first value that does not fit.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::faults::ConfigFault;

/// Where a value was written.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// One-based line of the file.
    Line(usize),
    /// The environment variable of this name.
    Variable(String),
}

/// A value and its place. Has no `Debug`: it may be a secret.
pub struct Placed {
    /// Where it was written.
    pub place: Place,
    /// What was written.
    pub node: Node,
}

/// A value.
pub enum Node {
    /// Text; values from the environment are always text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Flag(bool),
    /// Values, or the sections of a `[[list]]`.
    List(Vec<Placed>),
    /// A section.
    Table(BTreeMap<String, Placed>),
    /// A kind of value that no key of ours has (a date, a fraction), by the name of its kind.
    Strange(&'static str),
}

/// Reads a TOML document; every place that does not parse is a fault.
pub fn parse(file: &Path, text: &str) -> Result<Placed, Vec<ConfigFault>> {
    let lines = Lines::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Placed {
            place: Place::Line(1),
            node: table(document.into_inner(), &lines),
        });
    }
    let fault = |error: toml::de::Error| ConfigFault {
        file: file.to_owned(),
        key: String::new(),
        line: error.span().map(|span| lines.line(span.start)),
        message: format!("this is not TOML: {}", error.message().trim()),
    };
    Err(errors.into_iter().map(fault).collect())
}

fn table(table: DeTable<'_>, lines: &Lines) -> Node {
    let entries = table.into_iter().map(|(key, value)| {
        // A section is found by its heading, anything else by its key.
        let line = lines.line(key.span().start);
        (key.into_inner().into_owned(), placed(value, line, lines))
    });
    Node::Table(entries.collect())
}

fn placed(value: Spanned<DeValue<'_>>, line: usize, lines: &Lines) -> Placed {
    let node = match value.into_inner() {
        DeValue::String(text) => Node::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Node::Strange("a number out of range"), Node::Integer),
        DeValue::Float(_) => Node::Strange("a fraction"),
        DeValue::Boolean(flag) => Node::Flag(flag),
        DeValue::Datetime(_) => Node::Strange("a date"),
        DeValue::Array(array) => Node::List(
            array
                .into_iter()
                .map(|element| {
                    let line = lines.line(element.span().start);
                    placed(element, line, lines)
                })
                .collect(),
        ),
        DeValue::Table(inner) => table(inner, lines),
    };
    Placed {
        place: Place::Line(line),
        node,
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The one-based line of a byte offset.
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}
