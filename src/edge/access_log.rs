//! One line per request, whatever happened: the entry is opened before anything is decided and writes its line when it is dropped, be it at the end
//! of a long stream or because the client left. Queries, cookies, tokens and e-mail addresses are never in it.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Response, StatusCode, Uri, Version, request};
use http_body::Body;

use crate::address::origin::{Origin, Scheme};
use crate::clock::{SharedClock, Timestamp};
use crate::edge::authorize::{Denied, Permit};
use crate::edge::body::EdgeBody;
use crate::edge::caller::Caller;
use crate::edge::headers::TraceContext;
use crate::edge::local::RequestId;
use crate::edge::metrics::{EdgeMetrics, Outcome, RouteMetrics};
use crate::edge::normalise::Normalised;
use crate::edge::route::Routed;
use crate::edge::streams::UnderWay;
use crate::edge::tls::certificates::Presented;
use crate::edge::upstream::Connected;
use crate::edge::worker::ConnectionInfo;
use crate::identity::spiffe_id::MeshIdentity;
use crate::policy::decide::Shadow;
use crate::telemetry::access_log::{AccessLog, Line};
use crate::web::audience::Audience;
use crate::web::resource_metadata;

/// A buffer of this many bytes is handed over at once.
const FULL: usize = 32 * 1024;
/// Bytes of a user agent that are kept.
const USER_AGENT_LENGTH: usize = 200;

/// The lines of one worker that were not handed over yet.
pub struct Lines {
    log: AccessLog,
    clock: SharedClock,
    nowhere: RouteMetrics,
    buffer: RefCell<Vec<u8>>,
    count: Cell<u64>,
    second: RefCell<(i64, String)>,
}

impl Lines {
    pub(in crate::edge) fn new(log: AccessLog, clock: SharedClock, metrics: &EdgeMetrics) -> Self {
        Self {
            log,
            clock,
            nowhere: metrics.of_route("-"),
            buffer: RefCell::default(),
            count: Cell::new(0),
            second: RefCell::new((i64::MIN, String::new())),
        }
    }

    /// Hands over what there is.
    pub fn flush(&self) {
        let count = self.count.take();
        if count > 0 {
            self.log.hand_over(self.buffer.take(), count);
        }
    }

    /// RFC 3339 with milliseconds; the part down to the second is kept for the next line.
    fn with_time(&self, at: Timestamp, write: impl FnOnce(&str)) {
        let mut known = self.second.borrow_mut();
        if known.0 != at.seconds() {
            *known = (at.seconds(), at.rfc3339());
        }
        let millis = at.micros().rem_euclid(1_000_000) / 1000;
        let digits = [millis / 100, millis / 10 % 10, millis % 10]
            .map(|digit| char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
        // "2026-11-23T19:15:41.123Z": the milliseconds are the three before the last.
        let end = known.1.len().saturating_sub(4);
        known.1.truncate(end);
        known.1.extend(digits);
        known.1.push('Z');
        write(&known.1);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

/// What is known of one request. Its line is written when it is dropped.
pub struct Entry {
    lines: Rc<Lines>,
    connection: Rc<ConnectionInfo>,
    started: Timestamp,
    id: RequestId,
    trace: TraceContext,
    asked: Option<Asked>,
    request: Option<Rc<Normalised>>,
    routed: Option<Routed>,
    caller: Option<Rc<Caller>>,
    rule: Option<Arc<str>>,
    shadow: Option<Shadow>,
    identity: Option<MeshIdentity>,
    sent_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    connected: Option<Connected>,
    status: Option<StatusCode>,
    outcome: Outcome,
    reason: &'static str,
    bytes: (u64, u64),
}

/// The request as it came, before it was normalised.
struct Asked {
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl Entry {
    pub(in crate::edge) fn open(
        lines: &Rc<Lines>,
        connection: &Rc<ConnectionInfo>,
        head: Option<&request::Parts>,
        id: RequestId,
        trace: TraceContext,
        started: Timestamp,
    ) -> Self {
        let asked = head.map(|head| Asked {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            host: head.headers.get(HOST).cloned(),
            user_agent: head.headers.get(USER_AGENT).cloned(),
        });
        Self {
            lines: Rc::clone(lines),
            connection: Rc::clone(connection),
            started,
            id,
            trace,
            asked,
            request: None,
            routed: None,
            caller: None,
            rule: None,
            shadow: None,
            identity: None,
            sent_at: None,
            answered_at: None,
            connected: None,
            status: None,
            outcome: Outcome::Aborted,
            reason: "aborted",
            bytes: (0, 0),
        }
    }

    /// When the request's head was there.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.connection.peer.ip().to_canonical()
    }

    /// The certificates that the client has presented on this connection.
    pub fn presented(&self) -> Option<Presented> {
        self.connection.presented.clone()
    }

    /// Where the metadata are of the route that the request is for (RFC 9728), if it is for one.
    pub(in crate::edge) fn resource_metadata(&self) -> Option<String> {
        let routed = self.routed.as_ref()?;
        let route = &routed.route().route;
        let origin = &routed.request().origin;
        (!route.is_tcp()).then(|| resource_metadata::address(origin, &route.prefix))
    }

    /// Who reads an answer of ours, once it is known where the request leads: what speaks to an API server understands what such a server answers.
    pub fn audience(&self, asking: Audience) -> Audience {
        let routed = self.routed.as_ref();
        let cluster = routed.filter(|routed| routed.leads_to_a_cluster());
        match (asking, cluster) {
            (Audience::Program | Audience::Grpc, Some(routed)) => {
                match routed.request().path.as_str() {
                    "/api" | "/apis" => Audience::KubernetesDiscovery,
                    _ => Audience::Kubernetes,
                }
            }
            (asking, _) => asking,
        }
    }

    /// How the client reached us.
    pub fn scheme(&self) -> Scheme {
        self.connection.scheme
    }

    /// The request's id, which is that of its decision too.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The id as a header's value.
    pub fn request_id_value(&self) -> HeaderValue {
        let mut buffer = [0; 36];
        // A UUID's text is visible ASCII.
        HeaderValue::from_str(self.id.text(&mut buffer))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The trace it belongs to.
    pub fn trace(&self) -> TraceContext {
        self.trace
    }

    /// The method as it came.
    pub fn method(&self) -> Option<&Method> {
        self.asked.as_ref().map(|asked| &asked.method)
    }

    /// The request's only reading.
    pub fn request(&self) -> Option<&Rc<Normalised>> {
        self.request.as_ref()
    }

    /// The origin it was addressed to, once that is known.
    pub fn origin(&self) -> Option<&Origin> {
        self.request.as_ref().map(|request| &request.origin)
    }

    /// It has a single reading.
    pub fn normalised(&mut self, request: &Rc<Normalised>) {
        self.request = Some(Rc::clone(request));
    }

    /// It has a route.
    pub fn routed(&mut self, routed: &Routed) {
        self.routed = Some(routed.clone());
    }

    /// Whether it is known who sent the request.
    pub fn is_for_somebody(&self) -> bool {
        let principal = self.caller.as_ref().and_then(|caller| caller.principal());
        principal.is_some()
    }

    /// It is known who sent it.
    pub fn authenticated(&mut self, caller: &Rc<Caller>) {
        self.caller = Some(Rc::clone(caller));
    }

    /// What the rules said, for metrics; once per request.
    pub fn decided(&self, outcome: Outcome, reason: &'static str) {
        self.metrics().decided(outcome, reason);
    }

    /// What rules in shadow mode would have changed.
    pub fn shadowed(&mut self, shadow: Option<Shadow>) {
        self.shadow = shadow;
    }

    /// A rule allows it, and it has a mesh identity.
    pub fn permitted(&mut self, permit: &Permit) {
        self.rule = Some(Arc::clone(permit.rule()));
        self.decided(Outcome::Allowed, "allowed");
        self.identity = Some(permit.identity().clone());
    }

    /// It is denied.
    pub fn denied(&mut self, denied: &Denied) {
        self.rule = denied.rule().map(Arc::clone);
    }

    /// It is being sent.
    pub fn sent(&mut self) {
        self.sent_at = Some(self.lines.clock.now());
    }

    /// The upstream has answered.
    pub fn answered(&mut self, connected: Connected) {
        self.answered_at = Some(self.lines.clock.now());
        self.connected = Some(connected);
    }

    /// The answer's status.
    pub fn status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// What became of it, with a stable reason.
    pub fn outcome(&mut self, outcome: Outcome, reason: &'static str) {
        self.outcome = outcome;
        self.reason = reason;
    }

    /// The answer is one of our own, whose length is known beforehand.
    pub fn is_ours(&mut self, response: &Response<EdgeBody>) {
        self.bytes.1 = response.body().size_hint().lower();
    }

    /// How much has passed so far.
    pub fn under_way(&mut self, under_way: &UnderWay) {
        self.bytes = under_way.exchange().bytes();
    }

    fn metrics(&self) -> &RouteMetrics {
        self.routed
            .as_ref()
            .and_then(|routed| routed.view().metrics(routed.route().index))
            .unwrap_or(&self.lines.nowhere)
    }

    fn write(&self, line: &mut Line<'_>, ended: Timestamp) {
        self.lines.with_time(self.started, |time| {
            line.text("ts", time);
        });
        line.text("request_id", self.id.text(&mut [0; 36]));
        let mut hexadecimal = [0; 32];
        if hex::encode_to_slice(self.trace.trace_id, &mut hexadecimal).is_ok() {
            line.bytes("trace_id", &hexadecimal);
        }
        self.write_asked(line);
        if let Some(status) = self.status {
            line.number("status", status.as_u16());
        }
        line.text("outcome", self.outcome.as_str());
        line.text("reason", self.reason);
        self.write_decision(line);
        if let Some(connected) = self.connected {
            if let Some(peer) = connected.peer {
                line.socket_address("upstream", peer);
            }
            line.flag("upstream_reused", connected.reused);
        }
        line.number("bytes_in", self.bytes.0);
        line.number("bytes_out", self.bytes.1);
        line.number("duration_us", micros(ended.since(self.started)));
        if let (Some(sent), Some(answered)) = (self.sent_at, self.answered_at) {
            line.number("upstream_us", micros(answered.since(sent)));
        }
        line.address("client", self.client());
        if let Some(agent) = self
            .asked
            .as_ref()
            .and_then(|asked| asked.user_agent.as_ref())
        {
            let agent = agent.as_bytes();
            match agent.get(..USER_AGENT_LENGTH) {
                Some(start) => line.bytes("user_agent", &[start, b"..."].concat()),
                None => line.bytes("user_agent", agent),
            };
        }
    }

    /// What was asked for: in its only reading if it has one, else as it came.
    fn write_asked(&self, line: &mut Line<'_>) {
        let Some(asked) = &self.asked else {
            return;
        };
        line.text("method", asked.method.as_str());
        match &self.request {
            Some(request) => {
                line.text("host", request.origin.host.as_str());
                line.text("path", &request.path);
            }
            None => {
                if let Some(authority) = asked.uri.authority() {
                    line.text("host", authority.as_str());
                } else if let Some(host) = &asked.host {
                    line.bytes("host", host.as_bytes());
                }
                line.text("path", asked.uri.path());
            }
        }
        line.text("scheme", self.connection.scheme.as_str());
        line.text(
            "http",
            if asked.version == Version::HTTP_2 {
                "2"
            } else {
                "1.1"
            },
        );
    }

    fn write_decision(&self, line: &mut Line<'_>) {
        if let Some(routed) = &self.routed {
            line.text("route", &routed.route().route.name);
            line.number("revision", routed.view().policy.revision.0);
        }
        if let Some(rule) = &self.rule {
            line.text("rule", rule);
        }
        match &self.shadow {
            Some(Shadow::WouldDeny { rule }) => {
                line.text("shadow_denies", rule);
            }
            Some(Shadow::WouldAllow { rule }) => {
                line.text("shadow_allows", rule);
            }
            None => {}
        }
        if let Some(caller) = &self.caller {
            if let Some(principal) = caller.principal() {
                line.text("provider", &principal.provider);
                line.text("user.id", &principal.subject);
                if let Some(agents) = principal.acting() {
                    line.text("agent", &agents);
                }
            }
            if let Some(session) = caller.session_label() {
                line.text("session.id", &session);
            }
        }
        if let Some(identity) = &self.identity {
            line.text("src.identity", identity.as_str());
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Drop for Entry {
    fn drop(&mut self) {
        let ended = self.lines.clock.now();
        let code = self.status.map_or(0, |status| status.as_u16());
        let took = ended.since(self.started);
        self.metrics().answered(code, self.outcome, (took, ended));
        let is_full = {
            let mut buffer = self.lines.buffer.borrow_mut();
            let mut line = Line::begin(&mut buffer);
            self.write(&mut line, ended);
            line.end();
            buffer.len() >= FULL
        };
        self.lines.count.set(self.lines.count.get() + 1);
        if is_full {
            self.lines.flush();
        }
    }
}

#[cfg(test)]
mod tests;
