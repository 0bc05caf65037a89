use std::net::Ipv4Addr;

use http::HeaderMap;

use super::*;
use crate::address::host::Host;
use crate::address::origin::Scheme;
use crate::identity::email::Email;
use crate::identity::principal::PrincipalKind;

fn headers(given: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn origin() -> Origin {
    Origin {
        scheme: Scheme::Https,
        host: Host::parse("app.example").unwrap(),
        port: 8443,
    }
}

fn principal(email: Option<&str>) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        provider: "okta".into(),
        issuer: "https://okta.example".into(),
        subject: "u-1".into(),
        email: email.map(|email| Email::parse(email).unwrap()),
        display_name: Some("Ada Löve\r\n".into()),
        groups: Groups::Known(["sre".into(), "a,admins".into()].into()),
        claims: std::collections::BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

/// What an upstream gets of these headers.
fn rewritten(
    given: &[(&str, &str)],
    plain: IdentityHeaders,
    principal: Option<&Principal>,
) -> HeaderMap {
    let mut headers = headers(given);
    let origin = origin();
    let statement = Statement {
        origin: &origin,
        client: Ipv4Addr::new(192, 0, 2, 7).into(),
        version: Version::HTTP_11,
        request_id: HeaderValue::from_static("the-id"),
        trace: TraceContext::of(&headers, [7; 24]),
        principal,
        assertion: principal.map(|_| HeaderValue::from_static("signed")),
        plain,
        host: None,
        upgrade: None,
        kubernetes: None,
    };
    rewrite_request(&mut headers, false, &statement).unwrap();
    headers
}

const FORGED: &[&str] = &[
    "x-forwarded-user",
    "x_forwarded_user",
    "X.Forwarded.Email",
    "x-auth-request-user",
    "X-Auth-Email",
    "remote-user",
    "remote_user",
    "x-remote-user",
    "x-pomerium-jwt-assertion",
    "cf-access-jwt-assertion",
    "x-goog-iap-jwt-assertion",
    "x-amzn-oidc-data",
    "x-forwarded-client-cert",
    "x-ssl-client-dn",
    "x-client-cert",
    "ssl-client-cert",
    "x-envoy-original-path",
    "x-istio-attributes",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-uri",
    "x-forwarded-prefix",
    "x-http-method-override",
    "forwarded",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "wayleave-jwt-assertion",
    "wayleave_jwt_assertion",
    "impersonate-user",
    "x-webauth-user",
    "x-user",
    "x-email",
    "x-groups",
    "x-request-id",
    "true-client-ip",
    "x-arr-ssl",
    "x-peer-certificate",
    "authenticated-user",
    "x-hasura-role",
    "x-session-user",
];

#[test]
fn a1_a2_a5_a7_a9_nothing_forged_reaches_an_upstream() {
    let given: Vec<(&str, &str)> = FORGED.iter().map(|name| (*name, "forged")).collect();
    let ada = principal(Some("ada@corp.example"));
    for plain in [
        IdentityHeaders::Assertion,
        IdentityHeaders::XForwarded,
        IdentityHeaders::XAuthRequest,
        IdentityHeaders::Remote,
    ] {
        for caller in [None, Some(&ada)] {
            let sent = rewritten(&given, plain, caller);
            assert!(
                sent.values().all(|value| value != "forged"),
                "{plain:?} {sent:?}"
            );
            assert_eq!(sent["x-forwarded-for"], "192.0.2.7");
            assert_eq!(sent["x-forwarded-host"], "app.example:8443");
            assert_eq!(sent["x-forwarded-proto"], "https");
            assert_eq!(sent["x-forwarded-port"], "8443");
            assert_eq!(sent["x-request-id"], "the-id");
            assert_eq!(sent["via"], "1.1 wayleave");
            assert_eq!(
                sent.contains_key("wayleave-jwt-assertion"),
                caller.is_some()
            );
            assert_eq!(
                sent.get_all("wayleave-jwt-assertion").iter().count(),
                usize::from(caller.is_some())
            );
        }
    }
}

#[test]
fn a4_what_connection_names_goes_first_and_ours_stay() {
    let nominated = "close, x-forwarded-for, X-Request-Id,wayleave-jwt-assertion , traceparent, X-APP, Host, x-forwarded-user, via";
    let given = [
        ("connection", nominated),
        ("Connection", "x-real-ip"),
        ("x-app", "1"),
        ("x-other", "2"),
        ("host", "app.example:8443"),
    ];
    let ada = principal(Some("ada@corp.example"));
    let sent = rewritten(&given, IdentityHeaders::XForwarded, Some(&ada));
    for ours in [
        "x-forwarded-for",
        "x-request-id",
        "wayleave-jwt-assertion",
        "traceparent",
        "x-forwarded-user",
        "via",
        "host",
    ] {
        assert!(sent.contains_key(ours), "{ours}");
    }
    assert!(!sent.contains_key("x-app") && !sent.contains_key("connection"));
    assert_eq!(sent["x-other"], "2");
}

#[test]
fn a6_an_absent_claim_leaves_no_room_for_the_clients() {
    let given = [
        ("x-auth-request-email", "boss@corp.example"),
        ("X-Auth-Email", "boss@corp.example"),
        ("x-forwarded-email", "x"),
    ];
    let sent = rewritten(
        &given,
        IdentityHeaders::XAuthRequest,
        Some(&principal(None)),
    );
    assert!(
        !sent.contains_key("x-auth-request-email")
            && !sent.contains_key("x-auth-email")
            && !sent.contains_key("x-forwarded-email")
    );
    assert_eq!(sent["x-auth-request-user"], "u-1");
    let mut unknown = principal(None);
    unknown.groups = Groups::Missing;
    let sent = rewritten(
        &[("x-auth-request-groups", "admins")],
        IdentityHeaders::XAuthRequest,
        Some(&unknown),
    );
    assert!(!sent.contains_key("x-auth-request-groups"));
}

#[test]
fn plain_values_are_ascii_and_groups_are_never_split() {
    let sent = rewritten(
        &[],
        IdentityHeaders::Remote,
        Some(&principal(Some("ada@corp.example"))),
    );
    assert_eq!(sent["remote-user"], "u-1");
    assert_eq!(sent["remote-email"], "ada@corp.example");
    assert_eq!(
        sent["remote-groups"], "sre",
        "a group with a comma would be two"
    );
    assert_eq!(sent["remote-name"], "Ada L%C3%B6ve%0D%0A");
}

#[test]
fn a8_duplicates_do_not_survive() {
    let given = [
        ("x-forwarded-user", "a"),
        ("x-forwarded-user", "b"),
        ("x-request-id", "a"),
        ("x-request-id", "b"),
    ];
    let sent = rewritten(&given, IdentityHeaders::XForwarded, Some(&principal(None)));
    for name in ["x-forwarded-user", "x-request-id"] {
        assert_eq!(sent.get_all(name).iter().count(), 1, "{name}");
    }
}

#[test]
fn a10_our_credentials_never_reach_an_upstream() {
    let given = [
        ("cookie", "app=1; __Host-wayleave=secret; b=2"),
        ("cookie", "wayleave=secret"),
        ("authorization", "Basic dTpw"),
    ];
    let mut sent = headers(&given);
    strip_request(&mut sent, false);
    assert_eq!(sent["cookie"], "app=1; b=2");
    assert_eq!(
        sent["authorization"], "Basic dTpw",
        "another scheme is the upstream's"
    );
    let mut sent = headers(&[("authorization", "Bearer a.b.c")]);
    strip_request(&mut sent, true);
    assert!(sent.is_empty());
}

#[test]
fn connection_specific_headers_are_never_passed_on() {
    let names = [
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "expect",
        "proxy-authorization",
        "proxy-connection",
        "proxy-foo",
        "http2-settings",
        "connection",
    ];
    let given: Vec<_> = names.iter().map(|name| (*name, "x")).collect();
    let sent = rewritten(&given, IdentityHeaders::Assertion, None);
    assert!(names.iter().all(|name| !sent.contains_key(*name)));
    let answer = &mut headers(&given);
    rewrite_response(answer);
    assert!(answer.is_empty(), "{answer:?}");
}

#[test]
fn trailers_are_asked_for_by_grpc_clients_only() {
    let grpc = [
        ("te", "trailers, deflate;q=0.5"),
        ("content-type", "application/grpc+proto"),
    ];
    assert_eq!(
        rewritten(&grpc, IdentityHeaders::Assertion, None)["te"],
        "trailers"
    );
    let other = [("te", "trailers"), ("content-type", "text/plain")];
    assert!(!rewritten(&other, IdentityHeaders::Assertion, None).contains_key("te"));
}

#[test]
fn tracestate_goes_along_with_a_valid_traceparent_only() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let sent = rewritten(
        &[
            ("traceparent", good),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ],
        IdentityHeaders::Assertion,
        None,
    );
    assert_eq!(sent.get_all("tracestate").iter().count(), 2);
    let sent = rewritten(
        &[("traceparent", "x"), ("tracestate", "a=1")],
        IdentityHeaders::Assertion,
        None,
    );
    assert!(!sent.contains_key("tracestate"));
    assert_eq!(sent.get_all("traceparent").iter().count(), 1);
}

#[test]
fn h13_answers_cannot_set_our_cookies_or_speak_for_us() {
    let mut answer = headers(&[
        ("set-cookie", "app=1"),
        ("set-cookie", "__Host-wayleave=fixed"),
        ("set-cookie", "=wayleave=x"),
        ("set-cookie", "b=2"),
        ("wayleave-response", "true"),
        ("alt-svc", "h3=\":443\""),
        ("connection", "x-internal"),
        ("x-internal", "1"),
        ("server", "s"),
        ("via", "1.1 other"),
    ]);
    rewrite_response(&mut answer);
    let cookies: Vec<_> = answer.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["app=1", "b=2"]);
    for gone in ["wayleave-response", "alt-svc", "connection", "x-internal"] {
        assert!(!answer.contains_key(gone), "{gone}");
    }
    assert!(answer.contains_key("server") && answer.contains_key("via"));
}

#[test]
fn upgrades_are_read_strictly() {
    let read =
        |version, given: &[(&str, &str)]| upgrade_to(version, &headers(given)).map(|to| to.0);
    let websocket = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
    ];
    assert_eq!(read(Version::HTTP_11, &websocket).unwrap(), "websocket");
    assert_eq!(read(Version::HTTP_2, &websocket), None);
    assert_eq!(read(Version::HTTP_10, &websocket), None);
    let refused: &[&[(&str, &str)]] = &[
        &[("upgrade", "websocket")],
        &[("connection", "upgrade")],
        &[("connection", "upgrade"), ("upgrade", "h2c")],
        &[("connection", "upgrade"), ("upgrade", "H2C")],
        &[("connection", "upgrade"), ("upgrade", "HTTP/2.0")],
        &[("connection", "upgrade"), ("upgrade", "TLS/1.0")],
        &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
        &[
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("upgrade", "h2c"),
        ],
        &[("connection", "upgrade"), ("upgrade", "")],
    ];
    for given in refused {
        assert_eq!(read(Version::HTTP_11, given), None, "{given:?}");
    }
}

#[test]
fn d9_only_known_pages_open_tunnels() {
    let listed = ["https://portal.example".to_owned()];
    let may =
        |given: &[(&str, &str)]| may_open_tunnel(&origin(), &listed, headers(given).get("origin"));
    assert!(may(&[("origin", "https://app.example:8443")]));
    assert!(may(&[("origin", "https://portal.example")]));
    for origin in [
        "",
        "null",
        "https://app.example",
        "http://app.example:8443",
        "https://evil.example",
        "https://app.example:8443.evil.example",
        "https://app.example:8443/",
    ] {
        assert!(!may(&[("origin", origin)]), "{origin}");
    }
    assert!(!may(&[]));
}

#[test]
fn loops_are_seen() {
    let looped = |via: &str| has_looped(&headers(&[("via", via)]));
    assert!(looped("1.1 wayleave"));
    assert!(looped("1.0 fred, 2.0 Wayleave (comment)"));
    assert!(!looped("1.1 other"));
    assert!(!looped("wayleave"));
    assert!(!looped("1.1 wayleave.example"));
}

#[test]
fn a1_a2_an_api_server_is_told_by_us_alone_whom_a_request_is_for() {
    let mut given = headers(&[
        ("authorization", "Basic Y2xpZW50OnNlY3JldA=="),
        ("impersonate-user", "system:admin"),
        ("Impersonate-Group", "system:masters"),
        ("impersonate-uid", "0"),
        ("impersonate-extra-scopes", "all"),
        ("impersonate-extra-wayleave-decision", "forged"),
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-scopes", "all"),
        (
            "sec-websocket-protocol",
            "v5.channel.k8s.io, Base64url.bearer.authorization.k8s.io.dG9rZW4",
        ),
        (
            "sec-websocket-protocol",
            "base64url.bearer.authorization.k8s.io.dG9rZW4,v4.channel.k8s.io",
        ),
        ("connection", "impersonate-group, upgrade"),
        ("kubectl-command", "kubectl exec"),
    ]);
    let origin = origin();
    let agent = crate::identity::principal::Agent {
        id: "https://agent.example".into(),
        issuer: "https://home".into(),
        subject: "client".into(),
        name: None,
    };
    let ada = principal(Some("ada@corp.example")).through(vec![agent]);
    let impersonation = crate::policy::kubernetes::Impersonation {
        user: "ada@corp.example".to_owned(),
        groups: vec!["sre".to_owned(), "größe".to_owned()],
    };
    let mut statement = Statement {
        origin: &origin,
        client: Ipv4Addr::LOCALHOST.into(),
        version: Version::HTTP_11,
        request_id: HeaderValue::from_static("the-id"),
        trace: TraceContext::of(&given, [7; 24]),
        principal: Some(&ada),
        assertion: Some(HeaderValue::from_static("signed")),
        plain: IdentityHeaders::XForwarded,
        host: None,
        upgrade: None,
        kubernetes: Some(Told {
            impersonation: &impersonation,
            credential: Some(HeaderValue::from_static("Bearer ours")),
        }),
    };
    rewrite_request(&mut given, false, &statement).unwrap();
    let said = |given: &HeaderMap, name: &str| -> Vec<String> {
        let values = given.get_all(name).iter();
        values
            .map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap())
            .collect()
    };
    for (name, expected) in [
        ("authorization", &["Bearer ours"][..]),
        ("impersonate-user", &["ada@corp.example"]),
        ("impersonate-group", &["sre", "größe"]),
        ("impersonate-extra-wayleave-decision", &["the-id"]),
        (
            "impersonate-extra-wayleave-agent",
            &["https://agent.example"],
        ),
        (
            "sec-websocket-protocol",
            &["v5.channel.k8s.io, v4.channel.k8s.io"],
        ),
        ("kubectl-command", &["kubectl exec"]),
    ] {
        assert_eq!(said(&given, name), expected, "{name}");
    }
    for name in [
        "impersonate-uid",
        "impersonate-extra-scopes",
        "x-remote-user",
        "x-remote-group",
        "x-remote-extra-scopes",
        "wayleave-jwt-assertion",
        "wayleave-agent",
        "x-forwarded-user",
    ] {
        assert!(!given.contains_key(name), "{name}");
    }
    // Where the connection proves who we are, there is no credential at all.
    statement.kubernetes = Some(Told {
        impersonation: &impersonation,
        credential: None,
    });
    let mut given = headers(&[("authorization", "Bearer of the client")]);
    rewrite_request(&mut given, false, &statement).unwrap();
    assert!(!given.contains_key("authorization"));
}

#[test]
fn the_host_is_the_public_one_unless_the_route_has_another() {
    let origin = origin();
    let mut given = headers(&[("host", "APP.example:8443")]);
    let mut statement = Statement {
        origin: &origin,
        client: Ipv4Addr::LOCALHOST.into(),
        version: Version::HTTP_2,
        request_id: HeaderValue::from_static("id"),
        trace: TraceContext::of(&given, [7; 24]),
        principal: None,
        assertion: None,
        plain: IdentityHeaders::Assertion,
        host: Some("inner.example"),
        upgrade: None,
        kubernetes: None,
    };
    rewrite_request(&mut given, false, &statement).unwrap();
    assert_eq!(
        (&given["host"], &given["x-forwarded-host"]),
        (
            &HeaderValue::from_static("inner.example"),
            &HeaderValue::from_static("app.example:8443")
        )
    );
    assert_eq!(given["via"], "2.0 wayleave");
    statement.host = Some("not a\nhost");
    assert_eq!(
        rewrite_request(&mut given, false, &statement),
        Err(ValueFault)
    );
}
