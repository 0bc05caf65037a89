//! The threads of the data plane: each accepts on sockets of its own and keeps every connection it accepted.

use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::task::TaskTracker;

use crate::edge::Edge;
use crate::edge::connection::{self, Accepted};
use crate::edge::listen::{BoundListener, Door, is_exhaustion};
use crate::edge::local::Worker;
use crate::edge::metrics::EdgeMetrics;
use crate::edge::room::{Connections, Place, Room};
use crate::edge::upstream::Upstreams;
use crate::lifecycle::Lifecycle;
use crate::telemetry::causes::Causes;

/// Pause after the system had no descriptor or memory left for a connection.
const RECOVER: Duration = Duration::from_millis(100);

/// How often a worker looks whether room is scarce.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(200);

/// The running threads.
pub struct Workers {
    threads: Vec<(oneshot::Receiver<()>, JoinHandle<()>)>,
}

/// What a thread starts with.
struct Start {
    doors: Vec<(Arc<Door>, TcpListener)>,
    edge: Arc<Edge>,
    room: Room,
    lifecycle: Lifecycle,
}

impl Workers {
    /// Starts a thread for each socket that every listener has; `upstreams` makes what each thread needs to reach the mesh, on that thread.
    pub fn start<U: Upstreams>(
        count: usize,
        listeners: Vec<BoundListener>,
        edge: &Arc<Edge>,
        lifecycle: &Lifecycle,
        upstreams: impl Fn() -> U + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let room = Room::new(edge.limits.connections, count);
        let mut starts: Vec<Start> = (0..count)
            .map(|_| Start {
                doors: Vec::new(),
                edge: Arc::clone(edge),
                room: room.clone(),
                lifecycle: lifecycle.clone(),
            })
            .collect();
        for listener in listeners {
            for (start, socket) in starts.iter_mut().zip(listener.sockets) {
                start.doors.push((Arc::clone(&listener.door), socket));
            }
        }
        let threads = starts.into_iter().enumerate().map(|(number, start)| {
            let upstreams = upstreams.clone();
            start_thread(number, start, upstreams)
        });
        Ok(Self {
            threads: threads.collect::<Result<_, _>>()?,
        })
    }

    /// Waits until every thread has ended, which they do some time after the drain began.
    pub async fn ended(self) {
        for (ended, thread) in self.threads {
            // The sender is dropped with the thread, also when it panics.
            let _ended = ended.await;
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

fn start_thread<U: Upstreams>(
    number: usize,
    start: Start,
    upstreams: impl Fn() -> U + Send + 'static,
) -> std::io::Result<(oneshot::Receiver<()>, JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (ending, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            let _ending = ending;
            let fatal = FailUnlessDraining(start.lifecycle.clone());
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, run(start, upstreams()));
            // What is left of connections ends here.
            drop(tasks);
            drop(fatal);
        })?;
    Ok((ended, thread))
}

/// A worker that ends, or panics, while nobody told it to takes the process down: half an edge would look healthy.
struct FailUnlessDraining(Lifecycle);

impl Drop for FailUnlessDraining {
    fn drop(&mut self) {
        if !self.0.is_draining() {
            self.0.fail();
        }
    }
}

async fn run<U: Upstreams>(start: Start, upstreams: U) {
    let worker = Worker::new(Arc::clone(&start.edge), upstreams);
    let watch = tokio::task::spawn_local(Rc::clone(&worker).watch());
    let among = Rc::new(Connections::default());
    let metrics = start.edge.metrics.clone();
    let making_room = make_room(start.room.clone(), Rc::clone(&among), metrics);
    let making_room = tokio::task::spawn_local(making_room);
    let connections = TaskTracker::new();
    let accepting = start.doors.into_iter().map(|(door, socket)| {
        let acceptor = Acceptor {
            door,
            worker: Rc::clone(&worker),
            connections: connections.clone(),
            room: start.room.clone(),
            among: Rc::clone(&among),
            lifecycle: start.lifecycle.clone(),
        };
        acceptor.accept(socket)
    });
    futures_util::future::join_all(accepting).await;
    connections.close();
    let all_gone = async {
        connections.wait().await;
        worker.all_answered().await;
    };
    let _in_time = tokio::time::timeout(start.edge.limits.drain, all_gone).await;
    watch.abort();
    making_room.abort();
    worker.flush();
}

/// Has quiet connections of a worker leave whenever room is scarce, for as long as the worker runs.
async fn make_room(room: Room, connections: Rc<Connections>, metrics: EdgeMetrics) {
    loop {
        tokio::time::sleep(LOOK_FOR_ROOM).await;
        let taken = i64::try_from(room.taken()).unwrap_or(i64::MAX);
        metrics.connections.set(taken);
        let dismissed = connections.give_way(&room);
        metrics.dismissed_connections.inc_by(dismissed as u64);
    }
}

/// Accepts the connections of one socket.
struct Acceptor<U> {
    door: Arc<Door>,
    worker: Rc<Worker<U>>,
    connections: TaskTracker,
    room: Room,
    among: Rc<Connections>,
    lifecycle: Lifecycle,
}

impl<U: Upstreams> Acceptor<U> {
    /// Until the drain begins; no failed accept ends it.
    async fn accept(self, socket: TcpListener) {
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(error = %Causes(&error), address = %self.door.address, "a listener cannot be used");
                self.lifecycle.fail();
                return;
            }
        };
        let mut draining = pin!(self.lifecycle.draining());
        let mut is_exhausted = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = draining.as_mut() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    is_exhausted = false;
                    // Without room for it this one waits here, and those after it in the kernel's queue.
                    let place = tokio::select! {
                        biased;
                        () = draining.as_mut() => return,
                        place = self.room.place() => place,
                    };
                    self.serve(stream, peer, place);
                }
                Err(error) if is_exhaustion(&error) => {
                    if !std::mem::replace(&mut is_exhausted, true) {
                        tracing::error!(error = %Causes(&error), "no more connections can be accepted");
                    }
                    tokio::time::sleep(RECOVER).await;
                }
                // The client was gone before it was accepted.
                Err(_) => {}
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Option<Place>) {
        let door = Arc::clone(&self.door);
        let worker = Rc::clone(&self.worker);
        let lifecycle = self.lifecycle.clone();
        let among = self.among.begin();
        let task = self.connections.track_future(async move {
            let _place = place;
            let limits = worker.limits();
            let accepted = Accepted {
                stream,
                peer,
                activity: Rc::clone(&among.activity),
            };
            let served = connection::serve(accepted, &door, worker, &limits, &lifecycle);
            if let Err(error) = served.await {
                tracing::debug!(error = %Causes(&error), "a client's connection ended");
            }
        });
        tokio::task::spawn_local(task);
    }
}
