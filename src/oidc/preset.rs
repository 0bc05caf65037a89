//! Provider presets as data, one file per vendor.

use crate::config::checked::Preset;

mod auth0;
mod entra;
mod google;
mod keycloak;
mod oidc;
mod okta;

/// Which claims say who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectClaims {
    /// `sub`, as OpenID Connect has it.
    Sub,
    /// Entra: `tid` and `oid`, which stay the same across applications.
    TenantAndObject,
}

/// The claim that `allowed_tenants` restricts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantClaim {
    /// No claim names a tenant.
    None,
    /// One claim by this name.
    Named(&'static str),
}

/// How the provider is told of a sign-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutStyle {
    /// OpenID Connect RP-Initiated Logout 1.0 §2, if the metadata name the endpoint.
    EndSession,
    /// The same, and Auth0's own `/v2/logout` where a tenant's metadata do not name it.
    EndSessionOrAuth0,
    /// It has no such endpoint: people stay signed in there.
    None,
}

/// How a refresh token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// Scope `offline_access`.
    Scope,
    /// Scope `offline_access` with `prompt=consent` (OIDC Core §11), if the metadata offer it.
    ScopeIfOffered,
    /// The provider gives one anyway, or the extra parameters ask.
    Inherent,
}

/// A vendor's ways.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    /// Besides `openid`.
    pub scopes: &'static [&'static str],
    /// Where groups are, unless the configuration says otherwise.
    pub groups_claim: Option<&'static str>,
    /// What is cut off the front of groups' names.
    pub strip_prefix: Option<&'static str>,
    /// How a refresh token is asked for.
    pub offline: Offline,
    /// How people are signed out there.
    pub logout: LogoutStyle,
    /// It takes PKCE although its metadata do not say so.
    pub assume_pkce: bool,
    /// What people are known by.
    pub subject: SubjectClaims,
    /// What `allowed_tenants` are compared with.
    pub tenant: TenantClaim,
    /// Extra parameters of the authorization request.
    pub authorize: &'static [(&'static str, &'static str)],
}

/// What most providers do.
const STANDARD: Modes = Modes {
    scopes: &["profile", "email"],
    groups_claim: Some("groups"),
    strip_prefix: None,
    offline: Offline::Scope,
    logout: LogoutStyle::EndSession,
    assume_pkce: false,
    subject: SubjectClaims::Sub,
    tenant: TenantClaim::None,
    authorize: &[],
};

/// The ways of a vendor.
pub fn modes(preset: Preset) -> Modes {
    match preset {
        Preset::Okta => okta::MODES,
        Preset::Entra => entra::MODES,
        Preset::Google => google::MODES,
        Preset::Keycloak => keycloak::MODES,
        Preset::Auth0 => auth0::MODES,
        Preset::Oidc => oidc::MODES,
    }
}
