//! `[audit]`: what is kept of what happened, where it waits for the store, and for how long it is kept.

use std::time::Duration;

use crate::config::checked::{AuditConfig, WhenFull};
use crate::config::limits::bytes;
use crate::config::section::Section;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Smallest and largest room for the spool, in bytes.
const ROOM: std::ops::RangeInclusive<usize> = 32 * 1024 * 1024..=1024 * 1024 * 1024 * 1024;

pub(super) fn read(section: &Section<'_>) -> Option<AuditConfig> {
    let spool = section.text("spool");
    let spool = section.reading.resolve(spool.as_deref().unwrap_or("spool"));
    let keep_events = section.duration("keep_events", DAY * 400);
    let keep_decisions = section.duration("keep_decisions", DAY * 30);
    let spool_room = if section.has("spool_room") {
        section.parsed("spool_room", |text| {
            bytes(text)
                .filter(|bytes| ROOM.contains(bytes))
                .ok_or("this must be a size like 256MiB, from 32MiB to 1024GiB")
        })
    } else {
        Some(256 * 1024 * 1024)
    };
    let when_full = if section.has("when_full") {
        section.parsed("when_full", |text| match text {
            "refuse" => Ok(WhenFull::Refuse),
            "forward" => Ok(WhenFull::Forward),
            _ => Err("this is \"refuse\" or \"forward\""),
        })
    } else {
        Some(WhenFull::Refuse)
    };
    Some(AuditConfig {
        spool,
        spool_room: u64::try_from(spool_room?).ok()?,
        when_full: when_full?,
        keep_events: keep_events?,
        keep_decisions: keep_decisions?,
    })
}
