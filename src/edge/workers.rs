//! The threads of the data plane: each accepts on sockets of its own and keeps every connection it accepted.

use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::task::TaskTracker;

use crate::edge::Edge;
use crate::edge::connection;
use crate::edge::listen::{BoundListener, Door, is_exhaustion};
use crate::edge::local::Worker;
use crate::edge::upstream::Upstreams;
use crate::lifecycle::Lifecycle;

/// Pause after the system had no descriptor or memory left for a connection.
const RECOVER: Duration = Duration::from_millis(100);

/// The running threads.
pub struct Workers {
    threads: Vec<(oneshot::Receiver<()>, JoinHandle<()>)>,
}

/// What a thread starts with.
struct Start {
    doors: Vec<(Arc<Door>, TcpListener)>,
    edge: Arc<Edge>,
    room: Arc<Semaphore>,
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
        let room = Arc::new(Semaphore::new(edge.limits.connections));
        let mut starts: Vec<Start> = (0..count)
            .map(|_| Start {
                doors: Vec::new(),
                edge: Arc::clone(edge),
                room: Arc::clone(&room),
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
    let connections = TaskTracker::new();
    let accepting = start.doors.into_iter().map(|(door, socket)| {
        let acceptor = Acceptor {
            door,
            worker: Rc::clone(&worker),
            connections: connections.clone(),
            room: Arc::clone(&start.room),
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
    worker.flush();
}

/// Accepts the connections of one socket.
struct Acceptor<U> {
    door: Arc<Door>,
    worker: Rc<Worker<U>>,
    connections: TaskTracker,
    room: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

impl<U: Upstreams> Acceptor<U> {
    /// Until the drain begins; no failed accept ends it.
    async fn accept(self, socket: TcpListener) {
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, address = %self.door.address, "a listener cannot be used");
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
                    let room = tokio::select! {
                        biased;
                        () = draining.as_mut() => return,
                        room = Arc::clone(&self.room).acquire_owned() => room,
                    };
                    self.serve(stream, peer, room);
                }
                Err(error) if is_exhaustion(&error) => {
                    if !std::mem::replace(&mut is_exhausted, true) {
                        tracing::error!(%error, "no more connections can be accepted");
                    }
                    tokio::time::sleep(RECOVER).await;
                }
                // The client was gone before it was accepted.
                Err(_) => {}
            }
        }
    }

    fn serve<R: 'static>(&self, stream: TcpStream, peer: SocketAddr, room: R) {
        let door = Arc::clone(&self.door);
        let worker = Rc::clone(&self.worker);
        let lifecycle = self.lifecycle.clone();
        let task = self.connections.track_future(async move {
            let _room = room;
            let limits = worker.limits();
            if let Err(error) =
                connection::serve(stream, peer, &door, worker, &limits, &lifecycle).await
            {
                tracing::debug!(%error, "a client's connection ended");
            }
        });
        tokio::task::spawn_local(task);
    }
}
