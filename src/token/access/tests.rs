use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::audit::chain::Link;
use crate::audit::checkpoint;
use crate::clock::ManualClock;
use crate::identity::principal::Agent;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOME: &str = "https://access.example";
const APP: &str = "https://app.example";

fn minter() -> Minter {
    Minter::for_tests(Arc::new(ManualClock::new(NOW)), HOME)
}

fn token() -> AccessToken {
    AccessToken {
        issuer: HOME.to_owned(),
        audience: APP.to_owned(),
        subject: "alice".to_owned(),
        client: "wayleave-cli".to_owned(),
        family: "0123".to_owned(),
        key_thumbprint: Some("thumbprint".to_owned()),
        agents: Vec::new(),
        route: None,
        issued_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(300)),
    }
}

#[test]
fn what_is_signed_is_read_again() {
    let minter = minter();
    let signed = minter.access_token(&token());
    assert_eq!(minter.verify_access(&signed, HOME, APP, NOW), Ok(token()));
    let agent = Agent {
        id: "https://agent.example".into(),
        issuer: HOME.into(),
        subject: "agent-1".into(),
        name: Some("Helper".into()),
    };
    let acting = AccessToken {
        agents: vec![agent.clone(), agent],
        route: Some("app".to_owned()),
        ..token()
    };
    let signed = minter.access_token(&acting);
    assert_eq!(minter.verify_access(&signed, HOME, APP, NOW), Ok(acting));
    // Under the other's type neither is one.
    let header = |token: &str| jws::parse(token).unwrap().header.typ;
    assert_eq!(header(&signed).as_deref(), Some(ACTING_TYPE));
    let bare = minter.sign_as(
        ACTING_TYPE,
        &serde_json::from_slice::<Value>(
            &URL_SAFE_NO_PAD
                .decode(minter.access_token(&token()).split('.').nth(1).unwrap())
                .unwrap(),
        )
        .unwrap(),
    );
    let verified = minter.verify_access(&bare, HOME, APP, NOW);
    assert_eq!(verified, Err(AccessFault::Type));
    let unbound = AccessToken {
        key_thumbprint: None,
        ..token()
    };
    let signed = minter.access_token(&unbound);
    assert_eq!(minter.verify_access(&signed, HOME, APP, NOW), Ok(unbound));
}

#[test]
fn i3_a_token_is_good_for_its_audience_issuer_and_time() {
    let minter = minter();
    let signed = minter.access_token(&token());
    let at = |issuer, audience, seconds| {
        let now = NOW.plus(Duration::from_secs(seconds));
        minter.verify_access(&signed, issuer, audience, now).err()
    };
    assert_eq!(at(HOME, APP, 299), None);
    assert_eq!(at(HOME, APP, 305), Some(AccessFault::Time));
    for other in [
        "https://other.example",
        "http://app.example",
        "https://app.example/",
        "",
    ] {
        assert_eq!(at(HOME, other, 0), Some(AccessFault::Audience), "{other}");
        assert_eq!(at(other, APP, 0), Some(AccessFault::Audience), "{other}");
    }
}

#[test]
fn g10_every_changed_or_dropped_character_is_refused() {
    let minter = minter();
    let signed = minter.access_token(&token());
    for at in 0..signed.len() {
        let mut dropped = signed.clone();
        dropped.remove(at);
        assert!(
            minter.verify_access(&dropped, HOME, APP, NOW).is_err(),
            "{at}"
        );
        let mut flipped = signed.clone().into_bytes();
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).unwrap();
        assert!(
            minter.verify_access(&flipped, HOME, APP, NOW).is_err(),
            "{at}"
        );
    }
}

#[test]
fn nothing_else_that_the_key_signs_is_an_access_token() {
    let minter = minter();
    let whole = json!({
        "iss": HOME, "aud": APP, "sub": "alice", "client_id": "c", "sid": "s", "jti": "j",
        "iat": NOW.seconds(), "exp": NOW.seconds() + 300,
    });
    let read = |typ: &str, claims: &Value| {
        minter.verify_access(&minter.sign_as(typ, claims), HOME, APP, NOW)
    };
    assert!(read(TYPE, &whole).is_ok());
    for typ in [
        "JWT",
        "jwt",
        "logout+jwt",
        "dpop+jwt",
        checkpoint::TYPE,
        "application/at+jwt",
        "",
    ] {
        assert_eq!(read(typ, &whole), Err(AccessFault::Type), "{typ}");
    }
    for name in ["iss", "aud", "sub", "client_id", "sid", "jti", "iat", "exp"] {
        let mut lacking = whole.clone();
        lacking.as_object_mut().unwrap().remove(name);
        assert!(read(TYPE, &lacking).is_err(), "{name}");
        lacking[name] = json!([APP]);
        assert!(read(TYPE, &lacking).is_err(), "{name}");
    }
    for cnf in [
        json!({}),
        json!(null),
        json!({"x5t#S256": "x"}),
        json!("x"),
        json!({"jkt": 1}),
    ] {
        let mut bound = whole.clone();
        bound["cnf"] = cnf;
        assert_eq!(read(TYPE, &bound), Err(AccessFault::Claim("cnf")));
    }
    // And the reverse: an access token is no checkpoint.
    let keys = checkpoint::Keys::read(&minter.jwks()).unwrap();
    assert!(
        checkpoint::verify(
            &minter.checkpoint(1, Link::parse(&"0".repeat(64)).unwrap()),
            &keys
        )
        .is_some()
    );
    assert!(checkpoint::verify(&minter.access_token(&token()), &keys).is_none());
    let other = self::minter();
    let foreign = other.access_token(&token());
    let refused = minter.verify_access(&foreign, HOME, APP, NOW);
    assert_eq!(refused, Err(AccessFault::Signature));
}
