//! What it takes to decide a million recorded decisions once more: `cargo bench --bench replay`.
//! On PostgreSQL with its URL in `WAYLEAVE_BENCH_STORE`; an empty database, please.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark has no one to tell but whoever runs it"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wayleave::admin::actor::Actor;
use wayleave::admin::replay::Window;
use wayleave::audit::decision::{Decided, Decision};
use wayleave::clock::{Clock, SystemClock};
use wayleave::identity::email::Email;
use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::store::Store;

mod edge;

/// Rows, each of a person, a route and a kind of path.
const DECISIONS: usize = 1_000_000;
const PEOPLE: usize = 1_000;
const ROUTES: usize = 50;

/// Fifty routes, a rule for each; the draft says of the last one that nobody may write.
fn document(is_draft: bool) -> String {
    let routes = (0..ROUTES).map(|route| {
        format!("  - {{ name: r{route}, host: r{route}.example, upstream: {{ addresses: [\"u:1\"], tls: {{ server_name: u }} }} }}\n")
    });
    let rules = (0..ROUTES).map(|rule| {
        let methods = match is_draft && rule + 1 == ROUTES {
            true => "[GET]",
            false => "[GET, POST]",
        };
        format!("  - {{ name: rule{rule}, action: allow, from: [{{ groups: [g{}] }}], to: [{{ routes: [r{rule}], methods: {methods} }}] }}\n", rule % 10)
    });
    let (routes, rules): (String, String) = (routes.collect(), rules.collect());
    format!(
        "routes:\n{routes}rules:\n{rules}mappings:\n  - {{ name: all, from: [{{ signed_in: true }}], spiffe_id: \"spiffe://td/ns/people/sa/{{user}}\" }}\n"
    )
}

fn person(number: usize) -> Arc<Principal> {
    let groups = (0..20).map(|group| Arc::from(format!("g{}", (number + group) % 40)));
    Arc::new(Principal {
        kind: PrincipalKind::User,
        provider: "okta".into(),
        issuer: "https://okta.example".into(),
        subject: format!("00u{number}").into(),
        email: Some(Email::parse(&format!("person{number}@example.com")).unwrap()),
        display_name: None,
        groups: Groups::Known(groups.collect()),
        claims: BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    })
}

fn decided(number: usize, people: &[Arc<Principal>], begun: i64) -> Decided {
    let route = number / PEOPLE % ROUTES;
    let at = begun + i64::try_from(number).unwrap() * 1000;
    let path = format!("/part{}/view", number / PEOPLE / ROUTES);
    Decided {
        principal: Some(Arc::clone(&people[number % PEOPLE])),
        decision: Decision {
            id: format!("{number:032x}"),
            is_allowed: true,
            reason: String::new(),
            rule: Some(format!("rule{route}").into()),
            revision: 1,
            route: format!("r{route}").into(),
            host: format!("r{route}.example"),
            method: if number.is_multiple_of(3) {
                "POST"
            } else {
                "GET"
            }
            .to_owned(),
            path: path.clone(),
            template: path,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            session: Some(format!("{:016x}", number % PEOPLE)),
            mesh_identity: Some(format!(
                "spiffe://td/ns/people/sa/person{}",
                number % PEOPLE
            )),
        },
        count: 1,
        first_at: at,
        last_at: at,
    }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        spent.tv_sec.unsigned_abs(),
        u32::try_from(spent.tv_nsec).unwrap(),
    )
}

async fn fill(store: &Store) {
    let people: Vec<_> = (0..PEOPLE).map(person).collect();
    let day = Duration::from_secs(24 * 60 * 60);
    let begun = SystemClock.now().minus(day).micros();
    for first in (0..DECISIONS).step_by(10_000) {
        let part = first..first + 10_000;
        let part: Vec<_> = part.map(|number| decided(number, &people, begun)).collect();
        store.take_in(&format!("part{first}"), &part).await.unwrap();
    }
}

async fn run(url: &str) {
    let store = edge::open(url).await;
    let revisions = edge::revisions(&store);
    let writing = edge::writing(None);
    let operator = Actor::Operator { name: None };
    let applied = revisions.apply(&document(false), &operator, &writing).await;
    applied.unwrap();
    fill(&store).await;
    let now = SystemClock.now();
    let window = Window {
        since: now.minus(Duration::from_secs(14 * 24 * 60 * 60)),
        until: now.plus(Duration::from_secs(1)),
    };
    for _ in 0..3 {
        let (begun, spent) = (Instant::now(), cpu());
        let replayed = revisions
            .replay(&operator, &document(true), window)
            .await
            .unwrap();
        println!(
            "{} requests, {} effects: {:.2?}, {:.2?} of CPU",
            replayed.requests,
            replayed.effects.len() + replayed.more,
            begun.elapsed(),
            cpu() - spent
        );
    }
}

fn main() {
    if !edge::is_asked_for() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    edge::runtime().block_on(run(&edge::url(&folder)));
}
