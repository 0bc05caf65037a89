//! Word to open pages that what they show has changed, as server-sent events (HTML Standard §9.2). An event names topics and nothing more: the page asks for
//! itself once more, and shows what its reader may see then.
//!
//! The follower of the store's feed tells of every replica's changes, so that open pages cost the store nothing. A stream ends with its session, its reader's
//! roles and the process; a page that stays open is no use of its session.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;

use crate::admin::actor::Actor;
use crate::console::answer::Refused;
use crate::console::guard::{Query, Visit};
use crate::console::{Console, Shared};
use crate::lifecycle::Lifecycle;
use crate::policy::roles::Permission;
use crate::secret::random;
use crate::session::{Session, SessionId};
use crate::store::changes::Change;

/// Where pages listen.
pub(super) const PATH: &str = "/console/live";
/// A request with this header was not made by anybody: the page asked for itself once more.
pub(super) const BY_ITSELF: &str = "wayleave-by-itself";

/// A silent stream says something so often: both ends learn that the other is there.
const BEAT: Duration = Duration::from_secs(15);
/// What changes together within this is told once.
const TOGETHER: Duration = Duration::from_millis(200);
/// Streams of one session.
const OF_SESSION: usize = 12;
/// Streams of this process.
const OF_ALL: usize = 2_000;

/// Something that pages show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    /// The revision in force.
    Policy,
    /// Drafts, their reviews and comments.
    Drafts,
    /// Requests for access, and grants.
    Requests,
    /// Sessions that ended.
    Sessions,
}

impl Topic {
    const ALL: [Self; 4] = [Self::Policy, Self::Drafts, Self::Requests, Self::Sessions];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Drafts => "drafts",
            Self::Requests => "requests",
            Self::Sessions => "sessions",
        }
    }

    const fn permission(self) -> Permission {
        match self {
            Self::Policy | Self::Drafts => Permission::ReadPolicy,
            Self::Requests => Permission::ReadRequests,
            Self::Sessions => Permission::ReadSessions,
        }
    }

    const fn of(change: &Change) -> Option<Self> {
        match change {
            Change::PolicyRevision(_) => Some(Self::Policy),
            Change::DraftsChanged => Some(Self::Drafts),
            Change::RequestsChanged | Change::GrantsChanged => Some(Self::Requests),
            Change::SessionEnded(_) => Some(Self::Sessions),
            Change::SessionRefreshed(_) | Change::FamilyEnded(_) | Change::SigningKeys => None,
        }
    }
}

/// How often there was a change of each topic since the process began.
type Told = [u64; Topic::ALL.len()];

/// Streams that are open, by session.
type Seats = HashMap<SessionId, usize>;

/// Who is told, and how much there was to tell.
pub struct Live {
    /// Tells this process from others: what a page was told there says nothing here.
    process: u64,
    told: watch::Sender<Told>,
    seats: Arc<Mutex<Seats>>,
    lifecycle: Lifecycle,
}

impl Live {
    /// Nothing has changed yet. Streams end when the process drains.
    pub fn new(lifecycle: Lifecycle) -> Arc<Self> {
        Arc::new(Self {
            process: u64::from_le_bytes(random()),
            told: watch::Sender::new(Told::default()),
            seats: Arc::default(),
            lifecycle,
        })
    }

    /// Tells the pages that show it.
    pub fn tell(&self, change: &Change) {
        if let Some(topic) = Topic::of(change) {
            self.told.send_modify(|told| {
                if let Some(count) = told.get_mut(topic as usize) {
                    *count += 1;
                }
            });
        }
    }

    /// What was told until now: a page that listens from here misses nothing that happened while it was made and loaded.
    pub(super) fn mark(&self) -> String {
        let counts = self.told.borrow().map(|count| count.to_string());
        format!("{:x}.{}", self.process, counts.join("."))
    }

    /// What a page knew, by its mark; of another process nothing.
    fn seen(&self, mark: &str) -> Option<Told> {
        let (process, counts) = mark.split_once('.')?;
        let is_ours = u64::from_str_radix(process, 16).ok()? == self.process;
        let counts = counts.split('.').map(str::parse);
        let counts: Vec<u64> = counts.collect::<Result<_, _>>().ok()?;
        counts.try_into().ok().filter(|_| is_ours)
    }

    fn seat(&self, session: &SessionId) -> Option<Seat> {
        let mut seats = locked(&self.seats);
        let all: usize = seats.values().sum();
        let own = seats.entry(session.clone()).or_default();
        if *own >= OF_SESSION || all >= OF_ALL {
            return None;
        }
        *own += 1;
        Some(Seat {
            session: session.clone(),
            seats: Arc::clone(&self.seats),
        })
    }
}

fn locked(seats: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the streams that a session may have.
struct Seat {
    session: SessionId,
    seats: Arc<Mutex<Seats>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = locked(&self.seats);
        if let Some(count) = seats.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                seats.remove(&self.session);
            }
        }
    }
}

/// One page that listens.
struct Listener {
    console: Arc<Console>,
    session: Arc<Session>,
    topics: Vec<Topic>,
    /// What the page knows; `None` if that is not known.
    seen: Option<Told>,
    told: watch::Receiver<Told>,
    _seat: Seat,
}

impl Listener {
    /// The next event, and the listener for the one after.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.changed().is_empty() {
            let lifecycle = self.console.live.lifecycle.clone();
            tokio::select! {
                biased;
                () = self.session.end.cancelled() => return None,
                () = lifecycle.draining() => return None,
                changed = self.told.changed() => changed.ok()?,
                () = tokio::time::sleep(BEAT) => {}
            }
            if !self.may_go_on() {
                return None;
            }
        }
        if self.changed().is_empty() {
            return Some((Ok(Event::default().comment("")), self));
        }
        tokio::time::sleep(TOGETHER).await;
        let topics = self.changed().join(" ");
        self.seen = Some(*self.told.borrow_and_update());
        Some((Ok(Event::default().event("changed").data(topics)), self))
    }

    /// Topics of which the page does not know the newest.
    fn changed(&self) -> Vec<&'static str> {
        let told = self.told.borrow();
        let is_new = |topic: &&Topic| {
            let at = **topic as usize;
            self.seen.is_none_or(|seen| seen.get(at) != told.get(at))
        };
        let new = self.topics.iter().filter(is_new);
        new.map(|topic| topic.as_str()).collect()
    }

    fn may_go_on(&self) -> bool {
        let principal = Arc::clone(&self.session.principal);
        let actor = Actor::person(principal, &self.console.snapshots.current());
        let may = |topic: &Topic| actor.may(topic.permission());
        self.session.is_live(self.console.clock.now()) && self.topics.iter().all(may)
    }
}

/// Listens for changes of the topics in `on`, from what the page's mark in `since` says.
pub(super) async fn listen(
    State(console): Shared,
    visit: Visit,
    Query(asked): Query,
) -> Result<Response, Refused> {
    let on = asked.one("on").unwrap_or_default();
    let find = |name: &str| Topic::ALL.into_iter().find(|topic| topic.as_str() == name);
    let topics = on.split_ascii_whitespace().map(find);
    let topics: Option<Vec<Topic>> = topics.collect();
    let topics = topics.filter(|topics| !topics.is_empty());
    let topics = topics.ok_or_else(|| {
        Refused::Unreadable("In the address, on names no topics that there are.".to_owned())
    })?;
    for topic in &topics {
        visit.actor.check(topic.permission())?;
    }
    let seat = console.live.seat(&visit.session.id);
    let listener = Listener {
        session: Arc::clone(&visit.session),
        topics,
        seen: asked.one("since").and_then(|mark| console.live.seen(mark)),
        told: console.live.told.subscribe(),
        _seat: seat.ok_or(Refused::TooMany)?,
        console,
    };
    let events = stream::unfold(listener, Listener::next);
    Ok(Sse::new(events).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::model::Revision;

    fn live() -> Arc<Live> {
        Live::new(Lifecycle::new())
    }

    #[test]
    fn a_page_knows_what_was_told_when_it_was_made_and_nothing_of_other_processes() {
        let (here, there) = (live(), live());
        let before = here.mark();
        assert_eq!(here.seen(&before), Some([0; 4]));
        here.tell(&Change::PolicyRevision(Revision(2)));
        here.tell(&Change::GrantsChanged);
        here.tell(&Change::SigningKeys);
        assert_eq!(here.seen(&here.mark()), Some([1, 0, 1, 0]));
        assert_eq!(here.seen(&before), Some([0; 4]));
        assert_eq!(there.seen(&before), None);
        for senseless in ["", ".", "0", "x.0.0.0.0", "0.0.0.0", "0.1.2.3.4.5"] {
            assert_eq!(here.seen(senseless), None, "{senseless}");
        }
    }

    #[test]
    fn a_session_has_so_many_streams_and_gets_their_places_back() {
        let live = live();
        let session = SessionId("one".into());
        let seats: Vec<_> = (0..OF_SESSION).map(|_| live.seat(&session)).collect();
        assert!(seats.iter().all(Option::is_some));
        assert!(live.seat(&session).is_none());
        assert!(live.seat(&SessionId("another".into())).is_some());
        drop(seats);
        assert!(live.seat(&session).is_some());
        assert!(locked(&live.seats).is_empty());
    }
}
