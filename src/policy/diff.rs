//! What differs between two policies, object by object and field by field. Order counts among identity mappings alone, whose first match is used.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::kind::{Kind, Object};
use crate::policy::model::{Mapping, Policy};

/// One difference. Values are JSON in the shape of the policy file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// An object that was not there.
    Added {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// All of it.
        object: Value,
    },
    /// An object that is there no more.
    Removed {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// All that it was.
        object: Value,
    },
    /// An object that is another.
    Changed {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// At least one.
        fields: Vec<FieldChange>,
    },
    /// The identity mappings are tried in another order than before.
    Reordered {
        /// Names of all mappings, as they are tried now.
        mappings: Vec<String>,
    },
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Names of fields on the way to it: `["upstream", "protocol"]`. Lists are compared whole.
    pub field: Vec<String>,
    /// `None` where it was absent.
    pub before: Option<Value>,
    /// `None` where it is absent now.
    pub after: Option<Value>,
}

impl FieldChange {
    /// Both sides as people read them: a rule's mode is left out where it is enforced, and that is what a reviewer has to see.
    pub fn sides(&self) -> (Option<Value>, Option<Value>) {
        let said = |value: &Option<Value>| {
            let is_mode = matches!(self.field.as_slice(), [field] if field == "mode");
            let default = || is_mode.then(|| Value::from("enforce"));
            value.clone().or_else(default)
        };
        (said(&self.before), said(&self.after))
    }
}

/// All differences, by kind and name.
pub fn diff(before: &Policy, after: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    for kind in Kind::ALL {
        changes.extend(match kind {
            Kind::Route => of_kind(kind, &before.routes, &after.routes),
            Kind::RouteGroup => of_kind(kind, &before.route_groups, &after.route_groups),
            Kind::People => of_kind(kind, &before.people, &after.people),
            Kind::Mapping => of_kind(kind, &before.mappings, &after.mappings),
            Kind::Rule => of_kind(kind, &before.rules, &after.rules),
            Kind::TrustedIssuer => of_kind(kind, &before.trusted_issuers, &after.trusted_issuers),
            Kind::ServiceAccount => {
                of_kind(kind, &before.service_accounts, &after.service_accounts)
            }
            Kind::RoleBinding => of_kind(kind, &before.role_bindings, &after.role_bindings),
            Kind::Test => of_kind(kind, &before.tests, &after.tests),
        });
    }
    changes.extend(reordered(&before.mappings, &after.mappings));
    changes
}

fn by_name<T: Object>(objects: &[T]) -> BTreeMap<&str, &T> {
    let named = objects.iter();
    named.map(|object| (&**object.name(), object)).collect()
}

/// Only what differs is written as JSON: most of a large policy does not.
fn of_kind<T: Object + PartialEq>(kind: Kind, before: &[T], after: &[T]) -> Vec<Change> {
    let mut changes = Vec::new();
    let (old, new) = (by_name(before), by_name(after));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    for named in names {
        let name = named.to_owned();
        match (old.get(named), new.get(named)) {
            (None, Some(object)) => changes.push(Change::Added {
                kind,
                name,
                object: object.to_json(),
            }),
            (Some(object), None) => changes.push(Change::Removed {
                kind,
                name,
                object: object.to_json(),
            }),
            (Some(old), Some(new)) if old != new => {
                let mut fields = Vec::new();
                diff_fields(&mut Vec::new(), &old.to_json(), &new.to_json(), &mut fields);
                // Two ways of saying one thing are no difference.
                if !fields.is_empty() {
                    changes.push(Change::Changed { kind, name, fields });
                }
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    changes
}

fn diff_fields(at: &mut Vec<String>, old: &Value, new: &Value, fields: &mut Vec<FieldChange>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        fields.push(FieldChange {
            field: at.clone(),
            before: Some(old.clone()),
            after: Some(new.clone()),
        });
        return;
    };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        at.push(name.clone());
        match (old, new) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old @ Value::Object(_)), Some(new @ Value::Object(_))) => {
                diff_fields(at, old, new, fields);
            }
            (old, new) => fields.push(FieldChange {
                field: at.clone(),
                before: old.cloned(),
                after: new.cloned(),
            }),
        }
        at.pop();
    }
}

/// Whether what is in both is tried in another order, or what is new does not come last and by name.
fn reordered(before: &[Mapping], after: &[Mapping]) -> Option<Change> {
    let (known, new) = (by_name(before), by_name(after));
    let now: Vec<&str> = after.iter().map(|mapping| &*mapping.name).collect();
    let kept = before.iter().map(|mapping| &*mapping.name);
    let mut expected: Vec<&str> = kept.filter(|name| new.contains_key(name)).collect();
    expected.extend(new.into_keys().filter(|name| !known.contains_key(name)));
    let mappings = now.iter().map(|name| (*name).to_owned()).collect();
    (expected != now).then_some(Change::Reordered { mappings })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::json::{PolicyJson, to_json};
    use crate::policy::properties::policies;

    fn name_of(object: &Value) -> &str {
        object["name"].as_str().unwrap_or_default()
    }

    /// Makes the changes to a policy.
    fn patched(mut policy: PolicyJson, changes: &[Change]) -> PolicyJson {
        for change in changes {
            match change {
                Change::Added { kind, object, .. } => policy.of_mut(*kind).push(object.clone()),
                Change::Removed { kind, name, .. } => {
                    policy
                        .of_mut(*kind)
                        .retain(|object| name_of(object) != name);
                }
                Change::Changed { kind, name, fields } => {
                    let mut objects = policy.of_mut(*kind).iter_mut();
                    let object = objects.find(|object| name_of(object) == name).unwrap();
                    fields.iter().for_each(|field| set(object, field));
                }
                Change::Reordered { mappings } => {
                    let place =
                        |object: &Value| mappings.iter().position(|name| name == name_of(object));
                    policy.mappings.sort_by_key(place);
                }
            }
        }
        policy
    }

    fn set(object: &mut Value, change: &FieldChange) {
        let (last, way) = change.field.split_last().unwrap();
        let mut at = object;
        for step in way {
            at = &mut at[step];
        }
        let fields = at.as_object_mut().unwrap();
        assert_eq!(fields.get(last), change.before.as_ref());
        match &change.after {
            Some(value) => drop(fields.insert(last.clone(), value.clone())),
            None => drop(fields.remove(last)),
        }
    }

    /// Order counts among mappings only.
    fn ordered(mut policy: PolicyJson) -> PolicyJson {
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Mapping) {
            policy
                .of_mut(kind)
                .sort_by_key(|object| name_of(object).to_owned());
        }
        policy
    }

    proptest! {
        #[test]
        fn a_policy_with_its_differences_is_the_other(a in policies(), b in policies()) {
            let changes = diff(&a, &b);
            prop_assert_eq!(ordered(patched(to_json(&a), &changes)), ordered(to_json(&b)));
            prop_assert_eq!(diff(&a, &a), Vec::new());
        }
    }
}
