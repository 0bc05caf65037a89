//! Windows of the week: `Mon-Fri 08:00-19:00 Europe/Berlin`.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const FORM: &str =
    "it must be like `Mon-Fri 08:00-19:00 Europe/Berlin`: days, from-to, and a time zone";

/// One window, on each of its days. One that ends before it begins goes on into the next day.
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    /// From Monday on.
    days: [bool; 7],
    /// Minutes since midnight; belongs to the window.
    begins: u16,
    /// Minutes since midnight, up to those of a whole day; belongs to the window no more.
    ends: u16,
    zone: TimeZone,
}

impl Hours {
    /// Reads a window.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(' ').collect();
        let [days, times, zone] = parts.as_slice() else {
            return Err(FORM.to_owned());
        };
        let (begins, ends) = times.split_once('-').ok_or(FORM)?;
        let (begins, ends) = (minutes(begins)?, minutes(ends)?);
        if begins == ends || begins == DAY || ends == 0 {
            return Err(
                "the window has no length; a whole day is 00:00-24:00, midnight at its end 24:00"
                    .to_owned(),
            );
        }
        let known = TimeZone::get(zone).ok();
        let named = known.filter(|zone| zone.iana_name().is_some());
        Ok(Self {
            days: parse_days(days)?,
            begins,
            ends,
            zone: named.ok_or_else(|| format!("there is no time zone called {zone}"))?,
        })
    }

    /// The zone whose clocks count.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether this moment is in the window.
    pub fn contains(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let yesterday = (today + 6) % 7;
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let is_on = |day: usize| self.days.get(day).copied().unwrap_or(false);
        if self.begins < self.ends {
            is_on(today) && (self.begins..self.ends).contains(&minute)
        } else {
            (is_on(today) && minute >= self.begins) || (is_on(yesterday) && minute < self.ends)
        }
    }
}

/// `Mon-Fri`, `Sat,Sun`, `Fri-Mon`.
fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let number = |name: &str| {
        let found = DAYS.iter().position(|day| *day == name);
        found.ok_or_else(|| format!("{name:?} is no day; days are {}", DAYS.join(", ")))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        let count = (last + 7 - first) % 7;
        for day in first..=first + count {
            if let Some(day) = days.get_mut(day % 7) {
                *day = true;
            }
        }
    }
    Ok(days)
}

/// `08:00`; `24:00` is the end of a day.
fn minutes(text: &str) -> Result<u16, String> {
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let parsed = text.split_once(':').and_then(|(hours, minutes)| {
        let minutes = number(minutes).filter(|minutes| *minutes < 60)?;
        Some(number(hours)? * 60 + minutes)
    });
    let minutes = parsed.filter(|minutes| *minutes <= DAY);
    minutes.ok_or_else(|| format!("{text:?} is no time of day like 08:00"))
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        let mut day = 0;
        while let Some(rest) = self.days.get(day..).filter(|rest| !rest.is_empty()) {
            let run = rest.iter().take_while(|is_on| **is_on).count();
            match (
                DAYS.get(day),
                run.checked_sub(1).and_then(|last| DAYS.get(day + last)),
            ) {
                (Some(first), Some(last)) if run > 1 => parts.push(format!("{first}-{last}")),
                (Some(first), Some(_)) => parts.push((*first).to_owned()),
                _ => {}
            }
            day += run.max(1);
        }
        let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(
            f,
            "{} {}-{} {}",
            parts.join(","),
            clock(self.begins),
            clock(self.ends),
            self.zone.iana_name().unwrap_or("UTC")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(hours: &str, at: &str) -> bool {
        Hours::parse(hours).unwrap().contains(at.parse().unwrap())
    }

    #[test]
    fn a_window_is_of_local_time() {
        // The 24th of November 2026 is a Tuesday; Berlin is an hour ahead of UTC then, and two in summer.
        for (hours, at, expected) in [
            (
                "Mon-Fri 08:00-19:00 Europe/Berlin",
                "2026-11-24T07:00:00Z",
                true,
            ),
            (
                "Mon-Fri 08:00-19:00 Europe/Berlin",
                "2026-11-24T06:59:59.999Z",
                false,
            ),
            (
                "Mon-Fri 08:00-19:00 Europe/Berlin",
                "2026-11-24T17:59:59Z",
                true,
            ),
            (
                "Mon-Fri 08:00-19:00 Europe/Berlin",
                "2026-11-24T18:00:00Z",
                false,
            ),
            (
                "Mon-Fri 08:00-19:00 Europe/Berlin",
                "2026-07-01T06:00:00Z",
                true,
            ),
            (
                "Mon-Fri 08:00-19:00 Europe/Berlin",
                "2026-11-28T10:00:00Z",
                false,
            ),
            ("Sat,Sun 00:00-24:00 UTC", "2026-11-28T23:59:59Z", true),
            ("Sat,Sun 00:00-24:00 UTC", "2026-11-30T00:00:00Z", false),
            // Over midnight, and from Sunday into Monday.
            ("Sun 22:00-06:00 UTC", "2026-11-29T23:00:00Z", true),
            ("Sun 22:00-06:00 UTC", "2026-11-30T05:59:00Z", true),
            ("Sun 22:00-06:00 UTC", "2026-11-30T06:00:00Z", false),
            ("Sun 22:00-06:00 UTC", "2026-11-29T05:00:00Z", false),
            ("Fri-Mon 00:00-24:00 UTC", "2026-11-30T12:00:00Z", true),
            ("Fri-Mon 00:00-24:00 UTC", "2026-11-24T12:00:00Z", false),
        ] {
            assert_eq!(contains(hours, at), expected, "{hours} at {at}");
        }
    }

    #[test]
    fn hours_that_a_change_of_the_clock_leaves_out_or_repeats_are_those_of_the_clock() {
        let night = "Sun 02:00-03:00 Europe/Berlin";
        // On the 29th of March 2026 the clock goes from 02:00 to 03:00, on the 25th of October twice through 02:30.
        assert!(!contains(night, "2026-03-29T00:59:59Z"));
        assert!(!contains(night, "2026-03-29T01:00:00Z"));
        assert!(contains(night, "2026-10-25T00:30:00Z"));
        assert!(contains(night, "2026-10-25T01:30:00Z"));
    }

    #[test]
    fn windows_are_written_as_they_are_read() {
        for (text, expected) in [
            ("Mon-Fri 08:00-19:00 Europe/Berlin", None),
            ("Mon,Wed-Thu,Sun 22:00-06:00 UTC", None),
            ("Mon-Sun 00:00-24:00 America/New_York", None),
            (
                "Fri-Mon 00:00-24:00 utc",
                Some("Mon,Fri-Sun 00:00-24:00 UTC"),
            ),
        ] {
            let hours = Hours::parse(text).unwrap();
            assert_eq!(hours.to_string(), expected.unwrap_or(text));
            assert_eq!(Hours::parse(&hours.to_string()), Ok(hours));
        }
        for text in [
            "",
            "Mon-Fri 08:00-19:00",
            "Mon-Fri 8:00-19:00 UTC",
            "Mon-Fri 08:00-25:00 UTC",
            "Mon-Fri 08:60-19:00 UTC",
            "Mon-Fri 08:00-08:00 UTC",
            "Mon-Fri 24:00-08:00 UTC",
            "Mon-Fri 08:00-00:00 UTC",
            "Mo-Fr 08:00-19:00 UTC",
            "mon 08:00-19:00 UTC",
            "Mon- 08:00-19:00 UTC",
            "Mon  08:00-19:00 UTC",
            "Mon +8:00-19:00 UTC",
            "Mon 08:00-19:00 Europe/Nowhere",
            "Mon 08:00-19:00 +01:00",
        ] {
            assert!(Hours::parse(text).is_err(), "{text}");
        }
    }
}
