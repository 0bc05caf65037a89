//! A principal has only what verified claims say: the subject as it is, an e-mail only if vouched for, and groups that are unknown rather
//! than none whenever their claim is anything but a list of names. Input: a JSON object of claims.

use std::sync::Arc;

use serde_json::Value;
use url::Url;
use wayleave::config::checked::{IdentityProviderConfig, Preset};
use wayleave::identity::principal::{Groups, Principal};
use wayleave::oidc::claims::principal;
use wayleave::oidc::preset::modes;
use wayleave::token::claims::{Claims, select};

const ISSUER: &str = "https://idp.example";

fn provider(preset: Preset, groups_claim: Option<&str>) -> IdentityProviderConfig {
    IdentityProviderConfig {
        name: "idp".into(),
        label: "IdP".to_owned(),
        preset,
        issuer: Url::parse(ISSUER).expect("a URL"),
        issuer_text: ISSUER.into(),
        client_id: "wayleave".to_owned(),
        client_secret: None,
        scopes: None,
        groups_claim: groups_claim.map(str::to_owned),
        claims: vec!["department".into()],
        groups_strip_prefix: None,
        trust_email: None,
        allowed_tenants: None,
        ca_file: None,
        allowed_private_networks: Vec::new(),
        insecure_allow_http_loopback: false,
        assume_pkce: None,
    }
}

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Claims>(bytes) else {
        return;
    };
    let all = [
        Preset::Okta,
        Preset::Entra,
        Preset::Google,
        Preset::Keycloak,
        Preset::Auth0,
        Preset::Oidc,
    ];
    for preset in all {
        let named = modes(preset).groups_claim;
        for selector in [named, Some("groups"), Some("/realm_access/roles")] {
            let mut config = provider(preset, selector);
            if let Ok(principal) = principal(&config, &modes(preset), &claims) {
                says_what_claims_say(&principal, &claims, selector);
                check_email(&principal, &claims);
            }
            config.allowed_tenants = Some(vec!["a tenant nobody has".to_owned()]);
            assert!(principal_of_none(&config, preset, &claims));
        }
    }
}

/// With tenants to be in, nobody comes in who is in none of them.
fn principal_of_none(config: &IdentityProviderConfig, preset: Preset, claims: &Claims) -> bool {
    let is_in =
        |name: &str| claims.get(name).and_then(Value::as_str) == Some("a tenant nobody has");
    principal(config, &modes(preset), claims).is_err() || is_in("tid") || is_in("hd")
}

fn says_what_claims_say(principal: &Principal, claims: &Claims, selector: Option<&str>) {
    assert_eq!(&*principal.issuer, ISSUER);
    assert!(!principal.subject.is_empty());
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let tenant_and_object = format!("{}:{}", text("tid"), text("oid"));
    assert!(*principal.subject == *text("sub") || *principal.subject == *tenant_and_object);
    let Groups::Known(groups) = &principal.groups else {
        return;
    };
    let claim = selector.and_then(|selector| select(claims, selector));
    let ends_one = |group: &Arc<str>, name: &str| !name.is_empty() && name.ends_with(&**group);
    let is_named = |group: &Arc<str>| match claim {
        Some(Value::String(one)) => ends_one(group, one),
        Some(Value::Array(many)) => many
            .iter()
            .any(|name| name.as_str().is_some_and(|name| ends_one(group, name))),
        Some(Value::Object(keyed)) => keyed.keys().any(|name| ends_one(group, name)),
        _ => false,
    };
    assert!(groups.iter().all(is_named), "{groups:?}");
    assert!(claim.is_some_and(|claim| !claim.is_null()));
    if let Some(Value::Array(many)) = claim {
        assert!(many.iter().all(Value::is_string), "{many:?}");
    }
}

fn check_email(principal: &Principal, claims: &Claims) {
    if let Some(email) = &principal.email {
        assert_eq!(claims.get("email_verified"), Some(&Value::Bool(true)));
        let text = claims.get("email").and_then(Value::as_str);
        assert!(text.is_some_and(|text| text.eq_ignore_ascii_case(email.as_str())));
    }
}
