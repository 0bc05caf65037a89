use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const TOKEN: &str = "an.access.token";

struct Holder(EcdsaKeyPair);

impl Holder {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn key(&self) -> EcKey {
        EcKey::of_point(self.0.public_key().as_ref())
    }

    fn proof(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"typ": TYPE, "alg": "ES256", "jwk": self.key().document()});
        let mut claims = json!({
            "jti": hex::encode(crate::secret::random::<8>()), "htm": "GET", "iat": NOW.seconds(),
            "htu": "https://app.example/a/b", "ath": URL_SAFE_NO_PAD.encode(sha256(TOKEN.as_bytes())),
        });
        change(&mut header, &mut claims);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = self
            .0
            .sign(&SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

const REQUEST: Proven<'static> = Proven {
    method: "GET",
    origin: "https://app.example",
    path: "/a/b",
    token: Some(TOKEN),
};

fn result(holder: &Holder, proof: &str, at: Timestamp) -> Result<(), ProofFault> {
    Proofs::default().verify_for(proof, REQUEST, &holder.key().thumbprint(), at)
}

#[test]
fn i7_only_a_fresh_proof_of_this_key_request_and_token_is_good() {
    use ProofFault::{Key, Malformed, Request, Signature, Time, Token};
    type Change = fn(&mut Value, &mut Value);
    let holder = Holder::new();
    assert_eq!(result(&holder, &holder.proof(|_, _| ()), NOW), Ok(()));
    let good: &[Change] = &[
        |_, claims| claims["htu"] = "https://app.example:443/a/b?q=1#f".into(),
        |header, _| header["typ"] = "DPoP+JWT".into(),
        |_, claims| claims["iat"] = (NOW.seconds() - 59).into(),
        |_, claims| claims["iat"] = (NOW.seconds() + 59).into(),
    ];
    for change in good {
        let proof = holder.proof(change);
        assert_eq!(result(&holder, &proof, NOW), Ok(()), "{proof}");
    }
    let bad: &[(Change, ProofFault)] = &[
        (|header, _| header["typ"] = "JWT".into(), Malformed),
        (|header, _| header["typ"] = "at+jwt".into(), Malformed),
        (|header, _| header["alg"] = "none".into(), Malformed),
        (|header, _| header["alg"] = "RS256".into(), Malformed),
        (|header, _| header["alg"] = "HS256".into(), Malformed),
        (
            |header, _| drop(header.as_object_mut().unwrap().remove("jwk")),
            Malformed,
        ),
        (|header, _| header["jwk"]["crv"] = "P-384".into(), Malformed),
        (|header, _| header["jwk"]["d"] = "AAAA".into(), Malformed),
        (|header, _| header["jwk"]["x"] = "AAAA".into(), Malformed),
        (
            |header, _| header["jwk"] = Holder::new().key().document(),
            Signature,
        ),
        (|header, _| header["crit"] = json!(["b64"]), Malformed),
        (|_, claims| claims["htm"] = "POST".into(), Request),
        (|_, claims| claims["htm"] = "get".into(), Request),
        (
            |_, claims| claims["htu"] = "https://app.example/a".into(),
            Request,
        ),
        (
            |_, claims| claims["htu"] = "https://app.example/a/b/".into(),
            Request,
        ),
        (
            |_, claims| claims["htu"] = "http://app.example/a/b".into(),
            Request,
        ),
        (
            |_, claims| claims["htu"] = "https://other.example/a/b".into(),
            Request,
        ),
        (
            |_, claims| claims["htu"] = "https://app.example@other.example/a/b".into(),
            Request,
        ),
        (
            |_, claims| claims["htu"] = "https://x@app.example/a/b".into(),
            Request,
        ),
        (|_, claims| claims["htu"] = "/a/b".into(), Request),
        (
            |_, claims| claims["iat"] = (NOW.seconds() - 61).into(),
            Time,
        ),
        (
            |_, claims| claims["iat"] = (NOW.seconds() + 61).into(),
            Time,
        ),
        (|_, claims| claims["iat"] = "now".into(), Malformed),
        (|_, claims| claims["ath"] = "AAAA".into(), Token),
        (
            |_, claims| drop(claims.as_object_mut().unwrap().remove("ath")),
            Token,
        ),
        (
            |_, claims| drop(claims.as_object_mut().unwrap().remove("jti")),
            Malformed,
        ),
        (
            |_, claims| claims["jti"] = "j".repeat(300).into(),
            Malformed,
        ),
        (|_, claims| claims["jti"] = 7.into(), Malformed),
    ];
    for (number, (change, fault)) in bad.iter().enumerate() {
        let proof = holder.proof(change);
        assert_eq!(result(&holder, &proof, NOW), Err(*fault), "{number}");
    }
    let other = Holder::new();
    assert_eq!(result(&holder, &other.proof(|_, _| ()), NOW), Err(Key));
    assert_eq!(result(&holder, "", NOW), Err(Malformed));
    let long = holder.proof(|_, claims| claims["x"] = "x".repeat(LONGEST).into());
    assert_eq!(result(&holder, &long, NOW), Err(Malformed));
}

#[test]
fn i7_a_proof_is_good_once_for_as_long_as_it_is_good() {
    let holder = Holder::new();
    let (proofs, key) = (Proofs::default(), holder.key().thumbprint());
    let show = |proof: &str, at: Timestamp| proofs.verify_for(proof, REQUEST, &key, at);
    let first = holder.proof(|_, claims| claims["iat"] = (NOW.seconds() + 60).into());
    assert_eq!(show(&first, NOW), Ok(()));
    for second in 0..=120 {
        let at = NOW.plus(Duration::from_secs(second));
        // Others come and go meanwhile.
        let other = holder.proof(|_, claims| claims["iat"] = at.seconds().into());
        assert_eq!(show(&other, at), Ok(()));
        assert_eq!(show(&first, at), Err(ProofFault::Replayed), "{second}");
    }
    // The same id of another key is another proof.
    let id = |_: &mut Value, claims: &mut Value| claims["jti"] = "one".into();
    let other = Holder::new();
    assert_eq!(show(&holder.proof(id), NOW), Ok(()));
    let of_other = proofs.verify_for(&other.proof(id), REQUEST, &other.key().thumbprint(), NOW);
    assert_eq!(of_other, Ok(()));
}

#[test]
fn l6_the_memory_of_proofs_is_bounded() {
    let proofs = Proofs::default();
    for number in 0..700_000_u32 {
        proofs.is_new(&sha256(&number.to_be_bytes()), NOW);
    }
    for shard in &proofs.shards {
        let shard = shard.lock().unwrap();
        assert!(shard.young.len() <= PER_SHARD && shard.old.len() <= PER_SHARD);
    }
}
