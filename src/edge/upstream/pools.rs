//! The connections of one worker to upstreams: kept by mesh identity, and handed out by the very certificate that a request has to bear.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use crate::clock::SharedClock;
use crate::config::checked::Limits;
use crate::edge::forward::RequestBody;
use crate::edge::local::Generations;
use crate::edge::upstream::connection::{as_http1, as_http2};
use crate::edge::upstream::metrics::UpstreamMetrics;
use crate::edge::upstream::pool::{Common, Pool, PoolKey, Ready, broken};
use crate::edge::upstream::upload::{Progress, Upload, UploadBody};
use crate::edge::upstream::{Connected, Line, OpenStream, SendError, Sent, Upstreams};
use crate::identity::spiffe_id::MeshIdentity;
use crate::mesh::svid::{Svid, SvidError};
use crate::mesh::svids::Svids;
use crate::mesh::tls::Refused;
use crate::policy::compile::CompiledRoute;
use crate::policy::model::Upstream;

/// SVIDs that a worker has at hand without asking anybody.
const AT_HAND: usize = 8192;

/// SVIDs and pooled connections of one worker. Clones are the same pools. Has to be used within a `LocalSet`.
pub struct Pools<B = RequestBody>(Rc<Inner<B>>);

struct Inner<B> {
    common: Rc<Common>,
    pools: RefCell<foldhash::HashMap<PoolKey, Rc<Pool<B>>>>,
    at_hand: RefCell<Generations<MeshIdentity, (u64, Arc<Svid>)>>,
    /// By the address of the route, which stays taken for as long as it is remembered here.
    upstreams: RefCell<HashMap<usize, KnownUpstream>>,
}

/// While the route is remembered its address is not given to another.
type KnownUpstream = (Weak<CompiledRoute>, Rc<Upstream>);

/// An exchange without an answer.
enum Failed<B> {
    /// Nothing of the request was written; here it is.
    Unsent(Box<Request<Upload<B>>>, SendError),
    /// It may have been.
    Sent(SendError),
}

impl<B> Clone for Pools<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<B: UploadBody> Pools<B> {
    /// The pools of the calling thread.
    pub fn new(
        svids: Arc<Svids>,
        limits: &Limits,
        clock: SharedClock,
        metrics: UpstreamMetrics,
    ) -> Self {
        let common = Common {
            svids,
            clock,
            metrics,
            most: limits.upstream_connections,
            connect_within: limits.upstream_connect,
            idle_for: limits.idle_connection,
            head_within: limits.response_head,
        };
        Self(Rc::new(Inner {
            common: Rc::new(common),
            pools: RefCell::default(),
            at_hand: RefCell::new(Generations::new(AT_HAND)),
            upstreams: RefCell::default(),
        }))
    }

    /// Closes connections that are idle for too long or bear a former certificate. For the worker's ticker, every few seconds.
    pub fn tidy(&self) {
        self.0.pools.borrow_mut().retain(|_key, pool| {
            // A pool that somebody is just using stays.
            pool.tidy() || Rc::strong_count(pool) > 1
        });
        self.0
            .upstreams
            .borrow_mut()
            .retain(|_address, (route, _)| route.strong_count() > 0);
    }

    fn svid_at_hand(&self, identity: &MeshIdentity) -> Option<Arc<Svid>> {
        let (generation, svid) = self.0.at_hand.borrow_mut().find(identity)?;
        let common = &self.0.common;
        let is_fresh =
            generation == common.svids.generation() && common.clock.now() < svid.renew_at;
        is_fresh.then_some(svid)
    }

    /// A valid SVID: the one at hand, or a new one.
    pub fn svid(&self, identity: &MeshIdentity) -> Result<Arc<Svid>, SvidError> {
        let svids = &self.0.common.svids;
        // Taken first: what is signed while the authority changes counts as the former's.
        let generation = svids.generation();
        let svid = svids.svid(identity)?;
        let mut at_hand = self.0.at_hand.borrow_mut();
        at_hand.insert(identity.clone(), (generation, Arc::clone(&svid)));
        Ok(svid)
    }

    fn pool(&self, svid: &Svid, route: &Arc<CompiledRoute>) -> Rc<Pool<B>> {
        let key = PoolKey {
            identity: svid.identity.clone(),
            upstream: self.upstream(route),
        };
        let mut pools = self.0.pools.borrow_mut();
        if let Some(pool) = pools.get(&key) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool::new(key.clone(), Rc::clone(&self.0.common)));
        pools.insert(key, Rc::clone(&pool));
        pool
    }

    /// The route's upstream, to share: revisions of the policy that leave it alone keep its connections.
    fn upstream(&self, route: &Arc<CompiledRoute>) -> Rc<Upstream> {
        let mut upstreams = self.0.upstreams.borrow_mut();
        let (_, upstream) = upstreams
            .entry(Arc::as_ptr(route).addr())
            .or_insert_with(|| {
                let upstream = Rc::new(route.route.upstream.clone());
                (Arc::downgrade(route), upstream)
            });
        Rc::clone(upstream)
    }

    /// What [`Upstreams::send`] does, with any body.
    pub async fn exchange(
        &self,
        svid: &Arc<Svid>,
        route: &Arc<CompiledRoute>,
        request: Box<Request<B>>,
    ) -> Result<Sent, SendError> {
        let pool = self.pool(svid, route);
        let (mut request, progress) = with_progress(*request);
        let within = self.head_within(route);
        let metrics = &self.0.common.metrics;
        let mut is_retry = false;
        loop {
            let ready = pool.obtain(svid, is_retry).await?;
            let (Ready::Single(_, was_used) | Ready::Shared(_, was_used)) = &ready;
            let was_used = *was_used;
            if was_used {
                metrics.reused.inc();
            }
            match put_on(&pool, ready, request, &progress, within).await {
                Ok(sent) => return Ok(sent),
                // It had ended while it was idle, so the upstream has seen nothing.
                Err(Failed::Unsent(back, SendError::Broken(_))) if was_used && !is_retry => {
                    request = back;
                    is_retry = true;
                    metrics.retried.inc();
                }
                Err(Failed::Unsent(_, fault) | Failed::Sent(fault)) => return Err(fault),
            }
        }
    }

    async fn upgrade(
        &self,
        svid: &Arc<Svid>,
        route: &Arc<CompiledRoute>,
        request: Box<Request<B>>,
    ) -> Result<Sent, SendError> {
        let mut connection = self.pool(svid, route).open_upgradeable(svid).await?;
        let (mut request, progress) = with_progress(*request);
        as_http1(&mut request);
        let sending = connection.sender.try_send_request(*request);
        let within = self.head_within(route);
        let response = in_time(sending, &progress, within, &connection.refused)
            .await
            .map_err(|(Failed::Unsent(_, fault) | Failed::Sent(fault))| fault)?;
        let connected = Connected {
            reused: false,
            http2: false,
            peer: Some(connection.peer),
        };
        Ok(Sent {
            response,
            connected,
            stream: OpenStream::default(),
        })
    }

    fn head_within(&self, route: &CompiledRoute) -> Duration {
        route
            .route
            .timeouts
            .response_head
            .unwrap_or(self.0.common.head_within)
    }

    fn counted<T>(&self, result: Result<T, SendError>) -> Result<T, SendError> {
        if let Err(fault) = &result {
            self.0.common.metrics.failed(reason(fault));
        }
        result
    }
}

impl Upstreams for Pools<RequestBody> {
    fn svid_at_hand(&self, identity: &MeshIdentity) -> Option<Arc<Svid>> {
        Self::svid_at_hand(self, identity)
    }

    async fn svid(&self, identity: &MeshIdentity) -> Result<Arc<Svid>, SvidError> {
        Self::svid(self, identity)
    }

    async fn send(
        &self,
        svid: &Arc<Svid>,
        route: &Arc<CompiledRoute>,
        request: Box<Request<RequestBody>>,
    ) -> Result<Sent, SendError> {
        self.counted(self.exchange(svid, route, request).await)
    }

    async fn send_upgrade(
        &self,
        svid: &Arc<Svid>,
        route: &Arc<CompiledRoute>,
        request: Box<Request<RequestBody>>,
    ) -> Result<Sent, SendError> {
        self.counted(self.upgrade(svid, route, request).await)
    }

    async fn connect(
        &self,
        svid: &Arc<Svid>,
        route: &Arc<CompiledRoute>,
    ) -> Result<Line, SendError> {
        self.counted(self.pool(svid, route).open_line(svid).await)
    }

    fn tidy(&self) {
        Self::tidy(self);
    }
}

fn with_progress<B: UploadBody>(request: Request<B>) -> (Box<Request<Upload<B>>>, Rc<Progress>) {
    let (head, body) = request.into_parts();
    let (upload, progress) = Upload::new(body);
    (Box::new(Request::from_parts(head, upload)), progress)
}

/// Sends a request over a connection and waits for the head of its answer.
async fn put_on<B: UploadBody>(
    pool: &Rc<Pool<B>>,
    ready: Ready<B>,
    mut request: Box<Request<Upload<B>>>,
    progress: &Rc<Progress>,
    within: Duration,
) -> Result<Sent, Failed<B>> {
    match ready {
        Ready::Single(mut single, reused) => {
            as_http1(&mut request);
            let sending = single.sender.try_send_request(*request);
            let response = in_time(sending, progress, within, &single.info.refused).await?;
            let connected = Connected {
                reused,
                http2: false,
                peer: Some(single.info.peer),
            };
            pool.return_later(single, Rc::clone(progress));
            Ok(Sent {
                response,
                connected,
                stream: OpenStream::default(),
            })
        }
        Ready::Shared(shared, reused) => {
            if !as_http2(&mut request) {
                let fault = std::io::Error::from(std::io::ErrorKind::InvalidInput);
                return Err(Failed::Sent(SendError::Connect(fault)));
            }
            let stream = OpenStream::among(&shared.open);
            let sending = shared.sender.clone().try_send_request(*request);
            let response = in_time(sending, progress, within, &shared.info.refused).await?;
            let connected = Connected {
                reused,
                http2: true,
                peer: Some(shared.info.peer),
            };
            Ok(Sent {
                response,
                connected,
                stream,
            })
        }
    }
}

/// The head of an answer; the upstream has `within` for it from the end of the request on.
async fn in_time<B>(
    sending: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload<B>>>>>,
    progress: &Progress,
    within: Duration,
    refused: &Refused,
) -> Result<Response<Incoming>, Failed<B>> {
    let too_late = async {
        progress.over().await;
        tokio::time::sleep(within).await;
    };
    tokio::select! {
        biased;
        sent = sending => sent.map_err(|mut failed| match failed.take_message() {
            Some(request) => Failed::Unsent(Box::new(request), broken(failed.into_error(), refused)),
            None => Failed::Sent(broken(failed.into_error(), refused)),
        }),
        () = too_late => Err(Failed::Sent(SendError::HeadTimeout)),
    }
}

/// For the metrics.
fn reason(fault: &SendError) -> &'static str {
    match fault {
        SendError::Resolve(_) => "resolve",
        SendError::Connect(_) => "connect",
        SendError::ConnectTimeout => "connect_timeout",
        SendError::PeerIdentity(_) => "peer_identity",
        SendError::Tls(_) => "tls",
        SendError::IdentityRefused(_) => "identity_refused",
        SendError::HeadTimeout => "head_timeout",
        SendError::Exhausted => "exhausted",
        SendError::Broken(_) => "broken",
    }
}

#[cfg(test)]
mod tests;
