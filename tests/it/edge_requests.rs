//! What a client says of itself and of its request: nothing of it is believed, and nothing with two readings gets through.

use std::time::Duration;

use http::{Request, StatusCode};

use crate::parts::browser::{Browser, navigation};
use crate::parts::client::{Version, raw};
use crate::parts::house::House;
use crate::parts::upstream::Seen;
use crate::parts::{Body, empty, full};

/// A request of the signed-in person, with these headers.
fn with(house: &House, browser: &Browser, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(house.url("app", "/x")).body(empty()).unwrap();
    let cookies = browser.cookies("app.localhost");
    request
        .headers_mut()
        .insert("cookie", cookies.parse().unwrap());
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

/// The head as the upstream saw it, as text.
fn text(seen: &Seen) -> String {
    format!("{} {} {:?}", seen.method, seen.target, seen.headers).to_lowercase()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a6_a9_only_our_word_on_identity_reaches_the_upstream() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let mut request = with(
        &house,
        &browser,
        &[
            ("x-forwarded-email", "mallory@evil.example"),
            ("x-auth-email", "mallory@evil.example"),
            ("remote-user", "mallory"),
            ("remote-email", "mallory"),
            ("x-remote-user", "mallory"),
            ("wayleave-jwt-assertion", "mallory"),
            ("x-forwarded-client-cert", "By=mallory"),
            ("x-ssl-client-dn", "mallory"),
            ("x-client-cert", "mallory"),
            ("x-envoy-external-address", "mallory"),
            ("x-istio-attributes", "mallory"),
            ("x-harmless", "kept"),
        ],
    );
    let page = house.send(request).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let seen = house.upstream.only();
    assert!(!text(&seen).contains("mallory"), "{seen:?}");
    assert_eq!(seen.headers["x-harmless"], "kept");
    assert_eq!(seen.headers["remote-email"], "alice@demo.example");

    house.upstream.forget();
    for name in ["x_forwarded_email", "X_Identity", "x.forwarded.user"] {
        request = with(&house, &browser, &[(name, "mallory")]);
        let page = house.send(request).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{name}");
    }
    assert!(house.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_forged_identity_is_removed_on_public_routes_and_from_options() {
    let house = House::start().await;
    for method in ["GET", "OPTIONS", "HEAD"] {
        let mut request = Request::builder()
            .method(method)
            .uri(house.url("public", "/healthz"))
            .body(empty())
            .unwrap();
        for name in ["x-forwarded-user", "remote-user", "wayleave-jwt-assertion"] {
            let value = "mallory".parse().unwrap();
            request.headers_mut().insert(name, value);
        }
        let page = house.send(request).await;
        assert_eq!(page.status, StatusCode::OK, "{method}");
        let seen = house.upstream.only();
        assert_eq!(seen.method, method);
        assert!(!text(&seen).contains("mallory"), "{seen:?}");
        assert_eq!(seen.peer, "spiffe://demo.wayleave/ns/people/sa/anonymous");
        house.upstream.forget();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_the_decision_is_on_the_path_of_the_request_line() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    for name in [
        "x-forwarded-uri",
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-prefix",
    ] {
        let mut request = with(&house, &browser, &[(name, "/x")]);
        *request.uri_mut() = house.url("app", "/admin").parse().unwrap();
        let page = house.send(request).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}");
        let request = with(&house, &browser, &[(name, "/admin")]);
        assert_eq!(house.send(request).await.status, StatusCode::OK, "{name}");
    }
    for seen in house.upstream.seen() {
        assert!(!text(&seen).contains("/admin"), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_connection_cannot_nominate_our_headers() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let nominated = "close, Wayleave-JWT-Assertion, remote-user, X-Forwarded-For, x-mine, cookie";
    let headers = [("connection", nominated), ("x-mine", "1")];
    let page = house.send(with(&house, &browser, &headers)).await;
    assert_eq!(page.status, StatusCode::OK);
    let seen = house.upstream.only();
    for name in ["wayleave-jwt-assertion", "remote-user", "x-forwarded-for"] {
        assert!(
            seen.headers.contains_key(name),
            "{name} is missing: {seen:?}"
        );
    }
    assert!(!seen.headers.contains_key("x-mine"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_forwarding_headers_say_what_we_know() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    for address in ["10.1.2.3", "127.0.0.1, 10.0.0.1", "::1", "::ffff:10.0.0.1"] {
        let headers = [
            ("x-forwarded-for", address),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=10.1.2.3;host=evil.example"),
            ("x-real-ip", address),
        ];
        let page = house.send(with(&house, &browser, &headers)).await;
        assert_eq!(page.status, StatusCode::OK);
        let seen = house.upstream.only();
        assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(seen.headers["x-forwarded-proto"], "http");
        let port = house.http.port().to_string();
        assert_eq!(seen.headers["x-forwarded-port"], port.as_str());
        assert_eq!(
            seen.headers["host"],
            format!("app.localhost:{port}").as_str()
        );
        assert!(!text(&seen).contains("evil"), "{seen:?}");
        assert!(!text(&seen).contains("10.0.0.1") && !text(&seen).contains("10.1.2.3"));
        house.upstream.forget();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_h13_our_cookies_reach_no_upstream_and_come_from_none() {
    let house = House::start().await;
    for (host, secure) in [("app", false), ("app", true)] {
        let url = |path: &str| match secure {
            true => house.secure_url(host, path),
            false => house.url(host, path),
        };
        let mut browser = house.browser();
        browser.sign_in(&url("/"), "alice").await;
        house.upstream.forget();
        let page = browser
            .fetch(navigation("GET", &url("/cookies"), empty()))
            .await;
        let set: Vec<_> = page.headers.get_all("set-cookie").iter().collect();
        assert!(
            set.iter()
                .any(|cookie| cookie.as_bytes().starts_with(b"own=1"))
        );
        assert!(!format!("{set:?}").contains("planted"), "{set:?}");
        assert!(!page.headers.contains_key("wayleave-forged"));
        assert!(!page.headers.contains_key("alt-svc"));
        browser
            .fetch(navigation("GET", &url("/error"), empty()))
            .await;
        let seen = house.upstream.seen();
        assert_eq!(seen.len(), 2);
        let cookies = browser.cookies("app.localhost");
        assert!(cookies.contains("wayleave="), "{cookies}");
        assert!(!text(&seen[0]).contains("cookie:"), "{:?}", seen[0]);
        assert_eq!(seen[1].headers["cookie"], "own=1", "{:?}", seen[1]);
        house.upstream.forget();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_b2_b3_paths_with_two_readings_are_refused() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let cookies = browser.cookies("app.localhost");
    let authority = format!("app.localhost:{}", house.http.port());
    let bad = [
        "//admin",
        "/%2fadmin",
        "/a%5c..%5cadmin",
        "/a\\admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/p/.%2e/admin",
        "/%252e%252e/admin",
        "/./admin",
        "/admin%00",
        "/admin;x/",
        "/admin%3Bx/",
        "/..%3Bx/admin",
        "/pub;/../admin",
        "/%zz",
        "/x%2Fadmin",
        "/%2E/admin",
    ];
    let mut secure = house.browser();
    secure.sign_in(&house.secure_url("app", "/"), "alice").await;
    house.upstream.forget();
    let secure_cookies = secure.cookies("app.localhost");
    let mut sender = house.connect_tls("app", Version::H2).await;
    for path in bad {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(house.http, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        let Ok(uri) = house.secure_url("app", path).parse::<http::Uri>() else {
            continue;
        };
        let request = Request::get(uri).header("cookie", &secure_cookies);
        let page = sender.page(request.body(empty()).unwrap()).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{path} by HTTP/2");
    }
    assert!(house.upstream.seen().is_empty());
    house
        .lines(bad.len(), |line| {
            line["status"] == 400 && line["scheme"] == "http"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_path_parameters_lead_along_no_other_route() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let cookies = browser.cookies("app.localhost");
    // A route that takes parameters, and one below a prefix of it for which no rule is.
    let nested = |text: String| {
        let route = "  - name: app\n    host: app.localhost\n";
        let (_, rest) = text.split_once(route).unwrap();
        let body = rest.split("  - name: ").next().unwrap();
        let nested = format!(
            "  - name: inner\n    host: app.localhost\n    prefix: /inner\n{body}{route}    allow_path_parameters: true\n"
        );
        text.replacen(route, &nested, 1)
    };
    house.put_in_force(nested).await;
    house.upstream.forget();
    let authority = format!("app.localhost:{}", house.http.port());
    for (path, expected) in [
        ("/x;v=1/y", "200"),
        ("/x/y;v=1", "200"),
        ("/inner", "403"),
        ("/inner/x", "403"),
        ("/inner;v", "400"),
        ("/inner;v/x", "400"),
        ("/inner;/x", "400"),
        ("/inner%3Bv/x", "400"),
        ("/inner/x;v", "400"),
        ("/.wayleave;v/session", "400"),
        ("/a;/.wayleave/x", "200"),
    ] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(house.http, head.as_bytes()).await;
        let begin = format!("HTTP/1.1 {expected} ");
        assert!(answer.starts_with(&begin), "{path}: {answer}");
    }
    let seen = house.upstream.seen();
    assert!(
        seen.iter().all(|seen| !text(seen).contains("inner")),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_query_is_no_part_of_the_path_that_rules_see() {
    let house = House::start().await;
    let only_public = |text: String| {
        let staff = "to: [{ routes: [app] }]";
        text.replace(
            staff,
            "to: [{ routes: [app], paths: ['/public*', '*/public'] }]",
        )
    };
    house.put_in_force(only_public).await;
    let mut browser = house.browser();
    browser
        .sign_in(&house.secure_url("app", "/public"), "alice")
        .await;
    let cookies = browser.cookies("app.localhost");
    house.upstream.forget();
    for version in [Version::H1, Version::H2] {
        let mut sender = house.connect_tls("app", version).await;
        for (target, expected) in [
            ("/public?x=/other", StatusCode::OK),
            ("/x/public", StatusCode::OK),
            ("/other?x=/public", StatusCode::FORBIDDEN),
            ("/other?/public", StatusCode::FORBIDDEN),
        ] {
            let request = Request::get(house.secure_url("app", target)).header("cookie", &cookies);
            let page = sender.page(request.body(empty()).unwrap()).await;
            assert_eq!(page.status, expected, "{target}");
        }
    }
    let seen = house.upstream.seen();
    assert!(
        seen.iter().all(|seen| !seen.target.starts_with("/other")),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_the_hosts_spellings_are_one_host_or_refused() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let cookies = browser.cookies("app.localhost");
    let port = house.http.port();
    for (host, expected) in [
        (format!("ApP.LocalHost:{port}"), "200"),
        (format!("app.localhost.:{port}"), "400"),
        (format!("app.localhost:0{port}"), "400"),
        (format!("u@app.localhost:{port}"), "400"),
        (format!("app.localhost:{port}/a"), "400"),
        (format!("xn--app-.localhost:{port}"), "400"),
        (String::new(), "400"),
    ] {
        let head = format!(
            "GET /x HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(house.http, head.as_bytes()).await;
        let got = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(got, expected, "{host:?}: {answer}");
    }
    assert_eq!(house.upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_no_header_overrides_the_method() {
    let house = House::start().await;
    let mut browser = house.browser();
    browser.sign_in(&house.url("admin", "/"), "bob").await;
    house.upstream.forget();
    for (method, status) in [
        ("GET", 200),
        ("POST", 403),
        ("HEAD", 200),
        ("OPTIONS", 403),
        ("DELETE", 403),
    ] {
        for (name, value) in [
            ("x-http-method-override", "GET"),
            ("x-http-method", "DELETE"),
            ("x-method-override", "POST"),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(house.url("admin", "/?_method=GET"))
                .header(name, value)
                .header("origin", house.url("admin", ""))
                .body(empty())
                .unwrap();
            let page = browser.fetch(request).await;
            assert_eq!(page.status, status, "{method} with {name}: {}", page.text());
        }
    }
    for seen in house.upstream.seen() {
        assert!(seen.method == "GET" || seen.method == "HEAD");
        assert!(!text(&seen).contains("override") && !text(&seen).contains("x-http-method"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b14_a_connection_is_for_the_hosts_of_its_certificate_only() {
    let house = House::start().await;
    let mut sender = house.connect_tls("app", Version::H2).await;
    let foreign = format!("https://app.example:{}/", house.https.port());
    let other_port = "https://app.localhost:1/".to_owned();
    for url in [foreign, other_port] {
        let page = sender.page(navigation("GET", &url, empty())).await;
        assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST, "{url}");
    }
    assert!(house.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h11_answers_to_somebody_are_private() {
    let house = House::start().await;
    let mut browser = house.signed_in("alice").await;
    let request = navigation("GET", &house.url("app", "/x"), empty());
    let page = browser.fetch(request).await;
    let control = page.header("cache-control");
    assert!(
        control.contains("private") || control.contains("no-store"),
        "{:?}",
        page.headers
    );
    let request = navigation("GET", &house.url("app", "/x"), empty());
    let page = house.send(request).await;
    assert!(page.status.is_redirection());
    assert!(
        page.header("cache-control").contains("no-store"),
        "{:?}",
        page.headers
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_the_admin_listener_is_asked_by_its_own_names_only() {
    let change = |text: String| {
        let hosts = "[admin]\nhosts = [\"wayleave.monitoring.svc\"]";
        text.replacen("[admin]", hosts, 1)
    };
    let clock = std::sync::Arc::new(wayleave::clock::SystemClock);
    let house = House::start_as("sqlite://wayleave.db", clock, change).await;
    let port = house.admin().port();
    let ask = async |hosts: &[&str]| {
        let hosts: String = hosts
            .iter()
            .map(|host| format!("Host: {host}\r\n"))
            .collect();
        let head = format!("GET /metrics HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        raw(house.admin(), head.as_bytes()).await
    };
    let own = [
        format!("127.0.0.1:{port}"),
        "localhost".to_owned(),
        "wayleave:9901".to_owned(),
        "wayleave.monitoring.svc:9901".to_owned(),
    ];
    for host in &own {
        let answer = ask(&[host]).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    for hosts in [
        &["evil.example"][..],
        &["evil.example:9901"],
        &["localhost", "evil.example"],
        &["localhost.evil.example"],
    ] {
        let answer = ask(hosts).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{hosts:?}: {answer}");
        assert!(!answer.contains("wayleave_"), "{answer}");
        assert!(answer.contains("admin.hosts"), "{answer}");
    }
    let absolute =
        b"GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(house.admin(), absolute).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_what_a_rule_looks_at_is_ascii_and_the_rest_is_the_upstreams() {
    let house = House::start().await;
    let rule = "    to: [{ routes: [public] }]\n    when: { headers: { x-env: [prod] } }\n";
    let looks = |text: String| text.replacen("    to: [{ routes: [public] }]\n", rule, 1);
    let ask = async |name: &str, value: &[u8]| {
        let port = house.http.port();
        let head = format!(
            "GET /x HTTP/1.1\r\nHost: public.localhost:{port}\r\nX-Env: prod\r\nConnection: close\r\n{name}: "
        );
        let bytes = [head.as_bytes(), value, b"\r\n\r\n"].concat();
        let answer = raw(house.http, &bytes).await;
        answer[..12].to_owned()
    };
    assert_eq!(ask("x-env", b"\xff").await, "HTTP/1.1 200");
    house.put_in_force(looks).await;
    for (name, value, expected) in [
        ("x-other", &b"\xff"[..], "HTTP/1.1 200"),
        ("x-env", b"prod", "HTTP/1.1 200"),
        ("x-env", b"\xff", "HTTP/1.1 400"),
        ("X-ENV", "pröd".as_bytes(), "HTTP/1.1 400"),
    ] {
        assert_eq!(ask(name, value).await, expected, "{name} {value:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_the_front_door_shows_nothing_of_the_admin_listener() {
    let house = House::start().await;
    for path in [
        "/metrics",
        "/debug",
        "/debug/pprof",
        "/readyz",
        "/livez",
        "/healthz",
    ] {
        let page = house
            .send(navigation("GET", &house.url("access", path), empty()))
            .await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(house.upstream.seen().is_empty());
    tokio::time::timeout(
        Duration::from_secs(1),
        house.lines(6, |line| line["status"] == 404),
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_every_answer_of_ours_has_the_security_headers() {
    let house = House::start().await;
    for (method, host, path, status) in [
        ("GET", "access", "/nothing", 404),
        ("POST", "access", "/.wayleave/callback/demo", 405),
        ("HEAD", "access", "/.wayleave/callback/demo", 405),
        ("HEAD", "app", "/.wayleave/arrive", 405),
        ("PUT", "access", "/", 405),
        ("GET", "access", "/.wayleave/jwks.json", 200),
        ("GET", "nowhere", "/", 404),
        ("GET", "app", "//", 400),
    ] {
        let request = navigation(method, &house.url(host, path), empty());
        let page = house.send(request).await;
        assert_eq!(page.status.as_u16(), status, "{method} {host} {path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{method} {path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b9_no_user_agent_is_somebody() {
    let house = House::start().await;
    for agent in ["kube-probe/1.31", "GoogleHC/1.0", "ELB-HealthChecker/2.0"] {
        let mut request = navigation("GET", &house.url("app", "/healthz"), empty());
        let headers = request.headers_mut();
        headers.insert("user-agent", agent.parse().unwrap());
        let page = house.send(request).await;
        assert!(page.status.is_redirection(), "{agent}: {}", page.status);
    }
    assert!(house.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l4_our_own_pages_take_no_long_bodies() {
    let house = House::start().await;
    let mut alice = house.signed_in("alice").await;
    let home = house.url("access", "");
    for path in [
        "/.wayleave/sign-out",
        "/.wayleave/backchannel-logout/demo",
        "/.wayleave/sign-in",
    ] {
        for length in [100_000, 800_000] {
            let request = Request::post(format!("{home}{path}"))
                .header("content-type", "application/x-www-form-urlencoded")
                .header("origin", &home)
                .header("cookie", alice.cookies("access.localhost"))
                .body(full("a=b&".repeat(length / 4)))
                .unwrap();
            let page = house.send(request).await;
            assert!(page.status.is_client_error(), "{path}: {}", page.status);
        }
    }
    let page = alice
        .fetch(navigation("GET", &house.url("app", "/x"), empty()))
        .await;
    assert_eq!(page.status, StatusCode::OK, "nothing was ended");
}
