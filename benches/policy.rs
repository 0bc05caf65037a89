//! What a decision costs, and what compiling a policy does, as the number of rules grows: `cargo bench --bench policy`.

#![expect(clippy::unwrap_used, reason = "a benchmark has no one to tell")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

mod shapes;

use shapes::{SIZES, Shape, asked, compiled, facts, person, policy};

fn decide(criterion: &mut Criterion) {
    for shape in [Shape::RoutesAndGroups, Shape::PathsOfOneRoute] {
        let mut group = criterion.benchmark_group(format!("decide {shape:?}"));
        for rules in SIZES {
            let policy = compiled(policy(rules, shape));
            let person = person(rules);
            let (route, path) = asked(rules, shape);
            let facts = facts(&policy.routes()[route], &person, &path);
            group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
                bencher.iter(|| policy.decide(black_box(&facts)));
            });
        }
        group.finish();
    }
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for rules in [1_000, 100_000] {
        let policy = policy(rules, Shape::RoutesAndGroups);
        group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
            bencher.iter(|| compiled(policy.clone()));
        });
    }
    group.finish();
}

criterion_group!(benches, decide, compile);
criterion_main!(benches);
