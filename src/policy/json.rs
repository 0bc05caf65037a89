//! Policy objects as JSON in the shape of the policy file: what the store keeps. Reading goes through the reader of the file itself.

mod machines;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::identity::principal::{Groups, Principal, Requirement};
use crate::policy::accounts::ServiceAccount;
use crate::policy::check;
use crate::policy::json::machines::{service_account, trusted_issuer};
use crate::policy::kind::{Kind, Object};
use crate::policy::kubernetes::Kubernetes;
use crate::policy::machines::TrustedIssuer;
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{
    Action, Approval, Mapping, Mode, People, Policy, PolicyTest, RoleBinding, Route, RouteGroup,
    Rule, Source, Target, Transport, Upstream, When,
};
use crate::policy::yaml::{self, Node, PolicyFault};

/// The JSON of each object, by kind, in the order written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyJson {
    /// Routes.
    pub routes: Vec<Value>,
    /// Routes that are named together.
    pub route_groups: Vec<Value>,
    /// Callers who are named together.
    pub people: Vec<Value>,
    /// Identity mappings.
    pub mappings: Vec<Value>,
    /// Access rules.
    pub rules: Vec<Value>,
    /// Issuers whose tokens programs bring.
    pub trusted_issuers: Vec<Value>,
    /// Programs that have no issuer.
    pub service_accounts: Vec<Value>,
    /// Role bindings.
    pub role_bindings: Vec<Value>,
    /// Tests.
    pub tests: Vec<Value>,
}

impl PolicyJson {
    /// The objects of a kind.
    pub const fn of(&self, kind: Kind) -> &Vec<Value> {
        match kind {
            Kind::Route => &self.routes,
            Kind::RouteGroup => &self.route_groups,
            Kind::People => &self.people,
            Kind::Mapping => &self.mappings,
            Kind::Rule => &self.rules,
            Kind::TrustedIssuer => &self.trusted_issuers,
            Kind::ServiceAccount => &self.service_accounts,
            Kind::RoleBinding => &self.role_bindings,
            Kind::Test => &self.tests,
        }
    }

    /// The same, to be changed.
    pub const fn of_mut(&mut self, kind: Kind) -> &mut Vec<Value> {
        match kind {
            Kind::Route => &mut self.routes,
            Kind::RouteGroup => &mut self.route_groups,
            Kind::People => &mut self.people,
            Kind::Mapping => &mut self.mappings,
            Kind::Rule => &mut self.rules,
            Kind::TrustedIssuer => &mut self.trusted_issuers,
            Kind::ServiceAccount => &mut self.service_accounts,
            Kind::RoleBinding => &mut self.role_bindings,
            Kind::Test => &mut self.tests,
        }
    }
}

macro_rules! objects {
    ($($type:ty, $written:ident;)+) => {$(
        impl Object for $type {
            fn name(&self) -> &Arc<str> {
                &self.name
            }

            fn to_json(&self) -> Value {
                $written(self)
            }
        }
    )+};
}
objects! {
    Route, route;
    RouteGroup, route_group;
    People, people;
    Mapping, mapping;
    Arc<Rule>, rule;
    TrustedIssuer, trusted_issuer;
    ServiceAccount, service_account;
    RoleBinding, role_binding;
    PolicyTest, test;
}

/// Writes a policy.
pub fn to_json(policy: &Policy) -> PolicyJson {
    let mut json = PolicyJson::default();
    for kind in Kind::ALL {
        let objects = policy.objects(kind).into_iter();
        *json.of_mut(kind) = objects.map(Object::to_json).collect();
    }
    json
}

/// Reads a policy; the faults have keys like `rules[2].from` and no lines.
pub fn from_json(json: PolicyJson) -> Result<Policy, Vec<PolicyFault>> {
    checked(yaml::read(&root(json)))
}

fn root(mut json: PolicyJson) -> Node {
    Node::from_lists(Kind::ALL.map(|kind| (kind.part(), mem::take(json.of_mut(kind)))))
}

/// The same with rules that were read before ([`rules_from_json`]); `json` has none.
pub fn from_json_with(json: PolicyJson, rules: Vec<Arc<Rule>>) -> Result<Policy, Vec<PolicyFault>> {
    let (mut policy, faults) = yaml::read(&root(json));
    policy.rules = rules;
    checked((policy, faults))
}

fn checked((policy, mut faults): (Policy, Vec<PolicyFault>)) -> Result<Policy, Vec<PolicyFault>> {
    if faults.is_empty() {
        faults = check::check(&policy);
    }
    if faults.is_empty() {
        Ok(policy)
    } else {
        Err(faults)
    }
}

/// Reads rules alone, as [`from_json`] does; what they refer to is not looked at.
pub fn rules_from_json(rules: Vec<Value>) -> Result<Vec<Arc<Rule>>, Vec<PolicyFault>> {
    let root = Node::from_lists([(Kind::Rule.part(), rules)]);
    let (policy, faults) = yaml::read(&root);
    if faults.is_empty() {
        Ok(policy.rules)
    } else {
        Err(faults)
    }
}

/// An object of JSON that is built field by field, without those that are absent.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn with_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn with_flag(self, key: &str, value: bool) -> Self {
        if value { self.with(key, true) } else { self }
    }

    fn end(self) -> Value {
        Value::Object(self.0)
    }
}

fn names(names: Option<&Vec<Arc<str>>>) -> Option<Value> {
    names.map(|names| names.iter().map(|name| Value::from(&**name)).collect())
}

fn texts(conditions: Option<&Vec<TextMatch>>) -> Option<Value> {
    conditions.map(|conditions| conditions.iter().map(TextMatch::to_string).collect())
}

fn paths(conditions: Option<&Vec<PathMatch>>) -> Option<Value> {
    conditions.map(|conditions| conditions.iter().map(PathMatch::to_string).collect())
}

fn conditions(by_name: Option<&BTreeMap<Arc<str>, Vec<TextMatch>>>) -> Option<Value> {
    let written = |(name, conditions): (&Arc<str>, &Vec<TextMatch>)| {
        let conditions: Value = conditions.iter().map(TextMatch::to_string).collect();
        (name.to_string(), conditions)
    };
    by_name.map(|by_name| Value::Object(by_name.iter().map(written).collect()))
}

fn word<T: Copy + PartialEq>(value: T, words: &[(&'static str, T)]) -> Option<&'static str> {
    let found = words.iter().find(|(_, other)| *other == value);
    found.map(|(word, _)| *word)
}

/// The word of a value that is not the default.
fn unusual<T: Copy + Default + PartialEq>(
    value: T,
    words: &[(&'static str, T)],
) -> Option<&'static str> {
    word(value, words).filter(|_| value != T::default())
}

fn route(route: &Route) -> Value {
    let duration = |value: std::time::Duration| humantime::format_duration(value).to_string();
    let timeouts = Fields::default()
        .with_some("response_head", route.timeouts.response_head.map(duration))
        .with_some("idle", route.timeouts.idle.map(duration));
    let origins = Some(&route.websocket_origins).filter(|origins| !origins.is_empty());
    Fields::default()
        .with("name", &*route.name)
        .with("host", route.host.as_str())
        .with_some(
            "prefix",
            Some(route.prefix.as_str()).filter(|prefix| *prefix != "/"),
        )
        .with_flag("strip_prefix", route.strip_prefix)
        .with("upstream", upstream(&route.upstream))
        .with_some("providers", names(route.providers.as_ref()))
        .with_some(
            "identity_headers",
            unusual(route.identity_headers, yaml::IDENTITY_HEADERS),
        )
        .with_some("websocket_origins", origins.cloned())
        .with_some("upstream_host", route.upstream_host.clone())
        .with_some(
            "timeouts",
            Some(timeouts.end()).filter(|value| value != &json!({})),
        )
        .with_flag("allow_path_parameters", route.allow_path_parameters)
        .with_some("kubernetes", route.kubernetes.as_ref().map(kubernetes))
        .end()
}

fn kubernetes(kubernetes: &Kubernetes) -> Value {
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Fields::default()
        .with_some("cluster", kubernetes.cluster.as_deref())
        .with_some("user", unusual(kubernetes.user, yaml::USER_NAMES))
        .with_some("user_prefix", said(&kubernetes.user_prefix))
        .with_some("groups", texts(kubernetes.groups.as_ref()))
        .with_some("group_prefix", said(&kubernetes.group_prefix))
        .end()
}

fn upstream(upstream: &Upstream) -> Value {
    let addresses: Value = upstream
        .addresses
        .iter()
        .map(|address| {
            let host = if address.host.contains(':') {
                format!("[{}]", address.host)
            } else {
                address.host.clone()
            };
            let text = format!("{host}:{}", address.port);
            match address.weight {
                1 => json!(text),
                weight => json!({ "address": text, "weight": weight }),
            }
        })
        .collect();
    let fields = Fields::default()
        .with("addresses", addresses)
        .with_some("protocol", unusual(upstream.protocol, yaml::PROTOCOLS));
    match &upstream.transport {
        Transport::Mtls { spiffe_ids } => {
            let ids: Value = spiffe_ids
                .iter()
                .map(|id| Value::from(id.as_str()))
                .collect();
            fields.with("mtls", json!({ "spiffe_ids": ids })).end()
        }
        Transport::Tls {
            server_name,
            ca_file,
        } => {
            let tls = Fields::default()
                .with("server_name", server_name.as_str())
                .with_some("ca_file", ca_file.clone());
            fields.with("tls", tls.end()).end()
        }
    }
}

fn route_group(group: &RouteGroup) -> Value {
    json!({ "name": &*group.name, "routes": names(Some(&group.routes)) })
}

fn people(people: &People) -> Value {
    let from: Value = people.from.iter().map(source).collect();
    json!({ "name": &*people.name, "from": from })
}

fn role_binding(binding: &RoleBinding) -> Value {
    let from: Value = binding.from.iter().map(source).collect();
    json!({ "name": &*binding.name, "role": binding.role.as_str(), "from": from })
}

fn mapping(mapping: &Mapping) -> Value {
    json!({
        "name": &*mapping.name,
        "from": mapping.from.iter().map(source).collect::<Vec<_>>(),
        "spiffe_id": mapping.spiffe_id,
    })
}

fn rule(rule: &Rule) -> Value {
    let action = match rule.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    };
    let to = rule
        .to
        .as_ref()
        .map(|to| to.iter().map(target).collect::<Value>());
    Fields::default()
        .with("name", &*rule.name)
        .with("action", action)
        .with_some("mode", Some("shadow").filter(|_| rule.mode == Mode::Shadow))
        .with("from", rule.from.iter().map(source).collect::<Value>())
        .with_some("to", to)
        .with_some("when", rule.when.as_ref().map(when))
        .with_some("require", required(rule))
        .end()
}

/// All that a rule says but its name.
pub(super) fn nameless_rule(rule: &Rule) -> String {
    let mut said = self::rule(rule);
    said["name"].take();
    said.to_string()
}

fn when(when: &When) -> Value {
    let networks =
        |networks: &Vec<ipnet::IpNet>| networks.iter().map(ToString::to_string).collect::<Value>();
    let hours = when.hours.as_ref();
    Fields::default()
        .with_some("source_ips", when.source_ips.as_ref().map(networks))
        .with_some("not_source_ips", when.not_source_ips.as_ref().map(networks))
        .with_some("headers", conditions(when.headers.as_ref()))
        .with_some("not_headers", conditions(when.not_headers.as_ref()))
        .with_some(
            "hours",
            hours.map(|hours| hours.iter().map(ToString::to_string).collect::<Value>()),
        )
        .with_some("until", when.until.map(|until| until.to_string()))
        .end()
}

/// How somebody has to have signed in, and who has to approve: one object in the document.
fn required(rule: &Rule) -> Option<Value> {
    let nothing = Requirement::default();
    let requirement = rule.require.as_ref().unwrap_or(&nothing);
    let age = |seconds: u32| {
        let age = std::time::Duration::from_secs(u64::from(seconds));
        humantime::format_duration(age).to_string()
    };
    let fields = Fields::default()
        .with_some("acr", names(requirement.acr.as_ref()))
        .with_some("max_age", requirement.max_age.map(age))
        .with_some("approval", rule.approval.as_ref().map(approval));
    let is_asked = rule.require.is_some() || rule.approval.is_some();
    is_asked.then(|| fields.end())
}

fn approval(approval: &Approval) -> Value {
    let at_most = humantime::format_duration(approval.at_most).to_string();
    Fields::default()
        .with("from", approval.from.iter().map(source).collect::<Value>())
        .with("at_most", at_most)
        .with_flag("break_glass", approval.break_glass)
        .end()
}

fn test(test: &PolicyTest) -> Value {
    let headers: Map<String, Value> = test
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_str().into()))
        .collect();
    let person = test.principal.as_ref();
    Fields::default()
        .with("name", &*test.name)
        .with_some("as", person.map(|person| asking(person, test.at)))
        .with("request", test.request.to_string())
        .with_some("source_ip", test.source_ip.map(|ip| ip.to_string()))
        .with_some(
            "headers",
            Some(headers).filter(|headers| !headers.is_empty()),
        )
        .with_some(
            "granted",
            names(Some(&test.granted).filter(|granted| !granted.is_empty())),
        )
        .with("at", test.at.to_string())
        .with("expect", test.expect.as_str())
        .with_some("mesh_identity", test.mesh_identity.clone())
        .end()
}

fn asking(person: &Principal, at: jiff::Timestamp) -> Value {
    let groups: Option<Value> = match &person.groups {
        Groups::Known(names) if !names.is_empty() => {
            Some(names.iter().map(|name| Value::from(&**name)).collect())
        }
        Groups::Known(_) | Groups::Missing => None,
    };
    let ago = person
        .auth_time
        .map(|time| at.as_second().saturating_sub(time));
    let claims = &person.claims;
    let agents: Value = person
        .agents
        .iter()
        .map(|agent| Value::from(&*agent.id))
        .collect();
    Fields::default()
        .with("provider", &*person.provider)
        .with("subject", &*person.subject)
        .with_some(
            "email",
            person.email.as_ref().map(|email| email.as_str().to_owned()),
        )
        .with_some("groups", groups)
        .with_some(
            "kind",
            word(person.kind, yaml::KINDS).filter(|word| *word != "user"),
        )
        .with_some("claims", Some(json!(claims)).filter(|_| !claims.is_empty()))
        .with_some("agents", Some(agents).filter(|_| !person.agents.is_empty()))
        .with_some("acr", person.acr.as_deref())
        .with_some("signed_in_ago", ago.map(|seconds| format!("{seconds}s")))
        .end()
}

fn source(source: &Source) -> Value {
    let kinds = source.kinds.as_ref().map(|kinds| {
        let words = kinds.iter().filter_map(|kind| word(*kind, yaml::KINDS));
        words.map(Value::from).collect::<Value>()
    });
    Fields::default()
        .with_flag("anyone", source.anyone)
        .with_flag("signed_in", source.signed_in)
        .with_some("emails", texts(source.emails.as_ref()))
        .with_some("email_domains", source.email_domains.clone())
        .with_some("subjects", texts(source.subjects.as_ref()))
        .with_some("groups", texts(source.groups.as_ref()))
        .with_some("providers", names(source.providers.as_ref()))
        .with_some("kinds", kinds)
        .with_some("claims", conditions(source.claims.as_ref()))
        .with_some("people", names(source.people.as_ref()))
        .with_some("agents", texts(source.agents.as_ref()))
        .with_some("not_agents", texts(source.not_agents.as_ref()))
        .with_some("not_emails", texts(source.not_emails.as_ref()))
        .with_some("not_subjects", texts(source.not_subjects.as_ref()))
        .with_some("not_groups", texts(source.not_groups.as_ref()))
        .with_some("not_providers", names(source.not_providers.as_ref()))
        .with_some("not_claims", conditions(source.not_claims.as_ref()))
        .with_some("not_people", names(source.not_people.as_ref()))
        .end()
}

fn target(target: &Target) -> Value {
    let svids = target.svids.as_ref().map(|svids| {
        let words = svids.iter().map(|kind| Value::from(kind.as_str()));
        words.collect::<Value>()
    });
    Fields::default()
        .with_some("svids", svids)
        .with_some("routes", names(target.routes.as_ref()))
        .with_some("route_groups", names(target.route_groups.as_ref()))
        .with_some("methods", target.methods.clone())
        .with_some("paths", paths(target.paths.as_ref()))
        .with_some("not_routes", names(target.not_routes.as_ref()))
        .with_some("not_route_groups", names(target.not_route_groups.as_ref()))
        .with_some("not_methods", target.not_methods.clone())
        .with_some("not_paths", paths(target.not_paths.as_ref()))
        .end()
}
