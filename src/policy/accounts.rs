//! Programs that no issuer vouches for, as policy: each has keys of its own, of which the policy knows the public halves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::identity::principal::{
    Groups, Principal, PrincipalKind, SERVICE_ACCOUNTS, SERVICE_ACCOUNTS_ISSUER,
};
use crate::identity::public_keys::KeySet;

/// The claim of a service account that says which key it proved, by its thumbprint (RFC 7638).
pub const KEY_CLAIM: &str = "jkt";

/// A program that proves who it is by a private key of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceAccount {
    /// Unique among its kind; its client id, and the subject that rules name.
    pub name: Arc<str>,
    /// For people; never compared.
    pub description: Option<String>,
    /// Its public keys, a JWK set that is sound.
    pub keys: Value,
    /// The groups that it is in.
    pub groups: Vec<Arc<str>>,
    /// From then on it is nobody.
    pub until: Option<Timestamp>,
}

impl ServiceAccount {
    /// Who it is once it has proven the key of this thumbprint.
    pub fn principal(&self, thumbprint: &str) -> Principal {
        Principal {
            kind: PrincipalKind::Workload,
            provider: SERVICE_ACCOUNTS.into(),
            issuer: SERVICE_ACCOUNTS_ISSUER.into(),
            subject: Arc::clone(&self.name),
            email: None,
            display_name: None,
            groups: Groups::Known(self.groups.iter().cloned().collect()),
            claims: BTreeMap::from([(KEY_CLAIM.into(), vec![thumbprint.into()])]),
            acr: None,
            auth_time: None,
            agents: Vec::new(),
        }
    }

    /// Its keys, to verify with.
    pub fn key_set(&self) -> KeySet {
        // It was read as what it is before.
        KeySet::parse_written(&self.keys).unwrap_or_default()
    }

    /// What pages call its keys: the id that was given, and the thumbprint.
    pub fn key_names(&self) -> Vec<String> {
        let set = self.key_set();
        let named = set.names().map(|(kid, thumbprint)| match kid {
            Some(kid) => format!("{kid} ({thumbprint})"),
            None => thumbprint.to_owned(),
        });
        named.collect()
    }
}

/// What is odd about accounts, with the name of each.
pub(super) fn findings(accounts: &[ServiceAccount], now: Timestamp) -> Vec<(Arc<str>, String)> {
    let mut findings = Vec::new();
    let mut holders: HashMap<String, Vec<&Arc<str>>> = HashMap::new();
    for account in accounts {
        if account.until.is_some_and(|until| until <= now) {
            let message = "its time is up, so it is nobody any more".to_owned();
            findings.push((Arc::clone(&account.name), message));
        }
        let thumbprints = account.key_set();
        let thumbprints: BTreeSet<_> = thumbprints.names().map(|(_, key)| key.to_owned()).collect();
        for thumbprint in thumbprints {
            holders.entry(thumbprint).or_default().push(&account.name);
        }
    }
    for names in holders.into_values() {
        for (first, second) in names.iter().zip(names.iter().skip(1)) {
            let message =
                format!("{first} has a key of it as well: whoever holds that one is both");
            findings.push((Arc::clone(second), message));
        }
    }
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::policy::check::{Known, unknown_names};
    use crate::policy::kind::Kind;
    use crate::policy::lint::{Seen, lint, lint_object};
    use crate::policy::yaml;

    const KEY: &str = "kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const RULE: &str = "rules:\n  - { name: r, action: allow, from: [{ providers: [service-accounts], subjects: [backup], claims: { jkt: [x] } }] }\n";

    fn of(more: &str) -> String {
        format!("service_accounts:\n  - {{ name: backup, {more} }}\n")
    }

    fn keyed(more: &str) -> String {
        of(&format!("jwks: {{ keys: [{{ {KEY} }}] }}{more}"))
    }

    #[test]
    fn g_an_account_has_public_keys_and_nothing_that_is_secret() {
        for good in [
            keyed(""),
            keyed(", description: nightly, groups: [ops], until: 2027-01-31"),
            of(&format!(
                "jwks: {{ keys: [{{ {KEY}, kid: a }}, {{ {KEY}, kid: b }}] }}"
            )),
        ] {
            yaml::parse(&good).unwrap();
        }
        for bad in [
            of(""),
            of("jwks: { keys: [] }"),
            of("jwks: nonsense"),
            of(&format!("jwks: {{ keys: [{{ {KEY}, d: AAAA }}] }}")),
            of("jwks: { keys: [{ kty: oct, k: AAAA }] }"),
            of("client_secret: x"),
            keyed(", until: tomorrow"),
            keyed(", groups: ['']"),
            keyed(", description: ''"),
            keyed("") + &keyed("").replace("service_accounts:\n", ""),
        ] {
            assert!(yaml::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_else_is_called_as_service_accounts_are() {
        let known = Known::default();
        let named = |text: &str| unknown_names(&yaml::parse(text).unwrap(), &known);
        assert!(named(&(keyed("") + RULE)).is_empty());
        assert_eq!(named(RULE).len(), 2, "without any there are none to name");
        let issuer = |name: &str, issuer: &str| {
            format!(
                "trusted_issuers:\n  - {{ name: {name}, issuer: '{issuer}', audiences: [a], algorithms: [EdDSA], jwks: {{ keys: [{{ {KEY} }}] }} }}\n"
            )
        };
        yaml::parse(&issuer("ci", "cluster")).unwrap();
        for (taken, key) in [
            (issuer("service-accounts", "cluster"), "name"),
            (issuer("ci", "urn:wayleave:service-accounts"), "issuer"),
        ] {
            let faults = yaml::parse(&taken).unwrap_err();
            assert_eq!(faults[0].key, format!("trusted_issuers[0].{key}"));
        }
    }

    #[test]
    fn groups_of_accounts_are_known() {
        let rule = "rules:\n  - { name: r, action: allow, from: [{ groups: [backups] }] }\n";
        let mapping = "mappings:\n  - { name: m, from: [{ signed_in: true }], spiffe_id: 'spiffe://{trust_domain}/ns/a/sa/b' }\n";
        let seen = Seen {
            groups: Some(["staff".to_owned()].into()),
        };
        let found = |groups: &str| {
            let text = keyed(groups) + mapping + rule;
            lint(&yaml::parse(&text).unwrap(), Timestamp::UNIX_EPOCH, &seen)
        };
        assert!(found(", groups: [backups]").is_empty());
        assert_eq!(found(", groups: [others]").len(), 1);
    }

    #[test]
    fn keys_of_two_and_accounts_that_are_over_are_odd() {
        let now = Timestamp::UNIX_EPOCH;
        let seen = Seen::default();
        let odd = |text: &str| {
            let policy = yaml::parse(text).unwrap();
            let found = lint(&policy, now, &seen);
            let one = lint_object(&policy, now, &seen, Kind::ServiceAccount, "backup");
            (found, one)
        };
        let (found, one) = odd(&keyed(", until: 2027-01-31"));
        assert_eq!((found.len(), one.len()), (0, 0), "{found:?}");
        let (found, one) = odd(&keyed(", until: 1969-01-31"));
        assert_eq!((found.len(), one.len()), (1, 1), "{found:?}");
        let second = keyed("")
            .replace("service_accounts:\n", "")
            .replace("backup", "other");
        let (found, one) =
            odd(&(keyed("").replace("backup", "first") + &second.replace("other", "backup")));
        assert_eq!((found.len(), one.len()), (1, 1), "{found:?}");
    }
}
