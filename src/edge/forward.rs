//! Forwarding what is permitted, streaming both ways. Nothing is buffered here but the piece that is being passed on.
//!
//! `100 Continue` needs no code: the server side asks the client for its body when the upstream's connection first polls for it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri, request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::address::path::{after, examine_path};
use crate::edge::access_log::Entry;
use crate::edge::authorize::Permit;
use crate::edge::body::{BoxError, EdgeBody, StreamWatch};
use crate::edge::headers::{self, Statement, Told, UpgradeTo};
use crate::edge::local::Worker;
use crate::edge::metrics::Outcome;
use crate::edge::normalise::{Normalised, RequestFault};
use crate::edge::respond::Refused;
use crate::edge::streams::{Cut, Exchange, Side, UnderWay};
use crate::edge::upstream::{OpenStream, SendError, Sent, Upstreams};
use crate::mesh::svid::Svid;
use crate::policy::model::Route;

/// A request's body on its way to an upstream.
pub struct RequestBody {
    incoming: Incoming,
    exchange: Rc<Exchange>,
}

/// An upstream's answer, and the exchange it belongs to.
pub struct Answer {
    /// What the upstream said so far.
    pub sent: Sent,
    /// Has to live as long as the answer is passed on.
    pub under_way: UnderWay,
}

impl Answer {
    /// Whether the upstream changes the protocol.
    pub fn is_switching(&self) -> bool {
        self.sent.response.status() == StatusCode::SWITCHING_PROTOCOLS
    }
}

/// A permitted request with its SVID, ready to be sent.
pub struct Departure {
    permit: Permit,
    svid: Arc<Svid>,
    head: Box<request::Parts>,
}

/// The SVID of a permit's own identity.
pub(in crate::edge) async fn own_svid<U: Upstreams>(
    worker: &Worker<U>,
    permit: &Permit,
) -> Result<Arc<Svid>, Refused> {
    let svid = match worker.upstreams.svid_at_hand(permit.identity()) {
        Some(svid) => svid,
        None => worker.upstreams.svid(permit.identity()).await?,
    };
    // The source of SVIDs must not have mixed anybody up.
    if svid.identity != *permit.identity() {
        return Err(Refused::WrongSvid);
    }
    Ok(svid)
}

/// Takes the permit's own SVID, points the request at the upstream, and says in its headers what the upstream is to know.
pub async fn prepare<U: Upstreams>(
    worker: &Worker<U>,
    permit: Permit,
    mut head: Box<request::Parts>,
    upgrade: Option<&UpgradeTo>,
    entry: &Entry,
) -> Result<Departure, Refused> {
    let svid = own_svid(worker, &permit).await?;
    let routed = permit.routed();
    let route = &routed.route().route;
    let request = routed.request();
    head.uri = upstream_target(route, request)?;
    let caller = permit.caller();
    let origin = &request.origin;
    let kubernetes = match permit.impersonation() {
        Some(impersonation) => Some(Told {
            impersonation,
            credential: worker.edge.clusters.credential(route)?,
        }),
        None => None,
    };
    let statement = Statement {
        origin,
        client: entry.client(),
        version: head.version,
        request_id: entry.request_id_value(),
        trace: entry.trace(),
        principal: caller.principal(),
        assertion: caller.assertion(
            &worker.edge.minter,
            origin,
            &svid,
            permit.granted_until(),
            entry.started(),
        ),
        plain: route.identity_headers,
        host: route.upstream_host.as_deref(),
        upgrade,
        kubernetes,
    };
    headers::rewrite_request(&mut head.headers, caller.came_with_a_token(), &statement)?;
    // What the listener and the server put there is not for the upstream's connection.
    head.extensions.clear();
    Ok(Departure { permit, svid, head })
}

/// Sends it, and waits for the head of the answer: as long as the upstream may take, and no longer than the request is allowed.
pub async fn forward<U: Upstreams>(
    worker: &Worker<U>,
    departure: Departure,
    body: Incoming,
    as_upgrade: bool,
    entry: &mut Entry,
) -> Result<Answer, Refused> {
    let Departure { permit, svid, head } = departure;
    let route = Arc::clone(permit.routed().route());
    let idle = route
        .route
        .timeouts
        .idle
        .unwrap_or(worker.edge.limits.idle_stream);
    let under_way = worker.streams.begin(permit, idle, !body.is_end_stream());
    let exchange = Rc::clone(under_way.exchange());
    let body = RequestBody {
        incoming: body,
        exchange: Rc::clone(&exchange),
    };
    let request = Box::new(Request::from_parts(*head, body));
    let sending = async {
        if as_upgrade {
            Box::pin(worker.upstreams.send_upgrade(&svid, &route, request)).await
        } else {
            worker.upstreams.send(&svid, &route, request).await
        }
    };
    let sent = unless_cut(&exchange, sending).await;
    // Also of an exchange without an answer it is known how much the client sent.
    entry.under_way(&under_way);
    let sent = sent??;
    exchange.answered();
    Ok(Answer { sent, under_way })
}

/// The result, or why it is not waited for any longer. What is allowed is looked at first.
pub(in crate::edge) async fn unless_cut<T>(
    exchange: &Exchange,
    work: impl Future<Output = T>,
) -> Result<T, Cut> {
    unless_cut_on(exchange, Side::Answer, work).await
}

/// The same for work of either side.
pub(in crate::edge) async fn unless_cut_on<T>(
    exchange: &Exchange,
    side: Side,
    work: impl Future<Output = T>,
) -> Result<T, Cut> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match exchange.poll_cut(side, context) {
        Poll::Ready(cut) => Poll::Ready(Err(cut)),
        Poll::Pending => work.as_mut().poll(context).map(Ok),
    })
    .await
}

/// Passes an answer on to the client.
pub fn pass_on(answer: Answer, mut entry: Entry) -> Response<EdgeBody> {
    let Answer { sent, under_way } = answer;
    let (mut head, incoming) = sent.response.into_parts();
    let length = content_length(&head.headers);
    headers::rewrite_response(&mut head.headers);
    if entry.is_for_somebody() {
        headers::keep_out_of_shared_caches(&mut head.headers);
    }
    head.extensions.clear();
    entry.status(head.status);
    entry.outcome(Outcome::Allowed, "allowed");
    if incoming.is_end_stream() {
        entry.under_way(&under_way);
        return Response::from_parts(head, EdgeBody::Empty);
    }
    // Until it is over it counts as broken off.
    entry.outcome(Outcome::Aborted, "aborted");
    let watch = AnswerWatch {
        under_way,
        entry,
        length,
        last: Last::Waiting,
        _stream: sent.stream,
    };
    Response::from_parts(
        head,
        EdgeBody::Upstream {
            incoming,
            watch: Box::new(watch),
        },
    )
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(http::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Origin-form target at the upstream. What is left of a path without its prefix is looked at again: it must have one reading as well.
fn upstream_target(route: &Route, request: &Normalised) -> Result<Uri, Refused> {
    let path = if route.strip_prefix && route.prefix != "/" {
        let rest = after(&request.path, &route.prefix).ok_or(RequestFault::Target)?;
        let rest = if rest.is_empty() { "/" } else { rest };
        examine_path(rest).map_err(RequestFault::from)?;
        rest
    } else {
        request.path.as_str()
    };
    let target = match &request.query {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    target
        .map(Uri::from)
        .map_err(|_| RequestFault::Target.into())
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(cut) = this.exchange.poll_cut(Side::Upload, context) {
            return Poll::Ready(Some(Err(cut.into())));
        }
        let polled = match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.exchange
                    .received(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(headers::without_identity(frame))))
            }
            Poll::Ready(None) => {
                this.exchange.upload_ended();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(fault))) => {
                // Or the upstream would be blamed for what follows from it.
                this.exchange.cut(Cut::ClientLeft);
                Poll::Ready(Some(Err(fault.into())))
            }
            Poll::Pending => Poll::Pending,
        };
        // Whoever reads it may stop here without asking for the end.
        if this.incoming.is_end_stream() {
            this.exchange.upload_ended();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// What happened last to an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Waiting,
    Passed,
    Ended,
}

struct AnswerWatch {
    under_way: UnderWay,
    entry: Entry,
    length: Option<u64>,
    last: Last,
    _stream: OpenStream,
}

impl StreamWatch for AnswerWatch {
    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<BoxError> {
        self.last = Last::Waiting;
        let cut = std::task::ready!(self.under_way.exchange().poll_cut(Side::Answer, context));
        self.entry.outcome(cut.outcome(), cut.code());
        self.last = Last::Ended;
        Poll::Ready(cut.into())
    }

    fn passed(&mut self, bytes: usize) {
        self.under_way.exchange().sent(bytes);
        self.last = Last::Passed;
    }

    fn ended(&mut self, fault: Option<&hyper::Error>) {
        self.last = Last::Ended;
        match fault {
            None => self.entry.outcome(Outcome::Allowed, "allowed"),
            Some(_) => self.entry.outcome(Outcome::Failed, "upstream_broke_off"),
        }
    }
}

impl Drop for AnswerWatch {
    fn drop(&mut self) {
        self.entry.under_way(&self.under_way);
        let (_, sent) = self.under_way.exchange().bytes();
        // The server does not ask for the end of a body that says it is over, so a complete one may be dropped after its last piece.
        let is_complete = match self.length {
            Some(length) => sent >= length,
            None => self.last == Last::Passed,
        };
        if self.last != Last::Ended && is_complete {
            self.entry.outcome(Outcome::Allowed, "allowed");
        }
    }
}

impl From<Cut> for Refused {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

impl From<SendError> for Refused {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}
