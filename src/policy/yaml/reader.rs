//! Reading a tree of nodes field by field, and collecting what is wrong with it.

use crate::policy::yaml::PolicyFault;
use crate::policy::yaml::tree::{Node, Value};

/// More faults than anybody would read; the rest is left out.
pub(super) const MAX_FAULTS: usize = 200;

/// Collects faults. Its methods give `None` for what they have reported.
#[derive(Debug, Default)]
pub(super) struct Reader {
    faults: Vec<PolicyFault>,
}

/// A node and the key by which it is reached.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) key: String,
}

/// The fields of a mapping whose keys are all known and differ.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    at: At<'a>,
    fields: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    /// A field, if it is there.
    pub(super) fn field(&self, name: &str) -> Option<At<'a>> {
        let (_, node) = self.fields.iter().find(|(key, _)| *key == name)?;
        let key = match self.at.key.as_str() {
            "" => name.to_owned(),
            parent => format!("{parent}.{name}"),
        };
        Some(At { node, key })
    }

    /// Whether no field is there.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The mapping itself.
    pub(super) fn at(&self) -> &At<'a> {
        &self.at
    }
}

impl Reader {
    /// What was wrong.
    pub(super) fn into_faults(self) -> Vec<PolicyFault> {
        self.faults
    }

    /// Reports a fault of a node.
    pub(super) fn fault(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.push(at.node, at.key.clone(), message.into());
    }

    fn push(&mut self, node: &Node, key: String, message: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(PolicyFault {
                line: node.line,
                column: node.column,
                key,
                message,
            });
        }
    }

    fn wrong_kind(&mut self, at: &At<'_>, wanted: &str) {
        let message = match at.node.value {
            Value::Null => {
                format!("it has no value; leave the key out, or give {wanted}")
            }
            Value::Bool(_) | Value::Integer(_) | Value::OtherNumber if wanted == "a text" => {
                "it must be a text; put it in quotes".to_owned()
            }
            _ => format!("it must be {wanted}, not {}", at.node.value.kind()),
        };
        self.fault(at, message);
    }

    /// The fields of a mapping; unknown keys and keys that stand twice are faults.
    pub(super) fn fields<'a>(&mut self, at: &At<'a>, known: &[&str]) -> Option<Fields<'a>> {
        let Value::Map(entries) = &at.node.value else {
            self.wrong_kind(at, "a mapping");
            return None;
        };
        let mut fields: Vec<(&str, &Node)> = Vec::new();
        for (key, value) in entries {
            let Value::Text(name) = &key.value else {
                self.push(key, at.key.clone(), "a key must be a text".to_owned());
                continue;
            };
            let path = match at.key.as_str() {
                "" => name.clone(),
                parent => format!("{parent}.{name}"),
            };
            if !known.contains(&name.as_str()) {
                let message = format!("this key is not known here; known are {}", known.join(", "));
                self.push(key, path, message);
            } else if fields.iter().any(|(other, _)| other == name) {
                self.push(key, path, "this key stands here twice".to_owned());
            } else {
                fields.push((name, value));
            }
        }
        Some(Fields {
            at: at.clone(),
            fields,
        })
    }

    /// The entries of a mapping whose keys are anything.
    pub(super) fn entries<'a>(&mut self, at: &At<'a>) -> Option<Vec<(&'a str, At<'a>)>> {
        let Value::Map(entries) = &at.node.value else {
            self.wrong_kind(at, "a mapping");
            return None;
        };
        let mut named = Vec::new();
        for (key, node) in entries {
            let Value::Text(name) = &key.value else {
                self.push(
                    key,
                    at.key.clone(),
                    "a key must be a text; put it in quotes".to_owned(),
                );
                continue;
            };
            let key = format!("{}.{name}", at.key);
            named.push((name.as_str(), At { node, key }));
        }
        Some(named)
    }

    /// A field that must be there.
    pub(super) fn required<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<At<'a>> {
        let field = fields.field(name);
        if field.is_none() {
            self.fault(fields.at(), format!("`{name}` is missing"));
        }
        field
    }

    /// The items of a list.
    pub(super) fn list<'a>(&mut self, at: &At<'a>) -> Option<Vec<At<'a>>> {
        let Value::List(items) = &at.node.value else {
            self.wrong_kind(at, "a list");
            return None;
        };
        let items = items.iter().enumerate().map(|(index, node)| At {
            node,
            key: format!("{}[{index}]", at.key),
        });
        Some(items.collect())
    }

    /// A text.
    pub(super) fn text<'a>(&mut self, at: &At<'a>) -> Option<&'a str> {
        let Value::Text(text) = &at.node.value else {
            self.wrong_kind(at, "a text");
            return None;
        };
        Some(text)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, at: &At<'_>) -> Option<bool> {
        let Value::Bool(value) = at.node.value else {
            self.wrong_kind(at, "true or false");
            return None;
        };
        Some(value)
    }

    /// A whole number from `least` on.
    pub(super) fn integer<T: TryFrom<u64>>(&mut self, at: &At<'_>, least: u64) -> Option<T> {
        let number = match at.node.value {
            Value::Integer(number) if number >= least => T::try_from(number).ok(),
            _ => None,
        };
        if number.is_none() {
            self.fault(at, format!("it must be a whole number, {least} or more"));
        }
        number
    }

    /// A text that `parse` reads.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        at: &At<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(at)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(at, fault.to_string());
                None
            }
        }
    }

    /// A list each of whose items `read` reads. An unreadable item is a fault, so the gap is never used.
    pub(super) fn each<'a, T>(
        &mut self,
        at: &At<'a>,
        mut read: impl FnMut(&mut Self, &At<'a>) -> Option<T>,
    ) -> Vec<T> {
        let items = self.list(at).unwrap_or_default();
        // Grown by itself, a list of one takes the memory of four, and a large policy has many of those.
        let mut all = Vec::with_capacity(items.len());
        all.extend(items.iter().filter_map(|item| read(self, item)));
        all
    }

    /// A list of texts, or `None` where the field is absent.
    pub(super) fn texts<T, E: std::fmt::Display>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let at = fields.field(name)?;
        Some(self.each(&at, |reader, item| reader.parsed(item, &parse)))
    }
}
