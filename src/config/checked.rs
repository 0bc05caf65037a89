//! The configuration as the rest of the program uses it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::address::host::Host;
use crate::address::origin::Scheme;
use crate::identity::principal::PrincipalKind;
use crate::identity::spiffe_id::TrustDomain;

/// Everything the process was told, checked.
#[derive(Debug)]
pub struct Config {
    /// The host that owns sign-in (`access.corp.example`).
    pub home_host: Host,
    /// Where people come in; at least one.
    pub listeners: Vec<Listener>,
    /// Where metrics and health checks are served.
    pub admin: SocketAddr,
    /// Names by which it is asked, besides its address and those without a dot.
    pub admin_hosts: Vec<Host>,
    /// Where state rests.
    pub store: StoreConfig,
    /// How long sessions live.
    pub session: SessionConfig,
    /// What programs are given on behalf of people.
    pub tokens: TokensConfig,
    /// Programs that act for people.
    pub agents: AgentsConfig,
    /// Issuers that people sign in at.
    pub identity_providers: Vec<IdentityProviderConfig>,
    /// Issuers whose tokens programs present; with the providers at least one.
    pub trusted_issuers: Vec<TrustedIssuerConfig>,
    /// How the trusted issuers that the policy has may be reached.
    pub policy_issuers: PolicyIssuers,
    /// Kubernetes clusters that the edge has a credential for.
    pub kubernetes: Vec<ClusterConfig>,
    /// The mesh behind the edge.
    pub mesh: MeshConfig,
    /// The token by which operators use the API of the admin listener; `None` when nobody may.
    pub operator_token: Option<SecretString>,
    /// How the policy is changed.
    pub policy: PolicyConfig,
    /// Sizes and deadlines.
    pub limits: Limits,
    /// What is kept of what happened.
    pub audit: AuditConfig,
    /// Where logs go.
    pub log: LogConfig,
    /// Number of data-plane threads; default: the machine's cores.
    pub workers: usize,
}

impl Config {
    /// All claims that some identity provider or trusted issuer keeps: those that a policy may use.
    pub fn claim_names(&self) -> Vec<String> {
        let providers = self.identity_providers.iter();
        let issuers = self.trusted_issuers.iter();
        let names = providers.flat_map(|provider| &provider.claims);
        names
            .chain(issuers.flat_map(|issuer| &issuer.claims))
            .map(ToString::to_string)
            .collect()
    }

    /// What all identity providers and trusted issuers call themselves: those that a policy may not trust as well. Somebody is an issuer and a subject, so whoever
    /// spoke for an identity provider could be anybody who signs in there.
    pub fn issuers(&self) -> Vec<String> {
        self.issuers_by_name().map(|(_, issuer)| issuer).collect()
    }

    /// Names of all identity providers and trusted issuers: those that a policy may use.
    pub fn provider_names(&self) -> Vec<String> {
        self.issuers_by_name().map(|(name, _)| name).collect()
    }

    /// All identity providers and trusted issuers: what each is called, and what it calls itself.
    pub fn issuers_by_name(&self) -> impl Iterator<Item = (String, String)> {
        let providers = self.identity_providers.iter();
        let issuers = self.trusted_issuers.iter();
        let both = providers.map(|provider| (&provider.name, &provider.issuer_text));
        both.chain(issuers.map(|issuer| (&issuer.name, &issuer.issuer)))
            .map(|(name, issuer)| (name.to_string(), issuer.to_string()))
    }
}

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The IP address and port to bind; port 0 takes any.
    pub address: SocketAddr,
    /// `Http` only on loopback.
    pub scheme: Scheme,
    /// The port as people's browsers see it; 0 means the one that is really bound (tests bind port 0).
    pub external_port: u16,
    /// Certificates, picked by SNI from the DNS names in each; empty for `http`.
    pub certificates: Vec<CertificateFiles>,
    /// Clients are asked for a certificate, which they need not have.
    pub client_certificates: bool,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// Leaf first.
    pub chain: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// The store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:///path/file.db` or `postgres://…`.
    pub url: SecretString,
    /// Seals what rests in the store.
    pub key: Arc<crate::secret::Sealer>,
    /// Largest number of database connections.
    pub connections: u32,
}

impl StoreConfig {
    /// Whether another configuration leads to the same store in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.url.expose_secret() == other.url.expose_secret()
            && self.connections == other.connections
            && self.key.is_same(&other.key)
    }
}

/// A Kubernetes cluster that the edge has a credential for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// What routes of the policy call it.
    pub name: String,
    /// The name that its API server proves; the credential goes nowhere else.
    pub server_name: String,
    /// Roots of the API server's certificate, PEM; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// Holds the bearer token that the API server knows the edge by; read again when it changes.
    pub token_file: PathBuf,
    /// Whether tokens of people for its routes may be bound to no key.
    pub bearer_tokens: bool,
}

/// Lifetimes of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Ends after this long without a request.
    pub idle: Duration,
    /// Ends after this long in any case; never shorter than `idle`.
    pub absolute: Duration,
    /// How often the identity provider is asked whether the person is still who they were.
    pub refresh_every: Duration,
    /// How long a session outlives its refresh while the provider does not answer.
    pub refresh_grace: Duration,
    /// How long known sessions are served without word from the store.
    pub max_staleness: Duration,
}

/// Tokens for programs of people who signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokensConfig {
    /// How long an access token is good, from a minute to an hour.
    pub lifetime: Duration,
    /// How long an SVID in somebody's own hands is good at most, from a minute to 24 hours; a JWT-SVID never for more than five minutes.
    pub svid_lifetime: Duration,
    /// Whether there are tokens that are bound to no key, which whoever has them can use.
    pub allow_unbound: bool,
    /// How many requests for tokens one address may make, in the long run.
    pub requests_per_second: u32,
    /// How long a key signs assertions, tokens and checkpoints before another one does, from two weeks to two years.
    pub signing_key_lifetime: Duration,
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(300),
            svid_lifetime: Duration::from_secs(15 * 60),
            allow_unbound: false,
            requests_per_second: 50,
            signing_key_lifetime: Duration::from_secs(90 * 24 * 60 * 60),
        }
    }
}

/// Programs that act for people: how they come to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentsConfig {
    /// Whether programs register themselves (RFC 7591), and those that did are let in.
    pub registration: bool,
    /// Whether their tokens may be bound to no key, so that whoever has one can use it.
    pub bearer_tokens: bool,
    /// How many registrations one address may have at a time.
    pub registrations_per_address: u32,
    /// How many there may be in all.
    pub registrations_in_all: u32,
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self {
            registration: false,
            bearer_tokens: false,
            registrations_per_address: 20,
            registrations_in_all: 5000,
        }
    }
}

/// The vendor of an identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Okta, org or custom authorization server.
    Okta,
    /// Microsoft Entra ID.
    Entra,
    /// Google accounts and Workspace.
    Google,
    /// Keycloak.
    Keycloak,
    /// Auth0.
    Auth0,
    /// Any other OIDC provider.
    Oidc,
}

/// An OIDC issuer that people sign in at.
#[derive(Clone, Debug)]
pub struct IdentityProviderConfig {
    /// Unique among identity providers and trusted issuers.
    pub name: Arc<str>,
    /// What the page of choice calls it.
    pub label: String,
    /// Whose quirks to expect.
    pub preset: Preset,
    /// The issuer.
    pub issuer: Url,
    /// The issuer exactly as configured: compared as text with `iss`.
    pub issuer_text: Arc<str>,
    /// What the provider knows us as.
    pub client_id: String,
    /// `None` for a public client.
    pub client_secret: Option<SecretString>,
    /// Added to the preset's.
    pub scopes: Option<Vec<String>>,
    /// Exact claim name first, then JSON Pointer; `None` for the preset's.
    pub groups_claim: Option<String>,
    /// Claims that are kept with the caller for access rules, by exact name or JSON Pointer (RFC 6901).
    pub claims: Vec<Arc<str>>,
    /// Taken off the front of every group's name.
    pub groups_strip_prefix: Option<String>,
    /// Take an e-mail as vouched for although the provider sends no `email_verified`.
    pub trust_email: Option<bool>,
    /// Google: required `hd` claim. Entra: allowed `tid`s.
    pub allowed_tenants: Option<Vec<String>>,
    /// Extra roots for the provider's TLS.
    pub ca_file: Option<PathBuf>,
    /// Addresses that may be connected to although they are private or loopback.
    pub allowed_private_networks: Vec<String>,
    /// Plain http issuer on a loopback address (development); refused elsewhere.
    pub insecure_allow_http_loopback: bool,
    /// Accept providers whose metadata do not offer PKCE S256 (Entra does support it without saying so).
    pub assume_pkce: Option<bool>,
}

/// An issuer whose JWTs are accepted as bearer tokens.
#[derive(Clone, Debug)]
pub struct TrustedIssuerConfig {
    /// Unique among identity providers and trusted issuers.
    pub name: Arc<str>,
    /// The issuer.
    pub issuer: Arc<str>,
    /// `None`: taken from the issuer's discovery document.
    pub jwks_url: Option<Url>,
    /// One of these must be in `aud`; never empty.
    pub audiences: Vec<String>,
    /// Asymmetric ones only; never empty.
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    /// What its tokens stand for.
    pub kind: PrincipalKind,
    /// Exact claim name first, then JSON Pointer.
    pub groups_claim: Option<String>,
    /// Claims that are kept with the caller for access rules, by exact name or JSON Pointer (RFC 6901).
    pub claims: Vec<Arc<str>>,
    /// Take e-mail addresses as vouched for.
    pub trust_email: bool,
    /// Claims that must have exactly these values.
    pub required_claims: BTreeMap<String, String>,
    /// How its keys may be reached.
    pub reach: IssuerReach,
}

/// How keys of trusted issuers may be reached over the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerReach {
    /// Extra roots for TLS.
    pub ca_file: Option<PathBuf>,
    /// Addresses that may be connected to although they are private.
    pub allowed_private_networks: Vec<String>,
    /// Plain http on loopback (development).
    pub insecure_allow_http_loopback: bool,
}

/// How those whom a policy trusts may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyIssuers {
    /// Where they may be.
    pub reach: IssuerReach,
    /// On this machine, something that is asked in the place of AWS's STS and believed (tests).
    pub insecure_sts_endpoint: Option<Url>,
}

/// The mesh to which requests go.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Its name.
    pub trust_domain: TrustDomain,
    /// Roots of the trust domain, PEM.
    pub bundle_file: PathBuf,
    /// Where SVIDs come from.
    pub svid: SvidConfig,
}

impl MeshConfig {
    /// Every file it names.
    pub fn files(&self) -> [&Path; 3] {
        let SvidConfig::Ca {
            chain_file,
            key_file,
            ..
        } = &self.svid;
        [&self.bundle_file, chain_file, key_file]
    }
}

impl MeshConfig {
    /// The namespaces for which somebody signs.
    pub fn signed_namespaces(&self) -> Option<Vec<String>> {
        let SvidConfig::Ca { namespaces, .. } = &self.svid;
        Some(namespaces.clone())
    }
}

/// Where SVIDs come from.
#[derive(Clone, Debug)]
pub enum SvidConfig {
    /// The edge's own intermediate CA.
    Ca {
        /// Intermediate first, root last or left out.
        chain_file: PathBuf,
        /// The key of the intermediate.
        key_file: PathBuf,
        /// Namespaces it may sign for; it refuses all others whatever the mappings say.
        namespaces: Vec<String>,
        /// Of an SVID; from a minute to a day.
        lifetime: Duration,
    },
}

/// How the policy is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// The YAML file that is followed; `None` when the policy is changed over the API.
    pub file: Option<PathBuf>,
    /// How many people other than the author have to approve of a revision.
    pub approvals: usize,
}

/// Limits and deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All header fields of a request together.
    pub header_bytes: usize,
    /// One field value.
    pub header_value_bytes: usize,
    /// Number of header fields.
    pub header_count: usize,
    /// The request target.
    pub target_bytes: usize,
    /// Open connections, all listeners together.
    pub connections: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub http2_streams: u32,
    /// From accept to the end of the handshake.
    pub tls_handshake: Duration,
    /// From the first byte to the end of the head.
    pub request_head: Duration,
    /// Longest wait for a next request.
    pub idle_connection: Duration,
    /// Longest silence while a body or tunnel is under way.
    pub idle_stream: Duration,
    /// TCP and TLS to an upstream.
    pub upstream_connect: Duration,
    /// From the end of the request to the head of the answer.
    pub response_head: Duration,
    /// How long requests under way may go on after SIGTERM.
    pub drain: Duration,
    /// Upstream connections of one mesh identity to one upstream, per worker.
    pub upstream_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            header_bytes: 32 * 1024,
            header_value_bytes: 16 * 1024,
            header_count: 100,
            target_bytes: 8 * 1024,
            connections: 20_000,
            http2_streams: 100,
            tls_handshake: seconds(10),
            request_head: seconds(10),
            idle_connection: seconds(60),
            idle_stream: seconds(300),
            upstream_connect: seconds(5),
            response_head: seconds(60),
            drain: seconds(30),
            upstream_connections: 64,
        }
    }
}

/// What is kept of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// The folder in which decisions wait for the store; made if it is not there.
    pub spool: PathBuf,
    /// How many bytes may wait there.
    pub spool_room: u64,
    /// What becomes of requests that cannot be recorded.
    pub when_full: WhenFull,
    /// How long events are kept, at least.
    pub keep_events: Duration,
    /// How long recorded decisions are kept.
    pub keep_decisions: Duration,
}

/// What becomes of requests that cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// They are refused.
    Refuse,
    /// They are forwarded, and counted.
    Forward,
}

/// Where logs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `None`: standard output.
    pub access_log: Option<PathBuf>,
    /// A `tracing` filter.
    pub filter: String,
}
