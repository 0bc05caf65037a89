//! What differs between manifests as they should be and as they are.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::policy::istio::manifest::OWNER_LABEL;

/// Which object it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Of the object.
    pub kind: String,
    /// Where it is.
    pub namespace: String,
    /// Unique among its kind and namespace.
    pub name: String,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// How an object differs.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// It should be there.
    Missing,
    /// It is ours, and should not be there any more.
    NotWanted,
    /// It is there more than once.
    Twice,
    /// Parts of it differ.
    Other(Vec<Part>),
}

/// A part that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Like `spec.rules[0].to`.
    pub place: String,
    /// As it is; `None` if it is not.
    pub is: Option<Value>,
    /// As it should be; `None` if it should not.
    pub wanted: Option<Value>,
}

/// Why a file is not compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not YAML: {0}")]
pub struct Unreadable(String);

/// The objects of a file of manifests; what is not a map with a kind and a name is none.
pub fn read(text: &str) -> Result<Vec<Value>, Unreadable> {
    // As Kubernetes reads it: `n` is a text.
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|fault| Unreadable(fault.to_string()))?;
    let is_object =
        |value: &Value| value["kind"].is_string() && value["metadata"]["name"].is_string();
    Ok(documents.into_iter().filter(is_object).collect())
}

/// What differs from the objects that are wanted; nothing if all is as it should be. Whatever is not ours is left alone.
pub fn compare(wanted: &[Value], are: &[Value]) -> Vec<(Id, Difference)> {
    let mut found: BTreeMap<Id, Vec<Value>> = BTreeMap::new();
    for object in are {
        found.entry(id(object)).or_default().push(meaning(object));
    }
    let mut differences = Vec::new();
    let mut known = Vec::new();
    for object in wanted {
        let (id, wanted) = (id(object), meaning(object));
        known.push(id.clone());
        let difference = match found.get(&id).map(Vec::as_slice) {
            None | Some([]) => Some(Difference::Missing),
            Some([is]) => {
                let mut parts = Vec::new();
                parts_of("", Some(is), Some(&wanted), &mut parts);
                (!parts.is_empty()).then_some(Difference::Other(parts))
            }
            Some(_) => Some(Difference::Twice),
        };
        differences.extend(difference.map(|difference| (id, difference)));
    }
    let (key, value) = OWNER_LABEL;
    for object in are {
        let id = id(object);
        if object["metadata"]["labels"][key] == value && !known.contains(&id) {
            known.push(id.clone());
            differences.push((id, Difference::NotWanted));
        }
    }
    differences.sort_by(|(one, _), (other, _)| one.cmp(other));
    differences
}

fn id(object: &Value) -> Id {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Id {
        kind: text(&object["kind"]),
        namespace: text(&object["metadata"]["namespace"]),
        name: text(&object["metadata"]["name"]),
    }
}

/// What an object says, without what a cluster adds to it.
fn meaning(object: &Value) -> Value {
    let (key, _) = OWNER_LABEL;
    let mut meaning = Map::new();
    for field in ["apiVersion", "spec"] {
        meaning.insert(field.to_owned(), object[field].clone());
    }
    meaning.insert(key.to_owned(), object["metadata"]["labels"][key].clone());
    Value::Object(meaning)
}

fn parts_of(place: &str, is: Option<&Value>, wanted: Option<&Value>, into: &mut Vec<Part>) {
    match (is, wanted) {
        (Some(is), Some(wanted)) if is == wanted => {}
        (Some(Value::Object(is)), Some(Value::Object(wanted))) => {
            let fresh = wanted.keys().filter(|name| !is.contains_key(*name));
            for name in is.keys().chain(fresh) {
                let dot = if place.is_empty() { "" } else { "." };
                let place = format!("{place}{dot}{name}");
                parts_of(&place, is.get(name), wanted.get(name), into);
            }
        }
        (Some(Value::Array(is)), Some(Value::Array(wanted)))
            if is.iter().chain(wanted).any(Value::is_object) =>
        {
            for at in 0..is.len().max(wanted.len()) {
                let place = format!("{place}[{at}]");
                parts_of(&place, is.get(at), wanted.get(at), into);
            }
        }
        (is, wanted) => into.push(Part {
            place: place.to_owned(),
            is: is.cloned(),
            wanted: wanted.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "
apiVersion: v1
kind: AuthorizationPolicy
metadata: { name: a, namespace: n, labels: { app.kubernetes.io/managed-by: wayleave } }
spec: { action: ALLOW, rules: [{ to: [{ operation: { ports: ['80'] } }] }] }
";

    fn check(are: &str, expected: &[&str]) {
        let differences = compare(&read(WANTED).unwrap(), &read(are).unwrap());
        let said: Vec<String> = differences
            .iter()
            .map(|(id, difference)| match difference {
                Difference::Other(parts) => {
                    let places: Vec<&str> = parts.iter().map(|part| part.place.as_str()).collect();
                    format!("{id} {}", places.join(","))
                }
                other => format!("{id} {other:?}"),
            })
            .collect();
        assert_eq!(said, expected, "{are}");
    }

    #[test]
    fn what_differs_is_told_by_its_place() {
        let name = "AuthorizationPolicy n/a";
        check(WANTED, &[]);
        check("", &[&format!("{name} Missing")]);
        check(&format!("{WANTED}---{WANTED}"), &[&format!("{name} Twice")]);
        let cluster = WANTED.replace("name: a,", "name: a, uid: x, resourceVersion: '1',");
        check(&format!("{cluster}status: {{}}\n"), &[]);
        check(
            &WANTED.replace("'80'", "80"),
            &[&format!("{name} spec.rules[0].to[0].operation.ports")],
        );
        check(
            &WANTED.replace("ALLOW", "DENY"),
            &[&format!("{name} spec.action")],
        );
        check(
            &WANTED.replace("wayleave", "helm"),
            &[&format!("{name} app.kubernetes.io/managed-by")],
        );
        let old = WANTED.replace("name: a,", "name: old,");
        check(
            &format!("{WANTED}---{old}"),
            &["AuthorizationPolicy n/old NotWanted"],
        );
        let theirs = old.replace("wayleave", "helm");
        check(&format!("{WANTED}---{theirs}"), &[]);
        assert!(read("a: [").is_err());
        assert_eq!(
            read("- just\n- a list\n---\n").unwrap(),
            Vec::<Value>::new()
        );
    }
}
