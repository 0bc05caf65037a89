use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::config::checked::IssuerReach;
use crate::identity::principal::PrincipalKind;
use crate::identity::public_keys::KeySet;

const ISSUER: &str = "https://issuer.example";

fn pair() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

fn jwk(pair: &EcdsaKeyPair, kid: &str) -> Value {
    let point = pair.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": part(1..33), "y": part(33..65)})
}

fn sign(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn issuer(iss: &str) -> TrustedIssuerConfig {
    TrustedIssuerConfig {
        name: "ci".into(),
        issuer: iss.into(),
        jwks_url: None,
        audiences: vec!["wayleave".into()],
        algorithms: vec![Algorithm::ES256],
        kind: PrincipalKind::Workload,
        groups_claim: None,
        claims: Vec::new(),
        trust_email: false,
        required_claims: BTreeMap::from([("ref".into(), "main".into())]),
        reach: IssuerReach::default(),
    }
}

fn verifier(keys: &[Value]) -> Arc<BearerVerifier> {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1000)));
    let verifier =
        BearerVerifier::new(vec![issuer(ISSUER), issuer("https://other.example")], clock);
    let set = KeySet::parse(json!({ "keys": keys })).unwrap();
    verifier.issuers.load()[ISSUER].keys.put(set);
    verifier
}

fn good() -> Value {
    json!({"iss": ISSUER, "sub": "job", "aud": "wayleave", "exp": 1300, "ref": "main"})
}

#[test]
fn g3_each_claim_is_required_and_g1_g5_others_refuse() {
    let pair = pair();
    let verifier = verifier(&[jwk(&pair, "a")]);
    let header = json!({"alg": "ES256", "kid": "a"});
    let check = |claims: &Value| verifier.verify_at_hand(&sign(&pair, &header, claims));
    let verified = check(&good()).unwrap();
    assert_eq!(&*verified.principal.subject, "job");
    assert_eq!(verified.principal.groups, Groups::Missing);
    for name in ["iss", "sub", "aud", "exp", "ref"] {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        assert!(
            matches!(check(&claims), Err(Some(BearerFault::Claim(_)))),
            "{name}"
        );
    }
    for (name, value) in [
        ("exp", json!("1300")),
        ("nbf", json!("x")),
        ("iat", json!(1031)),
        ("aud", json!("else")),
        ("aud", json!([])),
        ("aud", json!(["wayleave", 1])),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("iss", json!("https://ISSUER.example")),
        ("iss", json!("https://issuer.example/")),
        ("events", json!({})),
        ("nonce", json!("n")),
        ("ref", json!(["main"])),
    ] {
        let mut claims = good();
        claims[name] = value;
        assert!(matches!(check(&claims), Err(Some(_))), "{name}");
    }
}

#[test]
fn g2_g4_g5_the_header_decides_nothing() {
    let (ours, theirs) = (pair(), pair());
    let verifier = verifier(&[jwk(&ours, "a")]);
    let check = |header: Value| {
        verifier
            .verify_at_hand(&sign(&ours, &header, &good()))
            .map(|_| ())
    };
    assert_eq!(
        check(json!({"alg": "ES256", "jku": "https://evil", "jwk": jwk(&theirs, "a")})),
        Ok(())
    );
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "HS256", "kid": "a"}),
        json!({"alg": "RS256", "kid": "a"}),
        json!({"alg": "ES256", "kid": "a", "typ": "logout+jwt"}),
        json!({"alg": "ES256", "kid": "a", "crit": ["x"]}),
    ] {
        assert!(matches!(check(header.clone()), Err(Some(_))), "{header}");
    }
    let forged = sign(
        &theirs,
        &json!({"alg": "ES256", "kid": "a", "jwk": jwk(&theirs, "a")}),
        &good(),
    );
    assert_eq!(
        verifier.verify_at_hand(&forged).err(),
        Some(Some(BearerFault::Signature))
    );
}

#[test]
fn g7_g9_keys_must_be_unambiguous_and_of_the_issuer() {
    let (one, two) = (pair(), pair());
    let verifier = verifier(&[jwk(&one, "a"), jwk(&two, "b")]);
    let token = sign(&one, &json!({"alg": "ES256"}), &good());
    assert_eq!(verifier.verify_at_hand(&token).err(), Some(None));
    let mut claims = good();
    claims["iss"] = json!("https://other.example");
    let token = sign(&one, &json!({"alg": "ES256", "kid": "a"}), &claims);
    assert_eq!(
        verifier.verify_at_hand(&token).err(),
        Some(None),
        "the other issuer has no keys yet"
    );
}
