//! Policy as the store's objects, and back.

use crate::policy::json::{self, PolicyJson};
use crate::policy::model::Policy;
use crate::snapshot::SnapshotError;
use crate::store::policy::{ObjectKind, PolicyObject};

/// The objects of a policy: each with its name and its position among its kind.
pub fn to_objects(policy: &Policy) -> Vec<PolicyObject> {
    let json = json::to_json(policy);
    let kinds = [
        (ObjectKind::Route, json.routes),
        (ObjectKind::RouteGroup, json.route_groups),
        (ObjectKind::People, json.people),
        (ObjectKind::Mapping, json.mappings),
        (ObjectKind::Rule, json.rules),
    ];
    kinds
        .into_iter()
        .flat_map(|(kind, bodies)| {
            (0..).zip(bodies).map(move |(position, body)| PolicyObject {
                kind,
                name: body["name"].as_str().unwrap_or_default().to_owned(),
                position,
                body: body.to_string(),
            })
        })
        .collect()
}

/// The policy that objects make up, in whatever order they come.
pub fn from_objects(objects: &[PolicyObject]) -> Result<Policy, SnapshotError> {
    let mut sorted: Vec<&PolicyObject> = objects.iter().collect();
    sorted.sort_by_key(|object| (object.kind, object.position));
    let mut json = PolicyJson::default();
    for object in sorted {
        let body: serde_json::Value = serde_json::from_str(&object.body)
            .ok()
            .filter(|body: &serde_json::Value| body["name"].as_str() == Some(&object.name))
            .ok_or_else(|| SnapshotError::Object {
                kind: object.kind,
                name: object.name.clone(),
            })?;
        match object.kind {
            ObjectKind::Route => json.routes.push(body),
            ObjectKind::RouteGroup => json.route_groups.push(body),
            ObjectKind::People => json.people.push(body),
            ObjectKind::Mapping => json.mappings.push(body),
            ObjectKind::Rule => json.rules.push(body),
        }
    }
    json::from_json(json).map_err(SnapshotError::Faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::yaml;

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
        let mut objects = to_objects(&policy);
        assert_eq!(objects.len(), 5);
        assert_eq!((objects[4].name.as_str(), objects[4].position), ("y", 1));
        objects.reverse();
        assert_eq!(from_objects(&objects).unwrap(), policy);
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
                let mut objects = to_objects(&policy);
                spoil(&mut objects[index]);
                assert!(from_objects(&objects).is_err());
            }
        }
    }
}
