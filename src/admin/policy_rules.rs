//! What every policy has to comply with before it is written, whichever way it comes.

use crate::identity::spiffe_id::TrustDomain;
use crate::policy::check::{Known, unknown_names};
use crate::policy::compile::CompiledPolicy;
use crate::policy::document::{self, Document};
use crate::policy::model::{Policy, Revision};
use crate::policy::yaml::{self, PolicyFault};

/// What a policy is checked against.
#[derive(Clone, Debug)]
pub struct PolicyRules {
    /// The mesh's own.
    pub trust_domain: TrustDomain,
    /// What it may name.
    pub known: Known,
}

impl PolicyRules {
    /// Checks a text wholly: what it says, what it names, that it compiles, and that its own tests succeed. All faults have their lines.
    pub fn check(&self, text: &str) -> Result<Policy, Vec<PolicyFault>> {
        self.read(text).map(|(policy, _)| policy)
    }

    /// Checks a text as [`check`](Self::check) does, and cuts it.
    pub fn read(&self, text: &str) -> Result<(Policy, Document), Vec<PolicyFault>> {
        let (policy, document) = document::read(text)?;
        let mut faults = unknown_names(&policy, &self.known);
        match CompiledPolicy::new(policy.clone(), Revision(0), &self.trust_domain) {
            Ok(compiled) => faults.extend(compiled.try_out(&self.known)),
            Err(more) => faults.extend(more),
        }
        if faults.is_empty() {
            return Ok((policy, document));
        }
        yaml::place(text, &mut faults);
        faults.sort_by_key(|fault| (fault.line, fault.column));
        Err(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_of_a_file_have_lines() {
        let rules = PolicyRules {
            trust_domain: TrustDomain::parse("td").unwrap(),
            known: Known::default(),
        };
        let text = "mappings:\n  - name: m\n    from: [{ providers: [nobody] }]\n    spiffe_id: spiffe://other/ns/a/sa/b\n";
        let faults = rules.check(text).unwrap_err();
        let places: Vec<(u64, &str)> = faults
            .iter()
            .map(|fault| (fault.line, fault.key.as_str()))
            .collect();
        assert_eq!(
            places,
            [
                (3, "mappings[0].from[0].providers[0]"),
                (4, "mappings[0].spiffe_id")
            ]
        );
    }

    #[test]
    fn a_test_names_providers_that_there_are_and_is_named_when_it_fails() {
        let rules = PolicyRules {
            trust_domain: TrustDomain::parse("td").unwrap(),
            known: Known {
                providers: [("okta".to_owned(), "https://okta.example".to_owned())].into(),
                ..Known::default()
            },
        };
        let said = |provider: &str| {
            let text = format!(
                "routes:\n  - name: a\n    host: a.example\n    upstream: {{ addresses: [\"b:1\"], mtls: {{ spiffe_ids: [\"spiffe://td/ns/a/sa/b\"] }} }}\n\
                 tests:\n  - name: ada-comes-in\n    as: {{ provider: {provider}, subject: ada }}\n    request: GET a /\n    expect: allow\n"
            );
            let faults = rules.check(&text).unwrap_err();
            let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
            said.join("\n")
        };
        let fails = said("okta");
        assert!(fails.contains("the test ada-comes-in fails: "), "{fails}");
        assert!(!fails.contains("provider"), "{fails}");
        let unknown = said("oktaa");
        assert!(
            unknown.contains(
                "tests[0].as.provider: no identity provider or trusted issuer is called oktaa"
            ),
            "{unknown}"
        );
    }

    #[test]
    fn what_a_test_says_of_somebody_has_to_be_what_the_edge_knows() {
        let rules = PolicyRules {
            trust_domain: TrustDomain::parse("td").unwrap(),
            known: Known {
                providers: [("okta".to_owned(), "https://okta.example".to_owned())].into(),
                claims: vec!["team".to_owned()],
                ..Known::default()
            },
        };
        let check = |who: &str, expected: &str| {
            let text = format!(
                "routes:\n  - name: a\n    host: a.example\n    upstream: {{ addresses: [\"b:1\"], mtls: {{ spiffe_ids: [\"spiffe://td/ns/a/sa/b\"] }} }}\n\
                 mappings:\n  - {{ name: m, from: [{{ signed_in: true }}], spiffe_id: \"spiffe://{{trust_domain}}/ns/people/sa/{{user}}\" }}\n\
                 rules:\n  - {{ name: r, action: allow, from: [{{ signed_in: true }}] }}\n\
                 tests:\n  - name: t\n    as: {{ provider: okta, {who} }}\n    request: GET a /\n    expect: allow\n    mesh_identity: \"{expected}\"\n"
            );
            let faults = rules.check(&text).err().unwrap_or_default();
            let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
            said.join("\n")
        };
        // As the edge names somebody of this issuer and subject.
        let known = crate::identity::principal::Principal {
            issuer: "https://okta.example".into(),
            ..crate::policy::trial::nobody_yet("okta", "00u1")
        };
        let compiled = CompiledPolicy::new(
            yaml::parse("mappings:\n  - { name: m, from: [{ signed_in: true }], spiffe_id: 'spiffe://{trust_domain}/ns/people/sa/{user}' }\n").unwrap(),
            Revision(0),
            &rules.trust_domain,
        );
        let named = compiled.unwrap().mesh_identity(Some(&known)).unwrap();
        assert_eq!(check("subject: 00u1", named.as_str()), "");
        let other = check("subject: 00u1", "spiffe://td/ns/people/sa/other");
        assert!(
            other.contains("it goes as") && !other.contains("gives no"),
            "{other}"
        );
        let by_address = check("email: ada@corp.example", named.as_str());
        assert!(by_address.contains("gives no `subject`"), "{by_address}");
        let claim = check("subject: 00u1, claims: { teem: [x] }", named.as_str());
        assert!(
            claim.contains("tests[0].as.claims: no identity provider"),
            "{claim}"
        );
    }
}
