//! Roles of AWS: a request that a role signed becomes a token for one route.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;
use wayleave::clock::{SystemClock, Timestamp};
use wayleave::store::revoking::SessionFilter;
use wayleave::token::aws::signing::RoleKey;
use zeroize::Zeroizing;

use crate::parts::client::Page;
use crate::parts::house::House;
use crate::parts::program_of::{
    Change, EXCHANGE, Key, ask, ask_at, ended_by, error, open, opens_nothing_else, text,
};
use crate::parts::served::{CONFIGURATION, end, gathered_on, stores};
use crate::parts::sts::{MockSts, Moto, altered, any_key, arn, instead, shown};

pub(crate) const REQUEST: &str = "urn:wayleave:token-type:aws-get-caller-identity";

/// What a role asks with.
pub(crate) fn fields<'a>(shown: &'a str, resource: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("grant_type", EXCHANGE),
        ("subject_token_type", REQUEST),
        ("subject_token", shown),
        ("resource", resource),
    ]
}

/// A policy that trusts these roles under the name `aws`, with a rule about `deploy`.
pub(crate) fn trusting(policy: &str, roles: &[&str]) -> String {
    let roles: Vec<String> = roles.iter().map(|role| arn(role)).collect();
    let policy = policy.replacen("[demo, robots]", "[demo, robots, aws]", 1);
    let trusted = format!(
        "trusted_issuers:\n  - {{ name: aws, aws_roles: {roles:?}, at_most: 30m }}\nrole_bindings:\n"
    );
    let rule = format!(
        "  - {{ name: deploys, action: allow, from: [{{ providers: [aws], subjects: ['{}'], claims: {{ aws_account: ['123456789012'], aws_role: [deploy], aws_session_name: ['run-*'] }} }}], to: [{{ routes: [app] }}] }}\n",
        arn("deploy")
    );
    policy.replacen("role_bindings:\n", &trusted, 1) + &rule
}

/// A house that takes what is at this address for AWS.
async fn at(url: &str, roles: &[&str]) -> House {
    let change = |text: String| format!("{text}\n{}", instead(url));
    let house = House::start_as("sqlite://wayleave.db", Arc::new(SystemClock), change).await;
    house.put_in_force(|text| trusting(&text, roles)).await;
    house
}

async fn given(house: &House, role: &RoleKey, key: &Key) -> Page {
    let shown = shown(role, &house.url("access", ""));
    ask(house, Some(key), &fields(&shown, "app")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_role_gets_a_token_for_one_route_and_has_one_session() {
    let moto = Moto::start().await;
    let house = at(&moto.url, &["deploy", "ci-*"]).await;
    let (deploy, key) = (moto.role("deploy", "run-1").await, Key::new());
    house.upstream.forget();
    let page = given(&house, &deploy, &key).await;
    let token = text(&page, "access_token");
    let answer = page.json();
    assert!(answer["expires_in"].as_i64().unwrap() <= 300, "{answer}");
    assert!(answer.get("refresh_token").is_none(), "{answer}");
    let there = open(&house, &key, &token, &house.url("app", "/x")).await;
    assert_eq!(there.status, 200, "{}", there.text());
    assert_eq!(
        house.upstream.only().peer,
        "spiffe://demo.wayleave/ns/people/sa/robot"
    );
    opens_nothing_else(&house, &key, &token).await;
    let edge = house.url("access", "");
    let unbound = ask(&house, None, &fields(&shown(&deploy, &edge), "app")).await;
    assert_eq!(error(&unbound), "unauthorized_client");
    text(&given(&house, &deploy, &Key::new()).await, "access_token");
    let all = SessionFilter::since(Timestamp::from_micros(0));
    let sessions = house.store().live_sessions(&all, None, 100).await.unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let events = house.events("tokens_granted").await;
    let of_role = events
        .iter()
        .filter(|event| event.to_string().contains(&arn("deploy")));
    assert_eq!(of_role.count(), 2, "{events:?}");
    // Rules see what the session is called; another session is another.
    let other = moto.role("ci-shop", "run-1").await;
    let token = text(&given(&house, &other, &key).await, "access_token");
    let there = open(&house, &key, &token, &house.url("app", "/x")).await;
    assert_eq!(there.status, 403, "no rule is about this role");
    let sessions = house.store().live_sessions(&all, None, 100).await.unwrap();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_what_aws_does_not_vouch_for_or_was_not_meant_for_this_edge_is_refused_and_told_of() {
    let moto = Moto::start().await;
    let house = at(&moto.url, &["deploy"]).await;
    let (deploy, key) = (moto.role("deploy", "run-1").await, Key::new());
    let (stranger, user) = (
        moto.role("stranger", "run-1").await,
        moto.user("alice").await,
    );
    let edge = house.url("access", "");
    let good = || shown(&deploy, &edge);
    let with_secret = |secret: &str| {
        let key = RoleKey {
            id: deploy.id.clone(),
            secret: Zeroizing::new(secret.to_owned()),
            session_token: deploy.session_token.clone(),
        };
        shown(&key, &edge)
    };
    let elsewhere = shown(&deploy, "https://access.evil.example");
    // Somebody to whom the role proved itself sends that on, with our name in it.
    let sent_on = altered(&elsewhere, |request| {
        request["headers"]["x-wayleave-audience"] = edge.clone().into()
    });
    let bad = [
        (
            "signed by another key",
            with_secret("x"),
            "SignatureDoesNotMatch",
        ),
        ("sent on by another edge", sent_on, "SignatureDoesNotMatch"),
        ("for another edge", elsewhere, "x-wayleave-audience"),
        (
            "another action",
            altered(&good(), |request| {
                request["body"] = "Action=AssumeRole".into()
            }),
            "body must be",
        ),
        (
            "to another host",
            altered(&good(), |request| {
                request["url"] = "https://sts.evil.example/".into()
            }),
            "url must be",
        ),
        (
            "with another header",
            altered(&good(), |request| {
                request["headers"]["x-amz-target"] = "x".into()
            }),
            "headers has",
        ),
        (
            "of a role that nobody trusts",
            shown(&stranger, &edge),
            "has the role arn:aws:iam::123456789012:role/stranger",
        ),
        ("of a user", shown(&user, &edge), "assumed no role"),
        (
            "a JWT",
            house.issuer.token(|_| ()),
            "it is not the base64url",
        ),
    ];
    for (what, shown, why) in &bad {
        let page = ask(&house, Some(&key), &fields(shown, "app")).await;
        assert_eq!(error(&page), "invalid_request", "{what}");
        assert!(page.text().contains(why), "{what}: {}", page.text());
    }
    let events = house.events("exchange_refused").await;
    assert_eq!(events.len(), 9, "{events:?}");
    let stranger = &events[6];
    assert!(
        stranger["why"].to_string().contains("role/stranger"),
        "{stranger}"
    );
    assert_eq!(stranger["person"], Value::Null, "{stranger}");
    // Nothing that was signed with is written anywhere.
    let written = format!("{events:?}");
    let session_token = deploy.session_token.as_ref().unwrap();
    assert!(!written.contains(session_token.as_str()) && !written.contains(&deploy.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_signed_request_is_good_once_and_for_what_the_form_says() {
    let sts = MockSts::start().await;
    let house = at(&sts.url, &["deploy"]).await;
    sts.name("deploy", "run-1");
    let key = Key::new();
    let good = || shown(&any_key(), &house.url("access", ""));
    let once = good();
    text(
        &ask(&house, Some(&key), &fields(&once, "app")).await,
        "access_token",
    );
    let twice = ask(&house, Some(&key), &fields(&once, "app")).await;
    assert!(error(&twice) == "invalid_request" && twice.text().contains("used before"));
    let respelt = altered(&once, |request| {
        let host = request["headers"]["host"].take();
        request["headers"].as_object_mut().unwrap().remove("host");
        request["headers"]["Host"] = host;
    });
    let thrice = ask(&house, Some(&key), &fields(&respelt, "app")).await;
    assert!(thrice.text().contains("used before"), "{}", thrice.text());
    for (name, value, code) in [
        ("resource", "nowhere", "invalid_target"),
        ("resource", "partner", "invalid_grant"),
        ("client_id", "other", "invalid_client"),
        ("client_secret", "x", "invalid_client"),
        ("scope", "all", "invalid_request"),
        ("actor_token", "x", "invalid_request"),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:jwt",
            "invalid_request",
        ),
    ] {
        let fresh = good();
        let usual = fields(&fresh, "app");
        let kept = usual.iter().copied().filter(|(usual, _)| *usual != name);
        let changed: Vec<_> = kept.chain([(name, value)]).collect();
        let page = ask(&house, Some(&key), &changed).await;
        assert_eq!(error(&page), code, "{name} {value}");
    }
    let events = house.events("exchange_refused").await;
    assert_eq!(events.len(), 9, "{events:?}");
    let replayed = &events[0];
    assert_eq!(replayed["issuer"], "aws", "{replayed}");
    let subject = &replayed["person"]["subject"];
    assert_eq!(subject, arn("deploy").as_str(), "{replayed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_sts_is_asked_with_what_was_signed_and_nothing_else_and_its_failures_are_no_refusals() {
    let sts = MockSts::start().await;
    let house = at(&sts.url, &["deploy"]).await;
    let key = Key::new();
    let once = shown(&any_key(), &house.url("access", ""));
    let ask = async || ask(&house, Some(&key), &fields(&once, "app")).await;
    let busy = "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>";
    let elsewhere = [("location", "http://127.0.0.1:9/")];
    for (status, headers, body) in [
        (StatusCode::SERVICE_UNAVAILABLE, &[] as &[_], ""),
        (StatusCode::BAD_REQUEST, &[], busy),
        (StatusCode::TOO_MANY_REQUESTS, &[], busy),
        (StatusCode::TEMPORARY_REDIRECT, &elsewhere, ""),
        (StatusCode::OK, &[], "<html>some page</html>"),
        (StatusCode::OK, &[], &" ".repeat(2 * 1024 * 1024)),
    ] {
        sts.answer(status, headers, body);
        let page = ask().await;
        assert_eq!(page.status, 503, "{status}: {}", page.text());
        assert_eq!(page.json()["error"], "temporarily_unavailable", "{status}");
    }
    assert!(house.events("exchange_refused").await.is_empty());
    // The very same request is good once AWS answers again.
    sts.name("deploy", "run-7");
    let token = text(&ask().await, "access_token");
    let there = open(&house, &key, &token, &house.url("app", "/x")).await;
    assert_eq!(there.status, 200, "{}", there.text());
    sts.answer(
        StatusCode::FORBIDDEN,
        &[],
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>ExpiredToken</Code></Error></ErrorResponse>",
    );
    let expired = ask().await;
    assert_eq!(error(&expired), "invalid_request");
    assert!(
        expired.text().contains("ExpiredToken"),
        "{}",
        expired.text()
    );
    let asked = sts.asked();
    let mut names: Vec<&str> = asked[0].keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let signed = [
        "authorization",
        "content-type",
        "host",
        "x-amz-date",
        "x-amz-security-token",
        "x-wayleave-audience",
        "x-wayleave-nonce",
    ];
    let of_client = ["accept", "content-length"];
    names.retain(|name| !of_client.contains(name));
    assert_eq!(names, signed);
    assert_eq!(asked[0]["host"], "sts.eu-central-1.amazonaws.com");
    assert_eq!(asked.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_a_role_ends_with_its_place_in_the_policy() {
    let sts = MockSts::start().await;
    let house = at(&sts.url, &["deploy"]).await;
    let (role, key) = (any_key(), Key::new());
    sts.name("deploy", "run-1");
    let url = house.url("app", "/x");
    let own = arn("deploy");
    let quoted = format!("\"{own}\"");
    let changes: [(&str, Change<'_>); 3] = [
        ("the role", &|text| {
            text.replacen(&quoted, &format!("\"{own}-2\""), 1)
        }),
        ("all of it", &|text| {
            let (before, after) = text.split_once("trusted_issuers:\n").unwrap();
            let (_, after) = after.split_once('\n').unwrap();
            let (after, _) = after.split_once("  - { name: deploys").unwrap();
            format!("{before}{after}").replacen(", aws]", "]", 1)
        }),
        ("its name", &|text| {
            text.replace("name: aws,", "name: other,")
                .replace("[aws]", "[other]")
                .replace(", aws]", ", other]")
        }),
    ];
    for (what, change) in changes {
        let ask_again = async || given(&house, &role, &key).await;
        let page = ended_by(&house, &key, (what, change), ask_again).await;
        match what {
            "its name" => assert_eq!(page.status, 200, "{}", page.text()),
            _ => assert_eq!(error(&page), "invalid_request", "{what}"),
        }
    }
    // Whoever is let in by a wider beginning is who they were.
    let token = text(&given(&house, &role, &key).await, "access_token");
    house
        .put_in_force(|text| text.replacen(&quoted, &format!("\"{}\"", arn("dep*")), 1))
        .await;
    assert_eq!(open(&house, &key, &token, &url).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_what_a_role_began_lasts_no_longer_than_the_policy_says() {
    let sts = MockSts::start().await;
    let house = at(&sts.url, &["deploy"]).await;
    house
        .put_in_force(|text| text.replacen("at_most: 30m", "at_most: 2m", 1))
        .await;
    sts.name("deploy", "run-1");
    let page = given(&house, &any_key(), &Key::new()).await;
    let left = page.json()["expires_in"].as_i64();
    assert!(left.is_some_and(|left| left <= 120), "{}", page.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_signed_request_is_good_once_at_all_edges_together() {
    let moto = Moto::start().await;
    let deploy = moto.role("deploy", "run-1").await;
    for store in stores().await {
        let parties = gathered_on(&store).await;
        let key = Key::new();
        let text = parties.read("policy.yaml");
        let trusted = format!(
            "{text}trusted_issuers:\n  - {{ name: aws, aws_roles: ['{}'] }}\n",
            arn("deploy")
        );
        parties.edit("policy.yaml", &text, &trusted);
        let policy_issuers = format!("{}\n[policy]", instead(&moto.url));
        parties.edit(CONFIGURATION, "[policy]", &policy_issuers);
        let first = parties.serve().await;
        let (second, port) = parties.serve_replica().await;
        let ports = [parties.stage.ports.http, port];
        for [here, there] in [ports, [port, ports[0]]] {
            let once = shown(&deploy, &parties.at("access"));
            let page = ask_at((&parties, here), &key, &fields(&once, "dashboards")).await;
            assert_eq!(page.status, 200, "{}", page.text());
            let again = ask_at((&parties, there), &key, &fields(&once, "dashboards")).await;
            assert_eq!(error(&again), "invalid_request", "{}", again.text());
            assert!(again.text().contains("used before"), "{}", again.text());
        }
        end(first).await;
        end(second).await;
        parties.leave().await;
    }
}
