//! Entra ID: supports PKCE without saying so; people are known by tenant and object id, which logout tokens lack, so that those count by `sid` alone.

use super::*;

pub(super) const MODES: Modes = Modes {
    assume_pkce: true,
    subject: SubjectClaims::TenantAndObject,
    tenant: TenantClaim::Named("tid"),
    ..STANDARD
};
