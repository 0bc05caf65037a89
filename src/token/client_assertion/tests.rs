use serde_json::Value;

use super::*;
use crate::policy::yaml;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ISSUER: &str = "https://access.corp.example";

struct Stage {
    accounts: ServiceAccounts,
    key: Prover,
    policy: Vec<ServiceAccount>,
}

impl Stage {
    fn new(more: &str) -> Self {
        let key = Prover::generate().unwrap();
        let jwk = key.key().document();
        let text = format!(
            "service_accounts: [{{ name: backup, jwks: {{ keys: [{jwk}] }}{more} }}, {{ name: other, jwks: {{ keys: [{}] }} }}]",
            Prover::generate().unwrap().key().document()
        );
        let policy = yaml::parse(&text).unwrap().service_accounts;
        let accounts = ServiceAccounts::default();
        assert!(accounts.follow(&policy));
        assert!(!accounts.follow(&policy));
        Self {
            accounts,
            key,
            policy,
        }
    }

    fn signed(&self, change: &[(&str, Value)]) -> String {
        let mut header = json!({ "typ": "JWT", "alg": "ES256" });
        let mut claims = json!({
            "iss": "backup", "sub": "backup", "aud": ISSUER, "iat": NOW.seconds(), "exp": NOW.seconds() + 60, "jti": "1",
        });
        for (name, value) in change {
            match name.strip_prefix("header/") {
                Some(name) => header[name] = value.clone(),
                None => claims[*name] = value.clone(),
            }
        }
        self.key.signed(&header, &claims).unwrap()
    }

    fn verify(&self, assertion: &str) -> Result<VerifiedClient, AssertionFault> {
        self.accounts.verify(assertion, None, ISSUER, NOW)
    }
}

#[test]
fn g9_an_assertion_is_of_one_account_for_one_server_and_a_few_minutes() {
    let stage = Stage::new(", groups: [ops]");
    let own = assertion(&stage.key, "backup", ISSUER, NOW).unwrap();
    let verified = stage.verify(&own).unwrap();
    assert_eq!(&*verified.principal.subject, "backup");
    assert_eq!(&*verified.principal.provider, SERVICE_ACCOUNTS);
    stage.verify(&stage.signed(&[])).unwrap();
    let id = [("header/kid", stage.key.thumbprint().into())];
    stage.verify(&stage.signed(&id)).unwrap();
    let at = |seconds: i64| Value::from(NOW.seconds() + seconds);
    for (change, fault) in [
        (("iss", "other".into()), AssertionFault::Client),
        (("iss", Value::Null), AssertionFault::Client),
        (("sub", "other".into()), AssertionFault::Client),
        (
            ("aud", "https://other.example".into()),
            AssertionFault::Audience,
        ),
        (
            ("aud", format!("{ISSUER}/").into()),
            AssertionFault::Audience,
        ),
        (("aud", json!([ISSUER])), AssertionFault::Audience),
        (
            ("aud", json!([ISSUER, "https://other.example"])),
            AssertionFault::Audience,
        ),
        (
            ("aud", format!("{ISSUER}/.wayleave/oauth/token").into()),
            AssertionFault::Audience,
        ),
        (("exp", at(-31)), AssertionFault::Time),
        (("exp", Value::Null), AssertionFault::Time),
        (("iat", at(60)), AssertionFault::Time),
        (("nbf", at(60)), AssertionFault::Time),
        (("exp", at(331)), AssertionFault::Long),
        (("jti", Value::Null), AssertionFault::Id),
        (("jti", "".into()), AssertionFault::Id),
        (("jti", "x".repeat(300).into()), AssertionFault::Id),
        (("header/typ", "dpop+jwt".into()), AssertionFault::Type),
        (("header/typ", "at+jwt".into()), AssertionFault::Type),
        (("header/alg", "none".into()), AssertionFault::Account),
        (("header/alg", "HS256".into()), AssertionFault::Account),
        (("header/alg", "ES384".into()), AssertionFault::Account),
        (("header/kid", "other".into()), AssertionFault::Account),
    ] {
        let told = format!("{change:?}");
        assert_eq!(stage.verify(&stage.signed(&[change])), Err(fault), "{told}");
    }
    // Another's name under this key, and this name under another's.
    let names = [("iss", "other".into()), ("sub", "other".into())];
    let posing = stage.verify(&stage.signed(&names));
    assert_eq!(posing, Err(AssertionFault::Account));
    let nobody = [("iss", "nobody".into()), ("sub", "nobody".into())];
    assert_eq!(
        stage.verify(&stage.signed(&nobody)),
        Err(AssertionFault::Account)
    );
    let stranger = Prover::generate().unwrap();
    let strange = assertion(&stranger, "backup", ISSUER, NOW).unwrap();
    assert_eq!(stage.verify(&strange), Err(AssertionFault::Account));
    let (message, _) = own.rsplit_once('.').unwrap();
    assert_eq!(
        stage.verify(&format!("{message}.AAAA")),
        Err(AssertionFault::Account)
    );
    assert_eq!(stage.verify("x"), Err(AssertionFault::Malformed));
    let accounts = &stage.accounts;
    assert!(accounts.verify(&own, Some("backup"), ISSUER, NOW).is_ok());
    let beside = accounts.verify(&own, Some("other"), ISSUER, NOW);
    assert_eq!(beside, Err(AssertionFault::Client));
    assert_eq!(accounts.claimed(&own).as_deref(), Some("backup"));
    assert_eq!(accounts.claimed(&stage.signed(&nobody)), None);
}

#[test]
fn one_is_told_from_another_of_its_account_alone() {
    let stage = Stage::new("");
    let of = |id: &str| {
        stage
            .verify(&stage.signed(&[("jti", id.into())]))
            .unwrap()
            .id
    };
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
}

#[test]
fn f8_nobody_is_vouched_for_whom_the_policy_does_not_name_so() {
    let stage = Stage::new(", groups: [ops], until: 2027-01-31");
    let own = assertion(&stage.key, "backup", ISSUER, NOW).unwrap();
    let verified = stage.verify(&own).unwrap();
    let principal = verified.principal;
    let vouched = |until| stage.accounts.vouch_for(&principal, until);
    let until = verified.until.unwrap();
    assert!(vouched(NOW) && vouched(until));
    assert!(!vouched(until.plus(Duration::from_secs(1))));
    let over = stage.accounts.verify(&own, None, ISSUER, until);
    assert_eq!(over, Err(AssertionFault::Time));
    let late = [("exp", (until.seconds() + 60).into())];
    let late = stage
        .accounts
        .verify(&stage.signed(&late), None, ISSUER, until);
    assert_eq!(late, Err(AssertionFault::Over));
    type Change = fn(&mut Vec<ServiceAccount>);
    let changes: [Change; 4] = [
        |policy| policy.clear(),
        |policy| policy[0].groups.clear(),
        |policy| policy[0].keys = policy[1].keys.clone(),
        |policy| policy[0].until = Some(NOW.minus(Duration::from_secs(1)).to_jiff()),
    ];
    for change in changes {
        let mut policy = stage.policy.clone();
        change(&mut policy);
        assert!(stage.accounts.follow(&policy));
        assert!(!vouched(NOW));
        assert!(stage.accounts.follow(&stage.policy));
        assert!(vouched(NOW));
    }
}
