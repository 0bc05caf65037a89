//! Google: no groups, no end-session endpoint; refresh tokens by parameter.

use super::*;

pub(super) const MODES: Modes = Modes {
    groups_claim: None,
    offline: Offline::Inherent,
    logout: LogoutStyle::None,
    tenant: TenantClaim::Named("hd"),
    authorize: &[("access_type", "offline"), ("prompt", "consent")],
    ..STANDARD
};
