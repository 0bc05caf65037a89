//! The environment: variables `WAYLEAVE_SECTION__KEY` override the file, and `x_env` keys name variables that hold secrets.

use std::collections::BTreeMap;

use crate::config::raw::{Node, Place, Placed};
use crate::secret::{ExposeSecret, SecretString};

/// What an override's name begins with.
const PREFIX: &str = "WAYLEAVE_";

/// The variables of the process, taken once.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, SecretString>);

impl Environment {
    /// The process's own; variables that are not UTF-8 are as good as absent.
    pub fn of_process() -> Self {
        Self::new(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// Any variables.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name, SecretString::from(value)))
                .collect(),
        )
    }

    /// The value of one variable.
    pub fn variable(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    /// Lays `WAYLEAVE_SECTION__KEY` variables over what the file says; returns the names of those that lead nowhere.
    /// Elements of `[[lists]]` are named by their `name` (upper case, `-` as `_`) or their position from 0.
    pub(super) fn lay_over(&self, root: &mut Placed) -> Vec<String> {
        let mut astray = Vec::new();
        for (name, value) in &self.0 {
            let Some(path) = name.strip_prefix(PREFIX).filter(|p| p.contains("__")) else {
                continue;
            };
            let segments: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
            if put(root, &segments, name, value).is_none() {
                astray.push(name.clone());
            }
        }
        astray
    }
}

/// Puts a value at a path; `None` when the path is not one.
fn put(node: &mut Placed, path: &[String], variable: &str, value: &SecretString) -> Option<()> {
    let place = || Place::Variable(variable.to_owned());
    let (segment, rest) = path.split_first()?;
    if segment.is_empty() {
        return None;
    }
    let next = match &mut node.node {
        Node::Table(table) => table.entry(segment.clone()).or_insert_with(|| Placed {
            place: place(),
            node: Node::Table(BTreeMap::new()),
        }),
        Node::List(elements) => {
            let at = position(elements, segment)?;
            elements.get_mut(at)?
        }
        Node::Text(_) | Node::Integer(_) | Node::Flag(_) | Node::Strange(_) => return None,
    };
    if !rest.is_empty() {
        return put(next, rest, variable, value);
    }
    *next = Placed {
        place: place(),
        node: Node::Text(value.expose_secret().to_owned()),
    };
    Some(())
}

/// Which element of a list of tables a segment means.
fn position(elements: &[Placed], segment: &str) -> Option<usize> {
    let named = elements.iter().position(|element| {
        let Node::Table(table) = &element.node else {
            return false;
        };
        matches!(table.get("name"), Some(Placed { node: Node::Text(name), .. })
            if name.to_ascii_lowercase().replace('-', "_") == segment)
    });
    named.or_else(|| segment.parse().ok())
}
