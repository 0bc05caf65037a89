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

/// What an ID token and userinfo say together. The ID token's claims win, and how somebody signed in is told by it alone. An address and the word
/// that it was verified come from one of the two: the provider may mean another address with each.
pub(super) fn merged(mut id_token: Claims, userinfo: Claims) -> Claims {
    const EMAIL: [&str; 2] = ["email", "email_verified"];
    let says_all = |claims: &Claims| EMAIL.iter().all(|name| claims.contains_key(*name));
    let says_some = |claims: &Claims| EMAIL.iter().any(|name| claims.contains_key(*name));
    if !says_all(&id_token) && says_all(&userinfo) {
        id_token.retain(|name, _| !EMAIL.contains(&name.as_str()));
    }
    let has_email = says_some(&id_token);
    let is_told_elsewhere =
        |name: &str| matches!(name, "acr" | "auth_time") || has_email && EMAIL.contains(&name);
    for (name, value) in userinfo {
        if !is_told_elsewhere(&name) {
            id_token.entry(name).or_insert(value);
        }
    }
    id_token
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
        agents: Vec::new(),
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

    use super::{merged, subject};
    use crate::config::checked::Preset;
    use crate::oidc::preset::modes;

    #[test]
    fn f3_an_address_and_its_verification_come_from_one_document() {
        let merge = |id_token: serde_json::Value, userinfo: serde_json::Value| {
            let object = |value: serde_json::Value| value.as_object().unwrap().clone();
            let merged = merged(object(id_token), object(userinfo));
            let of = |name: &str| merged.get(name).cloned();
            (of("email"), of("email_verified"))
        };
        let (own, other) = (Some(json!("own@a.example")), Some(json!("other@a.example")));
        let (yes, no) = (Some(json!(true)), Some(json!(false)));
        for (id_token, userinfo, expected) in [
            (
                json!({"email": own}),
                json!({"email_verified": yes}),
                (&own, &None),
            ),
            (
                json!({"email_verified": yes}),
                json!({"email": other}),
                (&None, &yes),
            ),
            (
                json!({"email": own}),
                json!({"email": other, "email_verified": yes}),
                (&other, &yes),
            ),
            (
                json!({"email_verified": yes}),
                json!({"email": other, "email_verified": no}),
                (&other, &no),
            ),
            (
                json!({"email": own, "email_verified": no}),
                json!({"email": other, "email_verified": yes}),
                (&own, &no),
            ),
            (
                json!({}),
                json!({"email": other, "email_verified": yes}),
                (&other, &yes),
            ),
            (json!({}), json!({"email": other}), (&other, &None)),
        ] {
            let what = format!("{id_token} {userinfo}");
            let (email, verified) = merge(id_token, userinfo);
            assert_eq!((&email, &verified), expected, "{what}");
        }
    }

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
