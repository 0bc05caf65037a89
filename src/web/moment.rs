//! Moments and lengths of time as people read them.

use std::time::Duration;

use crate::clock::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A moment, for `<time>`: roughly for the eye, exactly for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// RFC 3339.
    pub iso: String,
    /// To the second, in UTC.
    pub exact: String,
    /// `5 min ago`, `in 3 h`.
    pub roughly: String,
}

impl Moment {
    /// As seen from now.
    pub fn of(at: Timestamp, now: Timestamp) -> Self {
        let iso = at.rfc3339();
        let exact = iso.get(..19).unwrap_or_default().replace('T', " ");
        let roughly = if at <= now {
            match length(now.since(at)).as_str() {
                "0 s" => "just now".to_owned(),
                length => format!("{length} ago"),
            }
        } else {
            format!("in {}", length(at.since(now)))
        };
        Self {
            iso,
            exact: format!("{exact} UTC"),
            roughly,
        }
    }
}

/// A length of time in its largest unit, rounded down.
pub fn length(of: Duration) -> String {
    let seconds = of.as_secs();
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        _ => match seconds / DAY {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_said_roughly_and_exactly() {
        let now = Timestamp::from_seconds(1_900_000_000);
        for (offset, expected) in [
            (0, "just now"),
            (-59, "59 s ago"),
            (-60, "1 min ago"),
            (-7200, "2 h ago"),
            (-86_400, "1 day ago"),
            (-3 * 86_400 + 1, "2 days ago"),
            (90, "in 1 min"),
            (40 * 86_400, "in 40 days"),
        ] {
            let at = Timestamp::from_seconds(now.seconds() + offset);
            assert_eq!(Moment::of(at, now).roughly, expected);
        }
        let moment = Moment::of(now, now);
        assert_eq!(moment.exact, "2030-03-17 17:46:40 UTC");
        assert_eq!(moment.iso, "2030-03-17T17:46:40.000Z");
    }
}
