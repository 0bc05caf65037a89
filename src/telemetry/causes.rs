//! Errors in the process log.

use std::error::Error;
use std::fmt;

/// An error and whatever caused it, in one line: lines of JSON would have the first alone.
pub struct Causes<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some say what caused them themselves.
            if !said.ends_with(&text) {
                said = format!("{said}: {text}");
            }
            next = cause.source();
        }
        f.write_str(&said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("the file cannot be read")]
        File(#[source] std::io::Error),
        #[error("the store: {0}")]
        Said(#[source] Box<Sample>),
    }

    #[test]
    fn every_cause_is_told_once() {
        let file = || Sample::File(std::io::Error::other("no space"));
        assert_eq!(
            Causes(&file()).to_string(),
            "the file cannot be read: no space"
        );
        let outer = Sample::Said(Box::new(file()));
        assert_eq!(
            Causes(&outer).to_string(),
            "the store: the file cannot be read: no space"
        );
    }
}
