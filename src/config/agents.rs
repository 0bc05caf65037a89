//! `[agents]`: programs that act for people, and how they come to be known.

use crate::config::checked::AgentsConfig;
use crate::config::section::Section;

pub(super) fn read(section: &Section<'_>) -> Option<AgentsConfig> {
    let defaults = AgentsConfig::default();
    let flag = |key, default| match section.has(key) {
        true => section.flag(key),
        false => Some(default),
    };
    let count = |key, default| match section.has(key) {
        true => section
            .number(key, 1..=1_000_000)
            .and_then(|number| u32::try_from(number).ok()),
        false => Some(default),
    };
    let registration = flag("registration", defaults.registration);
    let bearer_tokens = flag("bearer_tokens", defaults.bearer_tokens);
    let per_address = count(
        "registrations_per_address",
        defaults.registrations_per_address,
    );
    let in_all = count("registrations_in_all", defaults.registrations_in_all);
    Some(AgentsConfig {
        registration: registration?,
        bearer_tokens: bearer_tokens?,
        registrations_per_address: per_address?,
        registrations_in_all: in_all?,
    })
}
