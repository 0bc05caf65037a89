//! A policy document as a whole, and what its parts have in common.

use std::sync::Arc;

use crate::policy::kind::{Kind, PARTS};
use crate::policy::model::{Policy, RouteGroup};
use crate::policy::yaml::reader::{At, Fields, Reader};
use crate::policy::yaml::tree::{Node, Value};
use crate::policy::yaml::{accounts, machines, routes, rules, trials};

/// Reads a whole document.
pub(super) fn policy(reader: &mut Reader, root: &Node) -> Policy {
    let at = At {
        node: root,
        key: String::new(),
    };
    if root.value == Value::Null {
        reader.fault(
            &at,
            "the document is empty; a policy without anything is `{}`",
        );
        return Policy::default();
    }
    let Some(fields) = reader.fields(&at, &PARTS) else {
        return Policy::default();
    };
    Policy {
        routes: part(reader, &fields, Kind::Route, routes::route),
        route_groups: part(reader, &fields, Kind::RouteGroup, route_group),
        people: part(reader, &fields, Kind::People, rules::people),
        mappings: part(reader, &fields, Kind::Mapping, rules::mapping),
        rules: { part(reader, &fields, Kind::Rule, rules::rule).into_iter() }
            .map(Arc::new)
            .collect(),
        trusted_issuers: part(
            reader,
            &fields,
            Kind::TrustedIssuer,
            machines::trusted_issuer,
        ),
        service_accounts: part(
            reader,
            &fields,
            Kind::ServiceAccount,
            accounts::service_account,
        ),
        role_bindings: part(reader, &fields, Kind::RoleBinding, rules::role_binding),
        tests: part(reader, &fields, Kind::Test, trials::test),
    }
}

fn part<T>(
    reader: &mut Reader,
    fields: &Fields<'_>,
    kind: Kind,
    read: impl FnMut(&mut Reader, &At<'_>) -> Option<T>,
) -> Vec<T> {
    fields
        .field(kind.part())
        .map(|at| reader.each(&at, read))
        .unwrap_or_default()
}

/// A name of one of our things: letters, digits, `.`, `-`, `_`; at most 100.
pub(super) fn name(text: &str) -> Result<Arc<str>, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if text.is_empty() || text.len() > 100 || !text.bytes().all(is_allowed) {
        return Err("a name has 1 to 100 letters, digits, `.`, `-` or `_`");
    }
    Ok(text.into())
}

fn route_group(reader: &mut Reader, at: &At<'_>) -> Option<RouteGroup> {
    let fields = reader.fields(at, &["name", "routes"])?;
    let group_name = required_name(reader, &fields);
    let routes = reader
        .required(&fields, "routes")
        .map(|at| reader.each(&at, |reader, item| reader.parsed(item, name)));
    Some(RouteGroup {
        name: group_name?,
        routes: routes?,
    })
}

/// The object's own name.
pub(super) fn required_name(reader: &mut Reader, fields: &Fields<'_>) -> Option<Arc<str>> {
    let at = reader.required(fields, "name")?;
    reader.parsed(&at, name)
}

/// One of the words that a field can have.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = words.iter().find(|(word, _)| *word == text);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("it must be one of {}", words.join(", "))
    })
}

/// A field that has one of some words, or its default.
pub(super) fn choice<T: Copy + Default>(
    reader: &mut Reader,
    fields: &Fields<'_>,
    field: &str,
    words: &[(&str, T)],
) -> T {
    choice_or(reader, fields, field, words, T::default())
}

/// A field that has one of some words, or this value.
pub(super) fn choice_or<T: Copy>(
    reader: &mut Reader,
    fields: &Fields<'_>,
    field: &str,
    words: &[(&str, T)],
    otherwise: T,
) -> T {
    let at = fields.field(field);
    at.and_then(|at| reader.parsed(&at, |text| word(text, words)))
        .unwrap_or(otherwise)
}

/// A field that is true or false, and false where it is absent.
pub(super) fn flag(reader: &mut Reader, fields: &Fields<'_>, field: &str) -> bool {
    fields
        .field(field)
        .and_then(|at| reader.boolean(&at))
        .unwrap_or_default()
}
