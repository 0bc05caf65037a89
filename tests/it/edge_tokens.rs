//! Tokens on both sides: bearer tokens of a trusted issuer coming in, our assertion going out.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::parts::browser::navigation;
use crate::parts::client::Page;
use crate::parts::empty;
use crate::parts::house::House;
use crate::parts::upstream::Seen;

async fn with_token(house: &House, host: &str, token: &str) -> Page {
    let request = Request::get(house.url(host, "/x"))
        .header("authorization", format!("Bearer {token}"))
        .body(empty())
        .unwrap();
    house.send(request).await
}

/// Verifies the assertion as an upstream would, by the published keys.
async fn verified(house: &House, seen: &Seen, audience: &str) -> Value {
    let request = Request::get(house.url("access", "/.wayleave/jwks.json"));
    let page = house.send(request.body(empty()).unwrap()).await;
    assert_eq!(page.status, StatusCode::OK);
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&page.body).unwrap();
    let token = seen.headers["wayleave-jwt-assertion"].to_str().unwrap();
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[house.secure_url("access", "")]);
    jsonwebtoken::decode::<Value>(token, &key, &validation)
        .unwrap()
        .claims
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_assertion_verifies_and_is_bound_to_the_certificate() {
    let house = House::start().await;
    let mut browser = house.signed_in("alice").await;
    browser
        .fetch(navigation("GET", &house.url("app", "/x"), empty()))
        .await;
    let seen = house.upstream.only();
    let token = seen.headers["wayleave-jwt-assertion"].to_str().unwrap();
    let payload = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    let unverified: Value = serde_json::from_slice(&payload).unwrap();
    let audience = unverified["aud"].as_str().unwrap();
    assert!(audience.contains("app"), "{unverified}");
    let claims = verified(&house, &seen, audience).await;
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &seen.certificate));
    assert_eq!(claims["cnf"]["x5t#S256"], thumbprint.as_str());
    assert!(claims.to_string().contains("alice"), "{claims}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_token_reaches_the_upstream_and_stays_with_us() {
    let house = House::start().await;
    let token = house.issuer.token(|_| ());
    let page = with_token(&house, "app", &token).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let seen = house.upstream.only();
    assert_eq!(seen.peer, "spiffe://demo.wayleave/ns/people/sa/robot");
    assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g_no_other_token_is_good() {
    let house = House::start().await;
    let issuer = &house.issuer;
    let good = issuer.token(|_| ());
    assert_eq!(
        with_token(&house, "app", &good).await.status,
        StatusCode::OK
    );
    house.upstream.forget();
    let mut flipped = good.clone().into_bytes();
    let last = flipped.len() - 10;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    let refused = [
        (
            "another audience",
            issuer.token(|claims| claims["aud"] = "other".into()),
        ),
        (
            "no audience",
            issuer.token(|claims| drop(claims.as_object_mut().unwrap().remove("aud"))),
        ),
        (
            "expired",
            issuer.token(|claims| claims["exp"] = (claims["iat"].as_i64().unwrap() - 60).into()),
        ),
        (
            "no expiry",
            issuer.token(|claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
        ),
        (
            "not yet",
            issuer.token(|claims| claims["nbf"] = (claims["iat"].as_i64().unwrap() + 3600).into()),
        ),
        (
            "another issuer",
            issuer.token(|claims| claims["iss"] = "https://evil.example".into()),
        ),
        (
            "no subject",
            issuer.token(|claims| drop(claims.as_object_mut().unwrap().remove("sub"))),
        ),
        ("forged", issuer.forged()),
        ("one character changed", String::from_utf8(flipped).unwrap()),
        ("no JWT", "abc".to_owned()),
    ];
    for (what, token) in refused {
        let page = with_token(&house, "app", &token).await;
        assert_eq!(
            page.status,
            StatusCode::UNAUTHORIZED,
            "{what}: {}",
            page.text()
        );
        assert!(
            page.header("www-authenticate").contains("invalid_token"),
            "{what}: {page:?}"
        );
        assert_eq!(
            page.header("content-type"),
            "application/problem+json",
            "{what}"
        );
    }
    assert!(house.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_a_token_that_is_known_is_still_refused_elsewhere() {
    let house = House::start().await;
    let token = house.issuer.token(|_| ());
    for _ in 0..2 {
        assert_eq!(
            with_token(&house, "app", &token).await.status,
            StatusCode::OK
        );
        let refused = with_token(&house, "admin", &token).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    }
    assert_eq!(house.upstream.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_proofs_at_once_are_not_mixed() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let with = async |token: String| {
        let request = Request::get(house.url("app", "/x"))
            .header("authorization", format!("Bearer {token}"))
            .header("cookie", browser.cookies("app.localhost"));
        house.send(request.body(empty()).unwrap()).await
    };
    // A bad token is refused, whatever comes beside it.
    let page = with(house.issuer.forged()).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(house.upstream.seen().is_empty());
    // A good one counts alone.
    let page = with(house.issuer.token(|_| ())).await;
    assert_eq!(page.status, StatusCode::OK);
    let seen = house.upstream.only();
    assert!(seen.peer.ends_with("/sa/robot"), "{seen:?}");
    assert!(!format!("{:?}", seen.headers).contains("alice"), "{seen:?}");
}
