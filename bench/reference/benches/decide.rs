//! The same policies and the same question, decided by this engine and by Cedar: `make bench-decisions`.

#![expect(clippy::unwrap_used, reason = "a benchmark has no one to tell")]

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::hint::black_box;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wayleave::identity::principal::{Groups, Principal};
use wayleave::policy::decide::Verdict;

#[path = "../../../benches/shapes/mod.rs"]
mod shapes;

use shapes::{ROUTES, Shape, asked, compiled, facts, person, policy};

/// More takes Cedar, which looks at every policy, too long to be measured.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn uid(kind: &str, name: &str) -> EntityUid {
    let kind: EntityTypeName = kind.parse().unwrap();
    EntityUid::from_type_name_and_id(kind, EntityId::new(name))
}

/// The rules of [`policy`] as Cedar says them.
fn in_cedar(rules: usize, shape: Shape) -> PolicySet {
    let mut text = String::new();
    for index in 0..rules {
        let route = index % ROUTES.min(rules);
        let _fits = match shape {
            Shape::RoutesAndGroups => writeln!(
                text,
                "permit(principal in Group::\"group{index}\", action == Action::\"GET\", resource == Route::\"r{route}\");"
            ),
            Shape::PathsOfOneRoute => writeln!(
                text,
                "permit(principal, action, resource == Route::\"r0\") when {{ context.path == \"/p{index}\" }};"
            ),
        };
    }
    text.parse().unwrap()
}

/// Somebody with these groups.
fn entities(person: &Principal) -> Entities {
    let Groups::Known(groups) = &person.groups else {
        return Entities::empty();
    };
    let groups: HashSet<_> = groups.iter().map(|group| uid("Group", group)).collect();
    let theirs = groups.iter().cloned();
    let all = theirs.map(|group| Entity::new(group, HashMap::new(), HashSet::new()).unwrap());
    let mut all: Vec<_> = all.collect();
    all.push(Entity::new(uid("User", &person.subject), HashMap::new(), groups).unwrap());
    Entities::from_entities(all, None).unwrap()
}

fn question(person: &Principal, route: usize, path: &str) -> Request {
    let context = Context::from_json_value(serde_json::json!({ "path": path }), None).unwrap();
    let (who, what) = (uid("User", &person.subject), uid("Action", "GET"));
    Request::new(who, what, uid("Route", &format!("r{route}")), context, None).unwrap()
}

fn decide(criterion: &mut Criterion) {
    for shape in [Shape::RoutesAndGroups, Shape::PathsOfOneRoute] {
        let mut group = criterion.benchmark_group(format!("{shape:?}"));
        for rules in SIZES {
            let ours = compiled(policy(rules, shape));
            let person = person(rules);
            let (route, path) = asked(rules, shape);
            let facts = facts(&ours.routes()[route], &person, &path);
            assert!(matches!(ours.decide(&facts), Verdict::Allow { .. }));
            group.bench_function(BenchmarkId::new("wayleave", rules), |bencher| {
                bencher.iter(|| ours.decide(black_box(&facts)));
            });
            let (cedar, entities) = (in_cedar(rules, shape), entities(&person));
            let question = question(&person, route, &path);
            let authorizer = Authorizer::new();
            let answer = authorizer.is_authorized(&question, &cedar, &entities);
            assert_eq!(answer.decision(), Decision::Allow);
            group.bench_function(BenchmarkId::new("cedar", rules), |bencher| {
                bencher.iter(|| {
                    authorizer.is_authorized(black_box(&question), &cedar, &entities)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
