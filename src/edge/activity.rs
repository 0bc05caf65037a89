//! What a client's connection is doing: since when nobody asked it for anything, and whether its client still takes what it asked for.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::edge::body::{BoxError, EdgeBody};

/// The requests of one connection that are being answered.
pub struct Activity {
    /// Since when the client has not taken what it was given; `None` where more is awaited from us.
    answers: RefCell<Slab<Option<Instant>>>,
    quiet_since: Cell<Instant>,
    /// Its place is wanted, and it is quiet.
    is_dismissed: Cell<bool>,
    dismissal: Notify,
}

/// What a connection has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing was asked of it for the given time.
    Quiet,
    /// It is quiet, and its place is wanted for others.
    Dismissed,
    /// The client took nothing of an answer for the given time.
    Stalled,
}

/// A request that is being answered, until its answer's body ends or is given up.
pub struct Answering {
    activity: Rc<Activity>,
    place: usize,
}

impl Activity {
    /// Of a connection that begins now.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            answers: RefCell::default(),
            quiet_since: Cell::new(Instant::now()),
            is_dismissed: Cell::new(false),
            dismissal: Notify::new(),
        })
    }

    /// A request begins.
    pub fn begin(self: &Rc<Self>) -> Answering {
        self.is_dismissed.set(false);
        Answering {
            place: self.answers.borrow_mut().insert(None),
            activity: Rc::clone(self),
        }
    }

    /// Something moved that is no request.
    pub fn stir(&self) {
        self.is_dismissed.set(false);
        self.quiet_since.set(Instant::now());
    }

    /// Since when it is quiet; `None` while a request is being answered, and once it was told to leave.
    pub fn quiet_since(&self) -> Option<Instant> {
        let is_quiet = self.answers.borrow().is_empty() && !self.is_dismissed.get();
        is_quiet.then(|| self.quiet_since.get())
    }

    /// Tells it to leave, unless something is asked of it first.
    pub fn dismiss(&self) {
        self.is_dismissed.set(true);
        self.dismissal.notify_one();
    }

    /// Ready once the connection was quiet, or an answer not taken, for these times.
    pub async fn rest(&self, quiet: Duration, stalled: Duration) -> Rest {
        loop {
            match self.look(Instant::now(), quiet, stalled) {
                Ok(rest) => return rest,
                Err(look_again) => tokio::select! {
                    () = sleep_until(look_again) => {}
                    () = self.dismissal.notified() => {}
                },
            }
        }
    }

    /// What it has come to, or when to look again.
    fn look(&self, now: Instant, quiet: Duration, stalled: Duration) -> Result<Rest, Instant> {
        let answers = self.answers.borrow();
        if answers.is_empty() {
            if self.is_dismissed.get() {
                return Ok(Rest::Dismissed);
            }
            let at = self.quiet_since.get() + quiet;
            return if at <= now { Ok(Rest::Quiet) } else { Err(at) };
        }
        let oldest = answers.iter().filter_map(|(_, given)| *given).min();
        match oldest.map(|given| given + stalled) {
            Some(at) if at <= now => Ok(Rest::Stalled),
            Some(at) => Err(at.min(now + quiet)),
            None => Err(now + quiet),
        }
    }
}

impl Answering {
    fn set(&self, given: Option<Instant>) {
        if let Some(place) = self.activity.answers.borrow_mut().get_mut(self.place) {
            *place = given;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.activity.answers.borrow_mut().try_remove(self.place);
        self.activity.quiet_since.set(Instant::now());
    }
}

/// An answer's body that tells its connection's [`Activity`] what becomes of it.
pub struct Answered {
    body: EdgeBody,
    answering: Answering,
}

impl Answered {
    /// Ties the answer to its request.
    pub const fn new(body: EdgeBody, answering: Answering) -> Self {
        Self { body, answering }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        // The server asks for more when the client took enough of what it has.
        let given = polled.is_ready().then(Instant::now);
        let given = given.map(|given| given + this.body.patience());
        this.answering.set(given);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, Rest};
    use std::time::Duration;
    use tokio::time::{Instant, advance, sleep};

    const QUIET: Duration = Duration::from_secs(60);
    const STALLED: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn quiet_begins_with_the_end_of_the_last_answer_however_long_it_took() {
        let activity = Activity::new();
        let began = Instant::now();
        let answering = activity.begin();
        let ends = async {
            sleep(Duration::from_secs(1000)).await;
            drop(answering);
        };
        let (rest, ()) = tokio::join!(activity.rest(QUIET, STALLED), ends);
        assert_eq!(rest, Rest::Quiet);
        assert_eq!(began.elapsed().as_secs(), 1060);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_noticed_beside_one_that_is() {
        let activity = Activity::new();
        let (stuck, moving) = (activity.begin(), activity.begin());
        let began = Instant::now();
        stuck.set(Some(began));
        let moves = async {
            for _ in 0..1000 {
                moving.set(Some(Instant::now()));
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            rest = activity.rest(QUIET, STALLED) => assert_eq!(rest, Rest::Stalled),
            () = moves => panic!("nobody noticed"),
        }
        assert_eq!(began.elapsed().as_secs(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_us_is_no_stall() {
        let activity = Activity::new();
        let answering = activity.begin();
        answering.set(Some(Instant::now()));
        answering.set(None);
        advance(STALLED * 3).await;
        let look = activity.look(Instant::now(), QUIET, STALLED);
        assert!(
            look.is_err(),
            "an answer that is silent has a deadline of its own"
        );
    }
}
