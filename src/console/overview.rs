//! The overview: what the edges do, and what needs attention. Each part is for whoever may see what it shows.

use askama::Template;
use axum::extract::State;

use crate::admin::access::everybody::Waiting;
use crate::admin::activity::{self, Activity, Slot, Span};
use crate::admin::settings::{self, Settings};
use crate::clock::Timestamp;
use crate::console::answer::{Answer, page};
use crate::console::chart::Chart;
use crate::console::frame::Frame;
use crate::console::guard::{Query, Visit};
use crate::console::settings::{Edge, Expiry};
use crate::console::{Console, Shared};
use crate::policy::roles::Permission;
use crate::snapshot::NOTHING;
use crate::store::edges::EdgeRecord;

/// Oddities of the policy that are named; more are counted.
const FINDINGS: usize = 6;
/// An edge that has not heard of the store for this long is told of, in seconds.
const STALE: u64 = 30;

/// Something to look at.
struct Item {
    tone: &'static str,
    what: String,
    detail: String,
    /// Where something can be done about it.
    path: Option<&'static str>,
}

impl Item {
    fn of(tone: &'static str, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            tone,
            what: what.into(),
            detail: detail.into(),
            path: None,
        }
    }
}

struct Route {
    name: String,
    allowed: i64,
    denied: i64,
}

/// What there was.
struct Traffic {
    requests: Chart,
    denials: Chart,
    sign_ins: Chart,
    total: Slot,
    all: i64,
    routes: Vec<Route>,
}

impl Traffic {
    fn of(activity: &Activity) -> Self {
        let chart = |what: &str, of: fn(&Slot) -> i64| {
            let values: Vec<i64> = activity.slots.iter().map(of).collect();
            Chart::of(what, &values)
        };
        let routes = activity.routes.iter().map(|(name, slot)| Route {
            name: name.clone(),
            allowed: slot.allowed,
            denied: slot.denied,
        });
        Self {
            requests: chart("requests", |slot| slot.allowed + slot.denied),
            denials: chart("refusals", |slot| slot.denied),
            sign_ins: chart("sign-ins", |slot| slot.sign_ins),
            all: activity.total.allowed + activity.total.denied,
            total: activity.total,
            routes: routes.collect(),
        }
    }
}

struct Latency {
    half: String,
    p95: String,
    p99: String,
}

struct Provider {
    label: String,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    frame: Frame,
    is_day: bool,
    traffic: Option<Traffic>,
    latency: Option<Latency>,
    signed_in: Option<(i64, i64)>,
    items: Vec<Item>,
    more: usize,
    is_looked_at: bool,
    edges: Vec<Edge>,
    expiries: Vec<Expiry>,
    providers: Vec<Provider>,
    may_settings: bool,
    revision: i64,
    rules: usize,
    routes: usize,
}

/// `GET /console`.
pub(super) async fn show(State(console): Shared, visit: Visit, Query(query): Query) -> Answer {
    let (now, actor) = (console.clock.now(), &visit.actor);
    let is_day = query.one("span") == Some("day");
    let span = if is_day { Span::Day } else { Span::Hour };
    let (mut traffic, mut signed_in, mut known) = (None, None, None);
    if actor.may(Permission::ReadAudit) {
        let activity = activity::activity(&console.store, actor, span, now).await?;
        traffic = Some(Traffic::of(&activity));
    }
    if actor.may(Permission::ReadSessions) {
        signed_in = Some(console.book.count(actor, now).await?);
    }
    if actor.may(Permission::ReadSettings) {
        let edges = activity::edges(&console.store, actor, now).await?;
        known = Some((edges, settings::settings(&*console.inspect, actor)?));
    }
    let policy = console.snapshots.current();
    let newest = policy.revision.0;
    let mut items = of_requests(visit.waiting);
    let (mut edges, mut expiries, mut providers) = (Vec::new(), Vec::new(), Vec::new());
    if let Some((records, settings)) = &known {
        edges = records
            .iter()
            .map(|edge| Edge::of(edge, newest, now))
            .collect();
        expiries = Expiry::all(settings, now);
        let all = settings.providers.iter();
        providers = all
            .map(|provider| Provider {
                label: provider.label.clone(),
                fault: provider.fault.clone(),
            })
            .collect();
        items.extend(of_parts(settings, now));
        items.extend(of_edges(records, now));
    }
    let more = of_policy(&console, &visit, &mut items)?;
    page(&OverviewPage {
        frame: Frame::of(&visit, "Overview"),
        is_day,
        traffic,
        latency: latency(&console, now).filter(|_| known.is_some()),
        signed_in,
        items,
        more,
        is_looked_at: console.attention.findings(actor)?.revision >= policy.revision,
        edges,
        expiries,
        providers,
        may_settings: known.is_some(),
        revision: newest,
        rules: policy.policy().rules.len(),
        routes: policy.policy().routes.len(),
    })
}

fn latency(console: &Console, now: Timestamp) -> Option<Latency> {
    let found = console.latency.percentiles(now, 60)?;
    let said = |took: std::time::Duration| match took.as_secs_f64() * 1000.0 {
        millis if millis < 10.0 => format!("{millis:.1} ms"),
        millis if millis < 10_000.0 => format!("{millis:.0} ms"),
        millis => format!("{:.0} s", millis / 1000.0),
    };
    Some(Latency {
        half: said(found.half),
        p95: said(found.p95),
        p99: said(found.p99),
    })
}

/// What waits for whoever looks.
fn of_requests(waiting: Waiting) -> Vec<Item> {
    let mut items = Vec::new();
    let mut add = |count: usize, one: &str, many: &str, detail: &str| {
        let what = match count {
            0 => return,
            1 => one.to_owned(),
            more => format!("{more} {many}"),
        };
        let item = Item::of("warn", what, detail);
        items.push(Item {
            path: Some("/console/requests"),
            ..item
        });
    };
    add(
        waiting.to_review,
        "Somebody broke the glass",
        "grants were taken without asking",
        "You are one of those who look at it afterwards.",
    );
    add(
        waiting.open,
        "Somebody waits for your approval",
        "requests wait for your approval",
        "They read your answer as soon as you give it.",
    );
    items
}

/// Certificates that end, providers that fail, a policy file at fault.
fn of_parts(settings: &Settings, now: Timestamp) -> Vec<Item> {
    let mut items = Vec::new();
    if !settings.policy_file_is_good {
        items.push(Item::of(
            "bad",
            "The policy file is at fault",
            "Its last good content is in force; the log says what is wrong.",
        ));
    }
    for provider in &settings.providers {
        if let Some(fault) = &provider.fault {
            let what = format!("{} cannot be used", provider.label);
            items.push(Item::of("bad", what, fault));
        }
    }
    for expiry in Expiry::all(settings, now) {
        if !expiry.tone.is_empty() {
            let detail = format!("It ends {}.", expiry.ends.roughly);
            items.push(Item::of(expiry.tone, expiry.what, detail));
        }
    }
    items
}

fn of_edges(records: &[EdgeRecord], now: Timestamp) -> Vec<Item> {
    let stale = records
        .iter()
        .filter(|edge| now.since(edge.fresh_at).as_secs() > STALE);
    let items = stale.map(|edge| {
        let detail = "It serves what it knew then.".to_owned();
        let what = format!("Edge {} has not heard of the store lately", edge.name);
        Item::of("warn", what, detail)
    });
    items.collect()
}

/// Oddities of the policy; returns how many more there are than are named.
fn of_policy(
    console: &Console,
    visit: &Visit,
    items: &mut Vec<Item>,
) -> Result<usize, crate::console::answer::Refused> {
    if console.snapshots.current().revision == NOTHING {
        items.push(Item::of(
            "warn",
            "There is no policy yet",
            "So nothing is allowed. Write one with `wayleave policy apply`.",
        ));
    }
    let found = console.attention.findings(&visit.actor)?;
    let named = found.findings.iter().take(FINDINGS);
    items.extend(named.map(|one| Item::of("warn", &one.object, &one.message)));
    Ok(found.findings.len().saturating_sub(FINDINGS))
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    use crate::console::settings::{sample_edge, sample_expiry};
    let chart = || Chart::of(text, &[1, 0, 3]);
    OverviewPage {
        frame: Frame::sample(text),
        is_day: true,
        traffic: Some(Traffic {
            requests: chart(),
            denials: chart(),
            sign_ins: chart(),
            total: Slot::default(),
            all: 4,
            routes: vec![Route {
                name: text.to_owned(),
                allowed: 3,
                denied: 1,
            }],
        }),
        latency: Some(Latency {
            half: text.to_owned(),
            p95: text.to_owned(),
            p99: text.to_owned(),
        }),
        signed_in: Some((3, 2)),
        items: of_requests(Waiting {
            open: 2,
            to_review: 1,
        })
        .into_iter()
        .chain([Item::of("bad", text, text)])
        .collect(),
        more: 2,
        is_looked_at: true,
        edges: vec![sample_edge(text)],
        expiries: vec![sample_expiry(text)],
        providers: vec![Provider {
            label: text.to_owned(),
            fault: Some(text.to_owned()),
        }],
        may_settings: true,
        revision: 3,
        rules: 4,
        routes: 2,
    }
}
