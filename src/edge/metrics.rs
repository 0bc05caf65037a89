//! Metrics of the data plane, by route and never by person or path. The handles of a route are resolved once per worker and revision.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::clock::Timestamp;
use crate::telemetry::latency::Latency;
use crate::telemetry::metrics::Metrics;

/// What became of a request; a label and the access log's `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Forwarded and answered by the upstream.
    Allowed,
    /// Asked to sign in.
    SignIn,
    /// Refused by the rules.
    Denied,
    /// Refused because of what the request is.
    Rejected,
    /// Answered by one of our own pages.
    Own,
    /// Allowed, but something failed.
    Failed,
    /// Allowed, and cut off by us while under way.
    Cut,
    /// The client left, or the connection broke, before the end.
    Aborted,
}

impl Outcome {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::SignIn => "sign_in",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Own => "own",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::Aborted => "aborted",
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    code: u16,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    route: String,
    outcome: Outcome,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

/// All families of the data plane. Cheap to clone.
#[derive(Clone)]
pub struct EdgeMetrics {
    requests: Family<RequestLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// How long requests took lately.
    pub latency: Latency,
    /// Exchanges and tunnels under way.
    pub open_streams: Gauge,
    /// Places for connections that are taken.
    pub connections: Gauge,
    /// Quiet connections that had to leave before their time.
    pub dismissed_connections: Counter,
    /// Session cookies that came twice or are no token.
    pub unusable_cookies: Counter,
    /// Decisions that could not be recorded.
    pub unrecorded: Counter,
}

impl EdgeMetrics {
    /// Registers the families.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self {
            requests: Family::default(),
            decisions: Family::default(),
            durations: Family::new_with_constructor(histogram),
            latency: Latency::default(),
            open_streams: Gauge::default(),
            connections: Gauge::default(),
            dismissed_connections: Counter::default(),
            unusable_cookies: Counter::default(),
            unrecorded: Counter::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "wayleave_http_requests",
                "Requests answered",
                this.requests.clone(),
            );
            registry.register(
                "wayleave_decisions",
                "Decisions of the rules",
                this.decisions.clone(),
            );
            registry.register(
                "wayleave_http_request_duration_seconds",
                "From the head of a request to the end of its answer",
                this.durations.clone(),
            );
            registry.register(
                "wayleave_open_streams",
                "Exchanges and tunnels under way",
                this.open_streams.clone(),
            );
            registry.register(
                "wayleave_connections",
                "Connections of clients, of limits.connections",
                this.connections.clone(),
            );
            registry.register(
                "wayleave_dismissed_connections",
                "Quiet connections that had to leave before their time, since nine of ten places were taken",
                this.dismissed_connections.clone(),
            );
            registry.register(
                "wayleave_unusable_session_cookies",
                "Requests whose session cookie came twice or is no token",
                this.unusable_cookies.clone(),
            );
            registry.register(
                "wayleave_unrecorded_decisions",
                "Decisions that could not be recorded: allowed requests among them were refused, unless audit.when_full says otherwise",
                this.unrecorded.clone(),
            );
        });
        this
    }

    /// The handles of one route; `-` stands for none.
    pub fn of_route(&self, route: &str) -> RouteMetrics {
        let labels = RouteLabels {
            route: route.to_owned(),
        };
        RouteMetrics {
            duration: self.durations.get_or_create_owned(&labels),
            families: self.clone(),
            route: route.into(),
            requests: RefCell::default(),
            decisions: RefCell::default(),
        }
    }
}

/// From a millisecond to two minutes.
fn histogram() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        120.0,
    ])
}

/// One route's handles, of one worker.
pub struct RouteMetrics {
    families: EdgeMetrics,
    route: Arc<str>,
    duration: Histogram,
    /// Few: a handful of codes come at a route.
    requests: RefCell<Vec<((u16, Outcome), Counter)>>,
    decisions: RefCell<Vec<((Outcome, &'static str), Counter)>>,
}

impl RouteMetrics {
    /// Counts an answered request.
    pub fn answered(&self, code: u16, outcome: Outcome, (took, ended): (Duration, Timestamp)) {
        self.duration.observe(took.as_secs_f64());
        // A tunnel's length says nothing of how quick anything is.
        if outcome == Outcome::Allowed && code != 101 {
            self.families.latency.observe(ended, took);
        }
        count(&self.requests, (code, outcome), || {
            let labels = RequestLabels {
                route: self.route.to_string(),
                code,
                outcome,
            };
            self.families.requests.get_or_create_owned(&labels)
        });
    }

    /// Counts a decision.
    pub fn decided(&self, outcome: Outcome, reason: &'static str) {
        count(&self.decisions, (outcome, reason), || {
            let labels = DecisionLabels {
                route: self.route.to_string(),
                outcome,
                reason,
            };
            self.families.decisions.get_or_create_owned(&labels)
        });
    }
}

fn count<K: PartialEq>(
    known: &RefCell<Vec<(K, Counter)>>,
    key: K,
    create: impl FnOnce() -> Counter,
) {
    let mut known = known.borrow_mut();
    if let Some((_, counter)) = known.iter().find(|(candidate, _)| *candidate == key) {
        counter.inc();
        return;
    }
    let counter = create();
    counter.inc();
    known.push((key, counter));
}
