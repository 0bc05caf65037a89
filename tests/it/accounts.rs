//! Programs that no issuer vouches for: a service account of the policy proves its key and gets a token for one route.

use http::Request;
use serde_json::{Value, json};
use wayleave::clock::Timestamp;
use wayleave::session::EndReason;
use wayleave::store::revoking::SessionFilter;

use crate::parts::client::Page;
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::program_of::{
    Change, EXCHANGE, Key, ask, ask_at, ended_by, error, open, opens_nothing_else, text,
};
use crate::parts::served::{end, gathered_on, stores};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a service account shows: an assertion, with a change.
pub(crate) fn assertion(
    key: &Key,
    account: &str,
    issuer: &str,
    change: impl FnOnce(&mut Value),
) -> String {
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({
        "iss": account, "sub": account, "aud": issuer, "iat": now, "exp": now + 60,
        "jti": hex::encode(wayleave::secret::random::<16>()),
    });
    change(&mut claims);
    let header = json!({"typ": "JWT", "alg": "ES256"});
    key.signed(&header, &claims)
}

/// What it asks with.
pub(crate) fn fields<'a>(assertion: &'a str, resource: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
        ("resource", resource),
    ]
}

/// A policy with this account in it, whose groups may open `app`.
pub(crate) fn with_account(policy: &str, name: &str, key: &Key, more: &str) -> String {
    let account = format!(
        "service_accounts:\n  - {{ name: {name}, jwks: {{ keys: [{}] }}{more} }}\nrole_bindings:\n",
        key.jwk()
    );
    let policy = policy.replacen("[demo, robots]", "[demo, robots, service-accounts]", 1);
    policy.replacen("role_bindings:\n", &account, 1)
}

/// A house whose policy has the account `backup`, and its key.
async fn with_backup(more: &str) -> (House, Key) {
    let (house, own) = (House::start().await, Key::new());
    house
        .put_in_force(|text| with_account(&text, "backup", &own, more))
        .await;
    (house, own)
}

fn fresh(house: &House, own: &Key) -> String {
    assertion(own, "backup", &house.url("access", ""), |_| ())
}

async fn given(house: &House, own: &Key, key: &Key) -> Page {
    ask(house, Some(key), &fields(&fresh(house, own), "app")).await
}

/// A rule about it alone.
const RULE: &str = "  - { name: backups, action: allow, from: [{ providers: [service-accounts], subjects: [backup] }], to: [{ routes: [app] }] }\n";

const STAFF: &str = ", groups: [staff]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_an_account_gets_a_token_for_one_route_and_has_one_session() {
    let (house, own) = with_backup("").await;
    let key = Key::new();
    house.put_in_force(|text| text + RULE).await;
    house.upstream.forget();
    let page = given(&house, &own, &key).await;
    let token = text(&page, "access_token");
    let answer = page.json();
    assert!(answer["expires_in"].as_i64().unwrap() <= 300, "{answer}");
    assert!(answer.get("refresh_token").is_none(), "{answer}");
    let there = open(&house, &key, &token, &house.url("app", "/x")).await;
    assert_eq!(there.status, 200, "{}", there.text());
    let seen = house.upstream.only();
    assert_eq!(seen.peer, "spiffe://demo.wayleave/ns/people/sa/robot");
    opens_nothing_else(&house, &key, &token).await;
    let unbound = ask(&house, None, &fields(&fresh(&house, &own), "app")).await;
    assert_eq!(error(&unbound), "unauthorized_client");
    let second = text(&given(&house, &own, &Key::new()).await, "access_token");
    assert_ne!(second, token);
    let all = SessionFilter::since(Timestamp::from_micros(0));
    let sessions = house.store().live_sessions(&all, None, 100).await.unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let events = house.events("tokens_granted").await;
    let of_account = events
        .iter()
        .filter(|event| event.to_string().contains("backup"));
    assert_eq!(of_account.count(), 2, "{events:?}");
    // Ended, it is of no use any more; the account itself is what it was.
    let (ids, reason) = (
        [sessions[0].id.clone()],
        EndReason::Revoked("operator".into()),
    );
    house.store().end_sessions(&ids, &reason).await.unwrap();
    eventually("the edge has heard of it", async || {
        open(&house, &key, &token, &house.url("app", "/x"))
            .await
            .status
            == 401
    })
    .await;
    let token = text(&given(&house, &own, &key).await, "access_token");
    let there = open(&house, &key, &token, &house.url("app", "/x")).await;
    assert_eq!(there.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_what_is_no_assertion_of_an_account_is_refused_and_told_of() {
    let (house, own) = with_backup(STAFF).await;
    let key = Key::new();
    let issuer = house.url("access", "");
    let of = |own: &Key, account: &str, name: &str, value: Value| {
        assertion(own, account, &issuer, |claims| claims[name] = value)
    };
    let now = jiff::Timestamp::now().as_second();
    let stranger = assertion(&Key::new(), "backup", &issuer, |_| ());
    let nobody = assertion(&own, "nobody", &issuer, |_| ());
    let bad = [
        ("a stranger's", stranger),
        ("nobody's", nobody),
        ("for others", of(&own, "backup", "aud", "x".into())),
        ("for several", of(&own, "backup", "aud", json!([issuer]))),
        ("too long", of(&own, "backup", "exp", (now + 900).into())),
        ("expired", of(&own, "backup", "exp", (now - 60).into())),
        ("of no id", of(&own, "backup", "jti", Value::Null)),
        ("of another issuer", of(&own, "backup", "iss", "x".into())),
        ("a trusted issuer's", house.issuer.token(|_| ())),
        ("none", "x".to_owned()),
    ];
    for (what, assertion) in &bad {
        let page = ask(&house, Some(&key), &fields(assertion, "app")).await;
        assert_eq!(error(&page), "invalid_client", "{what}");
        assert_eq!(page.status, 401, "{what}");
    }
    let used = fresh(&house, &own);
    let once = ask(&house, Some(&key), &fields(&used, "app")).await;
    assert_eq!(once.status, 200, "{}", once.text());
    let twice = ask(&house, Some(&key), &fields(&used, "app")).await;
    assert_eq!(error(&twice), "invalid_client");
    for (name, value, code) in [
        ("resource", "nowhere", "invalid_target"),
        ("resource", "partner", "invalid_grant"),
        ("client_assertion_type", "x", "invalid_client"),
        ("client_id", "other", "invalid_client"),
        ("client_secret", "x", "invalid_client"),
        ("scope", "all", "invalid_request"),
    ] {
        let fresh = fresh(&house, &own);
        let usual = fields(&fresh, "app");
        let kept = usual.iter().copied().filter(|(usual, _)| *usual != name);
        let changed: Vec<_> = kept.chain([(name, value)]).collect();
        let page = ask(&house, Some(&key), &changed).await;
        assert_eq!(error(&page), code, "{name} {value}");
    }
    let nothing = [("grant_type", "client_credentials"), ("resource", "app")];
    let page = ask(&house, Some(&key), &nothing).await;
    assert_eq!(error(&page), "invalid_client");
    let named = fresh(&house, &own);
    let mut named = fields(&named, "app").to_vec();
    named.push(("client_id", "backup"));
    assert_eq!(ask(&house, Some(&key), &named).await.status, 200);
    let events = house.events("exchange_refused").await;
    assert_eq!(events.len(), 18, "{events:?}");
    let first = &events[0];
    assert_eq!(first["reason"], "invalid_client");
    assert_eq!(first["service_account"], "backup");
    assert_eq!(first["person"], Value::Null, "nobody verified it: {first}");
    let second = &events[1];
    assert_eq!(second["service_account"], Value::Null, "{second}");
    let replayed = &events[10];
    assert!(
        replayed["why"].to_string().contains("used before"),
        "{replayed}"
    );
    assert_eq!(replayed["person"]["subject"], "backup", "{replayed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_an_account_ends_with_its_place_in_the_policy() {
    let (house, own) = with_backup(STAFF).await;
    let key = Key::new();
    let other = Key::new();
    let changes: [(&str, Change<'_>); 4] = [
        ("the account", &|text| {
            text.replace("name: backup", "name: other")
        }),
        ("the key", &|text| {
            text.replace(&own.jwk().to_string(), &other.jwk().to_string())
        }),
        ("its groups", &|text| {
            text.replacen("groups: [staff] }", "groups: [staff, more] }", 1)
        }),
        ("its time", &|text| {
            text.replacen(
                "groups: [staff] }",
                "groups: [staff], until: 2020-01-01 }",
                1,
            )
        }),
    ];
    for (what, change) in changes {
        let ask_again = async || given(&house, &own, &key).await;
        let page = ended_by(&house, &key, (what, change), ask_again).await;
        match what {
            "its groups" => assert_eq!(page.status, 200, "{}", page.text()),
            _ => assert_eq!(error(&page), "invalid_client", "{what}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_an_account_with_an_end_gets_nothing_that_lasts_longer() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90);
    let (house, own) = with_backup(&format!("{STAFF}, until: '{soon}'")).await;
    let key = Key::new();
    let page = given(&house, &own, &key).await;
    let left = page.json()["expires_in"].as_i64();
    assert!(left.is_some_and(|left| left <= 90), "{}", page.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_read_how_accounts_prove_themselves() {
    let house = House::start().await;
    let url = house.url("access", "/.well-known/oauth-authorization-server");
    let request = Request::get(url).body(crate::parts::empty()).unwrap();
    let said = house.send(request).await.json();
    let has = |name: &str, value: &str| said[name].as_array().unwrap().contains(&value.into());
    assert!(has("grant_types_supported", "client_credentials"));
    assert!(has(
        "token_endpoint_auth_methods_supported",
        "private_key_jwt"
    ));
    assert!(has("token_endpoint_auth_methods_supported", "none"));
    assert!(has(
        "token_endpoint_auth_signing_alg_values_supported",
        "ES256"
    ));
    assert!(!has(
        "token_endpoint_auth_signing_alg_values_supported",
        "none"
    ));
    // Credentials are for this grant alone.
    let jwt = house.issuer.token(|_| ());
    let exchange = [
        ("grant_type", EXCHANGE),
        ("subject_token", jwt.as_str()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("resource", "app"),
        ("client_assertion", "x"),
    ];
    let page = ask(&house, Some(&Key::new()), &exchange).await;
    assert_eq!(error(&page), "invalid_client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_an_assertion_is_good_once_at_all_edges_together() {
    for store in stores().await {
        let parties = gathered_on(&store).await;
        let (own, key) = (Key::new(), Key::new());
        let text = parties.read("policy.yaml");
        let policy = with_account(&text, "backup", &own, STAFF);
        parties.edit("policy.yaml", &text, &policy);
        let first = parties.serve().await;
        let (second, port) = parties.serve_replica().await;
        let ports = [parties.stage.ports.http, port];
        let issuer = parties.at("access");
        for [here, there] in [ports, [port, ports[0]]] {
            let once = assertion(&own, "backup", &issuer, |_| ());
            let page = ask_at((&parties, here), &key, &fields(&once, "dashboards")).await;
            assert_eq!(page.status, 200, "{}", page.text());
            let again = ask_at((&parties, there), &key, &fields(&once, "dashboards")).await;
            assert_eq!(error(&again), "invalid_client", "{}", again.text());
        }
        end(first).await;
        end(second).await;
        parties.leave().await;
    }
}
