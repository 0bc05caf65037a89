//! Puts a configuration's parts together, bottom up, and starts them. Nothing listens before everything else is ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::address::origin::{Origin, Scheme};
use crate::admin::access::Access;
use crate::admin::attention::Attention;
use crate::admin::keys::Keys as SigningKeys;
use crate::admin::policy_file::{self, FollowedFile, PolicyFileError};
use crate::admin::policy_rules::PolicyRules;
use crate::admin::revisions::Revisions;
use crate::admin::sessions::SessionBook;
use crate::api::istio::FrontDoors;
use crate::api::{Api, endpoints, guard};
use crate::app::checkpoints::Signer;
use crate::app::console::ConsoleParts;
use crate::app::follow::{self, Following, PolicyFileMetric, maintain};
use crate::app::health::Health;
use crate::app::heartbeat::Heartbeat;
use crate::app::inspect::{Inspected, Inspector};
use crate::app::reload::Reloading;
use crate::app::vouching::Vouching;
use crate::app::witness::{Witness, WitnessError};
use crate::app::{admin_listener, console, jwks, roots, rotation, ship};
use crate::audit::spool::Spool;
use crate::clock::{SharedClock, Timestamp};
use crate::config::checked::{Config, Listener};
use crate::console::live::Live;
use crate::edge::Edge;
use crate::edge::kubernetes::Clusters;
use crate::edge::listen::BoundListener;
use crate::edge::metrics::EdgeMetrics;
use crate::edge::tls::certificates::{CertificateFault, Certificates};
use crate::edge::upstream::metrics::UpstreamMetrics;
use crate::edge::upstream::pools::Pools;
use crate::edge::workers::Workers;
use crate::lifecycle::Lifecycle;
use crate::mesh::authority::AuthorityError;
use crate::mesh::svids::Svids;
use crate::oauth::OAuth;
use crate::oauth::rate::Rates;
use crate::oauth::refused::Untold;
use crate::oidc::Providers;
use crate::policy::check::Known;
use crate::policy::kubernetes::Cluster;
use crate::policy::model::Transport;
use crate::policy::yaml::PolicyFault;
use crate::portal::Portal;
use crate::session::Sessions;
use crate::sign_in::SignIn;
use crate::sign_in::pending_writes::PendingWrites;
use crate::snapshot::follow::Follower;
use crate::snapshot::grants::LiveGrants;
use crate::snapshot::{self, Freshness, Loaded, NOTHING, SnapshotError, Snapshots};
use crate::store::changes::FeedPoint;
use crate::store::{Store, StoreError};
use crate::telemetry::access_log::{AccessLog, Writer};
use crate::telemetry::metrics::Metrics;
use crate::token::assertion::Minter;
use crate::token::bearer::BearerVerifier;
use crate::token::dpop::Proofs;
use crate::token::programs::Programs;

/// Why the edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened or read.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// The policy file cannot be read or written to the store.
    #[error("the policy file cannot be loaded")]
    PolicyFile(#[source] PolicyFileError),
    /// The policy file is no policy; all its faults.
    #[error("{} has faults:{}", .0.display(), lines(.1))]
    PolicyFaults(PathBuf, Vec<PolicyFault>),
    /// The policy in the store cannot be put in force.
    #[error("the policy in the store cannot be used")]
    Snapshot(#[from] SnapshotError),
    /// The mesh's authority or bundle cannot be used.
    #[error("the mesh's certificate authority cannot be used")]
    Mesh(#[source] AuthorityError),
    /// Certificates of a listener cannot be served; all of them.
    #[error("certificates cannot be served:{}", lines(.0))]
    Certificates(Vec<CertificateFault>),
    /// An address cannot be bound.
    #[error("{0} cannot be listened on")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The spool cannot be opened.
    #[error("the spool {} cannot be used; audit.spool says where it is", .0.display())]
    Spool(PathBuf, #[source] std::io::Error),
    /// The store is not the one that this edge knows.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The access log cannot be opened.
    #[error("the access log cannot be opened")]
    AccessLog(#[source] std::io::Error),
    /// A thread cannot be started.
    #[error("a worker cannot be started")]
    Thread(#[source] std::io::Error),
}

fn lines(faults: &[impl std::fmt::Display]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// A running edge.
pub struct Running {
    /// The addresses that were bound, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    /// The admin listener's.
    pub admin: SocketAddr,
    /// What a reload replaces.
    pub reloading: Reloading,
    pub(in crate::app) workers: Workers,
    /// To be closed last, by whoever ends the edge, on a runtime.
    pub store: Store,
    pub(in crate::app) log_writer: Writer,
}

/// The parts that are there before the data plane.
struct Foundation {
    clock: SharedClock,
    metrics: Arc<Metrics>,
    store: Store,
    snapshots: Arc<Snapshots>,
    /// Of the rules in force when we start.
    positions: Vec<i64>,
    grants: Arc<LiveGrants>,
    freshness: Arc<Freshness>,
    after: FeedPoint,
    revisions: Revisions,
    /// Which one is followed, and what of it is loaded.
    policy_file: Option<(FollowedFile, String)>,
    policy_file_metric: Option<PolicyFileMetric>,
    spool: Spool,
    witness: Witness,
    live: Arc<Live>,
}

/// Starts everything; tasks run under `lifecycle`.
pub async fn start(
    config: Config,
    clock: SharedClock,
    lifecycle: &Lifecycle,
) -> Result<Running, StartError> {
    let metrics = Arc::new(Metrics::default());
    let now = clock.now();
    let svids = Svids::new(&config.mesh, clock.clone(), &metrics).map_err(StartError::Mesh)?;
    let svids = Arc::new(svids);
    let certificates = load_certificates(&config.listeners, now)?;
    let foundation = lay_foundation(&config, clock, metrics, lifecycle).await?;

    let listeners = bind(&config, &certificates)?;
    let (access_log, log_writer) =
        AccessLog::start(config.log.access_log.as_deref(), &foundation.metrics)
            .map_err(StartError::AccessLog)?;
    let addresses: Vec<_> = listeners.iter().map(|bound| bound.door.address).collect();
    let doors: Vec<_> = listeners
        .iter()
        .map(|bound| (bound.door.scheme, bound.door.external_port))
        .collect();
    let home = home_origin(&config, &listeners);

    let keys = (certificates.clone(), svids.clone());
    let parts = Parts::of(&config, &foundation, doors, home.clone(), keys).await?;
    let policy = Arc::clone(&foundation.snapshots.current());
    console::offer_ownership(&foundation.revisions, policy.policy(), &home, now).await?;
    let edge = Arc::new(parts.edge(&config, &foundation, access_log));
    follow_all(&config, &foundation, &parts, lifecycle);

    let health = Health::new(
        foundation.clock.clone(),
        lifecycle.clone(),
        foundation.freshness.clone(),
        foundation.snapshots.clone(),
        config.session.max_staleness,
        &foundation.metrics,
    );
    let metrics = foundation.metrics.clone();
    let api = endpoints::router(parts.api.clone(), endpoints::OPERATORS_PREFIX);
    let api = guard::operators(api, config.operator_token.clone());
    let door = admin_listener::Door {
        address: config.admin,
        hosts: config.admin_hosts.clone(),
    };
    let admin = admin_listener::start(door, Arc::new(health), metrics, api, lifecycle)
        .await
        .map_err(|error| StartError::Listen(config.admin, error))?;

    let upstreams = UpstreamMetrics::new(&foundation.metrics);
    let pool_parts = (svids.clone(), foundation.clock.clone(), upstreams);
    let limits = config.limits;
    let workers = Workers::start(config.workers, listeners, &edge, lifecycle, move || {
        let (svids, clock, metrics) = pool_parts.clone();
        Pools::new(svids, &limits, clock, metrics)
    })
    .map_err(StartError::Thread)?;

    Ok(Running {
        addresses,
        admin,
        workers,
        store: foundation.store,
        log_writer,
        reloading: Reloading {
            known: [
                config.provider_names(),
                config.claim_names(),
                config.issuers(),
            ],
            running: config,
            certificates,
            svids,
            inspector: parts.inspector,
            providers: parts.providers,
            sessions: parts.sessions,
            programs: parts.programs,
            clusters: parts.clusters,
            clock: foundation.clock,
        },
    })
}

/// The certificates of each listener, `None` for those without TLS; every fault at once.
fn load_certificates(
    listeners: &[Listener],
    now: Timestamp,
) -> Result<Vec<Option<Arc<Certificates>>>, StartError> {
    let mut faults = Vec::new();
    let mut all = Vec::new();
    for listener in listeners {
        if listener.scheme == Scheme::Http {
            all.push(None);
            continue;
        }
        match Certificates::load(&listener.certificates, listener.client_certificates, now) {
            Ok(certificates) => all.push(Some(Arc::new(certificates))),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() {
        Ok(all)
    } else {
        Err(StartError::Certificates(faults))
    }
}

/// Opens the store, loads the policy file into it, if there is one, and puts the newest revision in force.
async fn lay_foundation(
    config: &Config,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    lifecycle: &Lifecycle,
) -> Result<Foundation, StartError> {
    let spool = Spool::open(&config.audit.spool, config.audit.spool_room)
        .map_err(|error| StartError::Spool(config.audit.spool.clone(), error))?;
    let store = Store::open(&config.store, clock.clone()).await?;
    let witness = Witness::new(&config.audit.spool);
    witness.look(&store).await?;
    let rules = policy_rules(config);
    let mut policy_file = None;
    if let Some(path) = &config.policy.file {
        let file = FollowedFile {
            store: store.clone(),
            path: path.clone(),
            rules: rules.clone(),
        };
        let loaded = load_policy_file(&file).await?;
        policy_file = Some((file, loaded));
    }
    let after = store.feed_point().await?;
    let Loaded { policy, positions } = snapshot::load(&store, &config.mesh.trust_domain).await?;
    let grants = LiveGrants::load(&store).await?;
    if policy.revision == NOTHING {
        tracing::warn!(
            "there is no policy yet, so nothing is allowed; apply one with `wayleave policy apply`"
        );
    }
    let freshness = Arc::new(Freshness::default());
    freshness.mark(clock.now());
    let policy_file_metric = policy_file.as_ref();
    Ok(Foundation {
        policy_file_metric: policy_file_metric.map(|_| PolicyFileMetric::new(&metrics)),
        clock,
        metrics,
        store: store.clone(),
        snapshots: Snapshots::new(policy),
        positions,
        grants,
        freshness,
        after,
        revisions: Revisions {
            store,
            rules,
            follows: config.policy.file.clone(),
            approvals: config.policy.approvals,
        },
        policy_file,
        spool,
        witness,
        live: Live::new(lifecycle.clone()),
    })
}

/// What policies of this configuration have to comply with.
pub fn policy_rules(config: &Config) -> PolicyRules {
    PolicyRules {
        trust_domain: config.mesh.trust_domain.clone(),
        known: Known {
            home_host: Some(config.home_host.clone()),
            namespaces: config.mesh.signed_namespaces(),
            providers: config.issuers_by_name().collect(),
            claims: config.claim_names(),
            clusters: clusters(config),
        },
    }
}

/// The clusters of the configuration, as policies know them.
fn clusters(config: &Config) -> Vec<Cluster> {
    let configured = config.kubernetes.iter();
    let clusters = configured.map(|cluster| Cluster {
        name: cluster.name.clone(),
        transport: Transport::Tls {
            server_name: cluster.server_name.clone(),
            ca_file: { cluster.ca_file.as_ref() }.map(|file| file.display().to_string()),
        },
        bearer_tokens: cluster.bearer_tokens,
    });
    clusters.collect()
}

/// Loads the policy file's content of now, and gives it.
async fn load_policy_file(file: &FollowedFile) -> Result<String, StartError> {
    let content = policy_file::read(&file.path)
        .await
        .map_err(StartError::PolicyFile)?;
    match file.load(&content).await {
        Ok(_written) => Ok(content),
        Err(PolicyFileError::Faults(faults)) => {
            Err(StartError::PolicyFaults(file.path.clone(), faults))
        }
        Err(error) => Err(StartError::PolicyFile(error)),
    }
}

fn bind(
    config: &Config,
    certificates: &[Option<Arc<Certificates>>],
) -> Result<Vec<BoundListener>, StartError> {
    config
        .listeners
        .iter()
        .zip(certificates)
        .map(|(listener, certificates)| {
            BoundListener::bind(listener, certificates.clone(), config.workers)
                .map_err(|error| StartError::Listen(listener.address, error))
        })
        .collect()
}

/// The issuer of our assertions: the home host by the first listener with TLS, or else the first.
fn home_origin(config: &Config, listeners: &[BoundListener]) -> String {
    let doors = || listeners.iter().map(|listener| &listener.door);
    let door = doors()
        .find(|door| door.scheme == Scheme::Https)
        .or_else(|| doors().next());
    let (scheme, port) = door.map_or((Scheme::Https, 443), |door| {
        (door.scheme, door.external_port)
    });
    let host = config.home_host.clone();
    Origin { scheme, host, port }.to_string()
}

/// Who people are and how they come in.
struct Parts {
    providers: Arc<Providers>,
    programs: Programs,
    sessions: Arc<Sessions>,
    minter: Arc<Minter>,
    keys: SigningKeys,
    proofs: Arc<Proofs>,
    sign_in: Arc<SignIn>,
    portal: Arc<Portal>,
    oauth: Arc<OAuth>,
    api: Arc<Api>,
    attention: Arc<Attention>,
    inspector: Arc<Inspector>,
    clusters: Arc<Clusters>,
}

/// What serves TLS in front and behind.
type Keys = (Vec<Option<Arc<Certificates>>>, Arc<Svids>);

impl Parts {
    async fn of(
        config: &Config,
        base: &Foundation,
        doors: Vec<(Scheme, u16)>,
        home: String,
        (certificates, svids): Keys,
    ) -> Result<Self, StartError> {
        let clock = || base.clock.clone();
        let store = || base.store.clone();
        let providers = Providers::new(config.identity_providers.clone(), clock());
        let programs = Programs::of(config, &base.clock);
        programs.follow(base.snapshots.current().policy());
        let vouching = Arc::new(Vouching {
            providers: providers.clone(),
            programs: programs.clone(),
        });
        let sessions = Sessions::new(store(), clock(), config.session, vouching);
        let minter = Minter::load(&base.store, clock(), home.clone()).await?;
        let keys = SigningKeys {
            store: store(),
            minter: minter.clone(),
            lifetime: config.tokens.signing_key_lifetime,
            lead: SigningKeys::lead(config.session.max_staleness),
            clock: clock(),
        };
        let proofs = Arc::new(Proofs::default());
        let inspected = Inspected {
            certificates,
            svids: svids.clone(),
            providers: providers.clone(),
            minter: minter.clone(),
            policy_file: base.policy_file_metric.clone(),
            home: home.clone(),
        };
        let access = Access {
            store: store(),
            snapshots: base.snapshots.clone(),
            grants: base.grants.clone(),
            clock: clock(),
        };
        Ok(Self {
            api: Arc::new(Api {
                revisions: base.revisions.clone(),
                access: access.clone(),
                store: store(),
                keys: keys.clone(),
                front_doors: FrontDoors::new(config, doors, home),
            }),
            attention: Attention::new(store(), base.snapshots.clone(), clock()),
            inspector: Inspector::new(config, inspected),
            minter: minter.clone(),
            keys,
            programs: programs.clone(),
            oauth: Arc::new(OAuth {
                store: store(),
                sessions: sessions.clone(),
                providers: providers.clone(),
                snapshots: base.snapshots.clone(),
                grants: base.grants.clone(),
                minter: minter.clone(),
                svids,
                programs,
                proofs: proofs.clone(),
                clock: clock(),
                config: config.tokens,
                agents: config.agents,
                clusters: clusters(config),
                home_host: config.home_host.clone(),
                rates: Rates::new(config.tokens.requests_per_second),
                untold: Untold::default(),
            }),
            proofs,
            clusters: Clusters::new(clusters(config), &config.kubernetes),
            sign_in: Arc::new(SignIn {
                home_host: config.home_host.clone(),
                store: store(),
                sessions: sessions.clone(),
                providers: providers.clone(),
                snapshots: base.snapshots.clone(),
                clock: clock(),
                writes: PendingWrites::new(&base.metrics),
            }),
            portal: Arc::new(Portal {
                access,
                sessions: sessions.clone(),
                book: SessionBook {
                    store: store(),
                    sessions: sessions.clone(),
                },
                providers: providers.clone(),
            }),
            sessions,
            providers,
        })
    }

    /// Everything on the home host.
    fn home_router(&self, base: &Foundation, metrics: &EdgeMetrics) -> Router {
        let console = console::router(ConsoleParts {
            revisions: base.revisions.clone(),
            access: self.portal.access.clone(),
            sessions: self.sessions.clone(),
            snapshots: base.snapshots.clone(),
            attention: self.attention.clone(),
            inspector: self.inspector.clone(),
            keys: self.keys.clone(),
            latency: metrics.latency.clone(),
            live: base.live.clone(),
            clock: base.clock.clone(),
        });
        let people = guard::People {
            oauth: self.oauth.clone(),
            snapshots: base.snapshots.clone(),
        };
        let api = endpoints::router(self.api.clone(), endpoints::PEOPLES_PREFIX);
        let pages = self.sign_in.clone().home_router();
        pages
            .merge(self.portal.clone().router())
            .merge(self.oauth.clone().router())
            .merge(guard::people(api, people))
            .merge(jwks::router(&self.minter))
            .merge(console)
    }

    fn edge(&self, config: &Config, base: &Foundation, access_log: AccessLog) -> Edge {
        let metrics = EdgeMetrics::new(&base.metrics);
        Edge {
            home_host: config.home_host.clone(),
            snapshots: base.snapshots.clone(),
            grants: base.grants.clone(),
            sessions: self.sessions.clone(),
            bearer: self.programs.bearer.clone(),
            minter: self.minter.clone(),
            proofs: self.proofs.clone(),
            sign_in: self.sign_in.clone(),
            home_router: self.home_router(base, &metrics),
            route_router: self
                .sign_in
                .clone()
                .route_router()
                .merge(self.oauth.clone().route_router()),
            clusters: self.clusters.clone(),
            limits: config.limits,
            clock: base.clock.clone(),
            freshness: base.freshness.clone(),
            max_staleness: config.session.max_staleness,
            control: Handle::current(),
            spool: base.spool.clone(),
            when_full: config.audit.when_full,
            access_log,
            metrics,
        }
    }
}

/// Starts everything that keeps the parts up to date.
fn follow_all(config: &Config, base: &Foundation, parts: &Parts, lifecycle: &Lifecycle) {
    maintain(lifecycle, "sessions", &parts.sessions, Sessions::maintain);
    maintain(lifecycle, "sign-ins", &parts.sign_in, SignIn::maintain);
    maintain(
        lifecycle,
        "identity providers",
        &parts.providers,
        Providers::maintain,
    );
    maintain(
        lifecycle,
        "trusted issuers",
        &parts.programs.bearer,
        BearerVerifier::maintain,
    );
    follow::sweep(&base.store, &base.clock, &config.audit, lifecycle);
    let signer = Signer {
        store: base.store.clone(),
        minter: parts.minter.clone(),
        clock: base.clock.clone(),
        witness: base.witness.clone(),
        freshness: base.freshness.clone(),
    };
    signer.start(lifecycle);
    let keys_changed = Arc::new(Notify::new());
    rotation::start(parts.keys.clone(), keys_changed.clone(), lifecycle);
    let policy_changed = Arc::new(Notify::new());
    roots::start(&base.snapshots, policy_changed.clone(), lifecycle);
    ship::start(&base.spool, &base.store, &base.metrics, lifecycle);
    let follower = Follower {
        store: base.store.clone(),
        snapshots: base.snapshots.clone(),
        grants: base.grants.clone(),
        freshness: base.freshness.clone(),
        clock: base.clock.clone(),
        positions: base.positions.clone(),
        after: base.after,
    };
    let following = Following {
        sessions: parts.sessions.clone(),
        programs: parts.programs.clone(),
        keys_changed,
        policy_changed: policy_changed.clone(),
        live: base.live.clone(),
    };
    lifecycle.spawn("store's changes", async move {
        follower
            .follow(
                |policy| following.trust(policy),
                |change| following.apply(change),
            )
            .await;
    });
    maintain(
        lifecycle,
        "look at the policy",
        &parts.attention,
        Attention::maintain,
    );
    let heartbeat = Heartbeat {
        store: base.store.clone(),
        snapshots: base.snapshots.clone(),
        freshness: base.freshness.clone(),
        clock: base.clock.clone(),
    };
    heartbeat.start(lifecycle);
    let file = base
        .policy_file
        .clone()
        .zip(base.policy_file_metric.clone());
    if let Some(((file, loaded), outcome)) = file {
        lifecycle.spawn("policy file", async move {
            file.follow(loaded, |tried| outcome.note(tried.is_ok()))
                .await;
        });
    }
}
