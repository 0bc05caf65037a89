//! Where objects stand among their kind: what stays in order keeps its position, so that a small change of a policy is a change of few rows.

use std::collections::HashMap;

use crate::store::policy::{PolicyObject, RowKind};

/// Room between neighbours.
const STEP: i64 = 1 << 20;

/// Gives objects that are in order the positions that change the fewest of those present.
pub(super) fn assign(present: &[PolicyObject], objects: &[PolicyObject]) -> Vec<PolicyObject> {
    let key = |object: &PolicyObject| (object.kind, object.name.clone());
    let old: HashMap<(RowKind, String), i64> = present
        .iter()
        .map(|object| (key(object), object.position))
        .collect();
    let mut placed = objects.to_vec();
    placed.sort_by_key(|object| (object.kind, object.position));
    for of_kind in placed.chunk_by_mut(|a, b| a.kind == b.kind) {
        let known = of_kind.iter().map(|object| old.get(&key(object)).copied());
        let positions = positions(&known.collect::<Vec<_>>());
        for (object, position) in of_kind.iter_mut().zip(positions) {
            object.position = position;
        }
    }
    placed
}

/// A rising row of positions that keeps as many of the known ones as can be.
fn positions(known: &[Option<i64>]) -> Vec<i64> {
    let kept = longest_rising(known);
    let mut row = Vec::with_capacity(known.len());
    let mut bounds = kept.iter().copied().peekable();
    while row.len() < known.len() {
        let before = row.last().copied();
        let (next, after) = match bounds.next() {
            Some((index, position)) => (index, Some(position)),
            None => (known.len(), None),
        };
        let Some(filled) = between(before, after, next - row.len()) else {
            return (0..).map(|index| index * STEP).take(known.len()).collect();
        };
        row.extend(filled);
        row.extend(after);
    }
    row
}

/// `count` rising positions between two others, if there is room.
fn between(before: Option<i64>, after: Option<i64>, count: usize) -> Option<Vec<i64>> {
    let slots = i64::try_from(count).ok()?.checked_add(1)?;
    let room = slots.checked_mul(STEP)?;
    let (low, high) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (Some(before), None) => (before, before.checked_add(room)?),
        (None, Some(after)) => (after.checked_sub(room)?, after),
        (None, None) => (-STEP, room.checked_sub(STEP)?),
    };
    let gap = high.checked_sub(low)? / slots;
    let filled = (1..slots).map(|slot| low + gap * slot);
    (gap >= 1).then(|| filled.collect())
}

/// The longest row of known positions, by index, that rises strictly (patience sorting).
fn longest_rising(known: &[Option<i64>]) -> Vec<(usize, i64)> {
    let mut ends: Vec<(i64, usize)> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; known.len()];
    for (index, position) in known.iter().enumerate() {
        let Some(position) = *position else {
            continue;
        };
        let place = ends.partition_point(|(end, _)| *end < position);
        let below = place.checked_sub(1).and_then(|below| ends.get(below));
        if let Some(link) = before.get_mut(index) {
            *link = below.map(|(_, index)| *index);
        }
        match ends.get_mut(place) {
            Some(end) => *end = (position, index),
            None => ends.push((position, index)),
        }
    }
    let mut row = Vec::new();
    let mut at = ends.last().map(|(_, index)| *index);
    while let Some(index) = at {
        row.extend(
            known
                .get(index)
                .copied()
                .flatten()
                .map(|position| (index, position)),
        );
        at = before.get(index).copied().flatten();
    }
    row.reverse();
    row
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_stays_in_order_stays_where_it_is() {
        let known = |positions: &[i64]| positions.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(positions(&known(&[0, 10, 20])), [0, 10, 20]);
        assert_eq!(positions(&[None, None]), [0, STEP]);
        assert_eq!(positions(&[Some(0), None, Some(10)]), [0, 5, 10]);
        assert_eq!(positions(&[Some(0), Some(7), None]), [0, 7, 7 + STEP]);
        assert_eq!(positions(&[None, Some(7)]), [7 - STEP, 7]);
        // The last one came first.
        assert_eq!(positions(&known(&[20, 0, 10])), [-STEP, 0, 10]);
        // There is no room: all are counted anew.
        assert_eq!(positions(&[Some(0), None, Some(1)]), [0, STEP, 2 * STEP]);
    }

    proptest! {
        #[test]
        fn positions_rise(known in vec(option::of(-50i64..50), 0..30)) {
            let row = positions(&known);
            prop_assert_eq!(row.len(), known.len());
            prop_assert!(row.is_sorted_by(|a, b| a < b), "{:?}", row);
        }
    }
}
