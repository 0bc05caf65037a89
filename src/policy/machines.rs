//! Programs without a person, as policy: the issuers whose tokens they bring.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::Value;

use crate::identity::aws;
use crate::identity::principal::AWS_ISSUER;
use crate::identity::spiffe_id::TrustDomain;
use crate::policy::matcher::TextMatch;

/// Conditions on claims, by exact name or JSON Pointer (RFC 6901).
pub type ClaimConditions = BTreeMap<Arc<str>, Vec<TextMatch>>;

/// Somebody who vouches for programs.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustedIssuer {
    /// Unique among identity providers and trusted issuers, those of the configuration included; rules and mappings name it in `providers`.
    pub name: Arc<str>,
    /// What its programs show.
    pub evidence: Evidence,
    /// How long after it was made what a program shows counts at most, whatever it says itself; and with it what it began.
    pub at_most: Option<Duration>,
}

/// What proves a program.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// A JWT that an issuer signed.
    Jwt(JwtTrust),
    /// A request to AWS that a role signed, which STS answers for: the ARNs of the roles, whole or to the end of a beginning that has the account whole; never
    /// empty. No two issuers have a role in common.
    AwsRoles(Vec<TextMatch>),
    /// A certificate of a workload of another trust domain.
    X509(X509Trust),
}

/// A trust domain whose workloads' certificates (X.509-SVIDs) stand for programs.
#[derive(Clone, Debug, PartialEq)]
pub struct X509Trust {
    /// Its name; never the mesh's own.
    pub trust_domain: TrustDomain,
    /// Its name as an issuer: `spiffe://` and the name.
    pub issuer: Arc<str>,
    /// Its roots, PEM, which are sound.
    pub bundle: String,
    /// Which of its workloads; `None` is all of them.
    pub spiffe_ids: Option<Vec<TextMatch>>,
}

/// An issuer whose JWTs stand for programs.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtTrust {
    /// The exact text of `iss`.
    pub issuer: Arc<str>,
    /// One of these must be in `aud`; never empty.
    pub audiences: Vec<String>,
    /// Asymmetric ones only; never empty.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are.
    pub keys: IssuerKeys,
    /// What a token has to say; all names must hold.
    pub required_claims: Option<ClaimConditions>,
    /// What a token may not say; none may hold.
    pub not_claims: Option<ClaimConditions>,
    /// The claim that names the program; `None` is `sub`.
    pub subject_claim: Option<Arc<str>>,
    /// The claim with its groups.
    pub groups_claim: Option<Arc<str>>,
    /// Claims that are kept for rules and mappings.
    pub claims: Vec<Arc<str>>,
}

/// What rules may ask about a role of AWS, as they ask about claims: its account's number, its name, and what its session is called.
pub const AWS_CLAIMS: [&str; 3] = [AWS_ACCOUNT, AWS_ROLE, AWS_SESSION_NAME];
/// The number of a role's account.
pub const AWS_ACCOUNT: &str = "aws_account";
/// A role's name.
pub const AWS_ROLE: &str = "aws_role";
/// What whoever assumed a role calls the session.
pub const AWS_SESSION_NAME: &str = "aws_session_name";

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuerKeys {
    /// Its discovery document names the address.
    Discovery,
    /// At this address, `https` or loopback.
    Url(String),
    /// Written down, a JWK set that is sound: for an issuer that cannot be reached.
    Written(Value),
}

/// Issuers that give a token to anybody who asks, and the claims by which one customer is told from another.
const OPEN_TO_ALL: &[(&str, &[&str])] = &[
    (
        "https://token.actions.githubusercontent.com",
        &[
            "repository",
            "repository_id",
            "repository_owner",
            "repository_owner_id",
            "sub",
        ],
    ),
    (
        "https://gitlab.com",
        &[
            "project_path",
            "project_id",
            "namespace_path",
            "namespace_id",
            "sub",
        ],
    ),
    (
        "https://agent.buildkite.com",
        &["organization_slug", "organization_id", "pipeline_id", "sub"],
    ),
    (
        "https://app.terraform.io",
        &[
            "terraform_organization_id",
            "terraform_organization_name",
            "terraform_workspace_id",
            "sub",
        ],
    ),
    ("https://accounts.google.com", &["sub", "email", "hd"]),
];

/// The beginning of the names of roles that IAM Identity Center makes for people.
const OF_PEOPLE: &str = "AWSReservedSSO_";

impl TrustedIssuer {
    /// What is known of its JWTs, if that is what its programs show.
    pub fn jwt(&self) -> Option<&JwtTrust> {
        match &self.evidence {
            Evidence::Jwt(jwt) => Some(jwt),
            Evidence::AwsRoles(_) | Evidence::X509(_) => None,
        }
    }

    /// The trust domain that it is, if its programs show certificates.
    pub fn x509(&self) -> Option<&X509Trust> {
        match &self.evidence {
            Evidence::X509(trust) => Some(trust),
            Evidence::Jwt(_) | Evidence::AwsRoles(_) => None,
        }
    }

    /// The roles of AWS that it is about; none where programs show something else.
    pub fn aws_roles(&self) -> &[TextMatch] {
        match &self.evidence {
            Evidence::Jwt(_) | Evidence::X509(_) => &[],
            Evidence::AwsRoles(roles) => roles,
        }
    }

    /// The issuer of the programs that it vouches for.
    pub fn issuer(&self) -> &str {
        match &self.evidence {
            Evidence::Jwt(jwt) => &jwt.issuer,
            Evidence::AwsRoles(_) => AWS_ISSUER,
            Evidence::X509(trust) => &trust.issuer,
        }
    }

    /// What is kept of its programs for rules and mappings.
    pub fn claims(&self) -> Vec<&str> {
        match &self.evidence {
            Evidence::Jwt(jwt) => jwt.claims.iter().map(|name| &**name).collect(),
            Evidence::AwsRoles(_) => AWS_CLAIMS.to_vec(),
            Evidence::X509(_) => Vec::new(),
        }
    }

    /// What is odd about it: that strangers get tokens that it takes, or people.
    pub(super) fn finding(&self) -> Option<String> {
        match &self.evidence {
            Evidence::Jwt(jwt) => jwt.taken_of_strangers(),
            Evidence::X509(_) => None,
            Evidence::AwsRoles(roles) => roles.iter().any(is_of_people).then(|| {
                format!("people who sign in at IAM Identity Center have roles whose names begin with {OF_PEOPLE}: these here take them for programs")
            }),
        }
    }
}

fn is_of_people(role: &TextMatch) -> bool {
    let name = |arn: &'_ str| aws::role_name(arn).unwrap_or_default().to_owned();
    match role {
        TextMatch::Exact(arn) => name(arn).starts_with(OF_PEOPLE),
        TextMatch::Prefix(arn) => {
            let name = name(arn);
            name.starts_with(OF_PEOPLE) || OF_PEOPLE.starts_with(&name)
        }
        TextMatch::Suffix(_) | TextMatch::Present => true,
    }
}

impl JwtTrust {
    fn taken_of_strangers(&self) -> Option<String> {
        let issuer = self.issuer.trim_end_matches('/');
        let (_, telling) = OPEN_TO_ALL.iter().find(|(open, _)| *open == issuer)?;
        let mut required = self.required_claims.iter().flatten();
        if required.any(|(name, values)| telling.contains(&&**name) && values.iter().all(narrows)) {
            return None;
        }
        Some(format!(
            "anybody can get a token of {issuer}: let `required_claims` say whose are meant by {}, whole or with the part before a slash whole",
            telling.join(", ")
        ))
    }
}

/// Whether a condition leaves open no more than what comes after a whole first part: `corp*` is `corp-of-somebody-else` too.
fn narrows(condition: &TextMatch) -> bool {
    match condition {
        TextMatch::Exact(_) => true,
        TextMatch::Prefix(text) => {
            text.contains(['/', ':'])
                && !text.ends_with(|last: char| last.is_ascii_alphanumeric())
                && !is_only_a_kind(text)
        }
        TextMatch::Suffix(_) | TextMatch::Present => false,
    }
}

/// `repo:` and `project_path:` say what follows, and nothing of whose it is.
fn is_only_a_kind(text: &str) -> bool {
    text.find(':').is_some_and(|at| at + 1 == text.len())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::policy::check::{Known, unknown_names};
    use crate::policy::kind::Kind;
    use crate::policy::lint::{Seen, lint, lint_object};
    use crate::policy::yaml;

    fn of(more: &str) -> String {
        format!(
            "trusted_issuers:\n  - {{ name: ci, audiences: [edge], algorithms: [RS256], {more} }}\n"
        )
    }

    #[test]
    fn an_issuer_of_everybody_needs_a_condition_that_says_whose() {
        let github = "issuer: 'https://token.actions.githubusercontent.com'";
        for (more, is_fine) in [
            ("", false),
            ("required_claims: { repository: ['corp/*'] }", true),
            (
                "required_claims: { repository: ['corp/shop', 'corp/web'] }",
                true,
            ),
            ("required_claims: { repository_owner: [corp] }", true),
            ("required_claims: { sub: ['repo:corp/*'] }", true),
            ("required_claims: { repository: ['corp*'] }", false),
            ("required_claims: { repository: ['*'] }", false),
            ("required_claims: { repository: ['*/shop'] }", false),
            ("required_claims: { repository: ['corp/shop', '*'] }", false),
            ("required_claims: { sub: ['repo:*'] }", false),
            ("required_claims: { sub: ['repo:corp*'] }", false),
            ("required_claims: { ref: [refs/heads/main] }", false),
            ("not_claims: { repository: ['evil/*'] }", false),
        ] {
            let policy = yaml::parse(&of(&format!("{github}, {more}"))).unwrap();
            let (now, seen) = (Timestamp::UNIX_EPOCH, Seen::default());
            let found = lint(&policy, now, &seen);
            assert_eq!(found.is_empty(), is_fine, "{more}: {found:?}");
            assert_eq!(
                lint_object(&policy, now, &seen, Kind::TrustedIssuer, "ci"),
                found
            );
        }
        let own = yaml::parse(&of("issuer: 'https://ci.corp.example'")).unwrap();
        assert!(lint(&own, Timestamp::UNIX_EPOCH, &Seen::default()).is_empty());
    }

    #[test]
    fn g_what_cannot_be_trusted_safely_is_refused() {
        let key = "kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for good in [
            "issuer: 'https://ci.example'".to_owned(),
            "issuer: 'http://localhost:9'".to_owned(),
            format!("issuer: cluster, jwks: {{ keys: [{{ {key} }}] }}"),
            "issuer: x, jwks: '{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}'".to_owned(),
        ] {
            yaml::parse(&of(&good)).unwrap();
        }
        for bad in [
            String::new(),
            "issuer: cluster".to_owned(),
            "issuer: 'http://ci.example'".to_owned(),
            "issuer: 'https://a:b@ci.example'".to_owned(),
            "issuer: 'https://ci.example/?a=b'".to_owned(),
            "issuer: 'https://ci.example', jwks_url: 'http://ci.example/k'".to_owned(),
            "issuer: 'https://ci.example', jwks_url: 'file:///etc/passwd'".to_owned(),
            format!("issuer: x, jwks_url: 'https://ci.example/k', jwks: {{ keys: [{{ {key} }}] }}"),
            format!("issuer: x, jwks: {{ keys: [{{ {key}, d: AAAA }}] }}"),
            "issuer: x, jwks: { keys: [] }".to_owned(),
            "issuer: x, jwks: nonsense".to_owned(),
            "issuer: 'https://ci.example', at_most: 31d".to_owned(),
            "issuer: 'https://ci.example', required_claims: {}".to_owned(),
        ] {
            assert!(yaml::parse(&of(&bad)).is_err(), "{bad}");
        }
        let text = of("issuer: 'https://ci.example'");
        for weak in ["none", "HS256", "es256"] {
            assert!(yaml::parse(&text.replace("RS256", weak)).is_err(), "{weak}");
        }
        for list in ["audiences: [edge]", "algorithms: [RS256]"] {
            let (name, _) = list.split_once(':').unwrap();
            assert!(yaml::parse(&text.replace(list, &format!("{name}: []"))).is_err());
            assert!(yaml::parse(&text.replace(&format!("{list}, "), "")).is_err());
        }
        let twice = text.clone()
            + &text
                .replace("name: ci", "name: other")
                .replace("trusted_issuers:\n", "");
        assert!(yaml::parse(&twice).is_err());
    }

    fn of_aws(name: &str, roles: &str) -> String {
        format!("  - {{ name: {name}, aws_roles: [{roles}], at_most: 30m }}\n")
    }

    #[test]
    fn g_roles_of_aws_are_named_with_their_account_and_by_one_issuer_alone() {
        let list = |items: &[String]| format!("trusted_issuers:\n{}", items.concat());
        let own = "arn:aws:iam::123456789012:role";
        for good in [
            format!("'{own}/deploy'"),
            format!("'{own}/ci-*', '{own}/ci-shop'"),
            format!("'{own}/*', 'arn:aws-cn:iam::210987654321:role/x'"),
        ] {
            yaml::parse(&list(&[of_aws("aws", &good)])).unwrap();
        }
        for bad in [
            "",
            "'*'",
            "'*/deploy'",
            "'arn:aws:iam::*'",
            "'arn:aws:iam::123456789012:*'",
            "'arn:aws:iam::12345678901*'",
            "'arn:aws:iam::1234:role/deploy'",
            "'arn:aws:iam::123456789012:role/'",
            "'arn:aws:iam::123456789012:role/path/deploy'",
            "'arn:aws:iam::123456789012:user/alice'",
            "'arn:aws:iam::123456789012:root'",
            "'arn:aws:sts::123456789012:assumed-role/deploy/run'",
            "'arn:other:iam::123456789012:role/deploy'",
        ] {
            assert!(yaml::parse(&list(&[of_aws("aws", bad)])).is_err(), "{bad}");
        }
        for more in [
            "issuer: x",
            "audiences: [a]",
            "claims: [a]",
            "jwks_url: 'https://x'",
        ] {
            let with = of_aws("aws", &format!("'{own}/a'")).replace("at_most: 30m", more);
            assert!(yaml::parse(&list(&[with])).is_err(), "{more}");
        }
        for (first, second, is_one) in [
            ("a", "a", false),
            ("ci-*", "ci-shop", false),
            ("ci-shop", "*", false),
            ("ci-*", "ci-shop-*", false),
            ("ci", "ci-*", true),
            ("ci-*", "cd-*", true),
        ] {
            let items = [("aws", first), ("other", second)];
            let items = items.map(|(name, role)| {
                of_aws(
                    name,
                    &format!("'{own}/zz', '{own}/{role}'").replace("zz", name),
                )
            });
            let read = yaml::parse(&list(&items));
            assert_eq!(read.is_ok(), is_one, "{first} {second}: {read:?}");
        }
        let text = list(&[of_aws("aws", &format!("'{own}/a'"))]);
        let named = |claim: &str| {
            format!(
                "{text}rules:\n  - {{ name: r, action: allow, from: [{{ providers: [aws], claims: {{ {claim}: [x] }} }}] }}\n"
            )
        };
        for (claim, faults) in [("aws_role", 0), ("aws_session_name", 0), ("sub", 1)] {
            let policy = yaml::parse(&named(claim)).unwrap();
            assert_eq!(
                unknown_names(&policy, &Known::default()).len(),
                faults,
                "{claim}"
            );
        }
        let taken = of("issuer: 'urn:wayleave:aws', jwks_url: 'https://x.example/'");
        assert!(yaml::parse(&taken).is_err());
    }

    #[test]
    fn roles_that_people_have_are_no_programs() {
        for (role, is_odd) in [
            ("deploy", false),
            ("deploy-*", false),
            ("B*", false),
            ("*", true),
            ("AWS*", true),
            ("AWSReservedSSO_Admin_0123456789abcdef", true),
            ("AWSReservedSSO_Admin_*", true),
        ] {
            let role = format!("'arn:aws:iam::123456789012:role/{role}'");
            let text = format!("trusted_issuers:\n{}", of_aws("aws", &role));
            let policy = yaml::parse(&text).unwrap();
            let found = lint(&policy, Timestamp::UNIX_EPOCH, &Seen::default());
            assert_eq!(!found.is_empty(), is_odd, "{role}: {found:?}");
        }
    }

    #[test]
    fn the_examples_of_the_documentation_hold() {
        let page = include_str!("../../docs/machines.md");
        let blocks = page.split("```yaml\n").skip(1);
        let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
        let is_whole = |block: &&&str| {
            ["trusted_issuers:", "service_"]
                .iter()
                .any(|it| block.starts_with(it))
        };
        let trusted = blocks.iter().filter(is_whole);
        let mut count = 0;
        for block in trusted {
            let policy = yaml::parse(block).unwrap_or_else(|faults| panic!("{faults:?}: {block}"));
            let found = lint(&policy, Timestamp::UNIX_EPOCH, &Seen::default());
            assert_eq!(found, [], "{block}");
            count += policy.trusted_issuers.len() + policy.service_accounts.len();
        }
        assert_eq!(count, 8);
    }

    #[test]
    fn the_configurations_names_and_issuers_are_taken_and_those_of_the_policy_may_be_named() {
        let text = of("issuer: 'https://ci.example', claims: [ref]")
            + "rules:\n  - { name: r, action: allow, from: [{ providers: [ci], claims: { ref: [main] } }] }\n";
        let policy = yaml::parse(&text).unwrap();
        let keys = |known: &Known| -> Vec<String> {
            let faults = unknown_names(&policy, known).into_iter();
            faults.map(|fault| fault.key).collect()
        };
        assert!(keys(&Known::default()).is_empty());
        let named = Known {
            providers: [("ci".to_owned(), "https://other.example".to_owned())].into(),
            ..Known::default()
        };
        assert_eq!(keys(&named), ["trusted_issuers[0].name"]);
        let same = Known {
            providers: [("other".to_owned(), "https://ci.example".to_owned())].into(),
            ..Known::default()
        };
        assert_eq!(keys(&same), ["trusted_issuers[0].issuer"]);
    }
}
