//! What sessions have open at this edge: each worker says it about once a second, and pages read it. Nothing is decided by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use crate::clock::Timestamp;
use crate::session::{SessionId, locked};

/// What one session has open on one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The route's name.
    pub route: Arc<str>,
    /// Whether they are tunnels, and not requests that last.
    pub is_tunnel: bool,
    /// How many.
    pub count: usize,
    /// Since when the oldest is.
    pub since: Timestamp,
}

/// By session.
pub type BySession = HashMap<SessionId, Vec<Open>>;

/// What all workers say.
#[derive(Default)]
pub struct OpenStreams {
    workers: Mutex<Vec<Weak<Said>>>,
}

/// What one worker says; it is forgotten with the worker.
#[derive(Default)]
pub struct Said {
    open: Mutex<BySession>,
}

impl Said {
    /// In place of what was said before.
    pub fn replace(&self, open: BySession) {
        *locked(&self.open) = open;
    }
}

impl OpenStreams {
    /// A place for one more worker.
    pub fn worker(&self) -> Arc<Said> {
        let said = Arc::new(Said::default());
        let mut workers = locked(&self.workers);
        workers.retain(|worker| worker.strong_count() > 0);
        workers.push(Arc::downgrade(&said));
        said
    }

    /// What a session has open, by all workers together; in the order of names.
    pub fn of(&self, session: &SessionId) -> Vec<Open> {
        let workers: Vec<_> = locked(&self.workers)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            if let Some(open) = locked(&worker.open).get(session) {
                open.iter().for_each(|one| add(&mut all, one.clone()));
            }
        }
        all.sort_by(|a, b| a.route.cmp(&b.route));
        all
    }
}

/// Adds to what is the same.
pub fn add(all: &mut Vec<Open>, one: Open) {
    let mut known = all.iter_mut();
    match known.find(|known| known.route == one.route && known.is_tunnel == one.is_tunnel) {
        Some(known) => {
            known.count += one.count;
            known.since = known.since.min(one.since);
        }
        None => all.push(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(route: &str, count: usize, since: i64) -> Open {
        Open {
            route: route.into(),
            is_tunnel: false,
            count,
            since: Timestamp::from_seconds(since),
        }
    }

    #[test]
    fn workers_are_added_up_and_forgotten_when_they_leave() {
        let streams = OpenStreams::default();
        let (alice, bob) = (SessionId("a".into()), SessionId("b".into()));
        let (first, second) = (streams.worker(), streams.worker());
        first.replace([(alice.clone(), vec![open("docs", 1, 20)])].into());
        let both = vec![open("docs", 2, 10), open("app", 1, 30)];
        second.replace(
            [
                (alice.clone(), both),
                (bob.clone(), vec![open("app", 9, 1)]),
            ]
            .into(),
        );
        let all = [open("app", 1, 30), open("docs", 3, 10)];
        assert_eq!(streams.of(&alice), all);
        drop(first);
        let rest = [open("app", 1, 30), open("docs", 2, 10)];
        assert_eq!(streams.of(&alice), rest);
        second.replace(BySession::new());
        assert!(streams.of(&alice).is_empty() && streams.of(&bob).is_empty());
    }
}
