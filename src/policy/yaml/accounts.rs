//! Programs that no issuer vouches for: service accounts of a policy document.

use std::sync::Arc;

use crate::policy::accounts::ServiceAccount;
use crate::policy::yaml::circumstances::moment;
use crate::policy::yaml::machines::{plain, written_keys};
use crate::policy::yaml::parts::required_name;
use crate::policy::yaml::reader::{At, Reader};

/// Longest name of a group, in bytes.
const LONGEST_GROUP: usize = 200;

/// Reads a service account.
pub(super) fn service_account(reader: &mut Reader, at: &At<'_>) -> Option<ServiceAccount> {
    let known = ["name", "description", "jwks", "groups", "until"];
    let fields = reader.fields(at, &known)?;
    let name = required_name(reader, &fields);
    let keys = reader.required(&fields, "jwks");
    let keys = keys.and_then(|at| written_keys(reader, &at));
    let description = fields.field("description");
    let until = fields.field("until");
    Some(ServiceAccount {
        name: name?,
        description: description.and_then(|at| reader.parsed(&at, plain)),
        keys: keys?,
        groups: reader.texts(&fields, "groups", group).unwrap_or_default(),
        until: until.and_then(|at| reader.parsed(&at, moment)),
    })
}

fn group(text: &str) -> Result<Arc<str>, &'static str> {
    if text.is_empty() || text.len() > LONGEST_GROUP || text.chars().any(char::is_control) {
        return Err("a group has 1 to 200 characters, none of them a control character");
    }
    Ok(text.into())
}
