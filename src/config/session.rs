//! `[session]`: how long sessions live.

use std::time::Duration;

use crate::config::checked::SessionConfig;
use crate::config::section::Section;

pub(super) fn read(section: &Section<'_>) -> Option<SessionConfig> {
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let idle = section.duration("idle", minutes(60));
    let absolute = section.duration("absolute", minutes(12 * 60));
    let refresh_every = section.duration("refresh_every", minutes(5));
    let refresh_grace = section.duration("refresh_grace", minutes(10));
    let max_staleness = section.duration("max_staleness", minutes(15));
    let session = SessionConfig {
        idle: idle?,
        absolute: absolute?,
        refresh_every: refresh_every?,
        refresh_grace: refresh_grace?,
        max_staleness: max_staleness?,
    };
    if session.absolute < session.idle {
        section.fault(
            "absolute",
            "this is shorter than idle, which then could never apply; make it at least as long",
        );
        return None;
    }
    Some(session)
}
