use super::*;
use crate::policy::check::{Known, unknown_names};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, Mode};

mod trials;

use trials::{APPROVED, TRIED};

const WHOLE: &str = r#"
routes:
  - name: grafana
    host: Grafana.corp.example
    upstream:
      addresses: ["10.0.0.1:15443", { address: "[fd00::1]:15443", weight: 3 }]
      mtls: { spiffe_ids: ["spiffe://corp.example/ns/obs/sa/grafana"] }
  - name: wiki
    host: tools.corp.example
    prefix: /wiki
    strip_prefix: true
    upstream:
      addresses: [wiki.corp.example:443]
      tls: { server_name: wiki.corp.example, ca_file: /etc/ca.pem }
      protocol: http1
    providers: [okta]
    identity_headers: x-forwarded
    websocket_origins: ["https://Other.corp.example:443"]
    upstream_host: wiki.internal:8080
    timeouts: { response_head: 30s, idle: 5m }
    allow_path_parameters: true
mappings:
  - name: people
    from: [{ signed_in: true }]
    spiffe_id: spiffe://{trust_domain}/ns/people/sa/{user}
rules:
  - name: sre-may-write
    action: allow
    from: [{ groups: [sre, "sre-*"], providers: [okta] }]
    to: [{ routes: [grafana], methods: [GET, POST], paths: ["/d/{*}", "/api/*"] }]
  - name: no-contractors
    action: deny
    from: [{ emails: ["*@contractor.example", "Mallory@corp.example"] }]
"#;

/// (line, key) of each fault.
fn faults(text: &str) -> Vec<(u64, String)> {
    match parse(text) {
        Ok(policy) => panic!("read {policy:?}"),
        Err(faults) => faults
            .into_iter()
            .map(|fault| (fault.line, fault.key))
            .collect(),
    }
}

/// A document with one rule that has this `from` and `to`.
fn rule(rest: &str) -> String {
    format!("rules:\n  - name: r\n    action: allow\n    {rest}\n")
}

#[test]
fn a_whole_policy_is_read() {
    let policy = parse(WHOLE).unwrap();
    assert_eq!(policy.routes.len(), 2);
    assert_eq!(policy.routes[0].host.as_str(), "grafana.corp.example");
    assert_eq!(policy.routes[0].prefix, "/");
    assert_eq!(policy.routes[0].upstream.addresses[1].host, "fd00::1");
    assert_eq!(policy.routes[0].upstream.addresses[1].weight, 3);
    assert_eq!(
        policy.routes[1].websocket_origins,
        ["https://other.corp.example"]
    );
    assert_eq!(policy.rules[1].action, Action::Deny);
    assert_eq!(policy.rules[1].to, None);
    let emails = policy.rules[1].from[0].emails.as_ref().unwrap();
    assert_eq!(
        emails[1],
        TextMatch::Exact("mallory@corp.example".to_owned())
    );
}

#[test]
fn all_faults_come_at_once_with_their_places() {
    let text = "\
routes:
  - name: a
    host: a_b/c
    upstream: { addresses: ['x'], mtls: { spiffe_ids: [] } }
    colour: blue
rules:
  - name: r
    action: perhaps
    from: [{ anyone: true, groups: [a*b] }]
    to: [{ paths: ['/../x'], methods: [get] }]
  - action: allow
";
    let found = faults(text);
    for expected in [
        (3, "routes[0].host"),
        (4, "routes[0].upstream.addresses[0]"),
        (4, "routes[0].upstream.mtls.spiffe_ids"),
        (5, "routes[0].colour"),
        (8, "rules[0].action"),
        (9, "rules[0].from[0]"),
        (9, "rules[0].from[0].groups[0]"),
        (10, "rules[0].to[0].paths[0]"),
        (10, "rules[0].to[0].methods[0]"),
        (11, "rules[1]"),
    ] {
        assert!(
            found.contains(&(expected.0, expected.1.to_owned())),
            "{expected:?} in {found:?}"
        );
    }
}

#[test]
fn faults_between_parts_have_places_too() {
    let text = format!(
        "{WHOLE}  - name: no-contractors\n    action: deny\n    from: []\n    to: [{{ routes: [nowhere] }}]\n"
    );
    let lines = u64::try_from(text.lines().count()).unwrap();
    assert_eq!(
        faults(&text),
        [
            (lines - 3, "rules[2].name".to_owned()),
            (lines, "rules[2].to[0].routes[0]".to_owned())
        ]
    );
    let twice = WHOLE.replace(
        "tools.corp.example\n    prefix: /wiki\n    strip_prefix: true",
        "GRAFANA.corp.example",
    );
    assert_eq!(faults(&twice), [(9, "routes[1].host".to_owned())]);
}

#[test]
fn unclear_documents_are_refused() {
    let documents = [
        "",
        "---\n",
        "[]",
        "rules: null",
        "rules: {}",
        "rules:\nrules:\n",
        "rules: []\n---\nrules: []\n",
        "rules: []\nrules: []",
        "rulez: []",
        "1: []",
        "rules: &a []\nroutes: *a",
        "<<: { rules: [] }",
        "rules: !secret []",
        "rules: [",
        "rules: [\u{0}]",
    ];
    for text in documents {
        assert!(parse(text).is_err(), "{text:?}");
    }
    assert_eq!(
        parse("{}").unwrap(),
        crate::policy::model::Policy::default()
    );
}

#[test]
fn unclear_rules_are_refused() {
    for rest in [
        "to: []",
        "from:",
        "from: nobody",
        "from: [x]",
        "from: [{}]",
        "from: [{ anyone: false }]",
        "from: [{ signed_in: false }]",
        "from: [{ anyone: true, signed_in: true }]",
        "from: [{ anyone: yes }]",
        "from: [{ groups: sre }]",
        "from: [{ groups: [1] }]",
        "from: [{ groups: [true] }]",
        "from: [{ groups: [''] }]",
        "from: [{ groups: [~] }]",
        "from: [{ groups: }]",
        "from: [{ groups: [a], groups: [b] }]",
        "from: [{ kinds: [robot] }]",
        "from: [{ anyone: true, agents: ['*'] }]",
        "from: [{ not_agents: [loopback] }]",
        "from: [{ agents: ['a*b'] }]",
        "from: [{ agents: loopback }]",
        "from: [{ signed_in: true }]\n    require: { approval: { from: [{ agents: ['*'] }], at_most: 1h } }",
        "from: [{ Groups: [a] }]",
        "from: [{ email_domains: ['@corp.com'] }]",
        "from: [{ email_domains: ['*.corp.com'] }]",
        "from: []\n    to: [{}]",
        "from: []\n    to: [{ methods: [GET, 'get'] }]",
        "from: []\n    to: [{ methods: ['*'] }]",
        "from: []\n    to: [{ paths: ['/a/{x}'] }]",
        "from: []\n    to: [{ paths: ['/a?b'] }]",
        "from: []\n    when: {}",
    ] {
        assert!(parse(&rule(rest)).is_err(), "{rest}");
    }
    for rest in [
        "from: []",
        "from: []\n    to: []",
        "from: [{ groups: [] }]",
        "from: [{ anyone: true }]",
        "from: [{ agents: ['https://*', loopback], not_agents: ['https://other.example'] }]",
    ] {
        assert!(parse(&rule(rest)).is_ok(), "{rest}");
    }
}

#[test]
fn f1_e_mail_conditions_give_the_whole_domain() {
    for email in [
        "*corp.com",
        "*.corp.com",
        "alice*",
        "alice@corp.com*",
        "*@",
        "a@b@corp.com",
        "alice",
    ] {
        assert!(
            parse(&rule(&format!("from: [{{ emails: ['{email}'] }}]"))).is_err(),
            "{email}"
        );
    }
    for email in ["*@corp.com", "Alice@Corp.com", "*"] {
        assert!(
            parse(&rule(&format!("from: [{{ emails: ['{email}'] }}]"))).is_ok(),
            "{email}"
        );
    }
}

#[test]
fn upstream_addresses_have_one_reading() {
    let with = |address: &str| {
        parse(&format!(
            "routes: [{{ name: a, host: a.example, upstream: {{ addresses: ['{address}'], tls: {{ server_name: a.example }} }} }}]"
        ))
    };
    for bad in [
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "a:080",
        "a:+1",
        "fd00::1:80",
        "[fd00::1]",
        "[a]:1",
        "0x7f.1:80",
        "127.1:80",
        "1.2.3.4.5:80",
        "a b:80",
        "u@a:80",
        "a/b:80",
        "http://a:80",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
    for good in ["a:1", "A.b-c:65535", "10.0.0.1:80", "[::1]:80"] {
        assert!(with(good).is_ok(), "{good}");
    }
}

#[test]
fn documents_of_many_rules_are_read() {
    let rule = |n: usize| {
        format!(
            "  - {{ name: r{n}, action: allow, from: [{{ groups: [a, b, c, d, e] }}], to: [{{ methods: [GET] }}] }}\n"
        )
    };
    let rules: String = (0..13_000).map(rule).collect();
    let policy = parse(&format!("rules:\n{rules}")).unwrap();
    assert_eq!(policy.rules.len(), 13_000);
}

#[test]
fn j5_documents_are_bounded() {
    let deep = format!("rules: {}{}", "[".repeat(5000), "]".repeat(5000));
    let large = format!("rules: []\n# {}", "x".repeat(LARGEST_DOCUMENT));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
    let faulty = format!("rules: [{}]", "1,".repeat(100_000));
    for text in [&deep, &large, bomb] {
        assert_eq!(parse(text).unwrap_err().len(), 1);
    }
    assert!(parse(&faulty).unwrap_err().len() <= 200);
}

#[test]
fn bounds_are_told_in_words() {
    let deep: String = (0..40).map(|depth| " ".repeat(depth) + "a:\n").collect();
    for (text, words) in [
        ("rules: &a []\nroutes: *a", "anchors and aliases"),
        ("rules: []\n---\nrules: []", "a second document"),
        (&deep, "nested more deeply"),
    ] {
        let faults = parse(text).unwrap_err();
        assert!(faults[0].message.contains(words), "{faults:?}");
    }
}

#[test]
fn syntax_faults_tell_their_line() {
    let found = parse("rules:\n  - name: a\n   action: b\n").unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].line, 3, "{found:?}");
}

#[test]
fn providers_are_checked_against_those_configured() {
    let policy = parse(WHOLE).unwrap();
    assert!(unknown_names(&policy, &providers(&["okta"])).is_empty());
    let keys: Vec<String> = unknown_names(&policy, &providers(&["entra"]))
        .into_iter()
        .map(|fault| fault.key)
        .collect();
    assert_eq!(
        keys,
        ["routes[1].providers[0]", "rules[0].from[0].providers[0]"]
    );
}

#[test]
fn json_of_a_policy_reads_as_the_same_policy() {
    let policy = parse(WHOLE).unwrap();
    let json = crate::policy::json::to_json(&policy);
    assert_eq!(crate::policy::json::from_json(json).unwrap(), policy);
}

#[test]
fn the_example_in_the_documentation_is_read() {
    let example: String = include_str!("../yaml.rs")
        .lines()
        .skip_while(|line| *line != "//! ```yaml")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| {
            format!(
                "{}\n",
                line.trim_start_matches("//!")
                    .strip_prefix(' ')
                    .unwrap_or("")
            )
        })
        .collect();
    assert_eq!(parse(&example).unwrap().rules.len(), 1);
}

const CIRCUMSTANCES: &str = r#"
routes:
  - { name: a, host: a.example, upstream: { addresses: ['u:1'], tls: { server_name: u } } }
route_groups: [{ name: all, routes: [a] }]
people: [{ name: admins, from: [{ groups: [sre] }] }]
rules:
  - name: r
    action: allow
    mode: shadow
    from: [{ people: [admins], claims: { department: [eng, "e*"] }, not_claims: { "https://x/y": ["*"] } }]
    to: [{ route_groups: [all] }]
    when:
      source_ips: [10.0.0.0/8, 192.0.2.1, "fd00::/8"]
      headers: { X-Env: [prod] }
      hours: Mon-Fri 08:00-19:00 Europe/Berlin
      until: 2027-01-31
    require: { acr: mfa, max_age: 8h }
"#;

#[test]
fn circumstances_are_read() {
    let policy = parse(CIRCUMSTANCES).unwrap();
    let rule = &policy.rules[0];
    let when = rule.when.as_ref().unwrap();
    assert_eq!(rule.mode, Mode::Shadow);
    assert_eq!(when.until.unwrap().to_string(), "2027-02-01T00:00:00Z");
    assert!(when.headers.as_ref().unwrap().contains_key("x-env"));
    assert_eq!(
        when.source_ips.as_ref().unwrap()[1].to_string(),
        "192.0.2.1/32"
    );
    let require = rule.require.as_ref().unwrap();
    assert_eq!(require.max_age, Some(8 * 60 * 60));
    assert_eq!(require.acr.as_deref(), Some(&["mfa".into()][..]));
    let json = crate::policy::json::to_json(&policy);
    assert_eq!(crate::policy::json::from_json(json), Ok(policy));
}

#[test]
fn j4_circumstances_that_cannot_be_read_refuse_the_document() {
    let whole = CIRCUMSTANCES;
    for (good, bad, key) in [
        ("10.0.0.0/8", "10.0.0.1/8", "rules[0].when.source_ips[0]"),
        ("10.0.0.0/8", "10.0.0.0/33", "rules[0].when.source_ips[0]"),
        (
            "10.0.0.0/8",
            "'::ffff:10.0.0.0/104'",
            "rules[0].when.source_ips[0]",
        ),
        ("10.0.0.0/8", "example.com", "rules[0].when.source_ips[0]"),
        ("X-Env:", "Cookie:", "rules[0].when.headers.Cookie"),
        ("X-Env:", "x_env:", "rules[0].when.headers.x_env"),
        (
            "X-Env:",
            "X-Forwarded-For:",
            "rules[0].when.headers.X-Forwarded-For",
        ),
        (
            "{ X-Env: [prod] }",
            "{ X-Env: [a], x-env: [b] }",
            "rules[0].when.headers.x-env",
        ),
        ("{ X-Env: [prod] }", "{}", "rules[0].when.headers"),
        ("[prod]", "['p*d']", "rules[0].when.headers.X-Env[0]"),
        ("Europe/Berlin", "Europe/Bonn", "rules[0].when.hours"),
        ("2027-01-31", "2027-02-30", "rules[0].when.until"),
        ("2027-01-31", "'2027-01-31 10:00'", "rules[0].when.until"),
        ("2027-01-31", "tomorrow", "rules[0].when.until"),
        ("acr: mfa", "acr: 'm fa'", "rules[0].require.acr"),
        ("acr: mfa", "acr: 'm\"fa'", "rules[0].require.acr"),
        ("max_age: 8h", "max_age: 10s", "rules[0].require.max_age"),
        ("{ acr: mfa, max_age: 8h }", "{}", "rules[0].require"),
        ("mode: shadow", "mode: dark", "rules[0].mode"),
        ("action: allow", "action: deny", "rules[0].require"),
        (
            "people: [admins], ",
            "people: [other], ",
            "rules[0].from[0].people[0]",
        ),
        (
            "route_groups: [all] }",
            "route_groups: [none] }",
            "rules[0].to[0].route_groups[0]",
        ),
        (
            "routes: [a] }",
            "routes: [b] }",
            "route_groups[0].routes[0]",
        ),
        (
            "from: [{ groups: [sre] }]",
            "from: [{ anyone: true }]",
            "people[0].from[0]",
        ),
        (
            "from: [{ groups: [sre] }]",
            "from: [{ people: [admins] }]",
            "people[0].from[0]",
        ),
        (
            "from: [{ groups: [sre] }]",
            "from: [{ agents: [loopback] }]",
            "people[0].from[0]",
        ),
    ] {
        assert!(whole.contains(good), "{good}");
        let found = faults(&whole.replacen(good, bad, 1));
        let keys: Vec<&str> = found.iter().map(|(_, key)| key.as_str()).collect();
        assert_eq!(keys, [key], "{good} -> {bad}");
        assert!(found[0].0 > 1, "{bad} has no line");
    }
}

#[test]
fn j4_approvals_that_cannot_be_read_refuse_the_document() {
    let approval = "rules[0].require.approval";
    for (good, bad, key) in [
        ("at_most: 4h", "at_most: 59s", "at_most"),
        ("at_most: 4h", "at_most: 31days", "at_most"),
        ("at_most: 4h", "at_most: 1h 1ms", "at_most"),
        ("at_most: 4h, ", "", ""),
        (
            "from: [{ people: [leads] }, ",
            "from: [{ anyone: true }, ",
            "from[0]",
        ),
        (
            "people: [leads] }, ",
            "people: [x] }, ",
            "from[0].people[0]",
        ),
        (
            "people: [leads] }, ",
            "people: [leads], zz: [x] }, ",
            "from[0].zz",
        ),
        ("break_glass: true", "break_glass: maybe", "break_glass"),
        ("break_glass: true", "reason: true", "reason"),
    ] {
        assert!(APPROVED.contains(good), "{good}");
        let found = faults(&APPROVED.replacen(good, bad, 1));
        let whole = format!("{approval}.{key}");
        let keys: Vec<&str> = found.iter().map(|(_, key)| key.as_str()).collect();
        assert_eq!(
            keys[0],
            whole.trim_end_matches('.'),
            "{good} -> {bad}: {keys:?}"
        );
    }
    for (good, bad, key) in [
        ("action: allow\n", "action: deny\n", "rules[0].require"),
        (
            "from: [{ groups: [sre] }]",
            "from: [{ anyone: true }]",
            "rules[0].require",
        ),
        ("granted: [r], ", "granted: [q], ", "tests[2].granted[0]"),
    ] {
        let found = faults(&APPROVED.replacen(good, bad, 1));
        assert_eq!(found[0].1, key, "{good} -> {bad}");
    }
}

fn providers(names: &[&str]) -> Known {
    Known {
        providers: { names.iter() }
            .map(|name| ((*name).to_owned(), format!("https://{name}.example")))
            .collect(),
        ..Known::default()
    }
}

#[test]
fn no_route_is_where_the_edge_itself_is_and_no_mapping_what_nobody_signs() {
    let policy = parse(TRIED).unwrap();
    let keys = |home: &str, namespaces: &[&str]| -> Vec<String> {
        let known = Known {
            home_host: Some(crate::address::host::Host::parse(home).unwrap()),
            namespaces: Some(namespaces.iter().map(|name| (*name).to_owned()).collect()),
            claims: vec!["team".to_owned()],
            ..providers(&["okta"])
        };
        let faults = unknown_names(&policy, &known);
        faults.into_iter().map(|fault| fault.key).collect()
    };
    assert!(keys("access.example", &["people", "teams"]).is_empty());
    assert_eq!(
        keys("a.example", &["teams"]),
        ["routes[0].host", "routes[1].host"]
    );
    assert_eq!(
        keys("access.example", &["people"]),
        ["mappings[0].spiffe_id"]
    );
}

#[test]
fn l5_a_small_document_cannot_come_to_very_much() {
    let document = |people: usize, rules: usize| {
        let mut text = "people:\n  - name: all\n    from:\n".to_owned();
        for one in 0..people {
            text.push_str(&format!("      - {{ emails: [p{one}@x.example] }}\n"));
        }
        text.push_str("rules:\n");
        for rule in 0..rules {
            text.push_str(&format!(
                "  - {{ name: r{rule}, action: allow, from: [{{ people: [all] }}] }}\n"
            ));
        }
        text
    };
    assert!(parse(&document(100, 1000)).is_ok());
    let refused = parse(&document(2000, 1000)).unwrap_err();
    assert_eq!((refused.len(), refused[0].key.as_str()), (1, "rules"));
    assert!(refused[0].message.contains("conditions"), "{}", refused[0]);
}

#[test]
fn j4_a_claim_that_nobody_keeps_is_refused() {
    let policy = parse(CIRCUMSTANCES).unwrap();
    let keys = |claims: &[&str]| -> Vec<String> {
        let known = Known {
            claims: claims.iter().map(|name| (*name).to_owned()).collect(),
            ..Known::default()
        };
        let faults = unknown_names(&policy, &known);
        faults.into_iter().map(|fault| fault.key).collect()
    };
    assert!(keys(&["department", "https://x/y"]).is_empty());
    assert_eq!(keys(&["department"]), ["rules[0].from[0].not_claims"]);
    assert_eq!(keys(&["https://x/y"]), ["rules[0].from[0].claims"]);
}

#[test]
fn the_examples_of_the_reference_hold() {
    let reference = include_str!("../../../docs/policy.md");
    let blocks: Vec<&str> = reference
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let [rules, tests] = blocks.as_slice() else {
        panic!("the reference has other examples than these");
    };
    let before = r#"
routes:
  - { name: grafana, host: a.example, upstream: { addresses: ['u:1'], tls: { server_name: u } } }
people:
  - { name: admins, from: [{ groups: [sre-leads] }] }
mappings:
  - { name: m, from: [{ groups: [sre] }], spiffe_id: "spiffe://{trust_domain}/ns/teams/sa/sre" }
"#;
    let policy = parse(&format!("{before}{rules}{tests}")).unwrap();
    let own = crate::identity::spiffe_id::TrustDomain::parse("td").unwrap();
    let revision = crate::policy::model::Revision(1);
    let compiled = crate::policy::compile::CompiledPolicy::new(policy, revision, &own);
    assert_eq!(compiled.unwrap().try_out(&Known::default()), []);
}

#[test]
fn the_published_schema_has_the_keys_that_are_read() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let at = |pointer: &str| schema.pointer(pointer).unwrap();
    for (document, pointer) in [
        ("zz: 1", ""),
        ("routes: [{ zz: 1 }]", "/$defs/route"),
        ("routes: [{ upstream: { zz: 1 } }]", "/$defs/upstream"),
        (
            "routes: [{ upstream: { addresses: [{ zz: 1 }] } }]",
            "/$defs/address/oneOf/1",
        ),
        (
            "routes: [{ upstream: { mtls: { zz: 1 } } }]",
            "/$defs/upstream/properties/mtls",
        ),
        (
            "routes: [{ upstream: { tls: { zz: 1 } } }]",
            "/$defs/upstream/properties/tls",
        ),
        (
            "routes: [{ timeouts: { zz: 1 } }]",
            "/$defs/route/properties/timeouts",
        ),
        ("route_groups: [{ zz: 1 }]", "/$defs/route_group"),
        ("people: [{ zz: 1 }]", "/$defs/people"),
        ("mappings: [{ zz: 1 }]", "/$defs/mapping"),
        ("trusted_issuers: [{ zz: 1 }]", "/$defs/trusted_issuer"),
        ("service_accounts: [{ zz: 1 }]", "/$defs/service_account"),
        ("role_bindings: [{ zz: 1 }]", "/$defs/role_binding"),
        ("rules: [{ zz: 1 }]", "/$defs/rule"),
        ("rules: [{ from: [{ zz: 1 }] }]", "/$defs/source"),
        ("rules: [{ to: [{ zz: 1 }] }]", "/$defs/target"),
        ("rules: [{ when: { zz: 1 } }]", "/$defs/when"),
        ("rules: [{ require: { zz: 1 } }]", "/$defs/require"),
        (
            "rules: [{ require: { approval: { zz: 1 } } }]",
            "/$defs/approval",
        ),
        ("tests: [{ zz: 1 }]", "/$defs/test"),
        ("tests: [{ as: { zz: 1 } }]", "/$defs/person"),
    ] {
        let faults = parse(document).unwrap_err();
        let unknown = faults.iter().find(|fault| fault.key.ends_with("zz"));
        let (_, known) = unknown.unwrap().message.split_once("known are ").unwrap();
        let mut known: Vec<&str> = known.split(", ").collect();
        known.sort_unstable();
        let properties = at(&format!("{pointer}/properties")).as_object().unwrap();
        let mut published: Vec<&str> = properties.keys().map(String::as_str).collect();
        published.sort_unstable();
        assert_eq!(known, published, "{document}");
        assert_eq!(at(&format!("{pointer}/additionalProperties")), false);
    }
}
