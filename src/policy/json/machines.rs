//! Programs without a person, as JSON.

use serde_json::Value;

use crate::policy::accounts::ServiceAccount;
use crate::policy::json::{Fields, conditions, names};
use crate::policy::machines::{IssuerKeys, TrustedIssuer};

pub(super) fn trusted_issuer(issuer: &TrustedIssuer) -> Value {
    let algorithms = issuer.algorithms.iter();
    let algorithms: Value = algorithms
        .map(|algorithm| format!("{algorithm:?}"))
        .collect();
    let fields = Fields::default()
        .with("name", &*issuer.name)
        .with("issuer", &*issuer.issuer)
        .with("audiences", issuer.audiences.clone())
        .with("algorithms", algorithms);
    let fields = match &issuer.keys {
        IssuerKeys::Discovery => fields,
        IssuerKeys::Url(url) => fields.with("jwks_url", url.as_str()),
        IssuerKeys::Written(keys) => fields.with("jwks", keys.clone()),
    };
    let at_most = issuer.at_most.map(humantime::format_duration);
    fields
        .with_some(
            "required_claims",
            conditions(issuer.required_claims.as_ref()),
        )
        .with_some("not_claims", conditions(issuer.not_claims.as_ref()))
        .with_some("subject_claim", issuer.subject_claim.as_deref())
        .with_some("groups_claim", issuer.groups_claim.as_deref())
        .with_some(
            "claims",
            names(Some(&issuer.claims).filter(|claims| !claims.is_empty())),
        )
        .with_some("at_most", at_most.map(|at_most| at_most.to_string()))
        .end()
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
