//! What ID token and userinfo say, as a principal.

use serde_json::Value;

use crate::config::checked::IdentityProviderConfig;
use crate::identity::email::Email;
use crate::identity::principal::{Groups, Principal, PrincipalKind};
use crate::oidc::OidcError;
use crate::oidc::preset::{Modes, SubjectClaims, TenantClaim};
use crate::token::claims::{self, Claims};

/// The groups claim that is expected, if any.
pub(super) fn groups_claim<'a>(
    config: &'a IdentityProviderConfig,
    modes: &Modes,
) -> Option<&'a str> {
    config.groups_claim.as_deref().or(modes.groups_claim)
}

/// The principal that verified claims name. Userinfo is already merged into `claims`.
pub fn principal(
    config: &IdentityProviderConfig,
    modes: &Modes,
    claims: &Claims,
) -> Result<Principal, OidcError> {
    check_tenant(config, modes, claims)?;
    let (acr, auth_time) = claims::sign_in_facts(claims);
    Ok(Principal {
        kind: PrincipalKind::User,
        provider: config.name.clone(),
        issuer: config.issuer_text.clone(),
        subject: subject(modes, claims)?.into(),
        email: email(config, claims),
        display_name: claims.get("name").and_then(Value::as_str).map(Into::into),
        groups: groups(config, modes, claims),
        claims: claims::kept(claims, &config.claims),
        acr,
        auth_time,
    })
}

fn subject(modes: &Modes, claims: &Claims) -> Result<String, OidcError> {
    let fault = |error: claims::ClaimFault| OidcError::Claims(error.to_string());
    match modes.subject {
        SubjectClaims::Sub => Ok(claims::subject(claims).map_err(fault)?.to_owned()),
        SubjectClaims::TenantAndObject => {
            let tenant = claims::identifier(claims, "tid").map_err(fault)?;
            let object = claims::identifier(claims, "oid").map_err(fault)?;
            // Both are GUIDs; with a colon in them two people could become one.
            if tenant.contains(':') || object.contains(':') {
                return Err(OidcError::Claims("tid and oid must be GUIDs".to_owned()));
            }
            Ok(format!("{tenant}:{object}"))
        }
    }
}

fn check_tenant(
    config: &IdentityProviderConfig,
    modes: &Modes,
    claims: &Claims,
) -> Result<(), OidcError> {
    let Some(allowed) = &config.allowed_tenants else {
        return Ok(());
    };
    let tenant = match modes.tenant {
        TenantClaim::Named(name) => claims.get(name).and_then(Value::as_str),
        TenantClaim::None => None,
    };
    if tenant.is_some_and(|tenant| allowed.iter().any(|a| a == tenant)) {
        return Ok(());
    }
    Err(OidcError::Claims(
        "the tenant is not among allowed_tenants".into(),
    ))
}

fn email(config: &IdentityProviderConfig, claims: &Claims) -> Option<Email> {
    let vouched = match claims.get("email_verified") {
        Some(verified) => *verified == Value::Bool(true),
        None => config.trust_email == Some(true),
    };
    let text = claims
        .get("email")
        .and_then(Value::as_str)
        .filter(|_| vouched)?;
    Email::parse(text).ok()
}

fn groups(config: &IdentityProviderConfig, modes: &Modes, claims: &Claims) -> Groups {
    let Some(selector) = groups_claim(config, modes) else {
        return Groups::Missing;
    };
    let prefix = config.groups_strip_prefix.as_deref().or(modes.strip_prefix);
    if let Some(known) = claims::groups(claims, selector, prefix) {
        return Groups::Known(known);
    }
    // Entra's overage: the groups are elsewhere, which is not the same as there being none.
    let elsewhere = claims
        .get("_claim_names")
        .and_then(|names| names.get(selector))
        .is_some();
    tracing::warn!(provider = %config.name, claim = selector, elsewhere, "the groups claim did not arrive; groups are unknown");
    Groups::Missing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::subject;
    use crate::config::checked::Preset;
    use crate::oidc::preset::modes;

    #[test]
    fn f4_no_two_objects_of_entra_are_one_person() {
        let of = |tid: &str, oid: &str| {
            let claims = json!({ "tid": tid, "oid": oid, "sub": "pairwise" });
            subject(&modes(Preset::Entra), claims.as_object().unwrap()).ok()
        };
        assert_eq!(of("t", "o").as_deref(), Some("t:o"));
        let long = "x".repeat(256);
        for (tid, oid) in [
            ("a:b", "c"),
            ("a", "b:c"),
            ("", "o"),
            ("t", "o\n"),
            ("t", &long),
        ] {
            assert_eq!(of(tid, oid), None, "{tid:?} {oid:?}");
        }
    }
}
