//! Okta: the scope `groups` brings the groups claim.

use super::*;

pub(super) const MODES: Modes = Modes {
    scopes: &["profile", "email", "groups"],
    ..STANDARD
};
