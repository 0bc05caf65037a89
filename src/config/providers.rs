//! `[[identity_providers]]`: issuers that people sign in at.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use url::Url;

use crate::config::checked::{IdentityProviderConfig, Preset};
use crate::config::secrets::SecretKeys;
use crate::config::section::Section;

/// Reads all identity providers. `names` are those taken so far.
pub(super) fn read(
    root: &Section<'_>,
    names: &mut BTreeSet<String>,
) -> Option<Vec<IdentityProviderConfig>> {
    let sections = root.each("identity_providers");
    let read: Vec<_> = sections
        .iter()
        .map(|section| provider(section, names))
        .collect();
    read.into_iter().collect()
}

fn provider(section: &Section<'_>, names: &mut BTreeSet<String>) -> Option<IdentityProviderConfig> {
    let name = name(section, names);
    let label = section.text("label");
    let preset = section.required_parsed("preset", preset);
    let reach = reach(section);
    let issuer = section.required("issuer");
    let issuer_url = issuer.as_deref().and_then(|text| {
        let insecure = reach.as_ref().is_some_and(|reach| reach.insecure_loopback);
        url(section, "issuer", text, insecure)
    });
    let client_id = section.required("client_id");
    let keys = SecretKeys {
        literal: "client_secret",
        file: "client_secret_file",
        variable: "client_secret_env",
    };
    let client_secret = keys.text(section, |_| false);
    let scopes = section.list("scopes");
    let groups_claim = section.text("groups_claim");
    let groups_strip_prefix = section.text("groups_strip_prefix");
    let claims = section.list("claims").unwrap_or_default();
    let trust_email = section.flag("trust_email");
    let allowed_tenants = section.list("allowed_tenants");
    let assume_pkce = section.flag("assume_pkce");
    if preset == Some(Preset::Entra) && !section.has("allowed_tenants") {
        refuse_shared_tenant(section, issuer_url.as_ref())?;
    }
    let (name, reach) = (name?, reach?);
    Some(IdentityProviderConfig {
        label: label.unwrap_or_else(|| name.clone()),
        name: name.into(),
        preset: preset?,
        issuer: issuer_url?,
        issuer_text: issuer?.into(),
        client_id: client_id?,
        client_secret: client_secret?,
        scopes,
        groups_claim,
        groups_strip_prefix,
        claims: claims.into_iter().map(Into::into).collect(),
        trust_email,
        allowed_tenants,
        ca_file: reach.ca_file,
        allowed_private_networks: reach.allowed_private_networks,
        insecure_allow_http_loopback: reach.insecure_loopback,
        assume_pkce,
    })
}

/// At Entra's shared tenants anybody with any Microsoft account signs in.
fn refuse_shared_tenant(section: &Section<'_>, issuer: Option<&Url>) -> Option<()> {
    let tenant = issuer?.path_segments()?.next()?.to_ascii_lowercase();
    if matches!(tenant.as_str(), "common" | "organizations" | "consumers") {
        section.fault(
            "issuer",
            format!("the tenant {tenant} lets in people of any organisation; name your tenant's id here, or list allowed_tenants"),
        );
        return None;
    }
    Some(())
}

fn preset(text: &str) -> Result<Preset, &'static str> {
    Ok(match text {
        "okta" => Preset::Okta,
        "entra" => Preset::Entra,
        "google" => Preset::Google,
        "keycloak" => Preset::Keycloak,
        "auth0" => Preset::Auth0,
        "oidc" => Preset::Oidc,
        _ => return Err("this must be one of okta, entra, google, keycloak, auth0, oidc"),
    })
}

/// A name as URLs, rules and logs use it; no two providers or trusted issuers share one.
pub(super) fn name(section: &Section<'_>, names: &mut BTreeSet<String>) -> Option<String> {
    let name = section.required_parsed("name", |text| {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.len() <= 63 && text.bytes().all(fits) {
            Ok(text.to_owned())
        } else {
            Err("this must be a name of at most 63 characters a-z 0-9 -")
        }
    })?;
    if !names.insert(name.clone()) {
        section.fault(
            "name",
            "another identity provider or trusted issuer has this name, or the policy's service accounts do",
        );
        return None;
    }
    Some(name)
}

/// How a provider or issuer may be reached over the network.
pub(super) struct Reach {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) allowed_private_networks: Vec<String>,
    pub(super) insecure_loopback: bool,
}

pub(super) fn reach(section: &Section<'_>) -> Option<Reach> {
    let ca_file = section.optional_file("ca_file");
    let insecure_loopback = section.flag("insecure_allow_http_loopback");
    let networks = if section.has("allowed_private_networks") {
        section.list("allowed_private_networks")
    } else {
        Some(Vec::new())
    };
    if let Some(bad) = networks.iter().flatten().find(|text| !is_network(text)) {
        section.fault(
            "allowed_private_networks",
            format!("{bad:?} is no network such as 10.0.0.0/8"),
        );
        return None;
    }
    Some(Reach {
        ca_file: ca_file?,
        allowed_private_networks: networks?,
        insecure_loopback: insecure_loopback.unwrap_or(false),
    })
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}

/// Reads the URL of an issuer or key set: https, or plain http to this machine where that is allowed; no user, query or fragment.
pub(super) fn url(
    section: &Section<'_>,
    key: &'static str,
    text: &str,
    insecure_loopback: bool,
) -> Option<Url> {
    let fault = match Url::parse(text) {
        Err(error) => format!("this is no URL: {error}"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "this URL has a user name or password".to_owned()
        }
        Ok(url) if url.fragment().is_some() || (key == "issuer" && url.query().is_some()) => {
            "this URL has a query or fragment, which an issuer has not".to_owned()
        }
        Ok(url) if url.scheme() == "https" => return Some(url),
        Ok(url) if url.scheme() == "http" && insecure_loopback && leads_here(&url) => {
            return Some(url);
        }
        Ok(_) => "this must begin with https:// (for development only: http://localhost with insecure_allow_http_loopback = true)".to_owned(),
    };
    section.fault(key, fault);
    None
}

/// Whether it is `localhost` or a loopback address. Names under `localhost` are left out: many systems do not resolve them.
fn leads_here(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
