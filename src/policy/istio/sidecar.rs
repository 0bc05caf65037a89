//! Manifests for a sidecar: which assertions are believed, what is denied, what is allowed, and that nothing else is.

use crate::policy::compile::CompiledPolicy;
use crate::policy::istio::claims::Claims;
use crate::policy::istio::manifest::{
    Action as IstioAction, AuthorizationPolicy, Condition, From, JwtHeader, JwtRule, Key, Manifest,
    RequestAuthentication, Rule as IstioRule, Source, To,
};
use crate::policy::istio::operations::{Way, sorted};
use crate::policy::istio::workloads::Workload;
use crate::policy::istio::{Edge, Effect, Note, WorkloadExport, ambient, principals};
use crate::policy::model::{Action, Mode, Rule, When};

/// The header that carries the assertion.
const ASSERTION: &str = "wayleave-jwt-assertion";

/// See the module.
pub(super) fn export(
    policy: &CompiledPolicy,
    edge: &Edge,
    workload: &Workload<'_>,
) -> WorkloadExport {
    let (denied_tcp, allowed_tcp, notes) = ambient::connections(policy, workload);
    let ways: Vec<Way<'_>> = workload
        .routes
        .iter()
        .filter(|(route, _)| !route.is_tcp())
        .map(|(route, ports)| Way::new(route, ports, policy, edge))
        .collect();
    let mut writer = Writer {
        policy,
        edge,
        everybody: principals::everybody(policy),
        notes: workload.notes.iter().cloned().chain(notes).collect(),
    };
    writer.look_alikes(&ways);
    let mut denied: Vec<IstioRule> = ways
        .iter()
        .filter_map(|way| writer.other_providers(way))
        .collect();
    denied.extend(writer.rules(&ways, Action::Deny));
    denied.extend(denied_tcp);
    let mut allowed = writer.rules(&ways, Action::Allow);
    allowed.extend(allowed_tcp);

    let selector = || workload.selector();
    let authorization = |purpose, action, rules| {
        let spec = AuthorizationPolicy {
            selector: selector(),
            action,
            rules,
        };
        Manifest::authorization(workload.metadata(purpose), spec)
    };
    let mut manifests = Vec::new();
    // A connection shows no assertion.
    if !ways.is_empty() {
        manifests.push(Manifest::authentication(
            workload.metadata(""),
            RequestAuthentication {
                selector: selector(),
                jwt_rules: vec![jwt_rule(edge, &ways)],
            },
        ));
    }
    manifests.push(authorization(
        "-default-deny",
        IstioAction::Allow,
        Vec::new(),
    ));
    for (purpose, action, rules) in [
        ("-deny", IstioAction::Deny, denied),
        ("-allow", IstioAction::Allow, allowed),
    ] {
        if !rules.is_empty() {
            manifests.push(authorization(purpose, action, rules));
        }
    }
    let mut notes = writer.notes;
    notes.sort();
    notes.dedup();
    WorkloadExport {
        namespace: workload.namespace.clone(),
        service_account: workload.service_account.clone(),
        manifests,
        notes,
    }
}

/// An assertion for another application, or of somebody else, is refused wherever it stands.
fn jwt_rule(edge: &Edge, ways: &[Way<'_>]) -> JwtRule {
    let audiences = ways.iter().flat_map(|way| way.origins.clone());
    JwtRule {
        issuer: edge.issuer.clone(),
        audiences: sorted(audiences.collect()),
        jwks: edge.jwks.to_string(),
        from_headers: vec![JwtHeader {
            name: ASSERTION.to_owned(),
        }],
        forward_original_token: true,
    }
}

fn for_this(way: &Way<'_>) -> Condition {
    Condition {
        key: Key::Audiences,
        values: way.origins.clone(),
        not_values: Vec::new(),
    }
}

struct Writer<'a> {
    policy: &'a CompiledPolicy,
    edge: &'a Edge,
    everybody: Vec<String>,
    notes: Vec<Note>,
}

impl Writer<'_> {
    fn rule(&self, to: Vec<To>, when: Vec<Condition>) -> IstioRule {
        let source = Source {
            principals: self.everybody.clone(),
        };
        IstioRule {
            from: vec![From { source }],
            to,
            when,
        }
    }

    /// A route that does not take everybody's provider denies whoever signed in at another.
    fn other_providers(&self, way: &Way<'_>) -> Option<IstioRule> {
        let accepted = way.route.providers.as_ref()?;
        if self.everybody.is_empty() {
            return None;
        }
        let signed_in = Condition {
            key: Key::Issuer,
            values: vec![self.edge.issuer.clone()],
            not_values: Vec::new(),
        };
        let elsewhere = Condition {
            key: Key::Provider,
            values: Vec::new(),
            not_values: accepted.iter().map(ToString::to_string).collect(),
        };
        let mut when = vec![signed_in, for_this(way)];
        when.extend((!accepted.is_empty()).then_some(elsewhere));
        let operation = way.everything();
        Some(self.rule(vec![To { operation }], when))
    }

    /// The policy's rules of one action.
    fn rules(&mut self, ways: &[Way<'_>], action: Action) -> Vec<IstioRule> {
        // Without a mapping the edge brings nobody; an empty list would be anybody.
        if self.everybody.is_empty() {
            return Vec::new();
        }
        let rules = self.policy.policy().rules.iter().map(|rule| &**rule);
        let rules: Vec<&Rule> = rules
            .filter(|rule| rule.action == action && rule.mode == Mode::Enforce)
            .collect();
        let mut written = Vec::new();
        for rule in rules {
            for way in ways {
                written.extend(self.rule_on(way, rule));
            }
        }
        written
    }

    fn rule_on(&mut self, way: &Way<'_>, rule: &Rule) -> Vec<IstioRule> {
        let policy = self.policy.policy();
        let operations = way.of_rule(rule, &policy.route_groups);
        let about = format!("rule {} on route {}", rule.name, way.route.name);
        let mut note = |effect, why| {
            self.notes.push(Note {
                about: about.clone(),
                effect,
                why,
            });
        };
        let is_about_it = !operations.found.is_empty() || !operations.losses.is_empty();
        if let Some(why) = beyond(rule).filter(|_| is_about_it) {
            let effect = match rule.action {
                Action::Allow => Effect::RefusesMore,
                Action::Deny => Effect::LeavesToTheEdge,
            };
            note(
                effect,
                format!("Istio does not know this: {why}; so it is left out"),
            );
            return Vec::new();
        }
        for (effect, why) in operations.losses {
            note(effect, why);
        }
        if operations.found.is_empty() {
            return Vec::new();
        }
        let mut claims = Claims {
            edge: self.edge,
            people: &policy.people,
            action: rule.action,
            losses: Vec::new(),
        };
        let mut written = Vec::new();
        for source in &rule.from {
            for mut when in claims.of(source) {
                // With an assertion for another route to the same workload it is that route's rules that count.
                if when.iter().any(|condition| condition.key == Key::Issuer) {
                    when.push(for_this(way));
                }
                let to = operations.found.iter().cloned();
                let to = to.map(|operation| To { operation }).collect();
                written.push((to, when));
            }
        }
        for (effect, why) in claims.losses {
            note(effect, why);
        }
        let rule_of = |(to, when)| self.rule(to, when);
        written.into_iter().map(rule_of).collect()
    }

    /// Routes whose requests look the same once they are at the workload.
    fn look_alikes(&mut self, ways: &[Way<'_>]) {
        for (at, way) in ways.iter().enumerate() {
            for other in ways.iter().skip(at + 1) {
                let (one, two) = (way.everything(), other.everything());
                let is_stripped = way.route.strip_prefix || other.route.strip_prefix;
                let meets = |one: &[String], two: &[String]| one.iter().any(|it| two.contains(it));
                if !meets(&one.hosts, &two.hosts) || !meets(&one.ports, &two.ports) {
                    continue;
                }
                if !is_stripped && way.route.host == other.route.host {
                    continue;
                }
                for effect in [Effect::RefusesMore, Effect::LeavesToTheEdge] {
                    self.notes.push(Note {
                        about: format!("route {}", way.route.name),
                        effect,
                        why: format!(
                            "its requests look like those of route {} at the workload: what is allowed or denied on one is on the other",
                            other.route.name
                        ),
                    });
                }
            }
        }
    }
}

/// What a rule asks for that nothing at the workload knows.
pub(super) fn beyond(rule: &Rule) -> Option<String> {
    // Each by its name: a condition that were forgotten here would open more at the workload than at the edge.
    let Rule {
        name: _,
        action: _,
        mode: _,
        from: _,
        to: _,
        when,
        require,
        approval,
    } = rule;
    let nothing = When::default();
    let When {
        source_ips,
        not_source_ips,
        headers,
        not_headers,
        hours,
        until,
    } = when.as_ref().unwrap_or(&nothing);
    let by_network = source_ips.is_some() || not_source_ips.is_some();
    let by_header = headers.is_some() || not_headers.is_some();
    let asked = [
        (hours.is_some(), "hours"),
        (until.is_some(), "until"),
        (by_network, "address of the client behind the edge"),
        (by_header, "header conditions that agree with the edge's"),
        (require.is_some(), "how somebody signed in"),
        (approval.is_some(), "who was granted what"),
    ];
    let asked = asked
        .into_iter()
        .filter_map(|(is_asked, what)| is_asked.then_some(what));
    let asked: Vec<&str> = asked.collect();
    (!asked.is_empty()).then(|| asked.join(", "))
}
