//! The audit log: searched, exported and verified.

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::State;
use futures_util::stream::unfold;
use http::{HeaderValue, Response, header};

use crate::admin::events::{self, Outcome};
use crate::audit::chain::Entry;
use crate::audit::event::kinds::{self, KINDS, Kind};
use crate::audit::export::{CSV_HEADING, as_csv, as_json, parsed, taken};
use crate::clock::Timestamp;
use crate::console::Shared;
use crate::console::answer::{Answer, Refused, page, see_other};
use crate::console::cursor::{number, split};
use crate::console::frame::Frame;
use crate::console::guard::{Query, Submitted, Visit};
use crate::console::link;
use crate::store::audit::EventFilter;
use crate::web::moment::Moment;
use crate::web::parameters::Parameters;

/// Events of one page.
const PAGE: i64 = 50;
/// Events of one export; more are had by narrowing the time, or with `wayleave audit export`.
const EXPORTED_AT_MOST: usize = 100_000;

/// What is asked for, as it stands in the form.
#[derive(Clone, Default)]
struct Wanted {
    kind: String,
    actor: String,
    contains: String,
    since: String,
    until: String,
}

impl Wanted {
    fn of(query: &Parameters) -> Self {
        let text = |name| query.one(name).unwrap_or_default().trim().to_owned();
        Self {
            kind: text("kind"),
            actor: text("actor"),
            contains: text("q"),
            since: text("since"),
            until: text("until"),
        }
    }

    fn filter(&self) -> Result<EventFilter, Refused> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        if !self.kind.is_empty() && kinds::named(&self.kind).is_none() {
            let said = "There is no such kind of event.".to_owned();
            return Err(Refused::Unreadable(said));
        }
        Ok(EventFilter {
            kind: some(&self.kind),
            actor: some(&self.actor),
            since: day(&self.since, 0)?,
            until: day(&self.until, 1)?,
            contains: some(&self.contains),
        })
    }

    fn link(&self, path: &str, more: (&str, &str)) -> String {
        let parameters = [
            ("kind", self.kind.as_str()),
            ("actor", &self.actor),
            ("q", &self.contains),
            ("since", &self.since),
            ("until", &self.until),
            more,
        ];
        link::with_query(path, &parameters)
    }

    fn is_empty(&self) -> bool {
        let all = [
            &self.kind,
            &self.actor,
            &self.contains,
            &self.since,
            &self.until,
        ];
        all.into_iter().all(String::is_empty)
    }
}

/// The beginning of a day in UTC, or of one some days later.
fn day(text: &str, later: i64) -> Result<Option<Timestamp>, Refused> {
    if text.is_empty() {
        return Ok(None);
    }
    let senseless = || Refused::Unreadable("A day is written like 2027-01-31.".to_owned());
    let day: jiff::civil::Date = text.parse().map_err(|_| senseless())?;
    let day = day.checked_add(jiff::Span::new().days(later));
    let midnight = day.map_err(|_| senseless())?.at(0, 0, 0, 0);
    let start = jiff::tz::TimeZone::UTC.to_timestamp(midnight);
    let start = start.map_err(|_| senseless())?;
    Ok(Some(Timestamp::from_micros(start.as_microsecond())))
}

/// An event as the list shows it.
struct Row {
    seq: i64,
    at: Moment,
    kind: String,
    tone: &'static str,
    actor: String,
    says: String,
    decision: Option<String>,
    body: String,
    hash: String,
}

impl Row {
    fn of(entry: &Entry, now: Timestamp) -> Self {
        let mut event = parsed(entry);
        let (kind, actor) = (taken(&mut event, "kind"), taken(&mut event, "actor"));
        let named = kinds::named(&kind);
        let tone = match kind.as_str() {
            "denied" => "bad",
            "access_break_glass" | "policy_emergency" => "warn",
            "sign_in" => "good",
            _ => "",
        };
        let decision = event["decision"].as_str();
        Self {
            seq: entry.seq,
            at: Moment::of(Timestamp::from_micros(entry.at), now),
            says: named.map(|named| named.says(&event)).unwrap_or_default(),
            decision: decision.map(|id| format!("/console/audit/decisions/{id}")),
            kind: named.map_or(kind, |named| named.words.to_owned()),
            tone,
            actor,
            body: format!("{event:#}"),
            hash: entry.hash.clone(),
        }
    }
}

/// The last verification, in words.
struct Verified {
    tone: &'static str,
    says: String,
    at: Option<Moment>,
}

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage {
    frame: Frame,
    wanted: Wanted,
    kinds: Vec<(&'static str, &'static str, bool)>,
    rows: Vec<Row>,
    decision: Option<String>,
    older: Option<String>,
    first: Option<String>,
    csv: String,
    jsonl: String,
    verified: Verified,
}

/// `GET /console/audit`.
pub(super) async fn search(State(console): Shared, visit: Visit, Query(query): Query) -> Answer {
    let now = console.clock.now();
    let wanted = Wanted::of(&query);
    let before = query.one("before").map(number).transpose()?;
    let filter = wanted.filter()?;
    let found = events::search(&console.store, &visit.actor, &filter, before, PAGE + 1);
    let (shown, is_more) = split(found.await?, PAGE);
    let last = shown.last().filter(|_| is_more);
    let older = last.map(|last| wanted.link("/console/audit", ("before", &last.seq.to_string())));
    let last = console.verification.last(&visit.actor)?;
    let kinds = KINDS.iter();
    let chosen = |kind: &Kind| (kind.name, kind.words, wanted.kind == kind.name);
    page(&AuditPage {
        frame: Frame::of(&visit, "Audit"),
        kinds: kinds.map(chosen).collect(),
        rows: shown.iter().map(|entry| Row::of(entry, now)).collect(),
        decision: uuid::Uuid::try_parse(&wanted.contains)
            .ok()
            .map(|id| format!("/console/audit/decisions/{id}")),
        older,
        first: before.map(|_| wanted.link("/console/audit", ("", ""))),
        csv: wanted.link("/console/audit/export", ("format", "csv")),
        jsonl: wanted.link("/console/audit/export", ("format", "jsonl")),
        verified: verified(last, now),
        wanted,
    })
}

fn verified(last: Option<events::Verification>, now: Timestamp) -> Verified {
    let Some(last) = last else {
        return Verified {
            tone: "",
            says: "Not verified since this edge started.".to_owned(),
            at: None,
        };
    };
    let (tone, says) = match &last.outcome {
        Outcome::Whole(whole) => {
            let gone = { whole.pruned.iter() }.map(|pruned| format!(" {}", pruned.words()));
            let says = format!(
                "Whole up to event {}: {} events follow one another, {} signed checkpoints agree.{}",
                whole.last,
                whole.events,
                whole.checkpoints,
                gone.collect::<String>()
            );
            ("good", says)
        }
        Outcome::Broken(broken) => ("bad", format!("Not whole. First bad {broken}.")),
        Outcome::TooLong(seq) => (
            "warn",
            format!("In order up to event {seq}; for what follows, use `wayleave audit verify`."),
        ),
    };
    Verified {
        tone,
        says,
        at: Some(Moment::of(last.at, now)),
    }
}

/// `POST /console/audit/verify`.
pub(super) async fn verify(
    State(console): Shared,
    visit: Visit,
    Submitted(_form): Submitted,
) -> Answer {
    let (keys, now) = (console.inspect.keys(), console.clock.now());
    let verification = &console.verification;
    verification
        .verify(&console.store, &visit.actor, &keys, now)
        .await?;
    see_other("/console/audit?done=verified")
}

#[derive(Clone, Copy)]
enum Format {
    Csv,
    Jsonl,
}

/// `GET /console/audit/export`: oldest first, page by page, as the browser takes it.
pub(super) async fn export(State(console): Shared, visit: Visit, Query(query): Query) -> Answer {
    let format = match query.one("format") {
        Some("csv") => Format::Csv,
        Some("jsonl") | None => Format::Jsonl,
        Some(_) => {
            let said = "The format is csv or jsonl.".to_owned();
            return Err(Refused::Unreadable(said));
        }
    };
    let filter = Wanted::of(&query).filter()?;
    // The first page before the answer begins: what fails then still has a page of its own.
    let first = events::page_after(&console.store, &visit.actor, &filter, 0, PAGE).await?;
    let start = (Some(first), 0_usize);
    let pages = unfold(start, move |(page, count)| {
        let (console, visit, filter) = (console.clone(), visit.clone(), filter.clone());
        async move {
            let page = page.filter(|page| !page.is_empty())?;
            let heading = match format {
                Format::Csv if count == 0 => format!("{CSV_HEADING}\r\n"),
                Format::Csv | Format::Jsonl => String::new(),
            };
            let text = page.iter().fold(heading, |text, entry| match format {
                Format::Csv => text + &as_csv(entry) + "\r\n",
                Format::Jsonl => text + &as_json(entry) + "\n",
            });
            let count = count + page.len();
            let after = page.last().map_or(0, |last| last.seq);
            let next = match count < EXPORTED_AT_MOST {
                true => {
                    events::page_after(&console.store, &visit.actor, &filter, after, PAGE).await
                }
                false => Ok(Vec::new()),
            };
            // A file that ends early must not look whole.
            Some(match next {
                Ok(next) => (Ok(Bytes::from(text)), (Some(next), count)),
                Err(_) => (
                    Err(std::io::Error::other("the store failed")),
                    (None, count),
                ),
            })
        }
    });
    let (kind, name) = match format {
        Format::Csv => (
            "text/csv; charset=utf-8",
            "attachment; filename=\"audit.csv\"",
        ),
        Format::Jsonl => (
            "application/x-ndjson",
            "attachment; filename=\"audit.jsonl\"",
        ),
    };
    let mut response = Response::new(Body::from_stream(pages));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
    Ok(response)
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    let moment = Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(90));
    let wanted = Wanted {
        kind: text.to_owned(),
        actor: text.to_owned(),
        contains: text.to_owned(),
        since: text.to_owned(),
        until: text.to_owned(),
    };
    AuditPage {
        frame: Frame::sample(text),
        kinds: vec![("sign_in", "Signed in", true)],
        rows: vec![Row {
            seq: 1,
            at: moment.clone(),
            kind: text.to_owned(),
            tone: "bad",
            actor: text.to_owned(),
            says: text.to_owned(),
            decision: Some("/console/audit/decisions/0".to_owned()),
            body: text.to_owned(),
            hash: text.to_owned(),
        }],
        decision: Some("/console/audit/decisions/0".to_owned()),
        older: Some(wanted.link("/console/audit", ("before", "7"))),
        first: Some(wanted.link("/console/audit", ("", ""))),
        csv: wanted.link("/console/audit/export", ("format", "csv")),
        jsonl: wanted.link("/console/audit/export", ("format", "jsonl")),
        verified: Verified {
            tone: "good",
            says: text.to_owned(),
            at: Some(moment),
        },
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k5_days_are_days_and_nothing_else() {
        let at = |text, later| day(text, later).unwrap().unwrap().rfc3339();
        assert_eq!(at("2027-01-31", 0), "2027-01-31T00:00:00.000Z");
        assert_eq!(at("2027-01-31", 1), "2027-02-01T00:00:00.000Z");
        assert!(day("", 0).unwrap().is_none());
        for bad in [
            "2027-1-31",
            "2027-02-30",
            "'",
            "2027-01-31;",
            "1h",
            "9999-12-31x",
        ] {
            assert!(day(bad, 1).is_err(), "{bad}");
        }
    }
}
