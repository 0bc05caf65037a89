//! Every kind of token that there is, at every place that takes one: only the pairs that are meant pass.

use std::sync::Arc;

use http::{Request, StatusCode};
use wayleave::clock::SystemClock;

use crate::accounts;
use crate::agents;
use crate::aws;
use crate::parts::browser::navigation;
use crate::parts::empty;
use crate::parts::house::House;
use crate::parts::program_of::{
    ACCESS, EXCHANGE, ProgramOf, ask, code, exchange, post, redeem, refresh, text,
};

use crate::parts::sts::{MockSts, any_key, arn, instead, shown};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What a program says that it brings.
fn kind_at(place: &str) -> &'static str {
    match place {
        "a role's exchange" => aws::REQUEST,
        _ => JWT,
    }
}

/// Where a token is presented, and whether it was taken.
async fn taken(
    house: &House,
    (alice, clients): (&ProgramOf, &[String; 2]),
    place: &str,
    token: &str,
) -> bool {
    let key = &alice.key;
    let (app, admin) = (house.url("app", "/x"), house.url("admin", "/x"));
    let me = house.url("access", "/.wayleave/api/v1/me");
    let (url, scheme) = match place {
        "bearer at its route" => (&app, "Bearer"),
        "bearer at another route" => (&admin, "Bearer"),
        "bearer at the API" => (&me, "Bearer"),
        "proven at its route" => (&app, "DPoP"),
        "proven at another route" => (&admin, "DPoP"),
        "proven at the API" => (&me, "DPoP"),
        "cookie at its route" => {
            let request = Request::get(&app).header("cookie", format!("wayleave={token}"));
            let page = house.send(request.body(empty()).unwrap()).await;
            return page.status == StatusCode::OK;
        }
        "proof" => {
            let request = Request::get(&me)
                .header("authorization", format!("DPoP {}", alice.home_token))
                .header("dpop", token);
            let page = house.send(request.body(empty()).unwrap()).await;
            return page.status == StatusCode::OK;
        }
        "exchange" => {
            return exchange(house, Some(key), token, "app").await.status == StatusCode::OK;
        }
        "refresh" => return refresh(house, Some(key), token).await.status == StatusCode::OK,
        "an agent's refresh" | "another agent's refresh" => {
            let agent = &clients[usize::from(place.starts_with("another"))];
            let fields = [
                ("grant_type", "refresh_token"),
                ("client_id", agent.as_str()),
                ("refresh_token", token),
            ];
            return ask(house, None, &fields).await.status == StatusCode::OK;
        }
        "actor" => {
            let fields = [
                ("grant_type", EXCHANGE),
                ("subject_token", alice.home_token.as_str()),
                ("subject_token_type", ACCESS),
                ("actor_token", token),
                ("actor_token_type", "urn:ietf:params:oauth:token-type:jwt"),
                ("resource", "app"),
            ];
            return ask(house, Some(key), &fields).await.status == StatusCode::OK;
        }
        "a program's exchange" | "a role's exchange" => {
            let fields = [
                ("grant_type", EXCHANGE),
                ("subject_token", token),
                ("subject_token_type", kind_at(place)),
                ("resource", "app"),
            ];
            return ask(house, Some(key), &fields).await.status == StatusCode::OK;
        }
        "a service account's" => {
            let fields = accounts::fields(token, "app");
            return ask(house, Some(key), &fields).await.status == StatusCode::OK;
        }
        "subject of an actor" => {
            let actor = house.issuer.token(|_| ());
            let fields = [
                ("grant_type", EXCHANGE),
                ("subject_token", token),
                ("subject_token_type", ACCESS),
                ("actor_token", &actor),
                ("actor_token_type", "urn:ietf:params:oauth:token-type:jwt"),
                ("resource", "app"),
            ];
            return ask(house, Some(key), &fields).await.status == StatusCode::OK;
        }
        "code" => return redeem(house, Some(key), token).await.status == StatusCode::OK,
        "device" => {
            let fields = [
                ("grant_type", crate::parts::program_of::DEVICE),
                ("client_id", "wayleave-cli"),
                ("device_code", token),
            ];
            return ask(house, Some(key), &fields).await.status == StatusCode::OK;
        }
        "logout" => {
            let request =
                Request::post(house.url("access", "/.wayleave/backchannel-logout/partner"))
                    .header("content-type", "application/x-www-form-urlencoded");
            let body = crate::parts::full(format!("logout_token={token}"));
            return house.send(request.body(body).unwrap()).await.status == StatusCode::OK;
        }
        _ => panic!("{place}"),
    };
    let mut request = Request::get(url).header("authorization", format!("{scheme} {token}"));
    if scheme == "DPoP" {
        request = request.header("dpop", key.proof("GET", url, Some(token)));
    }
    house.send(request.body(empty()).unwrap()).await.status == StatusCode::OK
}

const PLACES: &[&str] = &[
    "bearer at its route",
    "bearer at another route",
    "bearer at the API",
    "proven at its route",
    "proven at another route",
    "proven at the API",
    "cookie at its route",
    "proof",
    "exchange",
    "logout",
    "device",
    "code",
    "actor",
    "a program's exchange",
    "a role's exchange",
    "a service account's",
    "subject of an actor",
    "another agent's refresh",
    "an agent's refresh",
    // Last: what is refused here may end what it belongs to.
    "refresh",
];

/// A rule that gives out JWT-SVIDs.
const SVIDS: &str =
    "  - { name: svids, action: allow, from: [{ groups: [sre] }], to: [{ svids: [jwt] }] }\n";

/// A kind of token: its name, one of them, and where it is good.
type Kind = (&'static str, String, &'static [&'static str]);

/// Two agents' clients, and every token that an agent can have.
async fn tokens_of_agents(house: &House, alice: &ProgramOf) -> ([String; 2], Vec<Kind>) {
    // Rules that let agents do what their person may, so that only tokens are in question.
    house
        .put_in_force(|text| {
            text + "  - { name: agents, action: allow, from: [{ groups: [staff], agents: [\"*\"] }], to: [{ routes: [app, admin] }] }\n"
        })
        .await;
    let agent = agents::let_in(house, "alice").await;
    let other = agents::let_in(house, "alice").await;
    let mut third = house.signed_in("alice").await;
    let agents_code = agents::code(house, &mut third, &agent.client).await;
    let clients = [agent.client.clone(), other.client];
    let delegated = {
        let actor = house.issuer.token(|_| ());
        let fields = [
            ("grant_type", EXCHANGE),
            ("subject_token", alice.home_token.as_str()),
            ("subject_token_type", ACCESS),
            ("actor_token", &actor),
            ("actor_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("resource", "app"),
        ];
        text(&ask(house, Some(&alice.key), &fields).await, "access_token")
    };
    let kinds: Vec<Kind> = vec![
        (
            "an agent's access token",
            agent.access,
            &["bearer at its route", "subject of an actor"],
        ),
        (
            "access token of a workload that acts",
            delegated,
            &["proven at its route", "subject of an actor"],
        ),
        ("an agent's code", agents_code, &[]),
        (
            "an agent's refresh token",
            agent.refresh,
            &["an agent's refresh"],
        ),
    ];
    (clients, kinds)
}

/// What programs bring, of issuers of the configuration and of the policy, and what they get for it.
async fn tokens_of_programs(house: &House, alice: &ProgramOf) -> Vec<Kind> {
    let keys = house.issuer.jwks();
    let role = arn("deploy");
    let trusted = format!(
        "trusted_issuers:\n  - {{ name: aws, aws_roles: ['{role}'] }}\n  - {{ name: cluster, issuer: cluster, audiences: [wayleave-test], algorithms: [ES256], groups_claim: groups, jwks: {keys} }}\nrole_bindings:\n"
    );
    house
        .put_in_force(|text| {
            let text = text.replacen("role_bindings:\n", &trusted, 1);
            let text = text.replacen("[demo, robots]", "[demo, robots, cluster, aws]", 1);
            // Its key is the one that proofs are made with, so that nothing but what it signs is in question.
            let groups = ", groups: [staff]";
            accounts::with_account(&text, "alice-1", &alice.key, groups).replacen(
                "[demo, robots, cluster, aws]",
                "[demo, robots, cluster, aws, service-accounts]",
                1,
            )
        })
        .await;
    house
        .put_in_force(|text| {
            text + "  - { name: roles, action: allow, from: [{ providers: [aws] }], to: [{ routes: [app, admin] }] }\n"
        })
        .await;
    let home = house.url("access", "");
    let of_role = || shown(&any_key(), &home);
    let once = of_role();
    let page = ask(house, Some(&alice.key), &aws::fields(&once, "app")).await;
    let roles_token = text(&page, "access_token");
    let of_account = || accounts::assertion(&alice.key, "alice-1", &home, |_| ());
    let fields = [of_account()];
    let fields = accounts::fields(&fields[0], "app");
    let accounts_token = text(&ask(house, Some(&alice.key), &fields).await, "access_token");
    let of_policy = house
        .issuer
        .token(|claims| claims["iss"] = "cluster".into());
    let fields = [
        ("grant_type", EXCHANGE),
        ("subject_token", of_policy.as_str()),
        ("subject_token_type", JWT),
        ("resource", "app"),
    ];
    let given = text(&ask(house, Some(&alice.key), &fields).await, "access_token");
    vec![
        (
            "trusted issuer's token",
            house.issuer.token(|_| ()),
            &["bearer at its route", "actor", "a program's exchange"],
        ),
        (
            "token of an issuer that the policy trusts",
            of_policy,
            &["bearer at its route", "actor", "a program's exchange"],
        ),
        (
            "service account's assertion",
            of_account(),
            &["a service account's"],
        ),
        (
            "access token of a service account",
            accounts_token,
            &["proven at its route", "subject of an actor"],
        ),
        (
            "request that a role of AWS signed",
            of_role(),
            &["a role's exchange"],
        ),
        (
            "access token of a role of AWS",
            roles_token,
            &["proven at its route", "subject of an actor"],
        ),
        (
            "access token of a program",
            given,
            &["proven at its route", "subject of an actor"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_token_is_good_only_where_it_is_meant_to_be() {
    let sts = MockSts::start().await;
    sts.name("deploy", "run-1");
    let allowing = |text: String| {
        let more = format!("{}\n[tokens]\nallow_unbound = true\n", instead(&sts.url));
        agents::letting_agents_in(format!("{text}\n{more}"))
    };
    let house = House::start_as("sqlite://wayleave.db", Arc::new(SystemClock), allowing).await;
    house.put_in_force(|text| text + SVIDS).await;
    let mut alice = ProgramOf::let_in(&house, "alice").await;
    let bound = alice.token_for(&house, "app").await;
    let fields = [
        ("grant_type", EXCHANGE),
        ("subject_token", alice.home_token.as_str()),
        ("subject_token_type", ACCESS),
        ("resource", "app"),
        ("bound", "false"),
    ];
    let unbound = text(
        &ask(&house, Some(&alice.key), &fields).await,
        "access_token",
    );
    // What upstreams are told, and what the same key signs besides.
    let page = navigation("GET", &house.url("app", "/x"), empty());
    alice.browser.fetch(page).await;
    let seen = house.upstream.only();
    let assertion = seen.headers["wayleave-jwt-assertion"]
        .to_str()
        .unwrap()
        .to_owned();
    let checkpoint = house.checkpoint().await;
    let proof = alice.key.proof(
        "GET",
        &house.url("access", "/.wayleave/api/v1/me"),
        Some(&alice.home_token),
    );
    let mut another = house.signed_in("alice").await;
    let code = code(&house, &mut another).await;
    let cookies = another.cookies("app.localhost");
    let cookie = cookies.split("wayleave=").nth(1).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let device = {
        let url = house.url("access", "/.wayleave/oauth/device_authorization");
        let proof = alice.key.proof("POST", &url, None);
        let fields = [("client_id", "wayleave-cli")];
        text(
            &post(&house, "device_authorization", &[("dpop", &proof)], &fields).await,
            "device_code",
        )
    };
    let svid = alice.jwt_svid(&house, "vault").await;
    let (clients, of_agents) = tokens_of_agents(&house, &alice).await;
    let mut kinds: Vec<Kind> = vec![
        ("JWT-SVID", svid, &[]),
        (
            "access token for the API",
            alice.home_token.clone(),
            &["proven at the API", "exchange", "subject of an actor"],
        ),
        (
            "access token for a route",
            bound,
            &["proven at its route", "subject of an actor"],
        ),
        (
            "access token for a route, unbound",
            unbound,
            &["bearer at its route", "subject of an actor"],
        ),
        ("assertion", assertion, &[]),
        ("checkpoint", checkpoint, &[]),
        ("proof of a key", proof, &["proof"]),
        (
            "session cookie",
            cookie.to_owned(),
            &["cookie at its route"],
        ),
        ("authorization code", code, &["code"]),
        ("device code that nobody approved", device, &[]),
        ("logout token", house.issuer.logout_token(), &["logout"]),
        ("refresh token", alice.refresh_token.clone(), &["refresh"]),
    ];
    kinds.extend(of_agents);
    kinds.extend(tokens_of_programs(&house, &alice).await);
    for (kind, token, meant) in &kinds {
        for place in PLACES {
            let taken = taken(&house, (&alice, &clients), place, token).await;
            assert_eq!(taken, meant.contains(place), "{kind}: {place}");
        }
    }
    // Another edge's tokens are none here.
    let other = House::start().await;
    let stranger = ProgramOf::let_in(&other, "alice").await;
    for token in [&stranger.home_token, &stranger.refresh_token] {
        for place in PLACES {
            assert!(
                !taken(&house, (&stranger, &clients), place, token).await,
                "{place}"
            );
        }
    }
}
