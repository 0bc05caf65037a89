//! Entra ID: supports PKCE without saying so; people are known by tenant and object id.

use super::*;

pub(super) const MODES: Modes = Modes {
    assume_pkce: true,
    subject: SubjectClaims::TenantAndObject,
    tenant: TenantClaim::Named("tid"),
    ..STANDARD
};
