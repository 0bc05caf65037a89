//! Room for connections: how many there may be in all, and which give way when it becomes scarce.
//!
//! One client could hold every place with connections that do nothing. There is no limit per address, since behind a load balancer all clients have one:
//! instead, when nearly all places are taken, connections that are quiet lose theirs after moments, those first that were quiet for longest.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::edge::activity::Activity;

/// How long a connection may be quiet while room is scarce.
const QUIET: Duration = Duration::from_secs(2);

/// Places for the connections of all workers. Cheap to clone.
#[derive(Clone)]
pub struct Room {
    places: Arc<Semaphore>,
    size: usize,
    workers: usize,
}

/// A connection's place; free again when it is dropped.
pub struct Place(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Room {
    /// So many places for so many workers.
    pub fn new(size: usize, workers: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(size)),
            size,
            workers: workers.max(1),
        }
    }

    /// A place, once there is one; `None` never comes while the process lives.
    pub async fn place(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.ok().map(Place)
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.size - self.places.available_permits().min(self.size)
    }

    /// How many places one worker should free: its share of what is taken beyond nine tenths.
    fn wanted(&self) -> usize {
        let plenty = self.size - self.size.div_ceil(10);
        self.taken().saturating_sub(plenty).div_ceil(self.workers)
    }
}

/// The connections of one worker.
#[derive(Default)]
pub struct Connections {
    open: RefCell<Slab<Rc<Activity>>>,
}

/// A connection among others of its worker, until it is dropped.
pub struct Among {
    /// What it is doing.
    pub activity: Rc<Activity>,
    connections: Rc<Connections>,
    key: usize,
}

impl Drop for Among {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().try_remove(self.key);
    }
}

impl Connections {
    /// One more, that begins now.
    pub fn begin(self: &Rc<Self>) -> Among {
        let activity = Activity::new();
        let key = self.open.borrow_mut().insert(Rc::clone(&activity));
        Among {
            activity,
            connections: Rc::clone(self),
            key,
        }
    }

    /// Has as many quiet ones leave as the room wants; how many those are.
    pub fn give_way(&self, room: &Room) -> usize {
        match room.wanted() {
            0 => 0,
            wanted => self.dismiss(wanted),
        }
    }

    fn dismiss(&self, wanted: usize) -> usize {
        let now = Instant::now();
        let open = self.open.borrow();
        let quiet = open.iter().filter_map(|(_, activity)| {
            let since = activity.quiet_since()?;
            (since + QUIET <= now).then_some((since, activity))
        });
        let mut quiet: Vec<_> = quiet.collect();
        quiet.sort_by_key(|(since, _)| *since);
        quiet.truncate(wanted);
        for (_, activity) in &quiet {
            activity.dismiss();
        }
        quiet.len()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::{Connections, Room};
    use crate::edge::activity::Rest;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn d10_those_that_were_quiet_for_longest_give_way_and_only_while_room_is_scarce() {
        let room = Room::new(10, 1);
        let connections = Rc::new(Connections::default());
        let mut places = Vec::new();
        let mut all = Vec::new();
        for _ in 0..9 {
            places.push(room.place().await.unwrap());
            all.push(connections.begin());
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(room.taken(), 9);
        assert_eq!(
            connections.give_way(&room),
            0,
            "nine of ten are not too many"
        );
        // The oldest is not quiet, and the next oldest was a moment ago.
        let _answering = all[0].activity.begin();
        drop(all[1].activity.begin());
        places.push(room.place().await.unwrap());
        assert_eq!(connections.give_way(&room), 1);
        let now = Instant::now();
        let dismissed = all[2].activity.rest(LONG, LONG).await;
        assert_eq!(
            (dismissed, now.elapsed()),
            (Rest::Dismissed, Duration::ZERO)
        );
        for other in [&all[1], &all[3], &all[8]] {
            let rest = other.activity.rest(LONG, LONG);
            assert!(tokio::time::timeout(Duration::ZERO, rest).await.is_err());
        }
        // It is told once.
        assert_eq!(connections.give_way(&room), 1);
        let rest = all[3].activity.rest(LONG, LONG).await;
        assert_eq!(rest, Rest::Dismissed);
        all.remove(2);
        places.truncate(9);
        assert_eq!(connections.give_way(&room), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn d10_one_that_is_asked_for_something_meanwhile_stays() {
        let room = Room::new(1, 1);
        let connections = Rc::new(Connections::default());
        let _place = room.place().await.unwrap();
        let one = connections.begin();
        advance(Duration::from_secs(3)).await;
        assert_eq!(connections.give_way(&room), 1);
        drop(one.activity.begin());
        let rest = one.activity.rest(LONG, LONG);
        assert!(tokio::time::timeout(Duration::ZERO, rest).await.is_err());
    }
}
