//! What would come of a change, as every page shows it that offers to make one: differences, oddities, tests, and who would lose or gain what.

use std::collections::BTreeSet;

use crate::admin::foresight::{Foreseen, Foresight};
use crate::admin::replay::{Change, Replayed, first_of_each};
use crate::admin::revisions::Plan;
use crate::clock::Timestamp;
use crate::console::changes::{Changes, Part};
use crate::policy::diff;
use crate::policy::lint::Finding;
use crate::policy::yaml::PolicyFault;
use crate::web::moment::Moment;

/// Requests that a page lists one by one.
const LISTED: usize = 10;
/// Oddities that a page lists.
const FINDINGS: usize = 20;

/// Everything that somebody should see first.
pub(super) struct Preview {
    pub(super) faults: Vec<FaultLine>,
    pub(super) changes: Changes,
    /// Only comments or layout differ.
    pub(super) only_rewords: bool,
    pub(super) is_empty: bool,
    /// Those of what changes come first.
    pub(super) findings: Vec<Finding>,
    pub(super) more_findings: usize,
    pub(super) tests: usize,
    pub(super) replay: Replay,
}

/// A fault and where it is.
pub(super) struct FaultLine {
    pub(super) place: String,
    pub(super) message: String,
}

/// What people would notice.
#[derive(Default)]
pub(super) struct Replay {
    /// In time, and there was something to compare.
    pub(super) is_done: bool,
    pub(super) is_late: bool,
    /// It is past, or not for whoever looks.
    pub(super) is_over: bool,
    pub(super) requests: i64,
    pub(super) sums: Vec<Sum>,
    pub(super) rows: Vec<Row>,
    pub(super) more: usize,
}

/// One kind of change for all whom it concerns.
pub(super) struct Sum {
    pub(super) badge: &'static str,
    pub(super) people: String,
    pub(super) does: &'static str,
    pub(super) last: Moment,
}

/// One change.
pub(super) struct Row {
    pub(super) badge: &'static str,
    pub(super) what: &'static str,
    pub(super) person: String,
    pub(super) request: String,
    pub(super) count: i64,
    pub(super) last: Moment,
}

/// What a fault says. `shift` gives the line that a person sees, if they see it.
pub(super) fn faults(faults: &[PolicyFault], shift: impl Fn(u64) -> Option<u64>) -> Vec<FaultLine> {
    let place = |fault: &PolicyFault| match shift(fault.line) {
        Some(line) => format!("line {line}"),
        None => fault.key.clone(),
    };
    let told = faults.iter().map(|fault| FaultLine {
        place: place(fault),
        message: fault.message.clone(),
    });
    told.collect()
}

impl Preview {
    /// Of a document with these faults.
    pub(super) fn faulty(faults: Vec<FaultLine>) -> Self {
        Self {
            faults,
            changes: Changes::of(&[], &Part::default()),
            only_rewords: false,
            is_empty: false,
            findings: Vec::new(),
            more_findings: 0,
            tests: 0,
            replay: Replay::default(),
        }
    }

    /// Of what nobody decides on any more.
    pub(super) fn past(changed: &[diff::Change], part: &Part, tests: usize) -> Self {
        Self {
            changes: Changes::of(changed, part),
            tests,
            replay: Replay {
                is_over: true,
                ..Replay::default()
            },
            ..Self::faulty(Vec::new())
        }
    }

    /// Of a document without a fault; of what it changes, a part.
    pub(super) fn of(foreseen: &Foreseen, part: &Part, now: Timestamp) -> Self {
        let plan = &foreseen.plan;
        Self {
            faults: Vec::new(),
            changes: Changes::of(&plan.changes, part),
            only_rewords: plan.changes.is_empty() && plan.rewords,
            is_empty: plan.is_empty(),
            more_findings: plan.findings.len().saturating_sub(FINDINGS),
            findings: first_of_what_changes(plan),
            tests: foreseen.tests,
            replay: match &foreseen.replayed {
                Foresight::Told(replayed) => Replay::of(replayed, now),
                other => Replay {
                    is_late: matches!(other, Foresight::TooLate),
                    is_over: matches!(other, Foresight::Withheld),
                    ..Replay::default()
                },
            },
        }
    }
}

fn first_of_what_changes(plan: &Plan) -> Vec<Finding> {
    let named: BTreeSet<String> = plan.changes.iter().filter_map(object).collect();
    let (mut first, rest): (Vec<Finding>, Vec<Finding>) = plan
        .findings
        .iter()
        .cloned()
        .partition(|finding| named.contains(&finding.object));
    first.extend(rest);
    first.truncate(FINDINGS);
    first
}

/// As findings name it.
fn object(change: &diff::Change) -> Option<String> {
    match change {
        diff::Change::Added { kind, name, .. } | diff::Change::Changed { kind, name, .. } => {
            Some(format!("{kind} {name}"))
        }
        diff::Change::Removed { .. } | diff::Change::Reordered { .. } => None,
    }
}

fn said(change: Change) -> (&'static str, &'static str, &'static str) {
    match change {
        Change::Loses => ("bad", "loses", "would lose access"),
        Change::SignsIn => ("warn", "signs in again", "would have to sign in again"),
        Change::Asks => ("warn", "has to ask", "would have to ask for access"),
        Change::Gains => ("good", "gains", "would gain access"),
        Change::MaySignIn => (
            "good",
            "gains, once signed in again",
            "would gain access by signing in again",
        ),
        Change::MayAsk => ("good", "may ask", "could ask for access that was refused"),
        Change::Renamed => ("warn", "other identity", "would have another mesh identity"),
    }
}

impl Replay {
    fn of(replayed: &Replayed, now: Timestamp) -> Self {
        let sums = replayed.sums.iter().map(|sum| {
            let (badge, _, does) = said(sum.change);
            Sum {
                badge,
                people: people(sum.people, sum.strangers),
                does,
                last: Moment::of(sum.last_at, now),
            }
        });
        let shown = first_of_each(&replayed.effects, LISTED);
        let more = replayed.more + replayed.effects.len() - shown.len();
        let rows = shown.into_iter().map(|effect| {
            let (badge, what, _) = said(effect.change);
            Row {
                badge,
                what,
                person: effect.person.clone().unwrap_or_else(nobody),
                request: format!("{} {}{}", effect.method, effect.host, effect.path),
                count: effect.count,
                last: Moment::of(effect.last_at, now),
            }
        });
        Self {
            is_done: true,
            is_late: false,
            is_over: false,
            requests: replayed.requests,
            sums: sums.collect(),
            rows: rows.collect(),
            more,
        }
    }
}

fn nobody() -> String {
    "nobody signed in".to_owned()
}

fn people(known: usize, strangers: bool) -> String {
    match (known, strangers) {
        (0, _) => "Whoever is not signed in".to_owned(),
        (1, false) => "1 person".to_owned(),
        (many, false) => format!("{many} people"),
        (1, true) => "1 person, and whoever is not signed in,".to_owned(),
        (many, true) => format!("{many} people, and whoever is not signed in,"),
    }
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> Preview {
    let moment = Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(9));
    Preview {
        faults: vec![FaultLine {
            place: text.to_owned(),
            message: text.to_owned(),
        }],
        changes: crate::console::changes::sample(text),
        only_rewords: false,
        is_empty: false,
        findings: vec![Finding {
            object: text.to_owned(),
            message: text.to_owned(),
        }],
        more_findings: 2,
        tests: 3,
        replay: Replay {
            is_done: true,
            is_late: false,
            is_over: false,
            requests: 12,
            sums: vec![Sum {
                badge: "bad",
                people: text.to_owned(),
                does: "would lose access",
                last: moment.clone(),
            }],
            rows: vec![Row {
                badge: "bad",
                what: "loses",
                person: text.to_owned(),
                request: text.to_owned(),
                count: 3,
                last: moment,
            }],
            more: 7,
        },
    }
}
