//! `[tokens]`: what programs are given on behalf of people who signed in.

use std::time::Duration;

use crate::config::checked::TokensConfig;
use crate::config::section::Section;

/// Shortest and longest life of an access token.
const LIFETIME: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(60 * 60);

/// Shortest and longest life of an SVID that somebody holds.
const SVID_LIFETIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=DAY;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest and longest time that a key signs. Within the shortest there is time for the key before it to be published for as long as what it signed is
/// good, and for the next one to be published before it signs.
const KEY_LIFETIME: std::ops::RangeInclusive<Duration> =
    DAY.saturating_mul(14)..=DAY.saturating_mul(730);

pub(super) fn read(section: &Section<'_>) -> Option<TokensConfig> {
    let defaults = TokensConfig::default();
    let lifetime = section.duration("lifetime", defaults.lifetime);
    let svid_lifetime = section.duration("svid_lifetime", defaults.svid_lifetime);
    let allow_unbound = if section.has("allow_unbound") {
        section.flag("allow_unbound")
    } else {
        Some(defaults.allow_unbound)
    };
    let requests_per_second = if section.has("requests_per_second") {
        section
            .number("requests_per_second", 1..=100_000)
            .and_then(|number| u32::try_from(number).ok())
    } else {
        Some(defaults.requests_per_second)
    };
    let key_lifetime = section.duration("signing_key_lifetime", defaults.signing_key_lifetime);
    let tokens = TokensConfig {
        lifetime: lifetime?,
        svid_lifetime: svid_lifetime?,
        allow_unbound: allow_unbound?,
        requests_per_second: requests_per_second?,
        signing_key_lifetime: key_lifetime?,
    };
    if !KEY_LIFETIME.contains(&tokens.signing_key_lifetime) {
        section.fault("signing_key_lifetime", "this must be from 14d to 730d");
        return None;
    }
    if !LIFETIME.contains(&tokens.lifetime) {
        section.fault("lifetime", "this must be from 1m to 1h");
        return None;
    }
    if !SVID_LIFETIME.contains(&tokens.svid_lifetime) {
        section.fault("svid_lifetime", "this must be from 1m to 24h");
        return None;
    }
    Some(tokens)
}
