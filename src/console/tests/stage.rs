//! A console over a store of its own, and people of every role, without an edge around it.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response};
use tower::ServiceExt;

use crate::address::host::Host;
use crate::address::origin::{Origin, Scheme};
use crate::admin;
use crate::admin::access::Access;
use crate::admin::attention::Attention;
use crate::admin::events::LastVerification;
use crate::admin::ownership::Ownership;
use crate::admin::policy_rules::PolicyRules;
use crate::admin::revisions::Revisions;
use crate::admin::sessions::SessionBook;
use crate::admin::settings::{Inspect, Life, MeshFact, Settings};
use crate::audit::checkpoint::Keys;
use crate::clock::{Clock, ManualClock, SharedClock, Timestamp};
use crate::config::checked::{SessionConfig, StoreConfig};
use crate::console::live::Live;
use crate::console::{Console, endpoints};
use crate::identity::email::Email;
use crate::identity::principal::{Groups, Principal, PrincipalKind};
use crate::identity::spiffe_id::TrustDomain;
use crate::lifecycle::Lifecycle;
use crate::policy::check::Known;
use crate::policy::compile::CompiledPolicy;
use crate::policy::model::Revision;
use crate::policy::yaml;
use crate::secret::{Sealer, Token, random};
use crate::session::cookie::session_cookie_name;
use crate::session::{Arrival, ProviderTokens, RefreshFault, Refreshed, Refresher, Sessions};
use crate::snapshot::Snapshots;
use crate::snapshot::grants::LiveGrants;
use crate::store::Store;
use crate::telemetry::latency::Latency;
use crate::token::assertion::Minter;
use crate::web::csrf::form_token;
use crate::web::request_info::RequestInfo;

/// Everybody is called after their role; `member` has none.
pub(super) const PEOPLE: [&str; 5] = ["member", "auditor", "approver", "admin", "owner"];

pub(super) const POLICY: &str = "
routes:
  - { name: wiki, host: wiki.example, upstream: { addresses: ['u:1'], tls: { server_name: u } } }
mappings:
  - { name: people, from: [{ signed_in: true }], spiffe_id: 'spiffe://td/ns/people/sa/{user}' }
rules:
  - { name: all, action: allow, from: [{ signed_in: true }], to: [{ routes: [wiki] }] }
role_bindings:
  - { name: auditors, role: auditor, from: [{ subjects: [auditor] }] }
  - { name: approvers, role: approver, from: [{ subjects: [approver] }] }
  - { name: admins, role: admin, from: [{ subjects: [admin] }] }
  - { name: owners, role: owner, from: [{ subjects: [owner] }] }
";

/// No provider is ever asked.
struct Nobody;

impl Refresher for Nobody {
    fn refresh<'a>(
        &'a self,
        _principal: &'a Principal,
        _tokens: &'a ProviderTokens,
    ) -> Pin<Box<dyn Future<Output = Result<Refreshed, RefreshFault>> + Send + 'a>> {
        Box::pin(async { Err(RefreshFault::Unavailable) })
    }

    fn vouches_for(&self, _principal: &Principal, _until: Timestamp) -> bool {
        true
    }
}

/// What an edge would be told.
struct Told(SessionConfig);

impl Inspect for Told {
    fn settings(&self) -> Settings {
        let day = Duration::from_secs(24 * 60 * 60);
        Settings {
            home: "https://access.example".to_owned(),
            listeners: Vec::new(),
            providers: Vec::new(),
            issuers: Vec::new(),
            mesh: MeshFact {
                trust_domain: "td".to_owned(),
                namespaces: vec!["people".to_owned()],
                lifetime: day,
                authority: Life {
                    begins: Timestamp::from_seconds(1_900_000_000),
                    ends: Timestamp::from_seconds(1_900_000_000).plus(day * 90),
                },
            },
            session: self.0,
            keep_events: day,
            keep_decisions: day,
            store: "SQLite",
            policy_file: None,
            policy_file_is_good: true,
        }
    }

    fn keys(&self) -> Keys {
        Keys::none()
    }
}

pub(super) struct Stage {
    pub(super) console: Arc<Console>,
    pub(super) clock: Arc<ManualClock>,
    router: Router,
    _folder: tempfile::TempDir,
}

pub(super) fn person(name: &str) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        provider: "okta".into(),
        issuer: "https://okta.example".into(),
        subject: name.into(),
        email: Email::parse(&format!("{name}@corp.example")).ok(),
        display_name: None,
        groups: Groups::Known(["staff".into()].into()),
        claims: std::collections::BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with_policy(POLICY).await
    }

    pub(super) async fn with_policy(policy: &str) -> Self {
        Self::with(policy, 0, None).await
    }

    /// Where so many have to approve, or a file is followed.
    pub(super) async fn with(policy: &str, approvals: usize, follows: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_900_000_000)));
        let shared: SharedClock = clock.clone();
        let config = StoreConfig {
            url: format!("sqlite://{}/store.db", folder.path().display()).into(),
            key: Arc::new(Sealer::new(&random())),
            connections: 4,
        };
        let store = Store::open(&config, shared.clone()).await.unwrap();
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let lifetimes = SessionConfig {
            idle: hours(8),
            absolute: hours(12),
            refresh_every: hours(1),
            refresh_grace: hours(1),
            max_staleness: hours(1),
        };
        let sessions = Sessions::new(store.clone(), shared.clone(), lifetimes, Arc::new(Nobody));
        let trust_domain = TrustDomain::parse("td").unwrap();
        let rules = PolicyRules {
            trust_domain: trust_domain.clone(),
            known: Known {
                providers: [("okta".to_owned(), "https://okta.example".to_owned())].into(),
                ..Known::default()
            },
        };
        let compiled =
            CompiledPolicy::new(yaml::parse(policy).unwrap(), Revision(0), &trust_domain).unwrap();
        let revisions = Revisions {
            store: store.clone(),
            rules,
            follows,
            approvals,
        };
        let snapshots = Snapshots::new(compiled);
        let home = "https://access.example".to_owned();
        let minter = Minter::load(&store, shared.clone(), home).await.unwrap();
        let keys = admin::keys::Keys {
            store: store.clone(),
            minter,
            lifetime: hours(24 * 90),
            lead: hours(1),
            clock: shared.clone(),
        };
        let console = Arc::new(Console {
            book: SessionBook {
                store: store.clone(),
                sessions: sessions.clone(),
            },
            sessions,
            access: Access {
                store: store.clone(),
                snapshots: snapshots.clone(),
                grants: Arc::new(LiveGrants::default()),
                clock: shared.clone(),
            },
            ownership: Ownership::new(revisions.clone(), shared.clone()),
            attention: Attention::new(store.clone(), snapshots.clone(), shared.clone()),
            verification: LastVerification::default(),
            inspect: Arc::new(Told(lifetimes)),
            keys,
            latency: Latency::default(),
            live: Live::new(Lifecycle::new()),
            snapshots,
            revisions,
            store,
            clock: shared,
        });
        Self {
            router: endpoints::router(console.clone()),
            console,
            clock,
            _folder: folder,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A session's cookie.
    pub(super) async fn sign_in(&self, name: &str) -> Token {
        let (principal, tokens) = (person(name), ProviderTokens::default());
        let arrival = Arrival {
            host: "access.example",
            peer: Some([192, 0, 2, 7].into()),
            browser: Some("Firefox on Linux"),
            replaces: None,
        };
        let started = self
            .console
            .sessions
            .start(principal, tokens, None, arrival);
        started.await.unwrap().1
    }

    /// A request as a browser makes it; with a form, one of a page of ours.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        cookie: Option<&Token>,
        form: Option<&str>,
    ) -> Answered {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("accept", "text/html")
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", "navigate");
        if let Some(cookie) = cookie {
            let name = session_cookie_name(Scheme::Https);
            request = request.header("cookie", format!("{name}={}", cookie.expose()));
        }
        let body = match form {
            Some(fields) => {
                let token = cookie.map(|cookie| form_token(cookie.hash()));
                request = request.header("content-type", "application/x-www-form-urlencoded");
                format!("csrf={}&{fields}", token.unwrap_or_default())
            }
            None => String::new(),
        };
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Any request.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Answered {
        request.extensions_mut().insert(RequestInfo {
            request_id: "r1".into(),
            origin: Origin {
                scheme: Scheme::Https,
                host: Host::parse("access.example").unwrap(),
                port: 443,
            },
            client: [192, 0, 2, 1].into(),
            presented: None,
        });
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answered::of(response).await
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) text: String,
}

impl Answered {
    async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}
