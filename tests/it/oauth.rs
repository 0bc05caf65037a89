//! Programs of people who signed in: let in by a browser, with tokens for one route each, for as long as the session lives.

use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::Value;

use crate::parts::browser::hidden;
use crate::parts::client::Version;
use crate::parts::empty;
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::program_of::{
    ACCESS, EXCHANGE, Key, ProgramOf, REDIRECT, VERIFIER, answer, ask, authorize_url, code, decide,
    error, exchange, open, post, redeem, refresh, text, with,
};
use crate::parts::served::stores;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_program_gets_tokens_for_one_route_each() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        // Nobody is signed in yet: they are on the way, and come back to what the program asked.
        let mut browser = house.browser();
        let page = browser.sign_in(&authorize_url(&house, &[]), "alice").await;
        assert_eq!(page.url.path(), "/.wayleave/oauth/authorize");
        let said = page.page.text();
        assert!(
            said.contains("alice@demo.example") && said.contains(REDIRECT),
            "{said}"
        );
        let sent = decide(&mut browser, &page, "allow").await;
        assert_eq!(sent.page.status, StatusCode::SEE_OTHER);
        let answer = answer(&sent);
        assert_eq!(answer["state"], "a state");
        assert_eq!(answer["iss"], house.url("access", ""));

        let key = Key::new();
        let page = redeem(&house, Some(&key), &answer["code"]).await;
        assert_eq!(page.header("cache-control"), "no-store");
        let (home, said) = (text(&page, "access_token"), page.json());
        assert_eq!(
            (&said["token_type"], &said["expires_in"]),
            (&"DPoP".into(), &300.into())
        );

        let me = open(
            &house,
            &key,
            &home,
            &house.url("access", "/.wayleave/api/v1/me"),
        )
        .await;
        assert_eq!(me.status, StatusCode::OK, "{}", me.text());
        assert_eq!(me.json()["user"], "alice@demo.example");
        let routes = house.url("access", "/.wayleave/api/v1/routes");
        let routes = open(&house, &key, &home, &routes).await.json();
        let find = |name: &str| {
            let routes = routes["routes"].as_array().unwrap();
            routes
                .iter()
                .find(|route| route["name"] == name)
                .unwrap()
                .clone()
        };
        assert_eq!(find("app")["open"], true);
        assert_eq!(find("app")["url"], house.url("app", "/"));
        let partner = find("partner");
        assert_eq!(
            (&partner["open"], &partner["reason"]),
            (&false.into(), &"provider_not_accepted".into())
        );

        for route in ["app", &house.url("app", ""), &house.url("app", "/")] {
            let page = exchange(&house, Some(&key), &home, route).await;
            let token = text(&page, "access_token");
            assert_eq!(page.json()["issued_token_type"], ACCESS);
            let page = open(&house, &key, &token, &house.url("app", "/x?y=1")).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text());
            let seen = house.upstream.only();
            assert!(seen.peer.contains("/sa/alice"), "{seen:?}");
            for name in ["authorization", "dpop"] {
                assert!(!seen.headers.contains_key(name), "{seen:?}");
            }
            house.upstream.forget();
            // Nowhere else, also where it is known already (G9).
            for _ in 0..2 {
                for url in [
                    house.url("admin", "/x"),
                    house.url("access", "/.wayleave/api/v1/me"),
                ] {
                    let page = open(&house, &key, &token, &url).await;
                    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{url}");
                    assert!(page.header("www-authenticate").contains("invalid_token"));
                }
                let page = open(&house, &key, &home, &house.url("app", "/x")).await;
                assert_eq!(page.status, StatusCode::UNAUTHORIZED);
            }
            assert!(house.upstream.seen().is_empty());
        }
        // What the rules say counts as for a browser.
        let token = text(
            &exchange(&house, Some(&key), &home, "app").await,
            "access_token",
        );
        let page = open(&house, &key, &token, &house.url("app", "/admin")).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.text());
        for (route, expected) in [("nothing", "invalid_target"), ("partner", "invalid_grant")] {
            let page = exchange(&house, Some(&key), &home, route).await;
            assert_eq!(error(&page), expected, "{route}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_code_is_good_once_for_its_redirect_verifier_and_a_minute() {
    for store in stores().await {
        let (house, clock) = House::start_still(&store).await;
        let mut browser = house.signed_in("alice").await;
        let key = Key::at(clock.clone());
        let wrong: [&[(&str, &str)]; 6] = [
            &[("redirect_uri", "http://127.0.0.1:8/callback")],
            &[(
                "code_verifier",
                "another-verifier-of-this-test-0123456789-abcdef",
            )],
            &[("code_verifier", "short")],
            &[("code_verifier", "")],
            &[("client_id", "another")],
            &[("client_secret", "x")],
        ];
        for change in wrong {
            let code = code(&house, &mut browser).await;
            let mut fields = vec![
                ("grant_type", "authorization_code"),
                ("client_id", "wayleave-cli"),
                ("code", &code),
                ("redirect_uri", REDIRECT),
                ("code_verifier", VERIFIER),
            ];
            fields.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
            fields.extend(change);
            let page = ask(&house, Some(&key), &fields).await;
            assert!(page.status.is_client_error(), "{change:?}: {}", page.text());
        }
        // Used twice, what it began ends.
        let once = code(&house, &mut browser).await;
        let page = redeem(&house, Some(&key), &once).await;
        let (home, again) = (text(&page, "access_token"), text(&page, "refresh_token"));
        let me = house.url("access", "/.wayleave/api/v1/me");
        assert_eq!(open(&house, &key, &home, &me).await.status, StatusCode::OK);
        assert_eq!(
            error(&redeem(&house, Some(&key), &once).await),
            "invalid_grant"
        );
        assert_eq!(
            open(&house, &key, &home, &me).await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            error(&refresh(&house, Some(&key), &again).await),
            "invalid_grant"
        );
        // Of several at once one gets on.
        let once = code(&house, &mut browser).await;
        let all = (0..8).map(|_| redeem(&house, Some(&key), &once));
        let all = futures_util::future::join_all(all).await;
        let good = all.iter().filter(|page| page.status == StatusCode::OK);
        assert_eq!(good.count(), 1);
        // After a minute it is none.
        let late = code(&house, &mut browser).await;
        clock.advance(Duration::from_secs(61));
        assert_eq!(
            error(&redeem(&house, Some(&key), &late).await),
            "invalid_grant"
        );
        // Without a key there are no tokens here.
        let code = code(&house, &mut browser).await;
        assert_eq!(
            error(&redeem(&house, None, &code).await),
            "invalid_dpop_proof"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_only_well_made_requests_are_shown_and_only_loopback_is_answered() {
    let house = House::start().await;
    let mut browser = house.signed_in("alice").await;
    for change in [
        ("client_id", "another"),
        ("client_id", ""),
        ("redirect_uri", "http://localhost:7/callback"),
        ("redirect_uri", "https://evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1:7/other"),
        ("redirect_uri", ""),
    ] {
        let page = browser.go(&authorize_url(&house, &[change])).await;
        assert!(page.page.status.is_client_error(), "{change:?}");
        assert!(page.page.header("location").is_empty());
        assert!(hidden(&page.page.text()).is_empty());
    }
    browser.stops_before = Some("/callback");
    for (change, expected) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("dpop_jkt", "short"), "invalid_request"),
    ] {
        let page = browser.go(&authorize_url(&house, &[change])).await;
        let answer = answer(&page);
        assert_eq!(answer["error"], expected, "{change:?}");
        assert_eq!(
            (&*answer["state"], answer["iss"].as_str()),
            ("a state", house.url("access", "").as_str())
        );
    }
    browser.stops_before = None;
    // Somebody who does not want it, and a page of another origin.
    let page = browser.go(&authorize_url(&house, &[])).await;
    let policy = page.page.header("content-security-policy");
    assert!(
        policy.contains("form-action 'self' http://127.0.0.1:7;"),
        "{policy}"
    );
    let sent = decide(&mut browser, &page, "deny").await;
    assert_eq!(answer(&sent)["error"], "access_denied");
    let mut fields = hidden(&page.page.text());
    fields.push(("decision".to_owned(), "allow".to_owned()));
    let without = fields.iter().filter(|(name, _)| name != "csrf");
    let without: Vec<_> = without.cloned().collect();
    let sent = browser.submit(page.url.clone(), &without).await;
    assert_eq!(sent.page.status, StatusCode::BAD_REQUEST);
    let mut mallory = house.signed_in("bob").await;
    let sent = mallory.submit(page.url.clone(), &fields).await;
    assert_eq!(sent.page.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_is_good_once_and_a_copy_ends_the_family_everywhere() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        let alice = ProgramOf::let_in(&house, "alice").await;
        let key = Some(&alice.key);
        let token = alice.token_for(&house, "app").await;
        let app = house.url("app", "/x");
        assert_eq!(
            alice.open(&house, &token, &app).await.status,
            StatusCode::OK
        );
        // Another's key or none uses nothing up.
        let mallory = Key::new();
        for thief in [Some(&mallory), None] {
            let page = refresh(&house, thief, &alice.refresh_token).await;
            assert_eq!(error(&page), "invalid_grant");
        }
        let second = text(
            &refresh(&house, key, &alice.refresh_token).await,
            "refresh_token",
        );
        let third = text(&refresh(&house, key, &second).await, "refresh_token");
        assert_eq!(
            alice.open(&house, &token, &app).await.status,
            StatusCode::OK
        );
        let page = refresh(&house, key, &second).await;
        assert_eq!(error(&page), "invalid_grant");
        assert!(page.text().contains("used before"), "{}", page.text());
        for dead in [&alice.refresh_token, &second, &third] {
            assert_eq!(error(&refresh(&house, key, dead).await), "invalid_grant");
        }
        let page = alice.open(&house, &token, &app).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{}", page.text());
        // The person is still signed in.
        assert!(house.knows(&alice.browser, "app").await);
        let told = house.events("tokens_").await;
        let kinds: Vec<_> = told
            .iter()
            .map(|event| event["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["tokens_granted", "tokens_ended"]);
        assert_eq!(told[1]["reason"], "refresh_reused");
        assert_eq!(told[0]["family"], told[1]["family"]);
        assert_eq!(
            (&told[0]["how"], &told[0]["bound"]),
            (&"browser".into(), &true.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_given_back_are_good_nowhere() {
    let house = House::start().await;
    for which in ["refresh", "access"] {
        let alice = ProgramOf::let_in(&house, "alice").await;
        let token = alice.token_for(&house, "app").await;
        let app = house.url("app", "/x");
        assert_eq!(
            alice.open(&house, &token, &app).await.status,
            StatusCode::OK
        );
        let given = if which == "refresh" {
            &alice.refresh_token
        } else {
            &alice.home_token
        };
        let fields = [("client_id", "wayleave-cli"), ("token", given.as_str())];
        for _ in 0..2 {
            let page = post(&house, "revoke", &[], &fields).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        }
        assert_eq!(
            alice.open(&house, &token, &app).await.status,
            StatusCode::UNAUTHORIZED
        );
        let page = refresh(&house, Some(&alice.key), &alice.refresh_token).await;
        assert_eq!(error(&page), "invalid_grant");
        let page = exchange(&house, Some(&alice.key), &alice.home_token, "app").await;
        assert_eq!(error(&page), "invalid_grant");
    }
    let nonsense = [("client_id", "wayleave-cli"), ("token", "nonsense")];
    assert_eq!(
        post(&house, "revoke", &[], &nonsense).await.status,
        StatusCode::OK
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_tokens_and_their_streams_end_with_the_session() {
    let house = House::start().await;
    let mut alice = ProgramOf::let_in(&house, "alice").await;
    let token = alice.token_for(&house, "app").await;
    let url = house.url("app", "/sse");
    let proof = alice.key.proof("GET", &url, Some(&token));
    let request = Request::get(&url)
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", proof)
        .body(empty());
    let mut sender = house.connect(Version::H1).await;
    let mut stream = sender.send(request.unwrap()).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let first = http_body_util::BodyExt::frame(stream.body_mut()).await;
    assert!(first.unwrap().is_ok());
    alice.browser.sign_out(&house.url("access", "")).await;
    let cut = async {
        while let Some(frame) = http_body_util::BodyExt::frame(stream.body_mut()).await {
            if frame.is_err() {
                return true;
            }
        }
        false
    };
    let was_cut = tokio::time::timeout(Duration::from_secs(2), cut).await;
    assert!(was_cut.unwrap(), "it ended as if it were whole");
    let page = alice.open(&house, &token, &house.url("app", "/x")).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    let me = house.url("access", "/.wayleave/api/v1/me");
    let page = alice.open(&house, &alice.home_token, &me).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    let page = refresh(&house, Some(&alice.key), &alice.refresh_token).await;
    assert_eq!(error(&page), "invalid_grant");
    let page = exchange(&house, Some(&alice.key), &alice.home_token, "app").await;
    assert_eq!(error(&page), "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_tokens_last_five_minutes_and_no_exchange_makes_them_longer() {
    let (house, clock) = House::start_still("sqlite://wayleave.db").await;
    let alice = ProgramOf::with_key(&house, "alice", Key::at(clock.clone())).await;
    let app = house.url("app", "/x");
    clock.advance(Duration::from_secs(200));
    let page = exchange(&house, Some(&alice.key), &alice.home_token, "app").await;
    assert_eq!(page.json()["expires_in"], 100);
    let token = text(&page, "access_token");
    assert_eq!(
        alice.open(&house, &token, &app).await.status,
        StatusCode::OK
    );
    clock.advance(Duration::from_secs(106));
    let page = alice.open(&house, &token, &app).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{}", page.text());
    let page = exchange(&house, Some(&alice.key), &alice.home_token, "app").await;
    assert_eq!(error(&page), "invalid_request");
    // A refreshed one is good again; for a route at once, if asked so.
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "wayleave-cli"),
        ("refresh_token", &alice.refresh_token),
        ("resource", "app"),
    ];
    let token = text(
        &ask(&house, Some(&alice.key), &fields).await,
        "access_token",
    );
    assert_eq!(
        alice.open(&house, &token, &app).await.status,
        StatusCode::OK
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_stolen_token_is_of_no_use_without_its_key() {
    let house = House::start().await;
    let alice = ProgramOf::let_in(&house, "alice").await;
    let token = alice.token_for(&house, "app").await;
    let url = house.url("app", "/x");
    let dpop = format!("DPoP {token}");
    let good = || alice.key.proof("GET", &url, Some(&token));
    let mallory = Key::new();
    let now = |claims: &Value| claims["iat"].as_i64().unwrap();
    let proofs = [
        ("another key", mallory.proof("GET", &url, Some(&token))),
        (
            "another method",
            alice.key.proof("POST", &url, Some(&token)),
        ),
        (
            "another path",
            alice
                .key
                .proof("GET", &house.url("app", "/y"), Some(&token)),
        ),
        (
            "another host",
            alice
                .key
                .proof("GET", &house.url("admin", "/x"), Some(&token)),
        ),
        (
            "another scheme",
            alice
                .key
                .proof("GET", &house.secure_url("app", "/x"), Some(&token)),
        ),
        ("no token", alice.key.proof("GET", &url, None)),
        (
            "another token",
            alice.key.proof("GET", &url, Some(&alice.home_token)),
        ),
        (
            "old",
            alice.key.changed_proof("GET", &url, Some(&token), |c| {
                c["iat"] = (now(c) - 65).into()
            }),
        ),
        (
            "from the future",
            alice.key.changed_proof("GET", &url, Some(&token), |c| {
                c["iat"] = (now(c) + 65).into()
            }),
        ),
        ("nonsense", "nonsense".to_owned()),
    ];
    for (what, proof) in &proofs {
        let page = with(&house, &url, &dpop, Some(proof)).await;
        assert_eq!(
            page.status,
            StatusCode::UNAUTHORIZED,
            "{what}: {}",
            page.text()
        );
        let challenge = page.header("www-authenticate");
        assert!(
            challenge.starts_with("DPoP error=\"invalid_dpop_proof\""),
            "{what}: {challenge}"
        );
    }
    for (what, authorization, proof) in [
        ("no proof", dpop.clone(), None),
        ("as bearer", format!("Bearer {token}"), None),
        (
            "as bearer with a proof",
            format!("Bearer {token}"),
            Some(good()),
        ),
    ] {
        let page = with(&house, &url, &authorization, proof.as_deref()).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{what}");
        assert!(
            page.header("www-authenticate").starts_with("DPoP error="),
            "{what}"
        );
    }
    assert!(house.upstream.seen().is_empty());
    // Each proof is good once, on whichever connection and worker.
    let once = good();
    let all = (0..16).map(|_| with(&house, &url, &dpop, Some(&once)));
    let all = futures_util::future::join_all(all).await;
    let let_in = all.iter().filter(|page| page.status == StatusCode::OK);
    assert_eq!(let_in.count(), 1);
    // Two proofs are none.
    let request = Request::get(&url)
        .header("authorization", &dpop)
        .header("dpop", good())
        .header("dpop", good());
    let page = house.send(request.body(empty()).unwrap()).await;
    assert!(page.status.is_client_error(), "{}", page.text());
    // So it is at the token endpoint.
    for key in [None, Some(&mallory)] {
        let page = exchange(&house, key, &alice.home_token, "app").await;
        assert_eq!(error(&page), "invalid_dpop_proof");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_an_exchange_takes_our_token_for_this_server_alone() {
    let house = House::start().await;
    let alice = ProgramOf::let_in(&house, "alice").await;
    let key = Some(&alice.key);
    let token = alice.token_for(&house, "app").await;
    let robots = house.issuer.token(|_| ());
    for (what, subject) in [
        ("an exchanged token", token.as_str()),
        ("a refresh token", &alice.refresh_token),
        ("a trusted issuer's token", &robots),
        ("nonsense", "nonsense"),
    ] {
        let page = exchange(&house, key, subject, "admin").await;
        assert_eq!(error(&page), "invalid_request", "{what}");
    }
    let usual = [
        ("grant_type", EXCHANGE),
        ("subject_token", alice.home_token.as_str()),
        ("subject_token_type", ACCESS),
        ("resource", "app"),
    ];
    let id_token = "urn:ietf:params:oauth:token-type:id_token";
    for (change, expected) in [
        (("subject_token_type", id_token), "invalid_request"),
        (("subject_token_type", ""), "invalid_request"),
        (("requested_token_type", id_token), "invalid_request"),
        (("actor_token", token.as_str()), "invalid_request"),
        (("scope", "everything"), "invalid_request"),
        (("resource", ""), "invalid_request"),
        (("audience", "admin"), "invalid_target"),
        (("resource", &house.url("access", "")), "invalid_target"),
        (("resource", &house.url("app", "/x")), "invalid_target"),
        (("resource", &house.secure_url("app", "")), "invalid_target"),
        (("resource", "https://evil.example"), "invalid_target"),
        (("client_id", "another"), "invalid_client"),
        (("bound", "false"), "unauthorized_client"),
        (("bound", "perhaps"), "invalid_request"),
        (("grant_type", "password"), "unsupported_grant_type"),
    ] {
        let mut fields = usual.to_vec();
        fields.retain(|(name, _)| *name != change.0);
        fields.push(change);
        let page = ask(&house, key, &fields).await;
        assert_eq!(error(&page), expected, "{change:?}");
        let description = page.json()["error_description"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(!description.is_empty());
    }
    let mut fields = usual.to_vec();
    fields.push(("audience", "app"));
    assert_eq!(ask(&house, key, &fields).await.status, StatusCode::OK);
    fields.push(("resource", "app"));
    assert_eq!(error(&ask(&house, key, &fields).await), "invalid_request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_without_a_key_are_given_where_the_configuration_allows_them() {
    let clock = std::sync::Arc::new(wayleave::clock::SystemClock);
    let allowing =
        |text: String| format!("{text}\n[tokens]\nallow_unbound = true\nlifetime = \"2m\"\n");
    let house = House::start_as("sqlite://wayleave.db", clock, allowing).await;
    let alice = ProgramOf::let_in(&house, "alice").await;
    let fields = [
        ("grant_type", EXCHANGE),
        ("subject_token", alice.home_token.as_str()),
        ("subject_token_type", ACCESS),
        ("resource", "app"),
        ("bound", "false"),
    ];
    // Whoever asks for one has to prove the key all the same.
    assert_eq!(
        error(&ask(&house, None, &fields).await),
        "invalid_dpop_proof"
    );
    let page = ask(&house, Some(&alice.key), &fields).await;
    assert_eq!(
        (
            &page.json()["token_type"],
            page.json()["expires_in"].as_i64().unwrap() <= 120
        ),
        (&"Bearer".into(), true)
    );
    let token = text(&page, "access_token");
    let url = house.url("app", "/x");
    let page = with(&house, &url, &format!("Bearer {token}"), None).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    assert!(house.upstream.only().peer.contains("/sa/alice"));
    let proof = alice.key.proof("GET", &url, Some(&token));
    let page = with(&house, &url, &format!("DPoP {token}"), Some(&proof)).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    // A program without any key gets on as well.
    let mut browser = house.signed_in("bob").await;
    let code = code(&house, &mut browser).await;
    let page = redeem(&house, None, &code).await;
    assert_eq!(page.json()["token_type"], "Bearer");
    let again = refresh(&house, None, &text(&page, "refresh_token")).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_about_by_its_own_person_alone() {
    let house = House::start().await;
    let alice = ProgramOf::let_in(&house, "alice").await;
    let bob = ProgramOf::let_in(&house, "bob").await;
    let token = alice.token_for(&house, "app").await;
    let url = house.url("access", "/.wayleave/oauth/introspect");
    let about = async |who: &ProgramOf, token: &str| {
        let proof = who.key.proof("POST", &url, Some(&who.home_token));
        let authorization = format!("DPoP {}", who.home_token);
        let headers = [("authorization", authorization.as_str()), ("dpop", &proof)];
        let page = post(&house, "introspect", &headers, &[("token", token)]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        page.json()
    };
    let said = about(&alice, &token).await;
    assert_eq!(
        (&said["active"], &said["aud"]),
        (&true.into(), &house.url("app", "").into())
    );
    assert_eq!(about(&alice, &alice.refresh_token).await["active"], true);
    for token in [&token, &alice.refresh_token, "nonsense"] {
        let said = about(&bob, token).await;
        assert_eq!(said, serde_json::json!({ "active": false }));
    }
    let page = post(&house, "introspect", &[], &[("token", &token)]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_say_where_everything_is() {
    let house = House::start().await;
    let url = house.url("access", "/.well-known/oauth-authorization-server");
    let page = house.send(Request::get(url).body(empty()).unwrap()).await;
    let said = page.json();
    let home = house.url("access", "");
    assert_eq!(said["issuer"], home.as_str());
    for name in [
        "authorization",
        "token",
        "device_authorization",
        "revocation",
        "introspection",
    ] {
        let endpoint = said[format!("{name}_endpoint")].as_str().unwrap();
        assert!(endpoint.starts_with(&home), "{endpoint}");
        let page = house
            .send(Request::get(endpoint).body(empty()).unwrap())
            .await;
        assert_ne!(page.status, StatusCode::NOT_FOUND, "{endpoint}");
    }
    let keys = house.send(
        Request::get(said["jwks_uri"].as_str().unwrap())
            .body(empty())
            .unwrap(),
    );
    assert!(keys.await.json()["keys"][0]["x"].is_string());
    // Hosts of routes have none of it.
    let url = house.url("app", "/.wayleave/oauth/token");
    let page = house.send(Request::get(url).body(empty()).unwrap()).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l6_an_address_that_asks_too_often_is_slowed_down() {
    let clock = std::sync::Arc::new(wayleave::clock::SystemClock);
    let slow = |text: String| format!("{text}\n[tokens]\nrequests_per_second = 1\n");
    let house = House::start_as("sqlite://wayleave.db", clock, slow).await;
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "wayleave-cli"),
        ("refresh_token", "x"),
    ];
    let refused = async || {
        let page = ask(&house, None, &fields).await;
        let told = page.status == StatusCode::TOO_MANY_REQUESTS;
        assert!(!told || !page.header("retry-after").is_empty());
        told
    };
    eventually("it is slowed down", refused).await;
    // Others of the same address who are let in already go on.
    let mut browser = house.browser();
    let page = browser.sign_in(&house.url("app", "/"), "alice").await;
    assert_eq!(page.page.status, StatusCode::OK);
}
