//! Keycloak: groups are paths; refresh tokens live as long as the session without `offline_access`.

use super::*;

pub(super) const MODES: Modes = Modes {
    strip_prefix: Some("/"),
    offline: Offline::Inherent,
    ..STANDARD
};
