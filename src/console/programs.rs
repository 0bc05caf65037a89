//! Programs that act for people: the command line, and agents, each with its person, where it may act, and its last use.

use askama::Template;
use axum::extract::State;

use crate::clock::Timestamp;
use crate::console::Shared;
use crate::console::answer::{Answer, page};
use crate::console::cursor::Listing;
use crate::console::frame::Frame;
use crate::console::guard::{Query, Visit};
use crate::console::link;
use crate::store::After;
use crate::store::people::PersonId;
use crate::store::programs::Program;
use crate::web::moment::Moment;

/// Programs of one page.
const PAGE: i64 = 50;

struct Row {
    label: String,
    name: String,
    is_agent: bool,
    person: String,
    person_path: String,
    provider: String,
    route: Option<String>,
    is_bound: bool,
    peer: Option<String>,
    since: Moment,
    renewed: Moment,
}

impl Row {
    fn of(program: &Program, now: Timestamp) -> Self {
        let given = &program.given;
        let acting = given.family.acting.as_ref();
        let principal = &program.principal;
        Self {
            label: given.family.id.label(),
            name: acting.map_or_else(
                || given.family.client.clone(),
                |acting| acting.agent.id.to_string(),
            ),
            is_agent: acting.is_some(),
            person: principal.label().to_owned(),
            person_path: link::person(&PersonId::of(principal)),
            provider: principal.provider.to_string(),
            route: acting.map(|acting| acting.route.to_string()),
            is_bound: given.family.key_thumbprint.is_some(),
            peer: given.peer.map(|peer| peer.to_string()),
            since: Moment::of(given.at, now),
            renewed: Moment::of(given.renewed_at, now),
        }
    }
}

#[derive(Template)]
#[template(path = "console/programs.html")]
struct ProgramsPage {
    frame: Frame,
    contains: String,
    rows: Vec<Row>,
    older: Option<String>,
    is_first: bool,
}

/// `GET /console/programs`.
pub(super) async fn list(State(console): Shared, visit: Visit, Query(query): Query) -> Answer {
    let now = console.clock.now();
    let listing = Listing::of("/console/programs", &query)?;
    let after = listing.after.as_ref();
    let found = console
        .book
        .programs(&visit.actor, listing.wanted(), after, (now, PAGE + 1))
        .await?;
    let (shown, older) = listing.page(found, PAGE, |program| After {
        at: program.given.at.micros(),
        id: program.given.family.id.0.to_string(),
    });
    page(&ProgramsPage {
        frame: Frame::of(&visit, "Programs"),
        rows: shown.iter().map(|program| Row::of(program, now)).collect(),
        older,
        is_first: listing.after.is_none(),
        contains: listing.contains,
    })
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    let own = || text.to_owned();
    let moment = Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(90));
    ProgramsPage {
        frame: Frame::sample(text),
        contains: own(),
        rows: vec![Row {
            label: own(),
            name: own(),
            is_agent: true,
            person: own(),
            person_path: "/console/people/0".to_owned(),
            provider: own(),
            route: Some(own()),
            is_bound: false,
            peer: Some(own()),
            since: moment.clone(),
            renewed: moment,
        }],
        older: Some(link::with_query("/console/programs", &[("q", text)])),
        is_first: false,
    }
}
