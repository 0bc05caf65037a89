//! Finding objects of a policy by a text that stands in them: as quick as comparing, so that a list of thousands can be searched for each page.

use crate::policy::kind::Kind;
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{Policy, Rule, Source, Target};

/// Whether a rule says a text somewhere, in whatever case.
pub fn rule_says(rule: &Rule, text: &str) -> bool {
    let headers = rule
        .when
        .iter()
        .flat_map(|when| [&when.headers, &when.not_headers]);
    let mut headers = headers.flatten().flatten();
    let required = rule
        .require
        .iter()
        .flat_map(|require| &require.acr)
        .flatten();
    says(&rule.name, text)
        || rule.callers().any(|from| from_says(from, text))
        || rule.to.iter().flatten().any(|to| target_says(to, text))
        || headers.any(|(name, values)| {
            says(name, text) || values.iter().any(|value| text_says(value, text))
        })
        || { required }.any(|acr| says(acr, text))
}

/// Whether an object of another kind does.
pub fn object_says(policy: &Policy, kind: Kind, index: usize, text: &str) -> bool {
    let found = match kind {
        Kind::Route => policy.routes.get(index).map(|route| {
            let addresses = route.upstream.addresses.iter();
            says(&route.name, text)
                || says(route.host.as_str(), text)
                || says(&route.prefix, text)
                || addresses.into_iter().any(|one| says(&one.host, text))
        }),
        Kind::RouteGroup => policy.route_groups.get(index).map(|group| {
            says(&group.name, text) || group.routes.iter().any(|route| says(route, text))
        }),
        Kind::People => policy
            .people
            .get(index)
            .map(|people| says(&people.name, text) || from_says(&people.from, text)),
        Kind::Mapping => policy.mappings.get(index).map(|mapping| {
            says(&mapping.name, text)
                || says(&mapping.spiffe_id, text)
                || from_says(&mapping.from, text)
        }),
        Kind::Rule => policy.rules.get(index).map(|rule| rule_says(rule, text)),
        Kind::TrustedIssuer => policy.trusted_issuers.get(index).map(|issuer| {
            let jwt = issuer.jwt();
            let roles = issuer.aws_roles().iter();
            says(&issuer.name, text)
                || says(issuer.issuer(), text)
                || jwt.is_some_and(|jwt| jwt.audiences.iter().any(|one| says(one, text)))
                || roles.map(ToString::to_string).any(|role| says(&role, text))
        }),
        Kind::ServiceAccount => policy.service_accounts.get(index).map(|account| {
            let said = account.description.as_ref();
            says(&account.name, text)
                || said.is_some_and(|said| says(said, text))
                || account.groups.iter().any(|group| says(group, text))
        }),
        Kind::RoleBinding => policy.role_bindings.get(index).map(|binding| {
            says(&binding.name, text)
                || says(binding.role.as_str(), text)
                || from_says(&binding.from, text)
        }),
        Kind::Test => policy.tests.get(index).map(|test| {
            let who = test.principal.as_ref();
            says(&test.name, text)
                || says(&test.request.to_string(), text)
                || who.is_some_and(|who| says(who.label(), text))
        }),
    };
    found.unwrap_or(false)
}

/// Whether somebody is described with these named people.
pub fn names_people(from: &[Source], name: &str) -> bool {
    let named = |source: &Source| {
        let all = source.people.iter().chain(&source.not_people);
        all.flatten().any(|known| **known == *name)
    };
    from.iter().any(named)
}

/// Whether a rule names this group of routes.
pub fn names_group(rule: &Rule, name: &str) -> bool {
    let named = |target: &Target| {
        let all = target.route_groups.iter().chain(&target.not_route_groups);
        all.flatten().any(|known| **known == *name)
    };
    rule.to.iter().flatten().any(named)
}

fn from_says(from: &[Source], text: &str) -> bool {
    from.iter().any(|source| source_says(source, text))
}

fn source_says(source: &Source, text: &str) -> bool {
    let texts = [
        &source.groups,
        &source.emails,
        &source.subjects,
        &source.agents,
        &source.not_agents,
        &source.not_groups,
        &source.not_emails,
        &source.not_subjects,
    ];
    let names = [
        &source.people,
        &source.providers,
        &source.not_people,
        &source.not_providers,
    ];
    let claims = source.claims.iter().chain(&source.not_claims).flatten();
    texts
        .into_iter()
        .flatten()
        .flatten()
        .any(|one| text_says(one, text))
        || names
            .into_iter()
            .flatten()
            .flatten()
            .any(|one| says(one, text))
        || source
            .email_domains
            .iter()
            .flatten()
            .any(|one| says(one, text))
        || claims.into_iter().any(|(name, values)| {
            says(name, text) || values.iter().any(|value| text_says(value, text))
        })
}

fn target_says(target: &Target, text: &str) -> bool {
    let names = [
        &target.routes,
        &target.route_groups,
        &target.not_routes,
        &target.not_route_groups,
    ];
    let methods = target.methods.iter().chain(&target.not_methods);
    let mut svids = target.svids.iter().flatten();
    let paths = target.paths.iter().chain(&target.not_paths);
    names
        .into_iter()
        .flatten()
        .flatten()
        .any(|one| says(one, text))
        || svids.any(|kind| says(kind.as_str(), text))
        || methods.flatten().any(|one| says(one, text))
        || paths.flatten().any(|path| match path {
            PathMatch::Text(path) => text_says(path, text),
            PathMatch::Template(_) => says(&path.to_string(), text),
        })
}

fn text_says(condition: &TextMatch, text: &str) -> bool {
    match condition {
        TextMatch::Exact(known) | TextMatch::Prefix(known) | TextMatch::Suffix(known) => {
            says(known, text)
        }
        TextMatch::Present => text == "*",
    }
}

/// Letters of ASCII in whatever case.
fn says(known: &str, text: &str) -> bool {
    let (known, text) = (known.as_bytes(), text.as_bytes());
    text.is_empty()
        || known
            .windows(text.len())
            .any(|part| part.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::yaml;

    #[test]
    fn texts_are_found_wherever_they_stand() {
        let policy = yaml::parse(
            "
rules:
  - name: staff-read
    action: allow
    from: [{ groups: ['sre-*'], claims: { department: [eng] } }, { emails: ['*@corp.example'] }]
    to: [{ methods: [GET], paths: ['/d/{*}'] }]
",
        )
        .unwrap();
        for text in ["STAFF", "sre", "eng", "Depart", "@corp", "get", "/d/", ""] {
            assert!(rule_says(&policy.rules[0], text), "{text}");
        }
        for text in ["ops", "staff-read-more", "' OR 1=1"] {
            assert!(!object_says(&policy, Kind::Rule, 0, text), "{text}");
        }
        assert!(!object_says(&policy, Kind::Rule, 9, "staff"));
    }

    #[test]
    fn approvers_and_circumstances_are_found() {
        let policy = yaml::parse(
            "
people:
  - { name: leads, from: [{ groups: [sre] }] }
rules:
  - name: lent
    action: allow
    from: [{ groups: [staff] }]
    when: { headers: { x-env: [prod] } }
    require: { acr: [mfa], approval: { from: [{ people: [leads] }], at_most: 1h } }
",
        )
        .unwrap();
        for text in ["leads", "staff", "x-env", "PROD", "mfa"] {
            assert!(rule_says(&policy.rules[0], text), "{text}");
        }
        assert!(!rule_says(&policy.rules[0], "sre"));
    }
}
