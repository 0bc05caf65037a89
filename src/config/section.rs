//! Reading a section: each value is asked for by name and kind, each fault is noted, and whatever nobody asked for is a fault too.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::environment::Environment;
use crate::config::faults::ConfigFault;
use crate::config::raw::{Node, Place, Placed};

/// One reading of one file: what it is read from, and the faults so far.
pub(super) struct Reading<'a> {
    pub(super) file: &'a Path,
    pub(super) environment: &'a Environment,
    pub(super) faults: RefCell<Vec<ConfigFault>>,
    /// Every key that was asked for, without positions in lists; a test compares them with the example.
    pub(super) asked: RefCell<BTreeSet<String>>,
}

impl Reading<'_> {
    /// A path as the file means it: relative to the file's own folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A table of the configuration under its dotted name. When it is dropped, keys that were not asked for become faults.
pub(super) struct Section<'a> {
    pub(super) reading: &'a Reading<'a>,
    name: String,
    line: Option<usize>,
    table: Option<&'a BTreeMap<String, Placed>>,
    known: RefCell<BTreeSet<&'static str>>,
    /// Set when all keys of the table are the user's own.
    open: Cell<bool>,
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(super) fn root(reading: &'a Reading<'a>, root: &'a Placed) -> Self {
        Self::at(reading, String::new(), Some(root))
    }

    fn at(reading: &'a Reading<'a>, name: String, placed: Option<&'a Placed>) -> Self {
        let mut section = Self {
            reading,
            name,
            line: placed.and_then(|placed| line_of(&placed.place)),
            table: None,
            known: RefCell::default(),
            open: Cell::new(false),
        };
        match placed.map(|placed| &placed.node) {
            None => {}
            Some(Node::Table(table)) => section.table = Some(table),
            Some(_) => section.fault_here("this must be a section of its own"),
        }
        section
    }

    /// Whether it is written at all.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether it has this key.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether this key's value comes from the environment.
    pub(super) fn is_from_environment(&self, key: &'static str) -> bool {
        matches!(
            self.value(key),
            Some(Placed {
                place: Place::Variable(_),
                ..
            })
        )
    }

    /// Notes a fault of a key.
    pub(super) fn fault(&self, key: &str, message: impl Display) {
        let value = self.table.and_then(|table| table.get(key));
        let (line, variable) = match value.map(|value| &value.place) {
            Some(Place::Variable(name)) => (None, format!(" (from the variable {name})")),
            Some(Place::Line(line)) => (Some(*line), String::new()),
            None => (self.line, String::new()),
        };
        self.note(self.key(key), line, format!("{message}{variable}"));
    }

    /// Notes a fault of the section itself.
    pub(super) fn fault_here(&self, message: impl Display) {
        self.note(self.name.clone(), self.line, message.to_string());
    }

    /// Notes a fault of a file that a key names.
    pub(super) fn fault_of_file(&self, key: &str, file: &Path, message: impl Display) {
        self.reading.faults.borrow_mut().push(ConfigFault {
            file: file.to_owned(),
            key: self.key(key),
            line: None,
            message: message.to_string(),
        });
    }

    /// A text that may be absent; an empty one is a fault.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        match &self.value(key)?.node {
            Node::Text(text) if text.trim().is_empty() => {
                self.fault(key, "this is empty");
                None
            }
            Node::Text(text) => Some(text.clone()),
            _ => {
                self.fault(key, "this must be a text in quotes");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, key: &'static str) -> Option<String> {
        if !self.has(key) {
            self.fault(key, "this is missing");
        }
        self.text(key)
    }

    /// A text that `read` understands.
    pub(super) fn parsed<T, E: Display>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        read(&text).map_err(|fault| self.fault(key, fault)).ok()
    }

    /// As [`Self::parsed`], and it must be there.
    pub(super) fn required_parsed<T, E: Display>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.required(key)?;
        read(&text).map_err(|fault| self.fault(key, fault)).ok()
    }

    /// A path, relative to the configuration file's folder.
    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(|text| self.reading.resolve(&text))
    }

    /// A path that must be there and lead to a file.
    pub(super) fn required_file(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.required(key)?;
        self.existing(key, self.reading.resolve(&text))
    }

    /// A path that, if there, must lead to a file: `Some(None)` when the key is absent.
    pub(super) fn optional_file(&self, key: &'static str) -> Option<Option<PathBuf>> {
        if !self.has(key) {
            return Some(None);
        }
        let path = self.path(key)?;
        self.existing(key, path).map(Some)
    }

    fn existing(&self, key: &'static str, path: PathBuf) -> Option<PathBuf> {
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Some(path),
            Ok(_) => self.fault(key, format!("{} is not a file", path.display())),
            Err(error) => self.fault(key, format!("{} cannot be read: {error}", path.display())),
        }
        None
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &'static str, within: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let number = match (&value.node, &value.place) {
            (Node::Integer(number), _) => u64::try_from(*number).ok(),
            (Node::Text(text), Place::Variable(_)) => text.parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| within.contains(number));
        if number.is_none() {
            let (low, high) = (within.start(), within.end());
            self.fault(
                key,
                format!("this must be a whole number from {low} to {high}"),
            );
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = match (&value.node, &value.place) {
            (Node::Flag(flag), _) => Some(*flag),
            (Node::Text(text), Place::Variable(_)) => text.parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            self.fault(key, "this must be true or false");
        }
        flag
    }

    /// A list of texts (in the environment: separated by commas) with at least one element, none empty and none twice.
    pub(super) fn list(&self, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let elements: Option<Vec<String>> = match (&value.node, &value.place) {
            (Node::List(elements), _) => elements.iter().map(text_of).collect(),
            (Node::Text(text), Place::Variable(_)) => {
                Some(text.split(',').map(|part| part.trim().to_owned()).collect())
            }
            _ => None,
        };
        let fault = match &elements {
            None => "this must be a list of texts, like [\"one\", \"two\"]",
            Some(elements) if elements.is_empty() => {
                "this list is empty, which would match nothing; name what is meant, or leave the key out where it may be left out"
            }
            Some(elements) if elements.iter().any(|element| element.trim().is_empty()) => {
                "this list has an empty element"
            }
            Some(elements) if elements.iter().collect::<BTreeSet<_>>().len() < elements.len() => {
                "this list has an element twice"
            }
            Some(_) => return elements,
        };
        self.fault(key, fault);
        None
    }

    /// A list that must be there.
    pub(super) fn required_list(&self, key: &'static str) -> Option<Vec<String>> {
        if !self.has(key) {
            self.fault(key, "this is missing; it needs at least one element");
        }
        self.list(key)
    }

    /// A duration like `90s` or `1h 30m`, longer than nothing; the default when absent.
    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Option<Duration> {
        if !self.has(key) {
            return Some(default);
        }
        self.parsed(key, |text| match humantime::parse_duration(text) {
            Ok(Duration::ZERO) => Err("this must be longer than nothing".to_owned()),
            Ok(duration) => Ok(duration),
            Err(error) => Err(format!(
                "this is no duration like \"90s\" or \"1h 30m\": {error}"
            )),
        })
    }

    /// A section within this one.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        Section::at(self.reading, self.key(key), self.value(key))
    }

    /// The elements of a `[[list]]` of sections; none when it is absent.
    pub(super) fn each(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Node::List(elements) = &value.node else {
            self.fault(key, format!("this must be written [[{}]]", self.key(key)));
            return Vec::new();
        };
        let section = |(at, element)| {
            let name = format!("{}[{at}]", self.key(key));
            Section::at(self.reading, name, Some(element))
        };
        elements.iter().enumerate().map(section).collect()
    }

    /// All entries of a section whose keys are the user's own; every value must be a text.
    pub(super) fn entries(&self) -> BTreeMap<String, String> {
        self.open.set(true);
        let mut entries = BTreeMap::new();
        for (key, value) in self.table.into_iter().flatten() {
            match &value.node {
                Node::Text(text) => {
                    entries.insert(key.clone(), text.clone());
                }
                _ => self.fault(key, "this must be a text in quotes"),
            }
        }
        entries
    }

    fn value(&self, key: &'static str) -> Option<&'a Placed> {
        if self.known.borrow_mut().insert(key) {
            let plain = without_positions(&self.key(key));
            self.reading.asked.borrow_mut().insert(plain);
        }
        self.table.and_then(|table| table.get(key))
    }

    fn key(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn note(&self, key: String, line: Option<usize>, message: String) {
        self.reading.faults.borrow_mut().push(ConfigFault {
            file: self.reading.file.to_owned(),
            key,
            line,
            message,
        });
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if self.open.get() {
            return;
        }
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(BTreeMap::keys) {
            if !known.contains(key.as_str()) {
                let known: Vec<&str> = known.iter().copied().collect();
                let known = known.join(", ");
                self.fault(key, format!("this key is not known; known here: {known}"));
            }
        }
    }
}

fn line_of(place: &Place) -> Option<usize> {
    match place {
        Place::Line(line) => Some(*line),
        Place::Variable(_) => None,
    }
}

fn text_of(placed: &Placed) -> Option<String> {
    match &placed.node {
        Node::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// `listen[0].address` as `listen.address`.
fn without_positions(key: &str) -> String {
    let mut inside = false;
    let outside = |c: &char| {
        inside = (inside || *c == '[') && *c != ']';
        !inside && *c != ']'
    };
    key.chars().filter(outside).collect()
}
