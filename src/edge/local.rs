//! What a worker thread keeps for itself: nothing here is shared, so nothing here is locked.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::audit::spool::Recorder;
use crate::clock::Timestamp;
use crate::config::checked::Limits;
use crate::edge::Edge;
use crate::edge::access_log::Lines;
use crate::edge::caller::Caller;
use crate::edge::metrics::{EdgeMetrics, RouteMetrics};
use crate::edge::streams::Streams;
use crate::edge::upstream::Upstreams;
use crate::policy::compile::CompiledPolicy;
use crate::secret::{TokenHash, random};

/// Callers remembered per worker and kind of proof, at most.
const REMEMBERED: usize = 8192;
/// How often a draining worker looks whether it is done.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Bytes of randomness drawn at once.
const CHANCE: usize = 2048;

/// The request pipeline of one thread.
pub struct Worker<U> {
    pub(in crate::edge) edge: Arc<Edge>,
    pub(in crate::edge) upstreams: U,
    pub(in crate::edge) lines: Rc<Lines>,
    pub(in crate::edge) streams: Rc<Streams>,
    pub(in crate::edge) recorder: Recorder,
    /// The last decision could not be recorded, and that is in the log.
    pub(in crate::edge) records_fail: Cell<bool>,
    pub(in crate::edge) by_cookie: RefCell<Generations<TokenHash, Rc<Caller>>>,
    pub(in crate::edge) by_bearer: RefCell<Generations<Rc<str>, Rc<Caller>>>,
    pub(in crate::edge) nobody: Rc<Caller>,
    policy: RefCell<Rc<PolicyView>>,
    chance: RefCell<Chance>,
}

impl<U: Upstreams> Worker<U> {
    /// One for the calling thread. [`Self::watch`](crate::edge::streams) has to run beside it.
    pub fn new(edge: Arc<Edge>, upstreams: U) -> Rc<Self> {
        let policy = Rc::new(PolicyView::new(
            edge.snapshots.current().clone(),
            &edge.metrics,
        ));
        Rc::new(Self {
            upstreams,
            lines: Rc::new(Lines::new(
                edge.access_log.clone(),
                edge.clock.clone(),
                &edge.metrics,
            )),
            streams: Rc::new(Streams::new(
                edge.metrics.open_streams.clone(),
                edge.sessions.open.worker(),
            )),
            recorder: edge.spool.recorder(),
            records_fail: Cell::new(false),
            by_cookie: RefCell::new(Generations::new(REMEMBERED)),
            by_bearer: RefCell::new(Generations::new(REMEMBERED)),
            nobody: Rc::new(Caller::nobody()),
            policy: RefCell::new(policy),
            chance: RefCell::default(),
            edge,
        })
    }

    /// Sizes and deadlines.
    pub(in crate::edge) fn limits(&self) -> Limits {
        self.edge.limits
    }

    /// Ready once nothing is under way any more.
    pub(in crate::edge) async fn all_answered(&self) {
        while self.streams.count() > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Hands over the access log lines that wait.
    pub(in crate::edge) fn flush(&self) {
        self.lines.flush();
    }

    /// The policy in force, taken once per request.
    pub(in crate::edge) fn policy(&self) -> Rc<PolicyView> {
        let current = self.edge.snapshots.current();
        let mut known = self.policy.borrow_mut();
        if !Arc::ptr_eq(&current, &known.policy) {
            *known = Rc::new(PolicyView::new(Arc::clone(&current), &self.edge.metrics));
        }
        Rc::clone(&known)
    }

    /// Random bytes that need to be unpredictable to nobody but collide with nothing: request and trace ids.
    pub(in crate::edge) fn chance<const N: usize>(&self) -> [u8; N] {
        self.chance.borrow_mut().take()
    }

    /// A new request's id.
    pub(in crate::edge) fn request_id(&self, now: Timestamp) -> RequestId {
        let millis = u64::try_from(now.micros() / 1000).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &self.chance()).into_uuid();
        RequestId(id)
    }

    /// Whether we know too little of what ended meanwhile to let anybody through.
    pub(in crate::edge) fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.edge.freshness.at()) > self.edge.max_staleness
    }
}

/// Identifies a request, and the decision about it, in headers, logs and pages: a UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(Uuid);

impl RequestId {
    #[cfg(test)]
    pub(in crate::edge) fn for_tests() -> Self {
        Self(Uuid::nil())
    }

    /// The text, in a buffer of the caller's.
    pub fn text(self, buffer: &mut [u8; 36]) -> &str {
        self.0.as_hyphenated().encode_lower(buffer)
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text(&mut [0; 36]))
    }
}

/// A revision of the policy and its routes' metrics.
pub struct PolicyView {
    /// The revision.
    pub policy: Arc<CompiledPolicy>,
    metrics: Vec<RouteMetrics>,
}

impl PolicyView {
    fn new(policy: Arc<CompiledPolicy>, metrics: &EdgeMetrics) -> Self {
        let metrics = policy
            .routes()
            .iter()
            .map(|route| metrics.of_route(&route.route.name))
            .collect();
        Self { policy, metrics }
    }

    /// The metrics of one of the revision's routes.
    pub fn metrics(&self, route: usize) -> Option<&RouteMetrics> {
        self.metrics.get(route)
    }
}

/// Runs what an HTTP/2 connection spawns on the connection's own thread.
#[derive(Clone, Copy, Debug)]
pub(in crate::edge) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A bounded map that forgets what was not used lately: when the young half is full, it becomes the old half, and the old half is forgotten.
pub struct Generations<K, V> {
    young: HashMap<K, V, foldhash::quality::RandomState>,
    old: HashMap<K, V, foldhash::quality::RandomState>,
    half: usize,
}

impl<K: Hash + Eq, V: Clone> Generations<K, V> {
    /// Holds `capacity` entries at most.
    pub fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            half: (capacity / 2).max(1),
        }
    }

    /// What is remembered under a key.
    pub fn find<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(found) = self.young.get(key) {
            return Some(found.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Remembers, instead of what was there.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Forgets one entry.
    pub fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.young.remove(key);
        self.old.remove(key);
    }
}

/// Randomness drawn in larger pieces; each byte is given out once.
struct Chance {
    bytes: [u8; CHANCE],
    used: Cell<usize>,
}

impl Default for Chance {
    fn default() -> Self {
        Self {
            bytes: [0; CHANCE],
            used: Cell::new(CHANCE),
        }
    }
}

impl Chance {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used.get() + N > CHANCE {
            self.bytes = random();
            self.used.set(0);
        }
        let start = self.used.get();
        self.used.set(start + N);
        let mut taken = [0; N];
        if let Some(bytes) = self.bytes.get(start..start + N) {
            taken.copy_from_slice(bytes);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::{Chance, Generations};

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let mut map: Generations<u32, u32> = Generations::new(100);
        for n in 0..10_000 {
            map.insert(n, n);
            assert_eq!(map.find(&0), Some(0), "used all the time, at {n}");
            assert!(map.young.len() + map.old.len() <= 100);
        }
        assert_eq!(map.find(&1), None);
        map.remove(&0);
        assert_eq!(map.find(&0), None);
    }

    #[test]
    fn an_entry_is_never_found_twice() {
        let mut map: Generations<u32, &str> = Generations::new(4);
        map.insert(1, "first");
        map.insert(2, "");
        map.insert(3, "");
        map.insert(1, "second");
        map.remove(&1);
        assert_eq!(map.find(&1), None);
    }

    #[test]
    fn chance_is_given_out_once() {
        let mut chance = Chance::default();
        let mut seen = std::collections::HashSet::new();
        assert!((0..1000).all(|_| seen.insert(chance.take::<24>())));
    }
}
