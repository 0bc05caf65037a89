//! Administration, kept off the threads that carry requests: with a large policy it computes for seconds without a pause.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::resume_unwind;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

/// How many requests are worked on at once in the whole process: as few as leave the processor to what is carried.
const IN_ALL: usize = 8;
/// How many of one caller, so that nobody alone keeps all others waiting.
const OF_ONE: usize = 2;
/// Callers share this many queues.
const QUEUES: usize = 1024;

static ALL: Semaphore = Semaphore::const_new(IN_ALL);
static QUEUE: [Semaphore; QUEUES] = [const { Semaphore::const_new(OF_ONE) }; QUEUES];

/// Answers a request on a thread of its own, once it is its turn. `who` is whoever asks. When nobody waits for the answer any more, the work ends where it
/// next waits for something.
pub async fn run(who: &str, request: Request, next: Next) -> Response {
    let Some(queue) = QUEUE.get(queue_of(who)) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let (Ok(own), Ok(place)) = (queue.acquire().await, ALL.acquire().await) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let runtime = Handle::current();
    let (waiting, given_up) = oneshot::channel::<()>();
    let working = spawn_blocking(move || {
        let _places = (own, place);
        runtime.block_on(async {
            tokio::select! {
                response = next.run(request) => Some(response),
                _ = given_up => None,
            }
        })
    });
    let worked = working.await;
    drop(waiting);
    match worked {
        Ok(Some(response)) => response,
        Err(failed) if failed.is_panic() => resume_unwind(failed.into_panic()),
        Ok(None) | Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn queue_of(who: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    who.hash(&mut hasher);
    usize::try_from(hasher.finish() % QUEUES as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use futures_util::future::join_all;
    use tower::ServiceExt;

    use super::*;

    /// Long enough for anything but a thread that is held.
    const LONG: Duration = Duration::from_secs(20);

    async fn answer(app: Router) -> StatusCode {
        app.oneshot(Request::new(Body::empty()))
            .await
            .unwrap()
            .status()
    }

    fn app(
        who: String,
        handler: impl Fn() -> StatusCode + Clone + Send + Sync + 'static,
    ) -> Router {
        let route = get(move || std::future::ready(handler()));
        let apart = from_fn(move |request: Request, next: Next| {
            let who = who.clone();
            async move { run(&who, request, next).await }
        });
        Router::new().route("/", route).route_layer(apart)
    }

    #[tokio::test]
    async fn l5_work_that_computes_does_not_hold_the_threads_of_requests() {
        let (done, is_done) = mpsc::channel::<()>();
        let is_done = std::sync::Arc::new(std::sync::Mutex::new(is_done));
        let computing = app("somebody".to_owned(), move || {
            match is_done.lock().unwrap().recv_timeout(LONG) {
                Ok(()) => StatusCode::OK,
                Err(_) => StatusCode::REQUEST_TIMEOUT,
            }
        });
        // This runtime has one thread: held, it would not come to the other.
        let other = async {
            tokio::task::yield_now().await;
            done.send(()).unwrap();
        };
        let (status, ()) = tokio::join!(answer(computing), other);
        assert_eq!(status, StatusCode::OK);
    }

    #[tokio::test]
    async fn l5_who_asks_for_much_waits_and_others_do_not() {
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let greedy = app("greedy".to_owned(), move || {
            began.send(()).unwrap();
            match wait.lock().unwrap().recv_timeout(LONG) {
                Ok(()) => StatusCode::OK,
                Err(_) => StatusCode::REQUEST_TIMEOUT,
            }
        });
        let many = join_all((0..5).map(|_| answer(greedy.clone())));
        let others = async {
            for _ in 0..OF_ONE {
                begun.recv().await.unwrap();
            }
            let mut names = (0..).map(|number| format!("modest {number}"));
            let modest = names.find(|who| queue_of(who) != queue_of("greedy"));
            let modest = app(modest.unwrap(), || StatusCode::OK);
            assert_eq!(answer(modest).await, StatusCode::OK);
            assert!(begun.try_recv().is_err(), "no third one has begun");
            for _ in 0..5 {
                go_on.send(()).unwrap();
            }
        };
        let (answers, ()) = tokio::join!(many, others);
        assert_eq!(answers, [StatusCode::OK; 5]);
    }
}
