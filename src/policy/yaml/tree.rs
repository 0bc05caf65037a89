//! A document as a tree of nodes, each with its place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error, Location, Spanned};

use crate::policy::yaml::{LARGEST_DOCUMENT, PolicyFault};

/// The deepest nesting; a policy needs nine.
const MAX_DEPTH: usize = 16;
/// Keys, values, lists and maps of a document: some two hundred thousand rules. Each takes some hundred bytes while it is read.
const MAX_NODES: usize = 4_000_000;

/// A value and where it stands (one-based; 0 when it comes from the store).
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) struct Node {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) value: Value,
}

/// What a node says. Numbers are not told apart further than policy needs.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) enum Value {
    Null,
    Bool(bool),
    Integer(u64),
    /// A negative or broken number.
    OtherNumber,
    Text(String),
    List(Vec<Node>),
    /// In the order written; a key may stand twice here.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What people call it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::OtherNumber => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// A node without a place.
    pub(in crate::policy) fn unplaced(value: Value) -> Self {
        Self {
            line: 0,
            column: 0,
            value,
        }
    }

    /// The same value from JSON, which the store keeps.
    pub(in crate::policy) fn from_json(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        Self::unplaced(match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => number.as_u64().map_or(Value::OtherNumber, Value::Integer),
            Json::String(text) => Value::Text(text),
            Json::Array(items) => Value::List(items.into_iter().map(Self::from_json).collect()),
            Json::Object(fields) => Value::Map(
                fields
                    .into_iter()
                    .map(|(key, value)| (Self::unplaced(Value::Text(key)), Self::from_json(value)))
                    .collect(),
            ),
        })
    }

    /// A document's parts from JSON.
    pub(in crate::policy) fn from_lists<const N: usize>(
        lists: [(&str, Vec<serde_json::Value>); N],
    ) -> Self {
        let part = |(name, items): (&str, Vec<serde_json::Value>)| {
            let items = items.into_iter().map(Self::from_json).collect();
            let name = Value::Text(name.to_owned());
            (Self::unplaced(name), Self::unplaced(Value::List(items)))
        };
        Self::unplaced(Value::Map(lists.into_iter().map(part).collect()))
    }

    /// Line and column of the deepest node on the way of a key like `rules[2].to[0]`.
    pub(super) fn place_of(&self, key: &str) -> (u64, u64) {
        let mut node = self;
        for step in key.split(['.', '[']) {
            let next = match (&node.value, step.strip_suffix(']')) {
                (Value::List(items), Some(index)) => {
                    index.parse().ok().and_then(|index: usize| items.get(index))
                }
                (Value::Map(fields), None) => fields
                    .iter()
                    .find(|(name, _)| matches!(&name.value, Value::Text(name) if name == step))
                    .map(|(_, value)| value),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        (node.line, node.column)
    }
}

/// Builds the tree of a YAML text, within the bounds; only one fault can be found here.
pub(super) fn from_yaml(text: &str) -> Result<Node, PolicyFault> {
    let fault = |location: Option<Location>, message: String| PolicyFault {
        line: location.map_or(0, |location| location.line()),
        column: location.map_or(0, |location| location.column()),
        key: String::new(),
        message,
    };
    if text.len() > LARGEST_DOCUMENT {
        return Err(fault(None, "the document is larger than 32 MiB".to_owned()));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let location = error.location();
        let error = error.without_snippet();
        let said = match error {
            Error::Budget { breach, .. } => beyond(breach),
            other => other.to_string(),
        };
        fault(location, said)
    })
}

/// A bound that was broken, in words.
fn beyond(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. } => {
            "anchors and aliases (&name, *name) are not read: write it out, or name it in `people` or `route_groups`".to_owned()
        }
        BudgetBreach::Depth { .. } => {
            format!("this is nested more deeply than {MAX_DEPTH} levels")
        }
        BudgetBreach::Documents { .. } => {
            "this is a second document; a policy is one".to_owned()
        }
        BudgetBreach::Events { .. } | BudgetBreach::Nodes { .. } => {
            "the document has more parts than are read of one".to_owned()
        }
        other => format!("the document goes beyond what is read of one: {other:?}"),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            column: spanned.referenced.column(),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::OtherNumber, Value::Integer))
    }

    fn visit_u128<E>(self, _value: u128) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_i128<E>(self, _value: i128) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(field) = fields.next_entry()? {
            map.push(field);
        }
        Ok(Value::Map(map))
    }
}
