//! Auth0: `groups` is a reserved name, so the claim has to be configured.

use super::*;

pub(super) const MODES: Modes = Modes {
    groups_claim: None,
    ..STANDARD
};
