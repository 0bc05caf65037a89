//! The way of one request, top to bottom.
//!
//! Normalise, our own pages, route, authenticate, decide, map, record, rewrite headers, forward, pass the answer on; and one line in the access log, whatever
//! happened. Each step takes the former's proof, so that none can be left out.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::edge::access_log::Entry;
use crate::edge::authenticate::{Authenticated, authenticate};
use crate::edge::authorize::{Decision, Denied, Unmet, decide};
use crate::edge::body::EdgeBody;
use crate::edge::forward::{Answer, forward, pass_on, prepare};
use crate::edge::headers::{self, TraceContext, UpgradeTo};
use crate::edge::local::Worker;
use crate::edge::metrics::Outcome;
use crate::edge::normalise::{RequestFault, normalise};
use crate::edge::respond::{self, Refused};
use crate::edge::route::{Routed, own_pages};
use crate::edge::streams::Cut;
use crate::edge::upstream::Upstreams;
use crate::edge::worker::{ConnectionInfo, Handler};
use crate::edge::{kubernetes, own, tcp, tunnel};
use crate::sign_in::pending::StepUp;
use crate::web::audience::Audience;

impl<U: Upstreams> Handler for Worker<U> {
    async fn handle(
        self: Rc<Self>,
        connection: Rc<ConnectionInfo>,
        mut request: Request<Incoming>,
    ) -> Response<EdgeBody> {
        let upgrade = headers::upgrade_to(request.version(), request.headers());
        let client = upgrade.map(|to| (to, hyper::upgrade::on(&mut request)));
        let audience = Audience::of(request.method(), request.headers());
        let is_get = request.method() == Method::GET;
        let (head, body) = request.into_parts();
        // Boxed: it is handed on through all that follows, and each step would have room for a copy of its own.
        let head = Box::new(head);
        let now = self.edge.clock.now();
        let trace = TraceContext::of(&head.headers, self.chance());
        let mut entry = Entry::open(
            &self.lines,
            &connection,
            Some(&head),
            self.request_id(now),
            trace,
            now,
        );
        let ending = self
            .answer(&connection, (head, body), client, audience, &mut entry)
            .await;
        let audience = entry.audience(audience);
        let response = match ending {
            Ok(Ending::Own(response)) => response,
            Ok(Ending::Denied(denied)) => {
                entry.denied(&denied);
                self.record_denied(&denied, &entry);
                respond::denial(&denied, &self.edge.home_host, (audience, now), &mut entry)
            }
            Ok(Ending::Upstream(answer)) => return pass_on(answer, entry),
            Ok(Ending::Tcp(opened, client)) => return opened.join(client, entry),
            Ok(Ending::Tunnel(answer, client, to)) => {
                match tunnel::open(answer, client, &to, entry) {
                    Ok(response) => return response,
                    Err(failed) => {
                        let refused;
                        (refused, entry) = *failed;
                        respond::refusal(&refused, audience, &mut entry)
                    }
                }
            }
            Err(Refused::Cut(Cut::ProofEnded)) if audience == Audience::Navigation && is_get => {
                respond::once_more(&mut entry).unwrap_or_else(|| {
                    let refused = Refused::Cut(Cut::ProofEnded);
                    respond::refusal(&refused, audience, &mut entry)
                })
            }
            Err(refused) => respond::refusal(&refused, audience, &mut entry),
        };
        entry.is_ours(&response);
        response
    }

    async fn refuse(
        self: Rc<Self>,
        connection: Rc<ConnectionInfo>,
        fault: RequestFault,
    ) -> Response<EdgeBody> {
        let now = self.edge.clock.now();
        let trace = TraceContext::of(&HeaderMap::new(), self.chance());
        let id = self.request_id(now);
        let mut entry = Entry::open(&self.lines, &connection, None, id, trace, now);
        let response = respond::refusal(&fault.into(), Audience::Program, &mut entry);
        entry.is_ours(&response);
        response
    }
}

/// How a request ends that is not refused for what it is.
enum Ending {
    Own(Response<EdgeBody>),
    Denied(Denied),
    Upstream(Answer),
    Tunnel(Answer, OnUpgrade, UpgradeTo),
    Tcp(Box<tcp::Opened>, tcp::Client),
}

impl<U: Upstreams> Worker<U> {
    async fn answer(
        &self,
        connection: &ConnectionInfo,
        (head, body): (Box<request::Parts>, Incoming),
        client: Option<(UpgradeTo, OnUpgrade)>,
        audience: Audience,
        entry: &mut Entry,
    ) -> Result<Ending, Refused> {
        let policy = self.policy();
        let rules_read = policy.policy.header_names();
        let is_upgrade = client.is_some();
        let normalised = Rc::new(normalise(connection, &head, rules_read, is_upgrade)?);
        entry.normalised(&normalised);
        if headers::has_looped(&head.headers) {
            return Err(Refused::Loop);
        }

        if let Some(pages) = own_pages(&self.edge.home_host, &policy, &normalised) {
            let request = Request::from_parts(*head, body);
            // Pages are rare and their futures large: not part of every request's.
            return Box::pin(own::serve(&self.edge, pages, request, entry))
                .await
                .map(Ending::Own);
        }

        let routed = Routed::find(policy, normalised)?;
        entry.routed(&routed);
        let wants_tcp = tcp::is_asked_for(&head, client.as_ref().map(|(to, _)| to));
        tcp::check(&routed, wants_tcp)?;
        kubernetes::check(&routed, audience)?;
        if self.is_stale(entry.started()) {
            return Err(Refused::Stale);
        }

        let authenticated = authenticate(self, routed, &head.headers, entry.started()).await?;
        entry.authenticated(authenticated.caller());
        kubernetes::check_caller(authenticated.routed(), authenticated.caller())?;

        let decided = decide(authenticated, &self.edge.grants.current(), entry.started());
        entry.shadowed(decided.shadow);
        let allowed = match decided.decision {
            Decision::Allow(allowed) => allowed,
            Decision::StepUp(unmet) => {
                let stepping_up = self.step_up(&unmet, head.headers, audience, entry);
                return Box::pin(stepping_up).await;
            }
            Decision::SignIn(nobody) => {
                let signing_in = self.sign_in(&nobody, head.headers, audience, entry);
                return Box::pin(signing_in).await;
            }
            Decision::Deny(denied) => return Ok(Ending::Denied(denied)),
        };
        let allowed = if client.is_some() || wants_tcp {
            match allowed.for_tunnel(&head.headers) {
                Ok(allowed) => allowed,
                Err(denied) => return Ok(Ending::Denied(denied)),
            }
        } else {
            allowed
        };

        let permit = match allowed.map() {
            Ok(permit) => permit,
            Err(denied) => return Ok(Ending::Denied(denied)),
        };
        entry.permitted(&permit);
        self.record_allowed(&permit, entry)?;

        if wants_tcp {
            let client = match client {
                Some((_, client)) => tcp::Client::Upgrade(client),
                None => tcp::Client::Streams(body),
            };
            // Rare and large: not part of every request's future.
            let opened = Box::pin(tcp::open(self, permit, entry)).await?;
            return Ok(Ending::Tcp(Box::new(opened), client));
        }
        let upgrade = client.as_ref().map(|(to, _)| to);
        let routed = permit.routed().clone();
        let departure = prepare(self, permit, head, upgrade, entry).await?;
        entry.sent();
        let answer = forward(self, departure, body, client.is_some(), entry).await?;
        entry.answered(answer.sent.connected);
        kubernetes::check_answer(&routed, &answer.sent.response)?;
        match client {
            Some((to, client)) if answer.is_switching() => Ok(Ending::Tunnel(answer, client, to)),
            // Nobody asked for a tunnel, or not for this one.
            None if answer.is_switching() => Err(Refused::WrongProtocol),
            Some(_) | None => Ok(Ending::Upstream(answer)),
        }
    }

    /// A navigation of somebody with a session is sent to sign in as the rule asks; everything else is told how (RFC 9470).
    async fn step_up(
        &self,
        unmet: &Unmet,
        headers: HeaderMap,
        audience: Audience,
        entry: &mut Entry,
    ) -> Result<Ending, Refused> {
        let caller = unmet.authenticated.caller();
        let provider = unmet.authenticated.principal().map(|known| &known.provider);
        entry.decided(Outcome::SignIn, "step_up_required");
        match (audience, provider) {
            (Audience::Navigation, Some(provider)) if caller.rides_on_a_cookie() => {
                let step_up = StepUp {
                    provider: Arc::clone(provider),
                    require: unmet.require.clone(),
                };
                let request = unmet.authenticated.routed().request();
                own::begin_sign_in(&self.edge, request, headers, Some(step_up), entry)
                    .await
                    .map(Ending::Own)
            }
            (
                Audience::Navigation
                | Audience::Program
                | Audience::Grpc
                | Audience::Kubernetes
                | Audience::KubernetesDiscovery,
                _,
            ) => Err(Refused::StepUpRequired(unmet.require.clone())),
        }
    }

    /// A navigation is sent to sign in; everything else is told that it has to.
    async fn sign_in(
        &self,
        nobody: &Authenticated,
        headers: HeaderMap,
        audience: Audience,
        entry: &mut Entry,
    ) -> Result<Ending, Refused> {
        entry.decided(Outcome::SignIn, "sign_in_required");
        match audience {
            Audience::Navigation => {
                let request = nobody.routed().request();
                own::begin_sign_in(&self.edge, request, headers, None, entry)
                    .await
                    .map(Ending::Own)
            }
            Audience::Program
            | Audience::Grpc
            | Audience::Kubernetes
            | Audience::KubernetesDiscovery => Err(Refused::SignInRequired),
        }
    }
}
