//! The next revision made from the one in force: where nothing but rules differs, only what differs is read and compiled.

use std::collections::HashSet;
use std::sync::Arc;

use crate::policy::compile::CompiledPolicy;
use crate::policy::json::rules_from_json;
use crate::policy::kind::Kind;
use crate::policy::model::{Revision, Rule};
use crate::snapshot::objects::body_of;
use crate::snapshot::{Loaded, SnapshotError};
use crate::store::Store;
use crate::store::policy::{PolicyObject, RowKind};

/// Makes a later revision from a loaded one. `None` where it has to be loaded whole: something other than rules differs, or what is known does not fit.
pub(super) async fn successor(
    store: &Store,
    in_force: &CompiledPolicy,
    positions: &[i64],
    revision: Revision,
) -> Result<Option<Loaded>, SnapshotError> {
    let rules = &in_force.policy().rules;
    if positions.len() != rules.len() {
        return Ok(None);
    }
    let difference = { store.policy_difference(in_force.revision, revision) }.await?;
    let (Some(gone), Some(new)) = (rules_of(difference.gone), rules_of(difference.new)) else {
        return Ok(None);
    };
    let places = gone.into_iter().map(|rule| (rule.position, rule.name));
    let mut gone: HashSet<(i64, String)> = places.collect();
    let bodies = new.iter().map(body_of).collect::<Result<Vec<_>, _>>()?;
    let read = rules_from_json(bodies).map_err(SnapshotError::Faults)?;
    let held = positions.iter().copied().zip(rules.iter().cloned());
    let mut placed: Vec<(i64, Arc<Rule>)> = held
        .filter(|(position, rule)| !is_among(&mut gone, *position, rule))
        .collect();
    // All that went was there, and nothing came to a place that is taken.
    placed.extend(new.iter().map(|object| object.position).zip(read));
    placed.sort_by_key(|(position, _)| *position);
    if !gone.is_empty() || !placed.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Ok(None);
    }
    let (positions, rules) = placed.into_iter().unzip();
    let policy = in_force.with_rules(rules, revision);
    Ok(Some(Loaded {
        policy: policy.map_err(SnapshotError::Faults)?,
        positions,
    }))
}

/// The rules among objects, whatever heads the parts of the document; `None` if there is anything else.
fn rules_of(mut objects: Vec<PolicyObject>) -> Option<Vec<PolicyObject>> {
    objects.retain(|object| object.kind != RowKind::Part);
    let are_rules = objects
        .iter()
        .all(|object| object.kind == RowKind::Object(Kind::Rule));
    are_rules.then_some(objects)
}

/// Takes a rule out of a set, if it is there.
fn is_among(gone: &mut HashSet<(i64, String)>, position: i64, rule: &Rule) -> bool {
    !gone.is_empty() && gone.remove(&(position, rule.name.to_string()))
}
