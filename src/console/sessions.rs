//! Who is signed in, and ending sessions: with a page in between that says what it hits.

use askama::Template;
use axum::extract::State;

use crate::admin::sessions::Which;
use crate::clock::Timestamp;
use crate::console::Console;
use crate::console::Shared;
use crate::console::answer::{Answer, Refused, page, see_other};
use crate::console::cursor::Listing;
use crate::console::frame::Frame;
use crate::console::guard::{Query, Submitted, Visit};
use crate::console::link;
use crate::policy::roles::Permission;
use crate::session::SessionRecord;
use crate::session::open::Open;
use crate::store::After;
use crate::store::people::PersonId;
use crate::web::moment::Moment;
use crate::web::parameters::Parameters;

/// Sessions of one page.
const PAGE: i64 = 50;
/// What has to be typed to end all.
const WORDS: &str = "end all";

/// A session as lists show it.
pub(super) struct Row {
    pub(super) label: String,
    pub(super) person: String,
    pub(super) person_path: String,
    pub(super) provider: String,
    pub(super) peer: Option<String>,
    pub(super) browser: Option<String>,
    pub(super) since: Moment,
    pub(super) last_seen: Moment,
    pub(super) ends: Moment,
    pub(super) open: Vec<Opened>,
    pub(super) is_own: bool,
    pub(super) end_path: String,
}

/// What a session has open at this edge on a route.
pub(super) struct Opened {
    pub(super) route: String,
    pub(super) count: usize,
    pub(super) what: &'static str,
    pub(super) since: Moment,
}

impl Opened {
    fn of(open: &Open, now: Timestamp) -> Self {
        Self {
            route: open.route.to_string(),
            count: open.count,
            what: match (open.is_tunnel, open.count) {
                (true, 1) => "tunnel",
                (true, _) => "tunnels",
                (false, 1) => "stream",
                (false, _) => "streams",
            },
            since: Moment::of(open.since, now),
        }
    }
}

impl Row {
    pub(super) fn of(
        session: &SessionRecord,
        (console, visit): (&Console, &Visit),
        now: Timestamp,
    ) -> Self {
        let open = console.sessions.open.of(&session.id);
        let principal = &session.principal;
        let label = session.id.label();
        Self {
            person: principal.label().to_owned(),
            person_path: link::person(&PersonId::of(principal)),
            provider: principal.provider.to_string(),
            peer: session.peer.map(|peer| peer.to_string()),
            browser: session.browser.as_ref().map(ToString::to_string),
            since: Moment::of(session.created_at, now),
            last_seen: Moment::of(session.last_seen, now),
            ends: Moment::of(session.expires_at, now),
            open: open.iter().map(|one| Opened::of(one, now)).collect(),
            is_own: session.id == visit.session.id,
            end_path: link::with_query("/console/sessions/end", &[("session", &label)]),
            label,
        }
    }
}

#[derive(Template)]
#[template(path = "console/sessions.html")]
struct SessionsPage {
    frame: Frame,
    contains: String,
    sessions: i64,
    people: i64,
    rows: Vec<Row>,
    older: Option<String>,
    is_first: bool,
    may_end: bool,
}

/// `GET /console/sessions`.
pub(super) async fn list(State(console): Shared, visit: Visit, Query(query): Query) -> Answer {
    let now = console.clock.now();
    let listing = Listing::of("/console/sessions", &query)?;
    let (wanted, after) = (listing.wanted().map(str::to_owned), listing.after.as_ref());
    let found = console
        .book
        .list(&visit.actor, wanted, after, (now, PAGE + 1))
        .await?;
    let (sessions, people) = console.book.count(&visit.actor, now).await?;
    let (shown, older) = listing.page(found, PAGE, |session| After {
        at: session.last_seen.micros(),
        id: session.id.0.to_string(),
    });
    let rows = shown
        .iter()
        .map(|session| Row::of(session, (&console, &visit), now));
    page(&SessionsPage {
        frame: Frame::of(&visit, "Sessions"),
        rows: rows.collect(),
        older,
        is_first: listing.after.is_none(),
        sessions,
        people,
        contains: listing.contains,
        may_end: visit.actor.may(Permission::EndSessions),
    })
}

#[derive(Template)]
#[template(path = "console/sessions_end.html")]
struct EndPage {
    frame: Frame,
    what: String,
    sessions: i64,
    people: i64,
    rows: Vec<Row>,
    more: i64,
    session: String,
    person: String,
    is_all: bool,
    ends_own: bool,
    words: &'static str,
    fault: bool,
}

/// Which sessions a query or form means: one, all of a person, or all others.
async fn which(console: &Console, visit: &Visit, from: &Parameters) -> Result<Which, Refused> {
    if let Some(label) = from.one("session") {
        return Ok(Which::One(label.to_owned()));
    }
    let Some(person) = from.one("person") else {
        return Ok(Which::AllOthers);
    };
    let id = PersonId::parse(person).ok_or(Refused::NotFound)?;
    let person = crate::admin::people::person(&console.store, &visit.actor, &id).await?;
    let person = person.ok_or(Refused::NotFound)?;
    Ok(Which::Of(Box::new(person.record.principal)))
}

/// `GET /console/sessions/end`: says what would end.
pub(super) async fn ask(State(console): Shared, visit: Visit, Query(query): Query) -> Answer {
    confirm(&console, &visit, &query, false).await
}

async fn confirm(console: &Console, visit: &Visit, from: &Parameters, fault: bool) -> Answer {
    let now = console.clock.now();
    let which = which(console, visit, from).await?;
    let own = (&visit.session.id, now);
    let hit = console.book.preview(&visit.actor, &which, own).await?;
    if hit.sessions == 0 && which != Which::AllOthers {
        return Err(Refused::NotFound);
    }
    let whose = hit
        .first
        .first()
        .map(|session| session.principal.label().to_owned());
    let what = match &which {
        Which::One(_) => format!("End a session of {}", whose.unwrap_or_default()),
        Which::Of(person) => format!("End every session of {}", person.label()),
        Which::AllOthers => "End every session but yours".to_owned(),
    };
    let named = i64::try_from(hit.first.len()).unwrap_or_default();
    let rows: Vec<Row> = hit
        .first
        .iter()
        .map(|one| Row::of(one, (console, visit), now))
        .collect();
    page(&EndPage {
        frame: Frame::of(visit, what.clone()),
        what,
        sessions: hit.sessions,
        people: hit.people,
        more: hit.sessions - named,
        ends_own: rows.iter().any(|row| row.is_own),
        rows,
        session: from.one("session").unwrap_or_default().to_owned(),
        person: from.one("person").unwrap_or_default().to_owned(),
        is_all: which == Which::AllOthers,
        words: WORDS,
        fault,
    })
}

/// `POST /console/sessions/end`.
pub(super) async fn end(
    State(console): Shared,
    visit: Visit,
    Submitted(form): Submitted,
) -> Answer {
    let which = which(&console, &visit, &form).await?;
    if which == Which::AllOthers && form.one("words") != Some(WORDS) {
        return confirm(&console, &visit, &form, true).await;
    }
    let own = (&visit.session.id, console.clock.now());
    console.book.end(&visit.actor, &which, own).await?;
    let back = match &which {
        Which::Of(person) => link::person(&PersonId::of(person)),
        Which::One(_) | Which::AllOthers => "/console/sessions".to_owned(),
    };
    see_other(&link::with_query(&back, &[("done", "ended")]))
}

#[cfg(test)]
pub(super) fn sample_row(text: &str) -> Row {
    let moment = Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(90));
    Row {
        label: text.to_owned(),
        person: text.to_owned(),
        person_path: "/console/people/0".to_owned(),
        provider: text.to_owned(),
        peer: Some(text.to_owned()),
        browser: Some(text.to_owned()),
        since: moment.clone(),
        last_seen: moment.clone(),
        ends: moment.clone(),
        open: vec![Opened {
            route: text.to_owned(),
            count: 2,
            what: "streams",
            since: moment,
        }],
        is_own: true,
        end_path: link::with_query("/console/sessions/end", &[("session", text)]),
    }
}

#[cfg(test)]
pub(super) fn samples(text: &str) -> Vec<(&'static str, String)> {
    let list = SessionsPage {
        frame: Frame::sample(text),
        contains: text.to_owned(),
        sessions: 2,
        people: 1,
        rows: vec![sample_row(text)],
        older: Some(link::with_query("/console/sessions", &[("q", text)])),
        is_first: false,
        may_end: true,
    };
    let end = EndPage {
        frame: Frame::sample(text),
        what: text.to_owned(),
        sessions: 3,
        people: 2,
        rows: vec![sample_row(text)],
        more: 2,
        session: text.to_owned(),
        person: text.to_owned(),
        is_all: true,
        ends_own: true,
        words: WORDS,
        fault: true,
    };
    vec![
        ("sessions", list.render().unwrap()),
        ("sessions_end", end.render().unwrap()),
    ]
}
