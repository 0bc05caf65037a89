//! What the policies of benches/policy.rs cost Cedar's engine: microseconds for one decision, the rule that allows being the last.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression,
};

/// So many routes at most.
const ROUTES: usize = 1_000;
/// So long each figure is measured for.
const MEASURED: Duration = Duration::from_secs(2);

fn uid(text: &str) -> EntityUid {
    text.parse().expect("an entity's name")
}

/// Each rule names a route and a group.
fn routes_and_groups(rule: usize, rules: usize) -> String {
    let route = rule % ROUTES.min(rules);
    format!(
        "permit(principal in Group::\"group{rule}\", action == Action::\"GET\", resource == Route::\"r{route}\");\n"
    )
}

/// Each rule is about paths of one route, for everyone.
fn paths_of_one_route(rule: usize, _: usize) -> String {
    format!(
        "permit(principal is User, action, resource == Route::\"r0\") when {{ context.path == \"/p{rule}\" }};\n"
    )
}

/// Somebody in 200 groups, of which one is the last rule's.
fn people(rules: usize) -> Entities {
    let others = (0..199).map(|group| uid(&format!("Group::\"other{group}\"")));
    let last = uid(&format!("Group::\"group{}\"", rules - 1));
    let groups: HashSet<EntityUid> = others.chain([last]).collect();
    let all = groups.iter().cloned().map(Entity::with_uid);
    let all: Vec<Entity> = all.collect();
    let person = Entity::new(uid("User::\"00u1\""), HashMap::new(), groups).expect("a person");
    Entities::from_entities(all.into_iter().chain([person]), None).expect("people")
}

fn microseconds(rules: usize, rule: fn(usize, usize) -> String, route: usize, path: &str) -> f64 {
    let mut text = String::new();
    for number in 0..rules {
        write!(text, "{}", rule(number, rules)).expect("a String takes everything");
    }
    let policies: PolicySet = text.parse().expect("a policy");
    let entities = people(rules);
    let path = RestrictedExpression::new_string(path.to_owned());
    let context = Context::from_pairs([("path".to_owned(), path)]).expect("a context");
    let [user, action] = ["User::\"00u1\"", "Action::\"GET\""].map(uid);
    let route = uid(&format!("Route::\"r{route}\""));
    let request = Request::new(user, action, route, context, None).expect("a request");
    let authorizer = Authorizer::new();
    let (begun, mut decided) = (Instant::now(), 0);
    while begun.elapsed() < MEASURED {
        let answer = authorizer.is_authorized(black_box(&request), &policies, &entities);
        assert_eq!(answer.decision(), Decision::Allow);
        decided += 1;
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(decided)
}

fn main() {
    println!(
        "| rules | each names a route and a group | each is about a path of one route |\n|---|--:|--:|"
    );
    for rules in [10, 1_000, 10_000] {
        let last = rules - 1;
        let groups = microseconds(rules, routes_and_groups, last % ROUTES.min(rules), "/d/1");
        let paths = microseconds(rules, paths_of_one_route, 0, &format!("/p{last}"));
        println!("| {rules} | {groups:.0} us | {paths:.0} us |");
    }
}
