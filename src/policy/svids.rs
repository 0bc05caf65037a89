//! SVIDs for the caller's own hands: whom the rules give one, and for how long.
//!
//! A certificate that somebody holds themselves leads past the edge: no route, method or path limits what it is used for, nothing of it is recorded, and it
//! cannot be taken back. So only a rule whose `to` names `svids` gives one; a rule that allows everything allows every request, and no SVID. A deny
//! rule that denies everything denies SVIDs as well.
//!
//! Rules decide about an SVID as about a request: something that is no route stands in the route's place, and the request is the one that asks for it.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::address::host::Host;
use crate::policy::compile::{CompiledPolicy, CompiledRoute};
use crate::policy::decide::{Facts, Verdict};
use crate::policy::model::{
    IdentityHeaders, Route, RouteTimeouts, Transport, Upstream, UpstreamProtocol,
};

/// A kind of SVID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SvidKind {
    /// A certificate for a key that its holder made.
    X509,
    /// A signed token for one audience.
    Jwt,
}

/// All kinds, each at its place behind the routes.
pub(super) const SVID_KINDS: [SvidKind; 2] = [SvidKind::X509, SvidKind::Jwt];

/// The method that asks for an SVID.
pub const METHOD: &str = "POST";

/// Windows of the week begin and end with a minute.
const STEP: SignedDuration = SignedDuration::from_secs(60);

/// What stands in the place of routes.
pub(super) type SvidPlaces = [Arc<CompiledRoute>; SVID_KINDS.len()];

impl SvidKind {
    /// The word of the policy file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::Jwt => "jwt",
        }
    }

    /// As specifications call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X509 => "X.509-SVID",
            Self::Jwt => "JWT-SVID",
        }
    }

    /// Where on the home host it is asked for. No route can have this path, on whatever host.
    pub const fn path(self) -> &'static str {
        match self {
            Self::X509 => "/.wayleave/api/v1/svids/x509",
            Self::Jwt => "/.wayleave/api/v1/svids/jwt",
        }
    }

    /// Its place behind so many routes.
    pub(super) const fn place(self, routes: usize) -> usize {
        match self {
            Self::X509 => routes,
            Self::Jwt => routes + 1,
        }
    }
}

impl fmt::Display for SvidKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl CompiledPolicy {
    /// What stands in the place of a route where an SVID is asked for.
    pub fn svid(&self, kind: SvidKind) -> &Arc<CompiledRoute> {
        let [x509, jwt] = &self.svids;
        match kind {
            SvidKind::X509 => x509,
            SvidKind::Jwt => jwt,
        }
    }

    /// What a request asks for: a route, or what stands in its place. For questions about requests; what is forwarded finds its [`route`](Self::route).
    pub fn asked_for(&self, host: &Host, path: &str) -> Option<&Arc<CompiledRoute>> {
        let kind = SVID_KINDS.into_iter().find(|kind| kind.path() == path);
        match kind {
            Some(kind) => Some(self.svid(kind)),
            None => self.route(host, path),
        }
    }

    /// Until when, at most `until`, the rules as they stand go on to allow what they allow now: `until` of rules, hours, grants and the age of a sign-in
    /// end it. To the second, and never too late.
    pub fn goes_on(&self, facts: &Facts<'_>, until: Timestamp) -> Timestamp {
        let allows = |now: Timestamp| {
            let verdict = self.decide(&Facts { now, ..*facts });
            matches!(verdict, Verdict::Allow { .. })
        };
        let mut allowed = facts.now;
        if !allows(allowed) || until <= allowed {
            return allowed;
        }
        // From minute to minute, so that no window that is closed for a while is jumped over.
        let into_minute = facts.now.as_second().rem_euclid(STEP.as_secs());
        let second = facts.now.as_second() - into_minute + STEP.as_secs();
        let mut next = Timestamp::from_second(second).unwrap_or(until).min(until);
        while allows(next) {
            if next == until {
                return until;
            }
            allowed = next;
            next = (next + STEP).min(until);
        }
        while next.duration_since(allowed) > SignedDuration::from_secs(1) {
            let middle = allowed + next.duration_since(allowed) / 2;
            if allows(middle) {
                allowed = middle;
            } else {
                next = middle;
            }
        }
        allowed
    }
}

/// Behind so many routes.
pub(super) fn places(routes: usize) -> SvidPlaces {
    SVID_KINDS.map(|kind| {
        Arc::new(CompiledRoute {
            route: nowhere(kind),
            index: kind.place(routes),
            svid: Some(kind),
        })
    })
}

/// A route that leads nowhere.
#[expect(clippy::expect_used, reason = "a constant that is a host name")]
fn nowhere(kind: SvidKind) -> Route {
    Route {
        name: kind.name().into(),
        // RFC 6761 §6.4: no host has such a name.
        host: Host::parse("svid.invalid").expect("this is a host name"),
        prefix: "/".to_owned(),
        strip_prefix: false,
        upstream: Upstream {
            addresses: Vec::new(),
            transport: Transport::Mtls {
                spiffe_ids: Vec::new(),
            },
            protocol: UpstreamProtocol::Auto,
        },
        providers: None,
        identity_headers: IdentityHeaders::Assertion,
        websocket_origins: Vec::new(),
        upstream_host: None,
        timeouts: RouteTimeouts::default(),
        allow_path_parameters: false,
        kubernetes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::spiffe_id::TrustDomain;
    use crate::policy::decide::Grant;
    use crate::policy::model::Revision;
    use crate::policy::trial::nobody_yet;
    use crate::policy::yaml;

    fn compiled(rules: &str) -> CompiledPolicy {
        let text = format!(
            "routes: [{{ name: x509, host: a.example, upstream: {{ addresses: ['u:1'], tls: {{ server_name: u }} }} }}]\nrules:\n{rules}"
        );
        let policy = yaml::parse(&text).unwrap();
        let trust_domain = TrustDomain::parse("td").unwrap();
        CompiledPolicy::new(policy, Revision(1), &trust_domain).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// What comes of asking for each kind of SVID, and of a request.
    fn outcomes(rules: &str) -> [bool; 3] {
        let policy = compiled(rules);
        let somebody = nobody_yet("okta", "1");
        let of = |route: &CompiledRoute, path| {
            let facts = Facts {
                principal: Some(&somebody),
                route,
                method: METHOD,
                path,
                now: at("2026-11-24T12:00:00Z"),
                peer: None,
                headers: None,
                grants: &[],
            };
            let verdict = policy.decide(&facts);
            assert_eq!(verdict, policy.explain(&facts).verdict, "{rules}");
            matches!(verdict, Verdict::Allow { .. })
        };
        let svid = |kind: SvidKind| of(policy.svid(kind), kind.path());
        [
            svid(SvidKind::X509),
            svid(SvidKind::Jwt),
            of(&policy.routes()[0], "/"),
        ]
    }

    #[test]
    fn only_a_rule_that_names_svids_gives_them() {
        let all = "{ name: all, action: allow, from: [{ signed_in: true }] }";
        let named =
            "{ name: named, action: allow, from: [{ signed_in: true }], to: [{ svids: [x509] }] }";
        let both = "{ name: both, action: allow, from: [{ signed_in: true }], to: [{ svids: [x509, jwt] }, { routes: [x509] }] }";
        let none =
            "{ name: none, action: allow, from: [{ signed_in: true }], to: [{ svids: [] }] }";
        let paths = "{ name: paths, action: allow, from: [{ signed_in: true }], to: [{ paths: ['*'] }, { methods: [POST] }, { not_routes: [] }] }";
        for (rules, expected) in [
            ("  []", [false, false, false]),
            (&*format!("  - {all}"), [false, false, true]),
            (&*format!("  - {paths}"), [false, false, true]),
            (&*format!("  - {named}"), [true, false, false]),
            (&*format!("  - {none}"), [false, false, false]),
            (&*format!("  - {both}"), [true, true, true]),
            (&*format!("  - {named}\n  - {all}"), [true, false, true]),
        ] {
            assert_eq!(outcomes(rules), expected, "{rules}");
        }
    }

    #[test]
    fn what_denies_everything_denies_svids() {
        let both = "  - { name: both, action: allow, from: [{ signed_in: true }], to: [{ svids: [x509, jwt] }, { routes: [x509] }] }";
        let deny = |to: &str| {
            format!("{both}\n  - {{ name: deny, action: deny, from: [{{ signed_in: true }}]{to} }}")
        };
        for (to, expected) in [
            ("", [false, false, false]),
            (", to: [{ svids: [jwt] }]", [true, false, true]),
            (", to: [{ routes: [x509] }]", [true, true, false]),
            (", to: [{ methods: [POST] }]", [true, true, false]),
            (", mode: shadow", [true, true, true]),
        ] {
            assert_eq!(outcomes(&deny(to)), expected, "{to}");
        }
    }

    #[test]
    fn nothing_stands_beside_svids() {
        for beside in [
            "routes: [x509]",
            "methods: [POST]",
            "paths: ['/']",
            "not_routes: []",
        ] {
            let text = format!(
                "rules: [{{ name: r, action: allow, from: [], to: [{{ svids: [x509], {beside} }}] }}]"
            );
            let faults = yaml::parse(&text).unwrap_err();
            assert!(
                faults[0].to_string().contains("nothing may stand beside"),
                "{faults:?}"
            );
        }
        let unknown =
            yaml::parse("rules: [{ name: r, action: allow, from: [], to: [{ svids: [ssh] }] }]");
        assert!(unknown.is_err());
    }

    #[test]
    fn an_svid_lasts_as_long_as_the_rules_go_on() {
        let rule = |name: &str, more: &str| {
            format!(
                "  - {{ name: {name}, action: allow, from: [{{ signed_in: true }}], to: [{{ svids: [x509] }}], {more} }}\n"
            )
        };
        let now = "2026-11-24T12:00:20Z";
        let far = "2026-11-24T13:00:20Z";
        let until = |moment: &str| rule("until", &format!("when: {{ until: '{moment}' }}"));
        let hours = rule("hours", "when: { hours: 'Mon-Fri 08:00-12:30 UTC' }");
        let reopened = rule(
            "hours",
            "when: { hours: ['Mon-Fri 08:00-12:30 UTC', 'Mon-Fri 12:31-19:00 UTC'] }",
        );
        let granted = rule(
            "granted",
            "require: { approval: { from: [{ groups: [x] }], at_most: 1h } }",
        );
        let recent = rule("recent", "require: { max_age: 30m }");
        let denied = "  - { name: denied, action: deny, from: [{ signed_in: true }], when: { hours: 'Tue 12:10-12:11 UTC' } }\n";
        for (rules, expected) in [
            (rule("plain", "mode: enforce"), far),
            (String::new(), now),
            (until("2026-11-24T12:20:33Z"), "2026-11-24T12:20:32Z"),
            (until("2026-11-24T12:00:30Z"), "2026-11-24T12:00:29Z"),
            (hours.clone(), "2026-11-24T12:29:59Z"),
            (reopened, "2026-11-24T12:29:59Z"),
            (
                format!("{hours}{}", until("2026-11-24T12:45:00Z")),
                "2026-11-24T12:44:59Z",
            ),
            (granted, "2026-11-24T12:07:06Z"),
            (recent, "2026-11-24T12:15:00Z"),
            (
                format!("{}{denied}", rule("plain", "mode: enforce")),
                "2026-11-24T12:09:59Z",
            ),
        ] {
            let rules = if rules.is_empty() {
                "  []".to_owned()
            } else {
                rules
            };
            let policy = compiled(&rules);
            let somebody = crate::identity::principal::Principal {
                auth_time: Some(at("2026-11-24T11:45:00Z").as_second()),
                ..nobody_yet("okta", "1")
            };
            let grants = [Grant {
                rule: "granted".into(),
                until: at("2026-11-24T12:07:07Z"),
            }];
            let facts = Facts {
                principal: Some(&somebody),
                route: policy.svid(SvidKind::X509),
                method: METHOD,
                path: SvidKind::X509.path(),
                now: at(now),
                peer: None,
                headers: None,
                grants: &grants,
            };
            let found = policy.goes_on(&facts, at(far));
            let (found, wanted) = (found.as_second(), at(expected).as_second());
            assert!(
                (wanted..=wanted + 1).contains(&found),
                "{rules}: {found} for {wanted}"
            );
            assert!(
                found == wanted
                    || policy.goes_on(&facts, at(far)).as_millisecond() < (wanted + 1) * 1000 + 1,
                "{rules}"
            );
        }
    }
}
