//! What must hold between the parts of a policy: names are unique and lead somewhere, and no two routes claim one place.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::address::host::Host;
use crate::identity::principal::{
    AWS_ISSUER, Principal, SERVICE_ACCOUNTS, SERVICE_ACCOUNTS_ISSUER,
};
use crate::identity::spiffe_id::TrustDomain;
use crate::policy::accounts::KEY_CLAIM;
use crate::policy::kind::{Kind, Object};
use crate::policy::kubernetes::{Cluster, Kubernetes};
use crate::policy::machines::{Evidence, TrustedIssuer};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{
    IdentityHeaders, Policy, Route, Rule, Source, Transport, UpstreamProtocol,
};
use crate::policy::template::IdentityTemplate;
use crate::policy::yaml::PolicyFault;

/// All faults between parts; they have keys but no lines, which only the document knows.
pub fn check(policy: &Policy) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    for kind in Kind::ALL {
        unique_names(&mut faults, kind.part(), policy.objects(kind));
    }
    routes(&mut faults, &policy.routes);
    issuers(&mut faults, &policy.trusted_issuers);
    if policy.service_accounts.len() > MOST_ACCOUNTS {
        let message = format!("{MOST_ACCOUNTS} service accounts are the most");
        faults.push(fault("service_accounts".to_owned(), message));
    }
    mappings(&mut faults, policy);
    references(&mut faults, policy);
    extent(&mut faults, policy);
    faults
}

/// A rule that names more routes than this is looked at on every route, so that indexes stay small.
pub(super) const MOST_INDEXED_ROUTES: usize = 64;
/// More than this no policy comes to. People and route groups that are named by many rules count in each, so that a small document cannot fill the memory.
const LARGEST_EXTENT: usize = 2_000_000;

/// How much a policy comes to where everything that is named is written out: what the indexes hold.
fn extent(faults: &mut Vec<PolicyFault>, policy: &Policy) {
    let keys = |source: &Source| {
        let texts = [&source.emails, &source.subjects, &source.groups];
        let lists = texts.map(|list| list.as_ref().map_or(0, Vec::len));
        let domains = source.email_domains.as_ref().map_or(0, Vec::len);
        lists.into_iter().chain([domains, 1]).max().unwrap_or(1)
    };
    let of_people: HashMap<&str, usize> = { policy.people.iter() }
        .map(|people| (&*people.name, people.from.iter().map(keys).sum()))
        .collect();
    let of_group: HashMap<&str, usize> = { policy.route_groups.iter() }
        .map(|group| (&*group.name, group.routes.len()))
        .collect();
    let sum = |names: &Option<Vec<Arc<str>>>, of: &HashMap<&str, usize>| -> usize {
        let names = names.iter().flatten();
        names.filter_map(|name| of.get(&**name)).sum()
    };
    let callers = |from: &[Source]| -> usize {
        let people = |source: &Source| sum(&source.people, &of_people) + keys(source);
        from.iter().map(people).sum()
    };
    let all = policy.callers().into_iter();
    let mut extent = all
        .map(|all| callers(all.from))
        .fold(0, usize::saturating_add);
    for rule in &policy.rules {
        let to = || rule.to.iter().flatten();
        let named = to().map(|target| {
            let routes = [&target.routes, &target.not_routes];
            let routes = routes.map(|routes| routes.as_ref().map_or(0, Vec::len));
            let groups = sum(&target.route_groups, &of_group);
            routes.into_iter().sum::<usize>() + groups + sum(&target.not_route_groups, &of_group)
        });
        let places = named.fold(0, usize::saturating_add);
        let paths = to().map(|target| target.paths.as_ref().map_or(0, Vec::len));
        let conditions = callers(&rule.from).saturating_add(paths.sum());
        // What names many routes is looked at on all of them, and in no index of theirs.
        let entries = conditions.saturating_mul(places.clamp(1, MOST_INDEXED_ROUTES));
        extent = extent.saturating_add(entries).saturating_add(places);
    }
    if extent > LARGEST_EXTENT {
        let message = format!(
            "with the people and route groups that are named written out, this comes to {extent} conditions, and {LARGEST_EXTENT} are the most; \
             name groups of the identity provider in place of long lists"
        );
        faults.push(fault("rules".to_owned(), message));
    }
}

/// Whether rules that come to a policy without faults bring none; a `false` says to look at the whole.
pub(super) fn are_rules_sound(policy: &Policy, fresh: Vec<Arc<Rule>>) -> bool {
    // Tests name rules, whichever these are.
    if policy.tests.iter().any(|test| !test.granted.is_empty()) {
        return false;
    }
    let mut names = HashSet::with_capacity(policy.rules.len());
    if !policy.rules.iter().all(|rule| names.insert(&rule.name)) {
        return false;
    }
    let alone = Policy {
        rules: fresh,
        routes: policy.routes.clone(),
        route_groups: policy.route_groups.clone(),
        people: policy.people.clone(),
        ..Policy::default()
    };
    check(&alone).is_empty()
}

/// Names that lead nowhere.
fn references(faults: &mut Vec<PolicyFault>, policy: &Policy) {
    let mut routes = Names::new("route", policy.routes.iter().map(|route| &*route.name));
    let groups = policy.route_groups.iter();
    let mut groups_known = Names::new("route group", groups.map(|group| &*group.name));
    let mut people = Names::new("people", policy.people.iter().map(|people| &*people.name));
    for (index, group) in policy.route_groups.iter().enumerate() {
        routes.look(
            &format!("route_groups[{index}].routes"),
            Some(&group.routes),
        );
    }
    for callers in policy.callers() {
        let key = callers.key();
        for (at, source) in callers.from.iter().enumerate() {
            people.look(&format!("{key}.from[{at}].people"), source.people.as_ref());
            let key = format!("{key}.from[{at}].not_people");
            people.look(&key, source.not_people.as_ref());
        }
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        for (at, target) in rule.to.iter().flatten().enumerate() {
            let key = format!("rules[{index}].to[{at}]");
            routes.look(&format!("{key}.routes"), target.routes.as_ref());
            routes.look(&format!("{key}.not_routes"), target.not_routes.as_ref());
            let key_of = |field| format!("{key}.{field}");
            groups_known.look(&key_of("route_groups"), target.route_groups.as_ref());
            groups_known.look(
                &key_of("not_route_groups"),
                target.not_route_groups.as_ref(),
            );
        }
    }
    let asking = policy.rules.iter().filter(|rule| rule.approval.is_some());
    let mut granted = Names::new("rule with an approval", asking.map(|rule| &*rule.name));
    for (index, test) in policy.tests.iter().enumerate() {
        granted.look(&format!("tests[{index}].granted"), Some(&test.granted));
    }
    for names in [routes, groups_known, people, granted] {
        faults.extend(names.faults);
    }
}

/// The names of one kind, and what refers to others.
struct Names<'a> {
    kind: &'static str,
    known: HashSet<&'a str>,
    faults: Vec<PolicyFault>,
}

impl<'a> Names<'a> {
    fn new(kind: &'static str, known: impl Iterator<Item = &'a str>) -> Self {
        Self {
            kind,
            known: known.collect(),
            faults: Vec::new(),
        }
    }

    fn look(&mut self, key: &str, names: Option<&Vec<Arc<str>>>) {
        for (index, name) in names.into_iter().flatten().enumerate() {
            if !self.known.contains(&**name) {
                let message = match self.kind {
                    "people" => format!("there are no people called {name}"),
                    kind => format!("there is no {kind} called {name}"),
                };
                self.faults.push(fault(format!("{key}[{index}]"), message));
            }
        }
    }
}

/// Every `from` of a policy, with the key of the object that has it.
/// What a policy has to fit that is configured elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The edge's own host, which is no route's.
    pub home_host: Option<Host>,
    /// The namespaces that the mesh's authority signs for; `None` where that is not known here.
    pub namespaces: Option<Vec<String>>,
    /// The identity providers and trusted issuers of the configuration: what each calls itself, by its name.
    pub providers: BTreeMap<String, String>,
    /// Claims that any of them keeps.
    pub claims: Vec<String>,
    /// Kubernetes clusters that the edge has a credential for.
    pub clusters: Vec<Cluster>,
}

impl Known {
    /// The issuer that a policy names as a provider by this name, of the configuration or its own; `None` where there is none.
    pub fn issuer_of<'a>(&'a self, policy: &'a Policy, name: &str) -> Option<&'a str> {
        let of_accounts = || {
            let has_accounts = !policy.service_accounts.is_empty();
            (has_accounts && name == SERVICE_ACCOUNTS).then_some(SERVICE_ACCOUNTS_ISSUER)
        };
        let of_policy = || {
            let mut issuers = policy.trusted_issuers.iter();
            Some(issuers.find(|issuer| *issuer.name == *name)?.issuer())
        };
        let configured = self.providers.get(name).map(String::as_str);
        configured.or_else(of_accounts).or_else(of_policy)
    }

    /// Claims that anybody keeps: of the configuration, or of the policy's own.
    pub fn claims_of<'a>(&'a self, policy: &'a Policy) -> HashSet<&'a str> {
        let issuers = policy.trusted_issuers.iter();
        let of_accounts = (!policy.service_accounts.is_empty()).then_some(KEY_CLAIM);
        { self.claims.iter().map(String::as_str) }
            .chain(issuers.flat_map(TrustedIssuer::claims))
            .chain(of_accounts)
            .collect()
    }

    /// Somebody described, with the issuer that their provider's name stands for.
    pub fn with_issuer(&self, policy: &Policy, mut principal: Principal) -> Principal {
        if let Some(issuer) = self.issuer_of(policy, &principal.provider) {
            principal.issuer = issuer.into();
        }
        principal
    }
}

/// Why a name is no claim's.
pub fn no_claim(name: &str) -> String {
    format!(
        "no identity provider or trusted issuer keeps the claim {name}; list it in `claims` of one"
    )
}

/// Why a name is no provider's.
pub fn no_provider(name: &str) -> String {
    if name == SERVICE_ACCOUNTS {
        return "there are no `service_accounts` in this policy, so nobody comes from there"
            .to_owned();
    }
    format!("no identity provider or trusted issuer is called {name}")
}

/// Names in the policy that are not among those configured.
pub fn unknown_names(policy: &Policy, known: &Known) -> Vec<PolicyFault> {
    let mut faults = taken_issuers(policy, known);
    let has_provider = |name: &str| known.issuer_of(policy, name).is_some();
    let mut look = |key: String, names: Option<&Vec<Arc<str>>>| {
        for (index, name) in names.into_iter().flatten().enumerate() {
            if !has_provider(name) {
                faults.push(fault(format!("{key}[{index}]"), no_provider(name)));
            }
        }
    };
    for (index, route) in policy.routes.iter().enumerate() {
        look(
            format!("routes[{index}].providers"),
            route.providers.as_ref(),
        );
    }
    for callers in policy.callers() {
        let key = callers.key();
        for (at, source) in callers.from.iter().enumerate() {
            let key = format!("{key}.from[{at}]");
            look(format!("{key}.providers"), source.providers.as_ref());
            look(
                format!("{key}.not_providers"),
                source.not_providers.as_ref(),
            );
        }
    }
    for (index, test) in policy.tests.iter().enumerate() {
        let provider = test.principal.as_ref().map(|person| &person.provider);
        let provider = provider.filter(|provider| !has_provider(provider));
        if let Some(provider) = provider {
            let message = no_provider(provider);
            faults.push(fault(format!("tests[{index}].as.provider"), message));
        }
    }
    faults.extend(unknown_claims(policy, known));
    faults.extend(home_routes(policy, known));
    faults.extend(strange_clusters(policy, known));
    faults.extend(unsigned_mappings(policy, known));
    faults
}

/// What the configuration has cannot be had a second time: tokens and names could not be told apart.
fn taken_issuers(policy: &Policy, known: &Known) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    for (index, issuer) in policy.trusted_issuers.iter().enumerate() {
        let key = format!("trusted_issuers[{index}]");
        if known.providers.contains_key(&*issuer.name) {
            let message = format!(
                "the configuration has an identity provider or trusted issuer {} already",
                issuer.name
            );
            faults.push(fault(format!("{key}.name"), message));
        }
        if known
            .providers
            .values()
            .any(|known| known == issuer.issuer())
        {
            let message =
                "an identity provider or trusted issuer of the configuration has this issuer already".to_owned();
            faults.push(fault(format!("{key}.issuer"), message));
        }
    }
    faults
}

/// A token for a route is no token for the edge itself, so no route may be where the edge itself is.
fn home_routes(policy: &Policy, known: &Known) -> Vec<PolicyFault> {
    let routes = policy.routes.iter().enumerate();
    let at_home = routes.filter(|(_, route)| Some(&route.host) == known.home_host.as_ref());
    let faults = at_home.map(|(index, _)| {
        let message = "this is the edge's own host (`home.host` of the configuration), which leads to no upstream";
        fault(format!("routes[{index}].host"), message.to_owned())
    });
    faults.collect()
}

/// The credential of a cluster goes to its own API server and to nobody else, whatever a policy says.
fn strange_clusters(policy: &Policy, known: &Known) -> Vec<PolicyFault> {
    let routes = policy.routes.iter().enumerate();
    let faults = routes.filter_map(|(index, route)| {
        let name = route.kubernetes.as_ref()?.cluster.as_ref()?;
        let mut clusters = known.clusters.iter();
        let Some(cluster) = clusters.find(|cluster| *cluster.name == **name) else {
            let message = format!("no [[kubernetes]] of the configuration is called {name}");
            return Some(fault(format!("routes[{index}].kubernetes.cluster"), message));
        };
        if cluster.is_at(route) {
            return None;
        }
        let wanted = match &cluster.transport {
            Transport::Tls {
                server_name,
                ca_file,
            } => {
                let roots = ca_file.as_ref();
                let roots = roots.map_or_else(String::new, |file| format!(", ca_file: {file}"));
                format!("tls: {{ server_name: {server_name}{roots} }}")
            }
            Transport::Mtls { .. } => "mtls".to_owned(),
        };
        let message = format!(
            "the credential of {name} is for the API server that the configuration names, so the upstream has to have `{wanted}`"
        );
        Some(fault(format!("routes[{index}].upstream"), message))
    });
    faults.collect()
}

/// Nobody is known in the mesh by a name that its authority does not sign.
fn unsigned_mappings(policy: &Policy, known: &Known) -> Vec<PolicyFault> {
    let Some(namespaces) = &known.namespaces else {
        return Vec::new();
    };
    let mappings = policy.mappings.iter().enumerate();
    let faults = mappings.filter_map(|(index, mapping)| {
        let template = IdentityTemplate::parse(&mapping.spiffe_id).ok()?;
        let namespace = template.namespace();
        let is_signed = namespaces.iter().any(|signed| signed == namespace);
        let message = || {
            format!(
                "the mesh's authority does not sign for the namespace {namespace}; `mesh.svid.namespaces` of the configuration has {}",
                namespaces.join(", ")
            )
        };
        let key = format!("mappings[{index}].spiffe_id");
        (!is_signed).then(|| fault(key, message()))
    });
    faults.collect()
}

/// A claim that nobody keeps is known of nobody, which is hardly what was meant.
fn unknown_claims(policy: &Policy, known: &Known) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    let kept = known.claims_of(policy);
    let mut look = |key: String, name: &str| {
        if !kept.contains(name) {
            faults.push(fault(key, no_claim(name)));
        }
    };
    for callers in policy.callers() {
        let key = callers.key();
        for (at, source) in callers.from.iter().enumerate() {
            let fields = [
                ("claims", &source.claims),
                ("not_claims", &source.not_claims),
            ];
            for (field, claims) in fields {
                let names = claims.iter().flat_map(|claims| claims.keys());
                for name in names {
                    look(format!("{key}.from[{at}].{field}"), name);
                }
            }
        }
    }
    for (index, test) in policy.tests.iter().enumerate() {
        let claims = test
            .principal
            .iter()
            .flat_map(|person| person.claims.keys());
        for name in claims {
            look(format!("tests[{index}].as.claims"), name);
        }
    }
    faults
}

/// A fault that has a key and no place in a text yet.
pub fn fault(key: String, message: String) -> PolicyFault {
    PolicyFault {
        line: 0,
        column: 0,
        key,
        message,
    }
}

fn unique_names(faults: &mut Vec<PolicyFault>, part: &str, objects: Vec<&dyn Object>) {
    let mut seen = HashSet::new();
    for (index, object) in objects.into_iter().enumerate() {
        let name = object.name();
        if !seen.insert(name) {
            faults.push(fault(
                format!("{part}[{index}].name"),
                format!("the name {name} is taken already"),
            ));
        }
    }
}

fn routes(faults: &mut Vec<PolicyFault>, routes: &[Route]) {
    let mut places: HashMap<(&str, &str), &str> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        if let Some(other) = places.insert((route.host.as_str(), &route.prefix), &route.name) {
            let message = format!("route {other} has this host and prefix already");
            faults.push(fault(format!("routes[{index}].host"), message));
        }
        if route.strip_prefix && route.prefix == "/" {
            let message = "there is no prefix to take off".to_owned();
            faults.push(fault(format!("routes[{index}].strip_prefix"), message));
        }
        if let Transport::Mtls { spiffe_ids } = &route.upstream.transport
            && spiffe_ids.is_empty()
        {
            let message = "there must be a SPIFFE ID that the upstream has to prove".to_owned();
            faults.push(fault(
                format!("routes[{index}].upstream.mtls.spiffe_ids"),
                message,
            ));
        }
        if route.is_tcp() {
            faults.extend(http_fields(route).map(|field| {
                let message = "a TCP route carries no HTTP that this could be about".to_owned();
                fault(format!("routes[{index}].{field}"), message)
            }));
        }
        if let Some(kubernetes) = &route.kubernetes {
            let shares = { routes.iter().enumerate() }
                .any(|(other, with)| other != index && with.host == route.host);
            let found = cluster_faults(route, kubernetes, shares);
            let found = found.map(|(field, message)| {
                fault(format!("routes[{index}].{field}"), message.to_owned())
            });
            faults.extend(found);
        }
        if route.upstream.addresses.is_empty() {
            let message = "there must be an address".to_owned();
            faults.push(fault(
                format!("routes[{index}].upstream.addresses"),
                message,
            ));
        }
    }
}

/// What a route to an API server cannot have. Its tokens are mostly bound to no key and good for an origin, so nothing else may be there.
fn cluster_faults<'a>(
    route: &'a Route,
    kubernetes: &'a Kubernetes,
    shares: bool,
) -> impl Iterator<Item = (String, &'static str)> + 'a {
    let is_mtls = matches!(route.upstream.transport, Transport::Mtls { .. });
    let own = [
        (
            "host",
            shares,
            "a Kubernetes API server needs a host of its own",
        ),
        (
            "prefix",
            route.prefix != "/",
            "a Kubernetes API server needs a host of its own",
        ),
        (
            "identity_headers",
            route.identity_headers != IdentityHeaders::Assertion,
            "an API server is told by impersonation headers who asks",
        ),
        (
            "upstream.protocol",
            route.upstream.protocol == UpstreamProtocol::Http2,
            "kubectl exec and port-forward need HTTP/1.1; leave it out",
        ),
        (
            "kubernetes.cluster",
            kubernetes.cluster.is_none() && !is_mtls,
            "outside of the mesh the edge needs a credential: name a [[kubernetes]] of the configuration",
        ),
        (
            "kubernetes.cluster",
            kubernetes.cluster.is_some() && is_mtls,
            "in the mesh the certificate of the mesh identity is the credential; leave it out",
        ),
    ];
    let own = own.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
    let own = own.map(|(field, _, message)| (field.to_owned(), message));
    let names = kubernetes.faults().into_iter();
    own.chain(names.map(|(field, message)| (format!("kubernetes.{field}"), message)))
}

/// The fields of a route that are set and about HTTP.
fn http_fields(route: &Route) -> impl Iterator<Item = &'static str> {
    let fields = [
        ("prefix", route.prefix != "/"),
        (
            "identity_headers",
            route.identity_headers != IdentityHeaders::Assertion,
        ),
        ("websocket_origins", !route.websocket_origins.is_empty()),
        ("upstream_host", route.upstream_host.is_some()),
        (
            "timeouts.response_head",
            route.timeouts.response_head.is_some(),
        ),
        ("allow_path_parameters", route.allow_path_parameters),
        ("kubernetes", route.kubernetes.is_some()),
    ];
    let set = fields.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(field, _)| field)
}

/// More issuers than this nobody trusts, and each has keys to be fetched.
const MOST_ISSUERS: usize = 100;
/// More service accounts than this have an issuer.
const MOST_ACCOUNTS: usize = 1000;

fn issuers(faults: &mut Vec<PolicyFault>, issuers: &[TrustedIssuer]) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (index, issuer) in issuers.iter().enumerate() {
        let mut say = |field: &str, message: String| {
            faults.push(fault(format!("trusted_issuers[{index}].{field}"), message));
        };
        if *issuer.name == *SERVICE_ACCOUNTS {
            let message =
                format!("service accounts are called {SERVICE_ACCOUNTS}, and nothing else is");
            say("name", message);
        }
        let field = match &issuer.evidence {
            Evidence::Jwt(_) => "issuer",
            Evidence::X509(_) => "trust_domain",
            // Of these there may be many, which are told apart by their roles.
            Evidence::AwsRoles(_) => continue,
        };
        let text = issuer.issuer();
        if let Some(other) = seen.insert(text, &issuer.name) {
            let message = format!(
                "trusted issuer {other} has this issuer already; programs could not be told apart"
            );
            say(field, message);
        }
        for (taken, whose) in [
            (SERVICE_ACCOUNTS_ISSUER, "service accounts"),
            (AWS_ISSUER, "roles of AWS"),
        ] {
            if text == taken {
                say(
                    field,
                    format!("{taken} is the issuer of {whose}, and of nothing else"),
                );
            }
        }
    }
    shared_roles(faults, issuers);
    if issuers.len() > MOST_ISSUERS {
        let message = format!("{MOST_ISSUERS} trusted issuers are the most");
        faults.push(fault("trusted_issuers".to_owned(), message));
    }
}

/// The mesh's own workloads are not of another trust domain; and people may have certificates of it, which are no programs'.
pub(super) fn own_trust_domain(faults: &mut Vec<PolicyFault>, policy: &Policy, own: &TrustDomain) {
    for (index, issuer) in policy.trusted_issuers.iter().enumerate() {
        if issuer
            .x509()
            .is_some_and(|trust| trust.trust_domain == *own)
        {
            let message = format!(
                "{own} is the mesh's own trust domain, of which people may have certificates as well"
            );
            faults.push(fault(
                format!("trusted_issuers[{index}].trust_domain"),
                message,
            ));
        }
    }
}

/// A role of two issuers would have two names.
fn shared_roles(faults: &mut Vec<PolicyFault>, issuers: &[TrustedIssuer]) {
    let mut roles = Vec::new();
    for (index, issuer) in issuers.iter().enumerate() {
        for (at, role) in issuer.aws_roles().iter().enumerate() {
            let (is_whole, text) = match role {
                TextMatch::Exact(text) => (true, text),
                TextMatch::Prefix(text) => (false, text),
                TextMatch::Suffix(_) | TextMatch::Present => continue,
            };
            roles.push((text.as_str(), is_whole, index, at));
        }
    }
    // A beginning comes before all that begin so, which follow it without a gap.
    roles.sort_unstable();
    let mut widest: Option<(&str, bool, usize)> = None;
    for (text, is_whole, index, at) in roles {
        let covering = widest.filter(|(wide, is_whole, _)| match is_whole {
            true => *wide == text,
            false => text.starts_with(wide),
        });
        match covering {
            Some((_, _, other)) if other != index => {
                let name = issuers.get(other).map_or("another", |other| &other.name);
                let message = format!(
                    "trusted issuer {name} has this role as well, and one role has one name"
                );
                let key = format!("trusted_issuers[{index}].aws_roles[{at}]");
                faults.push(fault(key, message));
            }
            Some(_) => {}
            None => widest = Some((text, is_whole, index)),
        }
    }
}

fn mappings(faults: &mut Vec<PolicyFault>, policy: &Policy) {
    for (index, mapping) in policy.mappings.iter().enumerate() {
        let key = format!("mappings[{index}].spiffe_id");
        match IdentityTemplate::parse(&mapping.spiffe_id) {
            Err(why) => faults.push(fault(key, why.to_string())),
            Ok(template) if template.names_the_caller() && mapping.from.iter().any(is_anyone) => {
                let message = "somebody who is not signed in has no name to put here; give `anyone` a mapping of its own";
                faults.push(fault(key, message.to_owned()));
            }
            Ok(_) => {}
        }
    }
}

fn is_anyone(source: &Source) -> bool {
    source.anyone
}
