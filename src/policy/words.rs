//! Policy in plain words, for people who do not read the file: who, to what, under which circumstances.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::principal::{PrincipalKind, Requirement};
use crate::policy::accounts::ServiceAccount;
use crate::policy::machines::{Evidence, TrustedIssuer};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, Approval, Mode, Route, Rule, Source, Target, Transport, When};

/// A rule in plain words. Items of a list are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// What it does: `Allows` or `Refuses`.
    pub does: &'static str,
    /// Whom.
    pub who: Vec<String>,
    /// What.
    pub what: Vec<String>,
    /// Under which circumstances; all of them.
    pub when: Vec<String>,
    /// How they must have signed in.
    pub require: Option<String>,
    /// Who has to approve, and for how long at most.
    pub approval: Option<String>,
    /// It counts.
    pub is_enforced: bool,
}

/// Says a rule.
pub fn rule(rule: &Rule) -> Words {
    Words {
        does: match rule.action {
            Action::Allow => "Allows",
            Action::Deny => "Refuses",
        },
        who: from(&rule.from),
        what: match &rule.to {
            None => vec!["everything".to_owned()],
            Some(to) if to.is_empty() => vec!["nothing".to_owned()],
            Some(to) => to.iter().map(target).collect(),
        },
        when: rule.when.as_ref().map(when).unwrap_or_default(),
        require: rule.require.as_ref().map(requirement),
        approval: rule.approval.as_ref().map(approval),
        is_enforced: rule.mode == Mode::Enforce,
    }
}

/// Says who is meant.
pub fn from(from: &[Source]) -> Vec<String> {
    match from {
        [] => vec!["nobody".to_owned()],
        from => from.iter().map(source).collect(),
    }
}

/// `a, b or c`.
fn or<T: Display>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    match texts.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// Parts of a description, in order.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn list<T: Display>(&mut self, lead: &str, values: &Option<Vec<T>>) {
        if let Some(values) = values {
            self.0.push(format!("{lead} {}", or(values)));
        }
    }

    fn pairs(
        &mut self,
        lead: &str,
        between: &str,
        pairs: &Option<BTreeMap<Arc<str>, Vec<TextMatch>>>,
    ) {
        for (name, values) in pairs.iter().flatten() {
            self.0
                .push(format!("{lead} {name} {between} {}", or(values)));
        }
    }

    fn or_else(self, otherwise: &str) -> String {
        if self.0.is_empty() {
            otherwise.to_owned()
        } else {
            self.0.join(", ")
        }
    }
}

fn source(source: &Source) -> String {
    if source.anyone {
        return "anyone, signed in or not".to_owned();
    }
    let mut said = Said::default();
    said.list("group", &source.groups);
    said.list("people of", &source.people);
    said.list("e-mail", &source.emails);
    said.list("e-mail at", &source.email_domains);
    said.list("subject", &source.subjects);
    said.list("signed in at", &source.providers);
    said.list("through the agent", &source.agents);
    said.list("but not the agent", &source.not_agents);
    said.list("kind", &source.kinds.as_ref().map(|kinds| words(kinds)));
    said.pairs("claim", "is", &source.claims);
    said.list("not in group", &source.not_groups);
    said.list("not people of", &source.not_people);
    said.list("not e-mail", &source.not_emails);
    said.list("not subject", &source.not_subjects);
    said.list("not signed in at", &source.not_providers);
    said.pairs("claim", "is not", &source.not_claims);
    said.or_else("everyone who is signed in")
}

fn words(kinds: &[PrincipalKind]) -> Vec<&'static str> {
    let word = |kind: &PrincipalKind| match kind {
        PrincipalKind::User => "person",
        PrincipalKind::Workload => "program",
    };
    kinds.iter().map(word).collect()
}

fn target(target: &Target) -> String {
    let mut said = Said::default();
    if let Some(svids) = &target.svids {
        return match svids.as_slice() {
            [] => "nothing".to_owned(),
            svids => format!("{} in the caller's own hands", or(svids)),
        };
    }
    match (&target.routes, &target.route_groups) {
        (None, None) => said.0.push("any route".to_owned()),
        (routes, groups) => {
            let routes = routes.iter().flatten().map(ToString::to_string);
            let groups = groups.iter().flatten();
            let all: Vec<String> = routes
                .chain(groups.map(|group| format!("a route of {group}")))
                .collect();
            said.0.push(or(&all));
        }
    }
    said.list("with", &target.methods);
    said.list("below", &target.paths);
    said.list("not", &target.not_routes);
    said.list("not a route of", &target.not_route_groups);
    said.list("not with", &target.not_methods);
    said.list("not below", &target.not_paths);
    said.or_else("everything")
}

fn when(when: &When) -> Vec<String> {
    let mut said = Said::default();
    said.list("from the network", &when.source_ips);
    said.list("not from the network", &when.not_source_ips);
    said.pairs("header", "is", &when.headers);
    said.pairs("header", "is not", &when.not_headers);
    said.list("in the hours", &when.hours);
    if let Some(until) = when.until {
        said.0.push(format!("until {until}"));
    }
    said.0
}

/// Says how somebody has to have signed in.
pub fn requirement(requirement: &Requirement) -> String {
    let mut said = Said::default();
    said.list("by a sign-in of the class", &requirement.acr);
    if let Some(age) = requirement.max_age {
        let age = humantime::format_duration(Duration::from_secs(u64::from(age)));
        said.0.push(format!("signed in at most {age} ago"));
    }
    said.or_else("in any way")
}

/// Says who approves.
pub fn approvers(approval: &Approval) -> String {
    or(&from(&approval.from))
}

fn approval(approval: &Approval) -> String {
    let who = approvers(approval);
    let at_most = humantime::format_duration(approval.at_most);
    let glass = match approval.break_glass {
        true => "; whoever breaks the glass does not wait for that",
        false => "",
    };
    format!("of {who}, for at most {at_most}{glass}")
}

/// Says whom a trusted issuer is: by what it calls itself, or that it is AWS.
pub fn issuer(issuer: &TrustedIssuer) -> String {
    match &issuer.evidence {
        Evidence::Jwt(_) | Evidence::X509(_) => issuer.issuer().to_owned(),
        Evidence::AwsRoles(_) => "AWS, by STS".to_owned(),
    }
}

/// Says what of an issuer counts: whose tokens, or which roles.
pub fn tokens(issuer: &TrustedIssuer) -> Vec<String> {
    let mut said = Said::default();
    match &issuer.evidence {
        Evidence::Jwt(jwt) => {
            said.list("for", &Some(jwt.audiences.clone()));
            said.pairs("claim", "is", &jwt.required_claims);
            said.pairs("claim", "is not", &jwt.not_claims);
        }
        Evidence::AwsRoles(roles) => said.0.push(format!("the role {}", or(roles))),
        Evidence::X509(trust) => {
            let whose = trust.spiffe_ids.as_ref();
            let whose = whose.map_or_else(|| "any of its workloads".to_owned(), |ids| or(ids));
            said.0.push(format!("certificates of {whose}"));
        }
    }
    if let Some(at_most) = issuer.at_most {
        let at_most = humantime::format_duration(at_most);
        said.0.push(format!("issued at most {at_most} ago"));
    }
    said.0
}

/// Says what a service account is, and until when.
pub fn account(account: &ServiceAccount) -> Vec<String> {
    let mut said: Vec<String> = account.description.iter().cloned().collect();
    if !account.groups.is_empty() {
        said.push(format!("in the groups {}", account.groups.join(", ")));
    }
    if let Some(until) = account.until {
        said.push(format!("until {until}"));
    }
    if said.is_empty() {
        said.push("a program in no group".to_owned());
    }
    said
}

/// Says where a route leads, and what has to be proven there.
pub fn upstream(route: &Route) -> String {
    let addresses = route.upstream.addresses.iter();
    let addresses: Vec<String> = addresses
        .map(|address| match address.host.contains(':') {
            true => format!("[{}]:{}", address.host, address.port),
            false => format!("{}:{}", address.host, address.port),
        })
        .collect();
    let proof = match &route.upstream.transport {
        Transport::Mtls { spiffe_ids } => format!("which proves to be {}", or(spiffe_ids)),
        Transport::Tls { server_name, .. } => {
            format!("which proves over TLS to be {server_name}, outside the mesh")
        }
    };
    format!("{}, {proof}", or(&addresses))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::yaml;

    #[test]
    fn rules_are_said_in_plain_words() {
        let text = "
people: [{ name: chiefs, from: [{ groups: [c] }] }]
rules:
  - name: a
    action: allow
    from: [{ groups: [sre, 'sre-*'], not_people: [chiefs], kinds: [user] }, { claims: { department: [eng] } }]
    to: [{ methods: [GET, POST], paths: ['/d/{*}'] }]
    when: { source_ips: [10.0.0.0/8], hours: 'Mon-Fri 08:00-19:00 Europe/Berlin', headers: { x-env: [prod] } }
    require: { acr: mfa, max_age: 8h }
  - { name: b, action: deny, mode: shadow, from: [{ anyone: true }] }
  - { name: c, action: deny, from: [], to: [] }
  - { name: d, action: deny, from: [{ signed_in: true }] }
";
        let rules = yaml::parse(text).unwrap().rules;
        let a = rule(&rules[0]);
        let who = [
            "group sre or sre-*, kind person, not people of chiefs",
            "claim department is eng",
        ];
        assert_eq!((a.does, a.is_enforced), ("Allows", true));
        assert_eq!(a.who, who);
        assert_eq!(a.what, ["any route, with GET or POST, below /d/{*}"]);
        let when = [
            "from the network 10.0.0.0/8",
            "header x-env is prod",
            "in the hours Mon-Fri 08:00-19:00 Europe/Berlin",
        ];
        assert_eq!(a.when, when);
        let require = "by a sign-in of the class mfa, signed in at most 8h ago";
        assert_eq!(a.require.as_deref(), Some(require));
        let b = rule(&rules[1]);
        assert_eq!((b.does, b.is_enforced), ("Refuses", false));
        assert_eq!(b.who, ["anyone, signed in or not"]);
        assert_eq!(b.what, ["everything"]);
        assert_eq!(rule(&rules[2]).who, ["nobody"]);
        assert_eq!(rule(&rules[2]).what, ["nothing"]);
        assert_eq!(rule(&rules[3]).who, ["everyone who is signed in"]);
    }
}
