//! Programs without a person, as JSON.

use serde_json::Value;

use crate::policy::accounts::ServiceAccount;
use crate::policy::json::{Fields, conditions, names, texts};
use crate::policy::machines::{Evidence, IssuerKeys, JwtTrust, TrustedIssuer};

pub(super) fn trusted_issuer(issuer: &TrustedIssuer) -> Value {
    let fields = Fields::default().with("name", &*issuer.name);
    let fields = match &issuer.evidence {
        Evidence::Jwt(trust) => jwt(fields, trust),
        Evidence::AwsRoles(roles) => fields.with_some("aws_roles", texts(Some(roles))),
        Evidence::X509(trust) => fields
            .with("trust_domain", trust.trust_domain.as_str())
            .with("bundle", trust.bundle.as_str())
            .with_some("spiffe_ids", texts(trust.spiffe_ids.as_ref())),
    };
    let at_most = issuer.at_most.map(humantime::format_duration);
    fields
        .with_some("at_most", at_most.map(|at_most| at_most.to_string()))
        .end()
}

fn jwt(fields: Fields, trust: &JwtTrust) -> Fields {
    let algorithms = trust.algorithms.iter();
    let algorithms: Value = algorithms
        .map(|algorithm| format!("{algorithm:?}"))
        .collect();
    let fields = fields
        .with("issuer", &*trust.issuer)
        .with("audiences", trust.audiences.clone())
        .with("algorithms", algorithms);
    let fields = match &trust.keys {
        IssuerKeys::Discovery => fields,
        IssuerKeys::Url(url) => fields.with("jwks_url", url.as_str()),
        IssuerKeys::Written(keys) => fields.with("jwks", keys.clone()),
    };
    fields
        .with_some(
            "required_claims",
            conditions(trust.required_claims.as_ref()),
        )
        .with_some("not_claims", conditions(trust.not_claims.as_ref()))
        .with_some("subject_claim", trust.subject_claim.as_deref())
        .with_some("groups_claim", trust.groups_claim.as_deref())
        .with_some(
            "claims",
            names(Some(&trust.claims).filter(|claims| !claims.is_empty())),
        )
}

pub(super) fn service_account(account: &ServiceAccount) -> Value {
    let groups = Some(&account.groups).filter(|groups| !groups.is_empty());
    Fields::default()
        .with("name", &*account.name)
        .with_some("description", account.description.as_deref())
        .with("jwks", account.keys.clone())
        .with_some("groups", names(groups))
        .with_some("until", account.until.map(|until| until.to_string()))
        .end()
}
