//! Bringing a draft onto another revision: what it changed of its parent is changed of the other one, unless both touched the same object.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::kind::Kind;
use crate::store::policy::{PolicyObject, RowKind};

/// Objects of one kind, by name.
type ByName<'a> = BTreeMap<&'a str, &'a PolicyObject>;

/// The objects of `current` with what differs from `parent` to `draft`, or what both changed, in words.
pub fn rebase(
    parent: &[PolicyObject],
    draft: &[PolicyObject],
    current: &[PolicyObject],
) -> Result<Vec<PolicyObject>, Vec<String>> {
    let (mut merged, mut conflicts) = (Vec::new(), Vec::new());
    let objects = Kind::ALL.into_iter().map(RowKind::Object);
    for kind in objects.chain([RowKind::Part]) {
        let of_kind = |objects| Ordered::of(objects, kind);
        let sides = Sides {
            parent: of_kind(parent),
            draft: of_kind(draft),
            current: of_kind(current),
        };
        match sides.merge(kind) {
            Ok(objects) => merged.extend(objects),
            Err(more) => conflicts.extend(more),
        }
    }
    if conflicts.is_empty() {
        Ok(merged)
    } else {
        Err(conflicts)
    }
}

/// Objects of one kind in their order.
struct Ordered<'a> {
    names: Vec<&'a str>,
    objects: ByName<'a>,
}

impl<'a> Ordered<'a> {
    fn of(objects: &'a [PolicyObject], kind: RowKind) -> Self {
        let mut found: Vec<&PolicyObject> = objects
            .iter()
            .filter(|object| object.kind == kind)
            .collect();
        found.sort_by_key(|object| object.position);
        Self {
            names: found.iter().map(|object| object.name.as_str()).collect(),
            objects: found
                .into_iter()
                .map(|object| (object.name.as_str(), object))
                .collect(),
        }
    }
}

struct Sides<'a> {
    parent: Ordered<'a>,
    draft: Ordered<'a>,
    current: Ordered<'a>,
}

impl<'a> Sides<'a> {
    fn merge(&self, kind: RowKind) -> Result<Vec<PolicyObject>, Vec<String>> {
        let Sides {
            parent,
            draft,
            current,
        } = self;
        let mut conflicts = Vec::new();
        let mut kept: ByName<'a> = BTreeMap::new();
        let names = [parent, draft, current].map(|side| side.objects.keys().copied());
        let names: BTreeSet<&str> = names.into_iter().flatten().collect();
        for name in names {
            let at = |side: &Ordered<'a>| side.objects.get(name).copied();
            let (before, mine, theirs) = (at(parent), at(draft), at(current));
            if is_same(before, mine) || is_same(mine, theirs) {
                kept.extend(theirs.map(|object| (name, object)));
            } else if is_same(before, theirs) {
                kept.extend(mine.map(|object| (name, object)));
            } else {
                conflicts.push(said(kind, name));
            }
        }
        let order = self.order(&kept);
        if order.is_none() && kind == RowKind::Object(Kind::Mapping) {
            conflicts.push("the order of the mappings".to_owned());
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let order = order.unwrap_or_else(|| self.woven(&kept));
        let placed = (0..).zip(order).filter_map(|(position, name)| {
            let object = kept.get(name)?;
            Some(PolicyObject {
                position,
                text: ended(&object.text),
                ..(*object).clone()
            })
        });
        Ok(placed.collect())
    }

    /// The order of whichever side changed it, if not both did.
    fn order(&self, kept: &ByName<'a>) -> Option<Vec<&'a str>> {
        let order = if self.current.names == self.parent.names {
            &self.draft.names
        } else if self.draft.names == self.parent.names || self.draft.names == self.current.names {
            &self.current.names
        } else {
            return None;
        };
        let order = order.iter().copied();
        Some(order.filter(|name| kept.contains_key(name)).collect())
    }

    /// The current order, with what the draft adds behind what it stands behind there.
    fn woven(&self, kept: &ByName<'a>) -> Vec<&'a str> {
        let names = self.current.names.iter().copied();
        let mut woven: Vec<&str> = names.filter(|name| kept.contains_key(name)).collect();
        let mut place = 0;
        for name in &self.draft.names {
            match woven.iter().position(|known| known == name) {
                Some(known) => place = known + 1,
                None if kept.contains_key(name) => {
                    woven.insert(place, name);
                    place += 1;
                }
                None => {}
            }
        }
        woven
    }
}

/// Whether nothing was done to an object from one side to another. Where the line breaks at its end are is its neighbours' doing.
fn is_same(one: Option<&PolicyObject>, other: Option<&PolicyObject>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.body == other.body && one.text.trim_end() == other.text.trim_end()
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Something may follow what was the last piece of a document without a line break.
fn ended(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}\n")
    }
}

fn said(kind: RowKind, name: &str) -> String {
    match kind {
        RowKind::Part => format!("what heads {name}"),
        RowKind::Object(kind) => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(kind: RowKind, position: i64, name: &str, body: u8) -> PolicyObject {
        PolicyObject {
            kind,
            name: name.to_owned(),
            position,
            body: body.to_string(),
            text: format!("{name}: {body}\n"),
        }
    }

    /// Some of six names, in any order, each with one of three bodies.
    fn side(kind: RowKind) -> impl Strategy<Value = Vec<PolicyObject>> {
        let names = Just(vec!["a", "b", "c", "d", "e", "f"]).prop_shuffle();
        (names, prop::collection::vec(0..3_u8, 0..6)).prop_map(move |(names, bodies)| {
            (0..)
                .zip(names)
                .zip(bodies)
                .map(|((position, name), body)| object(kind, position, name, body))
                .collect()
        })
    }

    fn kinds() -> impl Strategy<Value = RowKind> {
        let objects = Kind::ALL.into_iter().map(RowKind::Object);
        let all: Vec<RowKind> = objects.chain([RowKind::Part]).collect();
        prop::sample::select(all)
    }

    fn three() -> impl Strategy<Value = [Vec<PolicyObject>; 3]> {
        kinds().prop_flat_map(|kind| [side(kind), side(kind), side(kind)])
    }

    fn body<'a>(objects: &'a [PolicyObject], name: &str) -> Option<&'a str> {
        let mut named = objects.iter().filter(|object| object.name == name);
        let found = named.next().map(|object| object.body.as_str());
        assert!(named.next().is_none(), "{name} is there twice");
        found
    }

    proptest! {
        #[test]
        fn where_one_side_did_nothing_the_other_is_the_outcome([parent, draft, _] in three()) {
            prop_assert_eq!(rebase(&parent, &draft, &parent), Ok(draft.clone()));
            prop_assert_eq!(rebase(&parent, &parent, &draft), Ok(draft.clone()));
            prop_assert_eq!(rebase(&parent, &draft, &draft), Ok(draft));
        }

        #[test]
        fn what_one_side_did_is_kept_and_what_both_did_is_a_conflict([parent, draft, current] in three()) {
            let mut both = Vec::new();
            for name in ["a", "b", "c", "d", "e", "f"] {
                let sides = [&parent, &draft, &current].map(|side| body(side, name));
                let [before, mine, theirs] = sides;
                if before != mine && before != theirs && mine != theirs {
                    both.push(name);
                }
            }
            match rebase(&parent, &draft, &current) {
                Ok(merged) => {
                    prop_assert!(both.is_empty(), "{:?}", both);
                    for name in ["a", "b", "c", "d", "e", "f"] {
                        let [before, mine, theirs] = [&parent, &draft, &current].map(|side| body(side, name));
                        let expected = if before == mine { theirs } else { mine };
                        prop_assert_eq!(body(&merged, name), expected);
                    }
                }
                Err(conflicts) => {
                    for name in &both {
                        let named = conflicts.iter().any(|words| words.ends_with(&format!(" {name}")));
                        prop_assert!(named, "{} in {:?}", name, conflicts);
                    }
                    let of_order = conflicts.iter().filter(|words| *words == "the order of the mappings");
                    prop_assert_eq!(conflicts.len(), both.len() + of_order.count());
                }
            }
        }
    }

    #[test]
    fn what_a_draft_adds_stands_where_its_author_put_it() {
        let rules = |names: &[&str]| -> Vec<PolicyObject> {
            let placed = (0..).zip(names);
            placed
                .map(|(position, name)| object(RowKind::Object(Kind::Rule), position, name, 0))
                .collect()
        };
        let merged = rebase(
            &rules(&["a", "b"]),
            &rules(&["a", "mine", "b"]),
            &rules(&["theirs", "a", "b"]),
        );
        let names: Vec<String> = merged.unwrap().into_iter().map(|rule| rule.name).collect();
        assert_eq!(names, ["theirs", "a", "mine", "b"]);
        // Where order counts, nobody guesses.
        let mappings = |names: &[&str]| -> Vec<PolicyObject> {
            let kind = RowKind::Object(Kind::Mapping);
            let objects = rules(names).into_iter();
            objects
                .map(|object| PolicyObject { kind, ..object })
                .collect()
        };
        let conflict = rebase(
            &mappings(&["a", "b"]),
            &mappings(&["a", "mine", "b"]),
            &mappings(&["theirs", "a", "b"]),
        );
        assert_eq!(
            conflict.unwrap_err(),
            ["the order of the mappings".to_owned()]
        );
    }
}
