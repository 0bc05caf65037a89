//! Programs without a person: a trusted issuer's JWT becomes a token for one route.

use std::sync::Arc;

use wayleave::clock::{SystemClock, Timestamp};
use wayleave::session::EndReason;
use wayleave::store::revoking::SessionFilter;

use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::program_of::{ACCESS, EXCHANGE, Key, ask, error, open, opens_nothing_else, text};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

async fn exchanged(
    house: &House,
    key: Option<&Key>,
    token: &str,
    change: &[(&str, &str)],
) -> crate::parts::client::Page {
    let usual = [
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", JWT),
        ("resource", "app"),
    ];
    let is_changed = |name: &str| change.iter().any(|(changed, _)| *changed == name);
    let kept = usual.into_iter().filter(|(name, _)| !is_changed(name));
    let fields: Vec<_> = kept.chain(change.iter().copied()).collect();
    ask(house, key, &fields).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_program_gets_a_token_for_one_route_that_lives_no_longer_than_its_own() {
    let house = House::start().await;
    let key = Key::new();
    let now = jiff::Timestamp::now().as_second();
    let short = house
        .issuer
        .token(|claims| claims["exp"] = (now + 60).into());
    let page = exchanged(&house, Some(&key), &short, &[]).await;
    let token = text(&page, "access_token");
    let answer = page.json();
    assert!(answer["expires_in"].as_i64().unwrap() <= 60, "{answer}");
    assert!(answer.get("refresh_token").is_none(), "{answer}");
    let there = open(&house, &key, &token, &house.url("app", "/x")).await;
    assert_eq!(there.status, 200, "{}", there.text());
    let seen = house.upstream.only();
    assert_eq!(seen.peer, "spiffe://demo.wayleave/ns/people/sa/robot");
    opens_nothing_else(&house, &key, &token).await;
    let events = house.events("tokens_granted").await;
    assert!(
        events
            .iter()
            .any(|event| event.to_string().contains("robot-1")),
        "{events:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_what_is_no_good_is_exchanged_for_nothing() {
    let house = House::start().await;
    let key = Key::new();
    let issuer = &house.issuer;
    let now = jiff::Timestamp::now().as_second();
    let good = issuer.token(|_| ());
    let own = text(
        &exchanged(&house, Some(&key), &good, &[]).await,
        "access_token",
    );
    let stranger = issuer.token(|claims| claims["iss"] = "https://other.example".into());
    for (what, token) in [
        (
            "for others",
            issuer.token(|claims| claims["aud"] = "x".into()),
        ),
        (
            "expired",
            issuer.token(|claims| claims["exp"] = (now - 60).into()),
        ),
        // Within what a verifier forgives.
        (
            "just expired",
            issuer.token(|claims| claims["exp"] = (now - 5).into()),
        ),
        ("a stranger's", stranger),
        ("our own", own),
        ("cut short", good[..good.len() - 1].to_owned()),
    ] {
        let page = exchanged(&house, Some(&key), &token, &[]).await;
        assert_eq!(error(&page), "invalid_request", "{what}");
    }
    for (change, code) in [
        (("subject_token_type", ACCESS), "invalid_request"),
        (("subject_token_type", "x"), "invalid_request"),
        (("requested_token_type", JWT), "invalid_request"),
        (("actor_token", good.as_str()), "invalid_request"),
        (("scope", "all"), "invalid_request"),
        (("audience", "admin"), "invalid_target"),
        (("resource", "nowhere"), "invalid_target"),
        (("client_id", "another"), "invalid_client"),
    ] {
        let page = exchanged(&house, Some(&key), &good, &[change]).await;
        assert_eq!(error(&page), code, "{change:?}");
    }
    let unbound = exchanged(&house, None, &good, &[]).await;
    assert_eq!(error(&unbound), "unauthorized_client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_one_jwt_begins_one_session_and_none_once_that_has_ended() {
    let house = House::start().await;
    let key = Key::new();
    let jwt = house.issuer.token(|_| ());
    let mut tokens = Vec::new();
    let exchanges = (0..8).map(|_| exchanged(&house, Some(&key), &jwt, &[]));
    for page in futures_util::future::join_all(exchanges).await {
        tokens.push(text(&page, "access_token"));
    }
    let url = house.url("app", "/x");
    let all = SessionFilter::since(Timestamp::from_micros(0));
    let sessions = house.store().live_sessions(&all, None, 100).await.unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    for token in &tokens {
        assert_eq!(open(&house, &key, token, &url).await.status, 200);
    }
    let (ids, reason) = (
        [sessions[0].id.clone()],
        EndReason::Revoked("operator".into()),
    );
    house.store().end_sessions(&ids, &reason).await.unwrap();
    for token in &tokens {
        let ended = async || open(&house, &key, token, &url).await.status == 401;
        eventually("the edge has heard of it", ended).await;
    }
    let again = exchanged(&house, Some(&key), &jwt, &[]).await;
    assert_eq!(error(&again), "invalid_grant");
    let other = house
        .issuer
        .token(|claims| claims["jti"] = "another".into());
    let other = exchanged(&house, Some(&key), &other, &[]).await;
    text(&other, "access_token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_a_token_ends_with_the_trust_in_its_issuer() {
    let mut house = House::start().await;
    let key = Key::new();
    let jwt = house.issuer.token(|_| ());
    let token = text(
        &exchanged(&house, Some(&key), &jwt, &[]).await,
        "access_token",
    );
    let url = house.url("app", "/x");
    assert_eq!(open(&house, &key, &token, &url).await.status, 200);
    let named = format!("issuer = \"{}\"\njwks_url", house.issuer.url);
    house.reload(|text| {
        assert!(text.contains(&named), "{text}");
        text.replace(&named, "issuer = \"https://other.example\"\njwks_url")
    });
    eventually("the edge takes the token no more", async || {
        open(&house, &key, &token, &url).await.status != 200
    })
    .await;
    assert_eq!(open(&house, &key, &token, &url).await.status, 401);
    let refused = exchanged(&house, Some(&key), &jwt, &[]).await;
    assert_eq!(error(&refused), "invalid_request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_route_that_does_not_count_the_issuer_gives_nothing() {
    let house = House::start().await;
    let key = Key::new();
    house
        .put_in_force(|text| text.replacen("[demo, robots]", "[demo]", 1))
        .await;
    let jwt = house.issuer.token(|_| ());
    let page = exchanged(&house, Some(&key), &jwt, &[]).await;
    assert_eq!(error(&page), "invalid_grant");
    let other = [("resource", "admin")];
    let page = exchanged(&house, Some(&key), &jwt, &other).await;
    assert_eq!(page.status, 200, "{}", page.text());
}

/// What the issuer of the tests calls itself where a policy trusts it: its own address is the one of an identity provider.
const CI: &str = "https://ci.example";

/// An edge whose configuration says this of where keys of the policy's issuers may be.
async fn reaching(reach: &str) -> House {
    let change = |text: String| format!("{text}\n[policy_issuers]\n{reach}\n");
    House::start_as("sqlite://wayleave.db", Arc::new(SystemClock), change).await
}

/// A policy that trusts it under this name, with more said of it.
fn trusting(policy: &str, more: &str) -> String {
    let policy = policy.replacen("[demo, robots]", "[demo, robots, ci]", 1);
    let trusted = format!(
        "trusted_issuers:\n  - name: ci\n    audiences: [wayleave-test]\n    algorithms: [ES256]\n    groups_claim: groups\n{more}role_bindings:\n"
    );
    policy.replacen("role_bindings:\n", &trusted, 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_an_issuer_of_the_policy_is_trusted_as_far_as_the_policy_says() {
    let house = reaching("insecure_allow_http_loopback = true").await;
    let key = Key::new();
    let issuer = house.issuer.clone();
    let of = |repository: &'static str| {
        issuer.token(|claims| {
            claims["iss"] = CI.into();
            claims["repository"] = repository.into();
            claims["iat"] = jiff::Timestamp::now().as_second().into();
        })
    };
    let good = of("corp/shop");
    assert_eq!(
        error(&exchanged(&house, Some(&key), &good, &[]).await),
        "invalid_request"
    );
    let more = |values: &str| {
        format!(
            "    issuer: \"{CI}\"\n    jwks_url: \"{0}/jwks\"\n    required_claims: {{ repository: [{values}] }}\n    not_claims: {{ fork: [\"*\"] }}\n    \
             subject_claim: repository\n    at_most: 2m\n",
            issuer.url
        )
    };
    let former = std::sync::OnceLock::new();
    house
        .put_in_force(|text| trusting(former.get_or_init(|| text), &more("\"corp/*\"")))
        .await;
    let page = exchanged(&house, Some(&key), &good, &[]).await;
    assert!(
        page.json()["expires_in"].as_i64().unwrap() <= 120,
        "{}",
        page.text()
    );
    let token = text(&page, "access_token");
    let url = house.url("app", "/x");
    assert_eq!(open(&house, &key, &token, &url).await.status, 200);
    let events = house.events("tokens_granted").await;
    let is_named = |event: &serde_json::Value| event.to_string().contains("corp/shop");
    assert!(events.iter().any(is_named), "{events:?}");
    let fork = issuer.token(|claims| {
        claims["iss"] = CI.into();
        claims["repository"] = "corp/shop".into();
        claims["iat"] = jiff::Timestamp::now().as_second().into();
        claims["fork"] = true.into();
    });
    let undated = issuer.token(|claims| {
        claims["iss"] = CI.into();
        claims["repository"] = "corp/shop".into();
        claims.as_object_mut().unwrap().remove("iat");
    });
    // Whatever it says of an e-mail address: that rules for people are about.
    let posing = issuer.token(|claims| {
        claims["iss"] = CI.into();
        claims["repository"] = "corp/shop".into();
        claims["iat"] = jiff::Timestamp::now().as_second().into();
        claims["email"] = "alice@demo.example".into();
        claims["email_verified"] = true.into();
    });
    text(
        &exchanged(&house, Some(&key), &posing, &[]).await,
        "access_token",
    );
    let events = house.events("tokens_granted").await;
    assert!(!format!("{events:?}").contains("alice@"), "{events:?}");
    let [(signed, _), (_, signature)] =
        [&good, &posing].map(|token| token.rsplit_once('.').unwrap());
    let mixed = format!("{signed}.{signature}");
    for (what, bad) in [
        ("another's", of("evil/corp")),
        ("a fork's", fork),
        ("signed otherwise", mixed),
        ("undated", undated),
        (
            "without the claim",
            issuer.token(|claims| claims["iss"] = CI.into()),
        ),
    ] {
        let page = exchanged(&house, Some(&key), &bad, &[]).await;
        assert_eq!(error(&page), "invalid_request", "{what}");
    }
    // Other policy, same trust: keys are not fetched again, and what was begun goes on.
    let fetches = issuer.fetches();
    house
        .put_in_force(|text| text.replace("[public]", "[public, partner]"))
        .await;
    assert_eq!(open(&house, &key, &token, &url).await.status, 200);
    assert_eq!(issuer.fetches(), fetches);
    // Without the trust everything that came of it ends (H5).
    house.put_in_force(|_| former.get().unwrap().clone()).await;
    eventually("the token is taken no more", async || {
        open(&house, &key, &token, &url).await.status == 401
    })
    .await;
    assert_eq!(
        error(&exchanged(&house, Some(&key), &good, &[]).await),
        "invalid_request"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_cannot_speak_for_an_identity_provider() {
    let house = House::start().await;
    let config = house.config();
    let rules = wayleave::app::compose::policy_rules(&config);
    let of = |issuer: &str| {
        let keys = house.issuer.jwks();
        format!(
            "trusted_issuers:\n  - {{ name: mine, issuer: \"{issuer}\", audiences: [x], algorithms: [ES256], jwks: {keys} }}\n"
        )
    };
    let providers = config.identity_providers.iter();
    let taken: Vec<String> = providers
        .map(|provider| provider.issuer_text.to_string())
        .collect();
    assert_eq!(taken.len(), 2);
    for issuer in &taken {
        let faults = rules.check(&of(issuer)).unwrap_err();
        assert_eq!(faults[0].key, "trusted_issuers[0].issuer", "{faults:?}");
    }
    rules.check(&of("https://other.example")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_policy_sends_the_edge_to_no_address_that_the_configuration_does_not_allow() {
    let house = reaching("").await;
    let key = Key::new();
    let issuer = house.issuer.clone();
    let more = format!(
        "    issuer: \"{CI}\"\n    jwks_url: \"{0}/jwks\"\n",
        issuer.url
    );
    house.put_in_force(|text| trusting(&text, &more)).await;
    let fetches = issuer.fetches();
    let page = exchanged(
        &house,
        Some(&key),
        &issuer.token(|claims| claims["iss"] = CI.into()),
        &[],
    )
    .await;
    assert_eq!(page.json()["error"], "temporarily_unavailable");
    assert_eq!(issuer.fetches(), fetches);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_written_down_verify_what_nobody_can_ask_the_issuer_of() {
    let house = reaching("insecure_allow_http_loopback = true").await;
    let key = Key::new();
    let issuer = house.issuer.clone();
    let more = format!(
        "    issuer: kubernetes/cluster-7\n    jwks: {}\n",
        issuer.jwks()
    );
    house.put_in_force(|text| trusting(&text, &more)).await;
    let fetches = issuer.fetches();
    let of = |iss: &'static str| issuer.token(|claims| claims["iss"] = iss.into());
    let page = exchanged(&house, Some(&key), &of("kubernetes/cluster-7"), &[]).await;
    let token = text(&page, "access_token");
    let url = house.url("app", "/x");
    assert_eq!(open(&house, &key, &token, &url).await.status, 200);
    issuer.rotate("k2");
    for stranger in [of("kubernetes/cluster-7"), of("kubernetes/cluster-8")] {
        let page = exchanged(&house, Some(&key), &stranger, &[]).await;
        assert_eq!(error(&page), "invalid_request");
    }
    assert_eq!(issuer.fetches(), fetches);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_refused_exchanges_are_told_of_and_fill_no_disk() {
    let house = House::start().await;
    let key = Key::new();
    let issuer = &house.issuer;
    let told = async || house.events("exchange_refused").await;
    let expired = issuer.token(|claims| claims["exp"] = 1000.into());
    exchanged(&house, Some(&key), &expired, &[]).await;
    let events = told().await;
    let [event] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(event["reason"], "invalid_request");
    assert_eq!(event["issuer"], "robots");
    assert!(
        event["why"].as_str().unwrap().contains("expired"),
        "{event}"
    );
    // Its subject is what nobody verified.
    assert!(!event.to_string().contains("robot-1"), "{event}");
    let good = issuer.token(|_| ());
    exchanged(&house, Some(&key), &good, &[("resource", "partner")]).await;
    let events = told().await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[1].to_string().contains("robot-1"), "{events:?}");
    assert_eq!(exchanged(&house, Some(&key), &good, &[]).await.status, 200);
    assert_eq!(told().await.len(), 2);
    let mut refused = 2;
    for _ in 0..40 {
        let page = exchanged(&house, Some(&key), &expired, &[]).await;
        refused += usize::from(error(&page) == "invalid_request");
    }
    assert_eq!(refused, 42);
    let told = told().await.len();
    assert!((20..30).contains(&told), "{told}");
}
