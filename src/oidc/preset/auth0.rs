//! Auth0: `groups` is a reserved name, so the claim has to be configured; older tenants know only Auth0's own way of signing out.

use super::*;

pub(super) const MODES: Modes = Modes {
    groups_claim: None,
    logout: LogoutStyle::EndSessionOrAuth0,
    ..STANDARD
};
