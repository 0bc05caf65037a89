//! Parameters of queries and forms, each at most once (security rows E7 and E9).

use std::collections::BTreeMap;

use url::form_urlencoded;

/// Names and values; a name never has two values.
#[derive(Default)]
pub struct Parameters(BTreeMap<String, String>);

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterFault {
    /// More bytes than the reader allows.
    #[error("the parameters are too long")]
    TooLong,
    /// The same name twice: one reader would take the first and another the last.
    #[error("a parameter is given twice")]
    Duplicate,
    /// A byte that no text has, and not every database takes.
    #[error("a parameter has a null byte")]
    Null,
}

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` text of at most `limit` bytes.
    pub fn parse(text: &[u8], limit: usize) -> Result<Self, ParameterFault> {
        if text.len() > limit {
            return Err(ParameterFault::TooLong);
        }
        let mut all = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text) {
            if value.contains('\0') {
                return Err(ParameterFault::Null);
            }
            if all.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(ParameterFault::Duplicate);
            }
        }
        Ok(Self(all))
    }

    /// The value of a name; an empty one counts as missing.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::{ParameterFault, Parameters};

    #[test]
    fn e7_duplicated_parameters_are_refused() {
        assert_eq!(
            Parameters::parse(b"state=a&state=b", 100).err(),
            Some(ParameterFault::Duplicate)
        );
        assert_eq!(
            Parameters::parse(b"code=a&c%6fde=b", 100).err(),
            Some(ParameterFault::Duplicate)
        );
        assert_eq!(
            Parameters::parse(&[b'a'; 101], 100).err(),
            Some(ParameterFault::TooLong)
        );
        assert_eq!(
            Parameters::parse(b"a=b%00", 100).err(),
            Some(ParameterFault::Null)
        );
        let good = Parameters::parse(b"a=1&b=&c=x%20y", 100).expect("each once");
        assert_eq!(
            (good.one("a"), good.one("b"), good.one("c")),
            (Some("1"), None, Some("x y"))
        );
    }
}
