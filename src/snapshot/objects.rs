//! Policy as the store's objects, and back.

use std::sync::Arc;

use serde_json::Value;

use crate::policy::document::{Document, Part, written};
use crate::policy::json::{self, PolicyJson};
use crate::policy::kind::Kind;
use crate::policy::model::{Policy, Rule};
use crate::policy::yaml;
use crate::snapshot::SnapshotError;
use crate::store::policy::{PolicyObject, RowKind};

/// How many rules are read at once.
const RULES_AT_ONCE: usize = 1000;

/// The objects of a policy and of its text: each with its name, its position among its kind, and its piece of the text.
pub fn to_objects(policy: &Policy, document: &Document) -> Vec<PolicyObject> {
    let mut objects = Vec::new();
    for kind in Kind::ALL {
        let part = document.parts.iter().find(|part| part.name == kind.part());
        let mut texts = part.into_iter().flat_map(|part| &part.items);
        let of_kind = (0..).zip(policy.objects(kind));
        objects.extend(of_kind.map(|(position, object)| PolicyObject {
            kind: RowKind::Object(kind),
            name: object.name().to_string(),
            position,
            body: object.to_json().to_string(),
            text: texts.next().cloned().unwrap_or_default(),
        }));
    }
    objects.extend(
        (0..)
            .zip(&document.parts)
            .map(|(position, part)| PolicyObject {
                kind: RowKind::Part,
                name: part.name.clone(),
                position,
                body: String::new(),
                text: part.heading.clone(),
            }),
    );
    objects
}

/// What the author wrote; where that is not known of all, the policy written anew.
pub fn to_text(objects: &[PolicyObject], policy: &Policy) -> String {
    let of_kind = |kind| {
        let mut found: Vec<&PolicyObject> = objects
            .iter()
            .filter(|object| object.kind == kind)
            .collect();
        found.sort_by_key(|object| object.position);
        found
    };
    let items = |part: &str| {
        let kind = Kind::of_part(part).map(RowKind::Object);
        let objects = kind.map(of_kind).unwrap_or_default();
        objects
            .into_iter()
            .map(|object| object.text.clone())
            .collect()
    };
    let parts = of_kind(RowKind::Part).into_iter().map(|heading| Part {
        items: items(&heading.name),
        name: heading.name.clone(),
        heading: heading.text.clone(),
    });
    let text = Document {
        parts: parts.collect(),
    }
    .text();
    // What is handed out has to say what is in force, whoever wrote the rows.
    match yaml::parse(&text) {
        Ok(read) if read == *policy => text,
        Ok(_) | Err(_) => written(policy),
    }
}

/// The policy that objects make up, in whatever order they come.
pub fn from_objects(objects: &[PolicyObject]) -> Result<Policy, SnapshotError> {
    let mut sorted: Vec<&PolicyObject> = objects.iter().collect();
    sorted.sort_by_key(|object| (object.kind, object.position));
    let are_rules = |object: &&PolicyObject| object.kind == RowKind::Object(Kind::Rule);
    let (rules, others): (Vec<_>, Vec<_>) = sorted.iter().copied().partition(are_rules);
    let json = json_of(&others)?;
    match read_rules(&rules)? {
        Some(rules) => json::from_json_with(json, rules).map_err(SnapshotError::Faults),
        // Read as a whole, so that faults say where they are.
        None => json::from_json(json_of(&sorted)?).map_err(SnapshotError::Faults),
    }
}

/// Rules, so many at a time: what they are read through takes many times the memory of what comes of it. `None` where there are faults.
fn read_rules(objects: &[&PolicyObject]) -> Result<Option<Vec<Arc<Rule>>>, SnapshotError> {
    let mut rules = Vec::with_capacity(objects.len());
    for some in objects.chunks(RULES_AT_ONCE) {
        let bodies = some.iter().map(|object| body_of(object));
        match json::rules_from_json(bodies.collect::<Result<_, _>>()?) {
            Ok(read) => rules.extend(read),
            Err(_faults) => return Ok(None),
        }
    }
    Ok(Some(rules))
}

fn json_of(objects: &[&PolicyObject]) -> Result<PolicyJson, SnapshotError> {
    let mut json = PolicyJson::default();
    for object in objects {
        if let RowKind::Object(kind) = object.kind {
            json.of_mut(kind).push(body_of(object)?);
        }
    }
    Ok(json)
}

/// An object's JSON, which has its name.
pub(super) fn body_of(object: &PolicyObject) -> Result<Value, SnapshotError> {
    let fault = |source| SnapshotError::Object {
        kind: object.kind,
        name: object.name.clone(),
        source,
    };
    let body: Value = serde_json::from_str(&object.body).map_err(|error| fault(Some(error)))?;
    let is_its_own = body["name"].as_str() == Some(&object.name);
    is_its_own.then_some(body).ok_or_else(|| fault(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
routes:
  - { name: b, host: b.example, upstream: { addresses: ['u:1', { address: '[::1]:2', weight: 2 }], tls: { server_name: u } } }
  - { name: a, host: a.example, timeouts: { idle: 90s }, upstream: { addresses: ['u:1'], mtls: { spiffe_ids: ['spiffe://td/ns/a/sa/b'] } } }
mappings:
  - { name: m, from: [{ kinds: [workload] }], spiffe_id: 'spiffe://{trust_domain}/ns/a/sa/{provider}.{subject}' }
rules:
  - { name: z, action: deny, from: [], to: [] }
  - { name: y, action: allow, from: [{ anyone: true }], to: [{ not_paths: ['/x/{**}'] }] }
";

    #[test]
    fn objects_make_up_the_same_policy_in_any_order() {
        let policy = yaml::parse(TEXT).unwrap();
        let mut objects = to_objects(&policy, &Document::of(TEXT, &policy));
        assert_eq!(objects.len(), 8);
        assert_eq!((objects[4].name.as_str(), objects[4].position), ("y", 1));
        objects.reverse();
        assert_eq!(from_objects(&objects).unwrap(), policy);
        assert_eq!(to_text(&objects, &policy), TEXT);
        // Rows of before texts were kept.
        objects.retain(|object| object.kind != RowKind::Part);
        assert_eq!(yaml::parse(&to_text(&objects, &policy)).unwrap(), policy);
    }

    #[test]
    fn objects_that_make_no_sense_are_refused() {
        let policy = yaml::parse(TEXT).unwrap();
        let spoil: [fn(&mut PolicyObject); 4] = [
            |object| object.name = "other".to_owned(),
            |object| object.body = "{".to_owned(),
            |object| object.body = object.body.replacen('{', "{\"more\":1,", 1),
            |object| object.body = format!("[{}]", object.body),
        ];
        for spoil in spoil {
            for index in 0..5 {
                let mut objects = to_objects(&policy, &Document::of(TEXT, &policy));
                spoil(&mut objects[index]);
                assert!(from_objects(&objects).is_err());
            }
        }
    }
}
