//! Programs without a person: a trusted issuer's JWT becomes a token for one route.

use wayleave::clock::Timestamp;
use wayleave::session::EndReason;
use wayleave::store::revoking::SessionFilter;

use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::program_of::{ACCESS, EXCHANGE, Key, ask, error, open, text};

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
    // It is for this route alone (G9), and needs the key that it is bound to (H12).
    let elsewhere = open(&house, &key, &token, &house.url("admin", "/x")).await;
    assert_eq!(elsewhere.status, 401);
    let thief = open(&house, &Key::new(), &token, &house.url("app", "/x")).await;
    assert_eq!(thief.status, 401);
    let api = house.url("access", "/.wayleave/api/v1/me");
    assert_eq!(open(&house, &key, &token, &api).await.status, 401);
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
