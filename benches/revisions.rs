//! What a policy of a hundred thousand rules costs to write, to change by one rule, and to put in force: `cargo bench --bench revisions`.
//! On PostgreSQL with its URL in `WAYLEAVE_BENCH_STORE`; an empty database, please.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark has no one to tell but whoever runs it"
)]

use std::fmt::Write;
use std::process::Command;
use std::time::Instant;

use tokio::runtime::Runtime;
use wayleave::admin::actor::Actor;
use wayleave::clock::{Clock, SystemClock};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::compile::CompiledPolicy;
use wayleave::policy::model::Revision;
use wayleave::snapshot;

mod edge;

const RULES: usize = 100_000;
const ROUTES: usize = 1_000;

/// A document; `changed` is the rule that says something else.
fn document(changed: Option<usize>) -> String {
    let mut text = "routes:\n".to_owned();
    for route in 0..ROUTES {
        let _fits = writeln!(
            text,
            "  - {{ name: r{route}, host: r{route}.example, upstream: {{ addresses: [\"u:1\"], tls: {{ server_name: u }} }} }}"
        );
    }
    text.push_str("rules:\n");
    for rule in 0..RULES {
        let method = if changed == Some(rule) { "POST" } else { "GET" };
        let _fits = writeln!(
            text,
            "  - {{ name: rule{rule}, action: allow, from: [{{ groups: [group{rule}] }}], to: [{{ routes: [r{}], methods: [{method}] }}] }}",
            rule % ROUTES
        );
    }
    text
}

fn told<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    println!("{what}: {:.2?}", begun.elapsed());
    done
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.unwrap_or("no VmHWM").to_owned()
}

fn main() {
    if !edge::is_asked_for() {
        return;
    }
    let (runtime, domain) = (edge::runtime(), edge::trust_domain());
    if let Some(url) = std::env::args().skip_while(|it| it != "--load").nth(1) {
        return load(&runtime, &url, &domain);
    }
    let folder = tempfile::tempdir().unwrap();
    let url = edge::url(&folder);
    let store = runtime.block_on(edge::open(&url));
    let revisions = edge::revisions(&store);
    let operator = Actor::Operator { name: None };
    let (before, after) = (document(None), document(Some(RULES / 2)));
    println!("{RULES} rules, {} MiB", before.len() / 1024 / 1024);
    let plan = |text: &str| {
        let plan = revisions.plan(text, SystemClock.now());
        runtime.block_on(plan).unwrap().changes.len()
    };
    told("first plan", || plan(&before));
    told("first apply", || {
        runtime
            .block_on(revisions.apply(&before, &operator, &edge::writing(None)))
            .unwrap();
    });
    let in_force = told("load and compile", || {
        runtime.block_on(snapshot::load(&store, &domain)).unwrap()
    });
    let policy = in_force.policy.policy().clone();
    told("compile alone", || {
        CompiledPolicy::new(policy, Revision(1), &domain).unwrap()
    });
    told("plan of one rule's change", || plan(&after));
    told("apply of one rule's change", || {
        runtime
            .block_on(revisions.apply(&after, &operator, &edge::writing(Some(1))))
            .unwrap();
    });
    told("publish one rule's change", || {
        let newer = snapshot::load_newer(&store, &in_force.policy, &in_force.positions);
        runtime.block_on(newer).unwrap().unwrap()
    });
    told("export", || {
        runtime.block_on(revisions.export(None)).unwrap()
    });
    println!("{}", peak());
    println!("in a process of its own:");
    let this = std::env::current_exe().unwrap();
    let edge = Command::new(this)
        .args(["--bench", "--load", &url])
        .status();
    assert!(edge.unwrap().success());
}

/// What an edge does at its start, and what memory it takes.
fn load(runtime: &Runtime, url: &str, domain: &TrustDomain) {
    let store = runtime.block_on(edge::open(url));
    println!("before: {}", peak());
    let loaded = told("load and compile", || {
        runtime.block_on(snapshot::load(&store, domain)).unwrap()
    });
    println!("loaded: {}", peak());
    let policy = loaded.policy.policy().clone();
    told("compile once more", || {
        CompiledPolicy::new(policy, Revision(1), domain).unwrap()
    });
    println!("compiled beside it: {}", peak());
}
