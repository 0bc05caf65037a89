//! What is under way, and whether it may go on: a connection is not an authorisation.
//!
//! Each exchange with an upstream is registered with its permit. Every fifth of a second the worker looks at all of them again: whether the session
//! lives, the token is good, the newest policy still allows it, and anything has moved lately. What fails is cut off with an error, never with
//! a clean end that could pass for a whole answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::clock::Timestamp;
use crate::edge::authenticate::{Renewal, renewed};
use crate::edge::authorize::Permit;
use crate::edge::local::{PolicyView, Worker};
use crate::edge::metrics::Outcome;
use crate::edge::upstream::Upstreams;
use crate::session::open::{self, BySession, Open, Said};

/// How often log lines are handed over.
const TICK: Duration = Duration::from_millis(100);
/// Ticks from one look at everything to the next.
const SWEEP_EVERY: u32 = 2;
/// Ticks from one tidying of upstream connections to the next.
const TIDY_EVERY: u32 = 20;
/// Ticks from one word of what is open to the next.
const TELL_EVERY: u32 = 10;
/// Ticks after which an exchange is one that lasts.
const LASTS: u32 = 10;
/// Sessions that a worker tells of at most.
const TOLD: usize = 20_000;
/// How often in a row a proof may be unclear before what it allowed is cut off.
const UNCLEAR: u8 = 4;

/// Why something under way was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The session or token has ended.
    #[error("the session that allowed the stream has ended")]
    ProofEnded,
    /// The policy changed, or the caller's groups did, or what was granted is over.
    #[error("the stream is no longer allowed")]
    NotAllowed,
    /// Nothing was heard from the store for too long.
    #[error("it is not known whether the stream is still allowed")]
    Stale,
    /// Nothing moved for longer than the route's idle time.
    #[error("the stream was silent for too long")]
    Idle,
    /// The client broke its request off.
    #[error("the client broke off")]
    ClientLeft,
    /// The answer is complete, so the rest of the request is of no use.
    #[error("the exchange is over")]
    Over,
}

impl Cut {
    /// For the access log.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ProofEnded => "session_ended",
            Self::NotAllowed => "no_longer_allowed",
            Self::Stale => "stale",
            Self::Idle => "idle",
            Self::ClientLeft => "client_left",
            Self::Over => "over",
        }
    }

    /// How the request counts.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::ClientLeft => Outcome::Aborted,
            Self::ProofEnded | Self::NotAllowed | Self::Stale | Self::Idle | Self::Over => {
                Outcome::Cut
            }
        }
    }
}

/// Who waits for an exchange.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// The connection to the client, which waits for the answer.
    Answer = 0,
    /// The connection to the upstream, which waits for the request's body.
    Upload = 1,
}

/// One exchange with an upstream.
pub struct Exchange {
    permit: RefCell<Rc<Permit>>,
    cut: Cell<Option<Cut>>,
    wakers: RefCell<[Option<Waker>; 2]>,
    /// In ticks of the worker.
    began_at: u32,
    moved_at: Cell<u32>,
    idle: u32,
    now: Rc<Cell<u32>>,
    is_uploading: Cell<bool>,
    has_answer: Cell<bool>,
    received: Cell<u64>,
    received_before: Cell<u64>,
    sent: Cell<u64>,
    unclear: Cell<u8>,
    place: Cell<usize>,
}

impl Exchange {
    /// Ready once it must not go on; otherwise whoever asks is woken then.
    pub fn poll_cut(&self, side: Side, context: &mut Context<'_>) -> Poll<Cut> {
        if let Some(cut) = self.cut.get() {
            return Poll::Ready(cut);
        }
        let mut wakers = self.wakers.borrow_mut();
        let slot = &mut wakers[side as usize];
        match slot {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => *slot = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Cuts it off. The first reason stays.
    pub fn cut(&self, reason: Cut) {
        if self.cut.get().is_some() {
            return;
        }
        self.cut.set(Some(reason));
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Bytes came from the client.
    pub fn received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
        self.moved_at.set(self.now.get());
    }

    /// Bytes went to the client.
    pub fn sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
        self.moved_at.set(self.now.get());
    }

    /// The request's body is complete.
    pub fn upload_ended(&self) {
        self.is_uploading.set(false);
        self.moved_at.set(self.now.get());
    }

    /// The head of the answer is there.
    pub fn answered(&self) {
        self.has_answer.set(true);
        self.moved_at.set(self.now.get());
    }

    /// Bytes from and to the client.
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.get(), self.sent.get())
    }

    /// The longest silence.
    pub fn idle(&self) -> Duration {
        TICK * self.idle
    }

    /// Between the end of a request and its answer the upstream's own deadline counts, and not this one.
    fn is_idle(&self) -> bool {
        let may_be_silent = !self.is_uploading.get() && !self.has_answer.get();
        !may_be_silent && self.now.get().wrapping_sub(self.moved_at.get()) > self.idle
    }
}

/// A registered exchange; dropping it takes it off the list and stops its upload.
pub struct UnderWay {
    exchange: Rc<Exchange>,
    streams: Rc<Streams>,
}

impl UnderWay {
    /// The exchange.
    pub fn exchange(&self) -> &Rc<Exchange> {
        &self.exchange
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.streams.remove(&self.exchange);
        if self.exchange.is_uploading.get() {
            self.exchange.cut(Cut::Over);
        }
    }
}

/// Everything that is under way at one worker.
pub struct Streams {
    open: RefCell<Vec<Rc<Exchange>>>,
    now: Rc<Cell<u32>>,
    gauge: Gauge,
    shown: Cell<usize>,
    said: Arc<Said>,
    has_said: Cell<bool>,
}

impl Streams {
    pub(in crate::edge) fn new(gauge: Gauge, said: Arc<Said>) -> Self {
        Self {
            open: RefCell::default(),
            now: Rc::default(),
            gauge,
            shown: Cell::new(0),
            said,
            has_said: Cell::new(false),
        }
    }

    /// Registers an exchange before anything of it is sent. `idle` is the longest silence of its bodies.
    pub(in crate::edge) fn begin(
        self: &Rc<Self>,
        permit: Permit,
        idle: Duration,
        is_uploading: bool,
    ) -> UnderWay {
        let idle = idle.as_millis() / TICK.as_millis();
        let mut open = self.open.borrow_mut();
        let exchange = Rc::new(Exchange {
            permit: RefCell::new(Rc::new(permit)),
            cut: Cell::new(None),
            wakers: RefCell::default(),
            began_at: self.now.get(),
            moved_at: Cell::new(self.now.get()),
            idle: u32::try_from(idle).unwrap_or(u32::MAX),
            now: Rc::clone(&self.now),
            is_uploading: Cell::new(is_uploading),
            has_answer: Cell::new(false),
            received: Cell::new(0),
            received_before: Cell::new(0),
            sent: Cell::new(0),
            unclear: Cell::new(0),
            place: Cell::new(open.len()),
        });
        open.push(Rc::clone(&exchange));
        UnderWay {
            exchange,
            streams: Rc::clone(self),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    fn remove(&self, exchange: &Exchange) {
        let mut open = self.open.borrow_mut();
        let place = exchange.place.get();
        if place < open.len() {
            open.swap_remove(place);
        }
        if let Some(moved) = open.get(place) {
            moved.place.set(place);
        }
    }

    fn at(&self, place: usize) -> Option<Rc<Exchange>> {
        self.open.borrow().get(place).cloned()
    }

    /// Says which sessions have something open that lasts, for people to read.
    fn tell(&self, now: Timestamp) {
        let mut by_session = BySession::new();
        for exchange in self.open.borrow().iter() {
            let age = self.now.get().wrapping_sub(exchange.began_at);
            let permit = exchange.permit.borrow();
            let Some(session) = permit.caller().session_id().filter(|_| age >= LASTS) else {
                continue;
            };
            if by_session.len() >= TOLD && !by_session.contains_key(session) {
                continue;
            }
            let route = &permit.routed().route().route;
            let one = Open {
                route: Arc::clone(&route.name),
                is_tunnel: route.is_tcp(),
                count: 1,
                since: now.minus(TICK * age),
            };
            open::add(by_session.entry(session.clone()).or_default(), one);
        }
        let says = !by_session.is_empty();
        if self.has_said.replace(says) || says {
            self.said.replace(by_session);
        }
    }

    fn publish(&self) {
        let (count, shown) = (self.count(), self.shown.get());
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.gauge.inc_by(number(count) - number(shown));
        self.shown.set(count);
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.gauge
            .dec_by(i64::try_from(self.shown.get()).unwrap_or(i64::MAX));
    }
}

impl<U: Upstreams> Worker<U> {
    /// Looks at what is under way and hands over log lines, for as long as the worker runs. Spawn it beside the listeners.
    pub async fn watch(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.streams.now.get().wrapping_add(1);
            self.streams.now.set(now);
            if now.is_multiple_of(SWEEP_EVERY) {
                self.sweep();
            }
            if now.is_multiple_of(TELL_EVERY) {
                self.streams.tell(self.edge.clock.now());
            }
            if now.is_multiple_of(TIDY_EVERY) {
                self.upstreams.tidy();
            }
            self.lines.flush();
            self.recorder.tidy(self.edge.clock.now());
        }
    }

    /// Looks at everything that is under way once, and cuts off what must not go on.
    pub fn sweep(&self) {
        self.streams.publish();
        let now = self.edge.clock.now();
        let is_stale = self.is_stale(now);
        let view = self.policy();
        let mut place = 0;
        while let Some(exchange) = self.streams.at(place) {
            let standing = if is_stale {
                Err(Cut::Stale)
            } else {
                self.look_at(&exchange, &view, now)
            };
            if let Err(reason) = standing {
                exchange.cut(reason);
            }
            place += 1;
        }
    }

    fn look_at(
        &self,
        exchange: &Exchange,
        view: &Rc<PolicyView>,
        now: Timestamp,
    ) -> Result<(), Cut> {
        if exchange.is_idle() {
            return Err(Cut::Idle);
        }
        let permit = Rc::clone(&exchange.permit.borrow());
        // A session stays in use while its client sends something, and only then.
        if exchange.received_before.replace(exchange.received.get()) != exchange.received.get() {
            permit.caller().touch(now);
        }
        let caller = match renewed(&self.edge, permit.caller(), now) {
            Renewal::Same => Rc::clone(permit.caller()),
            Renewal::Other(caller) => caller,
            Renewal::Unclear if exchange.unclear.get() < UNCLEAR => {
                exchange.unclear.set(exchange.unclear.get() + 1);
                return Ok(());
            }
            Renewal::Unclear | Renewal::Gone => return Err(Cut::ProofEnded),
        };
        exchange.unclear.set(0);
        let is_same = Rc::ptr_eq(&caller, permit.caller())
            && Arc::ptr_eq(&view.policy, &permit.routed().view().policy);
        if !is_same || view.policy.varies() || permit.granted_until().is_some() {
            let grants = self.edge.grants.current();
            let again = permit.again(view, &caller, &grants, now);
            let again = again.ok_or(Cut::NotAllowed)?;
            *exchange.permit.borrow_mut() = Rc::new(again);
        }
        Ok(())
    }
}
