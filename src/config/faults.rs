//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// One fault of a configuration. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// The configuration file, or the file that it names.
    pub file: PathBuf,
    /// Like `identity_providers[0].issuer`; empty when the fault belongs to no key.
    pub key: String,
    /// One-based line of the configuration file; `None` for what is missing or comes from the environment.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}
