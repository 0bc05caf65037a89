//! Addresses within the console, with their queries.

use url::form_urlencoded::Serializer;

/// A path with those parameters that have a value.
pub(super) fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    let present = parameters.iter().filter(|(_, value)| !value.is_empty());
    query.extend_pairs(present);
    let query = query.finish();
    if query.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{query}")
}
