//! Any provider that keeps to OpenID Connect.

use super::*;

pub(super) const MODES: Modes = Modes {
    offline: Offline::ScopeIfOffered,
    ..STANDARD
};
