//! Policy as data: what the YAML file says and the store keeps.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::host::Host;
use crate::identity::principal::{Principal, PrincipalKind, Requirement};
use crate::identity::spiffe_id::SpiffeId;
use crate::policy::accounts::ServiceAccount;
use crate::policy::hours::Hours;
use crate::policy::kubernetes::Kubernetes;
use crate::policy::machines::TrustedIssuer;
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::roles::Role;
use crate::policy::svids::SvidKind;

/// A numbered, immutable state of all policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub i64);

/// All policy of one revision, in the order written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Where requests go.
    pub routes: Vec<Route>,
    /// Routes that are named together.
    pub route_groups: Vec<RouteGroup>,
    /// Callers who are named together.
    pub people: Vec<People>,
    /// Who is who in the mesh; the first that matches is used.
    pub mappings: Vec<Mapping>,
    /// Who may do what; their order says nothing. Shared with the revisions before and after that have them too.
    pub rules: Vec<Arc<Rule>>,
    /// Issuers whose tokens programs bring, besides those of the configuration.
    pub trusted_issuers: Vec<TrustedIssuer>,
    /// Programs that have no issuer.
    pub service_accounts: Vec<ServiceAccount>,
    /// Who may look after the edge.
    pub role_bindings: Vec<RoleBinding>,
    /// What the author expects of all this.
    pub tests: Vec<PolicyTest>,
}

/// What one request is expected to come to.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyTest {
    /// Unique among its kind; 1 to 100 letters, digits, `.`, `-`, `_`.
    pub name: Arc<str>,
    /// Who asks; `None` is somebody who is not signed in.
    pub principal: Option<Principal>,
    /// What is asked for.
    pub request: TestRequest,
    /// Where the connection comes from; a documentation address if it does not matter.
    pub source_ip: Option<IpAddr>,
    /// Header lines, by lower-case name.
    pub headers: Vec<(Arc<str>, String)>,
    /// Rules that an approver has granted them.
    pub granted: Vec<Arc<str>>,
    /// When.
    pub at: jiff::Timestamp,
    /// What comes of it.
    pub expect: Expected,
    /// The SPIFFE ID that it goes under; may begin with `spiffe://{trust_domain}`.
    pub mesh_identity: Option<String>,
}

/// What a test of a policy asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum TestRequest {
    /// Something of a route.
    Route {
        /// Upper-case wire method.
        method: String,
        /// The route's name.
        route: Arc<str>,
        /// Canonical path.
        path: String,
    },
    /// An SVID.
    Svid(SvidKind),
}

impl std::fmt::Display for TestRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Route {
                method,
                route,
                path,
            } => write!(f, "{method} {route} {path}"),
            Self::Svid(kind) => write!(f, "SVID {}", kind.as_str()),
        }
    }
}

/// What can come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A rule allows it.
    Allow,
    /// It is refused.
    Deny,
    /// Somebody has to sign in first.
    SignIn,
    /// Somebody has to sign in again as a rule asks.
    StepUp,
    /// Somebody else has to approve first.
    Ask,
}

impl Expected {
    /// The word of the policy file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::SignIn => "sign_in",
            Self::StepUp => "step_up",
            Self::Ask => "ask",
        }
    }
}

/// A public host (and optional path prefix) and the upstream it leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique among its kind; 1 to 100 letters, digits, `.`, `-`, `_`.
    pub name: Arc<str>,
    /// The public host.
    pub host: Host,
    /// Canonical path prefix that ends at a segment boundary; "/" for the whole host. The longest wins.
    pub prefix: String,
    /// Whether the prefix is taken off before forwarding.
    pub strip_prefix: bool,
    /// Where it leads.
    pub upstream: Upstream,
    /// Names of the identity providers and trusted issuers that count here; `None` for all.
    pub providers: Option<Vec<Arc<str>>>,
    /// Plain identity headers to send besides the assertion.
    pub identity_headers: IdentityHeaders,
    /// Origins, besides the route's own, whose pages may open WebSockets here.
    pub websocket_origins: Vec<String>,
    /// What the upstream sees as `Host`; `None` keeps the public host.
    pub upstream_host: Option<String>,
    /// Deadlines of its own.
    pub timeouts: RouteTimeouts,
    /// Whether `;` in paths is passed on (matrix parameters); refused otherwise.
    pub allow_path_parameters: bool,
    /// Set where it leads to a Kubernetes API server: who callers are there.
    pub kubernetes: Option<Kubernetes>,
}

impl Route {
    /// Whether it is a TCP route: nothing but tunnels goes there.
    pub fn is_tcp(&self) -> bool {
        self.upstream.protocol == UpstreamProtocol::Tcp
    }

    /// The method of a request that opens it, as rules see it.
    pub fn opened_with(&self) -> &'static str {
        if self.is_tcp() { "POST" } else { "GET" }
    }
}

/// Deadlines of one route; unset ones come from the configuration's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// From the last byte of the request to the head of the answer.
    pub response_head: Option<Duration>,
    /// Longest silence in a body or tunnel.
    pub idle: Option<Duration>,
}

/// Which family of plain identity headers the upstream gets besides the signed assertion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityHeaders {
    /// Only the signed assertion.
    #[default]
    Assertion,
    /// `X-Forwarded-User/-Email/-Groups/-Preferred-Username`.
    XForwarded,
    /// `X-Auth-Request-User/-Email/-Groups/-Preferred-Username` (oauth2-proxy's).
    XAuthRequest,
    /// `Remote-User/-Groups/-Name/-Email` (Authelia's).
    Remote,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// One or more.
    pub addresses: Vec<UpstreamAddress>,
    /// How it is reached, and what it has to prove.
    pub transport: Transport,
    /// What is spoken.
    pub protocol: UpstreamProtocol,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamAddress {
    /// A DNS name or an IP literal (IPv6 without brackets).
    pub host: String,
    /// 1 or more.
    pub port: u16,
    /// Relative share of new connections, 1 or more.
    pub weight: u32,
}

/// How an upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// SPIFFE mTLS to a sidecar or any SPIFFE workload that must prove one of these IDs.
    Mtls {
        /// One or more; any of them will do.
        spiffe_ids: Vec<SpiffeId>,
    },
    /// TLS outside the mesh: the server proves `server_name` to the system's or the given roots; no client certificate is shown.
    Tls {
        /// The DNS name or address in its certificate.
        server_name: String,
        /// PEM file of roots; `None` for the system's.
        ca_file: Option<String>,
    },
}

/// What is spoken to an upstream: a version of HTTP, or whatever the two ends agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// Both are offered by ALPN; the upstream chooses.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
    /// No HTTP: bytes both ways, through tunnels alone.
    Tcp,
}

/// Routes under one name, so that rules need not list them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteGroup {
    /// Unique among its kind; 1 to 100 letters, digits, `.`, `-`, `_`.
    pub name: Arc<str>,
    /// Names of routes. Empty matches nothing.
    pub routes: Vec<Arc<str>>,
}

/// Callers under one name, so that rules and mappings need not describe them again.
#[derive(Clone, Debug, PartialEq)]
pub struct People {
    /// Unique among its kind; 1 to 100 letters, digits, `.`, `-`, `_`.
    pub name: Arc<str>,
    /// Items are alternatives; none has `anyone`, `people` or `not_people`. Empty matches nobody.
    pub from: Vec<Source>,
}

/// Gives a role to callers.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleBinding {
    /// Unique among its kind; 1 to 100 letters, digits, `.`, `-`, `_`.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// Items are alternatives; none has `anyone`. Empty matches nobody.
    pub from: Vec<Source>,
}

/// An identity mapping: whom it is for, and the SPIFFE ID they travel under. The first that matches is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// Unique among its kind; 1 to 100 letters, digits, `.`, `-`, `_`.
    pub name: Arc<str>,
    /// Items are alternatives. Empty matches nobody.
    pub from: Vec<Source>,
    /// `spiffe://TD/ns/NS/sa/SA` where SA (only) may contain `{user}` (e-mail or subject, made unique over issuer and subject),
    /// `{provider}` and `{provider}.{subject}`; and TD may be written `{trust_domain}`.
    pub spiffe_id: String,
}

/// An access rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique among its kind; 1 to 100 letters, digits, `.`, `-`, `_`.
    pub name: Arc<str>,
    /// What follows when it applies.
    pub action: Action,
    /// Whether it counts.
    pub mode: Mode,
    /// Items are alternatives. Empty matches nobody.
    pub from: Vec<Source>,
    /// Items are alternatives; `None` is any route, method and path, and for a deny rule any SVID too. `Some` of nothing matches nothing.
    pub to: Option<Vec<Target>>,
    /// Under which circumstances; `None` is any.
    pub when: Option<When>,
    /// How the caller must have signed in; only allow rules have it.
    pub require: Option<Requirement>,
    /// That somebody else has to approve, for a time; only allow rules have it. In the document it stands in `require`.
    pub approval: Option<Approval>,
}

impl Rule {
    /// Everything in it that says whom something is for: whom it is about, and who approves.
    pub fn callers(&self) -> impl Iterator<Item = &[Source]> {
        let approvers = self
            .approval
            .iter()
            .map(|approval| approval.from.as_slice());
        approvers.chain([self.from.as_slice()])
    }
}

/// Who approves of the use of a rule, and for how long at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    /// Items are alternatives; none has `anyone`. Empty matches nobody.
    pub from: Vec<Source>,
    /// The longest time in whole seconds, from a minute to 30 days.
    pub at_most: Duration,
    /// Whether whom the rule is for may use it at once, and have it reviewed afterwards.
    pub break_glass: bool,
}

/// Whether a rule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It is evaluated, and what it would have changed is reported; it changes nothing.
    Shadow,
}

/// Circumstances: all fields that are present must hold (AND); a field's values are alternatives (OR).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    /// Networks of the connection's other end.
    pub source_ips: Option<Vec<IpNet>>,
    /// As `source_ips`; none may contain it.
    pub not_source_ips: Option<Vec<IpNet>>,
    /// Conditions on request headers, by lower-case name; all names must hold.
    pub headers: Option<BTreeMap<Arc<str>, Vec<TextMatch>>>,
    /// As `headers`; none may hold.
    pub not_headers: Option<BTreeMap<Arc<str>, Vec<TextMatch>>>,
    /// Windows of the week.
    pub hours: Option<Vec<Hours>>,
    /// The first moment at which it does not hold any more.
    pub until: Option<jiff::Timestamp>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The request may go on, unless a deny rule applies.
    Allow,
    /// The request is refused, whatever allow rules say.
    Deny,
}

impl Action {
    /// The other one.
    pub(super) const fn opposite(self) -> Self {
        match self {
            Self::Allow => Self::Deny,
            Self::Deny => Self::Allow,
        }
    }
}

/// One alternative of `from`: all fields that are present must match (AND); a field's values are alternatives (OR).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Anyone at all, signed in or not. No other field may stand beside it.
    pub anyone: bool,
    /// Everyone who is authenticated. The same as giving no field but this one.
    pub signed_in: bool,
    /// Vouched-for e-mail addresses, lower-case: whole, `*@domain` or `*`.
    pub emails: Option<Vec<TextMatch>>,
    /// Domains of vouched-for e-mail addresses, compared whole.
    pub email_domains: Option<Vec<String>>,
    /// The issuer's `sub`, exactly.
    pub subjects: Option<Vec<TextMatch>>,
    /// Any group of the caller, compared exactly.
    pub groups: Option<Vec<TextMatch>>,
    /// Names of identity providers and trusted issuers.
    pub providers: Option<Vec<Arc<str>>>,
    /// Users or workloads.
    pub kinds: Option<Vec<PrincipalKind>>,
    /// Conditions on claims that the provider is configured to keep, by name; all names must hold.
    pub claims: Option<BTreeMap<Arc<str>, Vec<TextMatch>>>,
    /// Names of [`People`].
    pub people: Option<Vec<Arc<str>>>,
    /// Programs that act for the caller, by [`Agent::id`](crate::identity::principal::Agent): in an allow rule every one of the chain has to match, in a deny rule
    /// any. Without it an item of an allow rule is for people who act themselves, and one of a deny rule for both.
    pub agents: Option<Vec<TextMatch>>,
    /// Takes some out of `agents`, beside which alone it stands.
    pub not_agents: Option<Vec<TextMatch>>,
    /// As `emails`; none may match.
    pub not_emails: Option<Vec<TextMatch>>,
    /// As `subjects`; none may match.
    pub not_subjects: Option<Vec<TextMatch>>,
    /// As `groups`; none may match.
    pub not_groups: Option<Vec<TextMatch>>,
    /// As `providers`; none may match.
    pub not_providers: Option<Vec<Arc<str>>>,
    /// As `claims`; none may hold.
    pub not_claims: Option<BTreeMap<Arc<str>, Vec<TextMatch>>>,
    /// As `people`; none may match.
    pub not_people: Option<Vec<Arc<str>>>,
}

/// One alternative of `to`. With `svids` it is about those alone, and nothing else may stand beside them; without, it is about requests alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// SVIDs for the caller's own hands. Empty matches nothing.
    pub svids: Option<Vec<SvidKind>>,
    /// Names of routes.
    pub routes: Option<Vec<Arc<str>>>,
    /// Names of [`RouteGroup`]s. With `routes` beside it a route of either will do.
    pub route_groups: Option<Vec<Arc<str>>>,
    /// Upper-case; `GET` stands for `HEAD` as well.
    pub methods: Option<Vec<String>>,
    /// Conditions on the public canonical path, before any prefix is taken off.
    pub paths: Option<Vec<PathMatch>>,
    /// As `routes`; none may match.
    pub not_routes: Option<Vec<Arc<str>>>,
    /// As `route_groups`; none may match.
    pub not_route_groups: Option<Vec<Arc<str>>>,
    /// As `methods`; none may match.
    pub not_methods: Option<Vec<String>>,
    /// As `paths`; none may match.
    pub not_paths: Option<Vec<PathMatch>>,
}
