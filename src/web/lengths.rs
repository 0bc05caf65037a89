//! Times that a page offers: some usual ones up to the longest that may be.

use std::time::Duration;

/// Minutes.
const USUAL: [u64; 10] = [15, 30, 60, 120, 240, 480, 1440, 4320, 10_080, 20_160];

/// One time to choose.
pub struct Length {
    /// What the form sends.
    pub value: String,
    /// Whether it is chosen already.
    pub is_chosen: bool,
}

/// The usual times below `at_most`, and that itself; `chosen`, or else the shortest, is chosen.
pub fn up_to(at_most: Duration, chosen: Option<Duration>) -> Vec<Length> {
    let usual = USUAL.map(|minutes| Duration::from_secs(minutes * 60));
    let mut all: Vec<Duration> = usual.into_iter().filter(|one| *one < at_most).collect();
    all.push(at_most);
    let first = all.first().copied();
    all.into_iter()
        .map(|one| Length {
            value: text(one),
            is_chosen: Some(one) == chosen.or(first),
        })
        .collect()
}

/// Like `4h`; the form's and the page's.
pub fn text(length: Duration) -> String {
    humantime::format_duration(length).to_string()
}

/// Reads what a form sends.
pub fn parse(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_end_with_the_longest() {
        let texts = |minutes: u64| -> Vec<String> {
            let all = up_to(Duration::from_secs(minutes * 60), None);
            assert_eq!(all.iter().filter(|one| one.is_chosen).count(), 1);
            all.into_iter().map(|one| one.value).collect()
        };
        assert_eq!(texts(1), ["1m"]);
        assert_eq!(texts(15), ["15m"]);
        assert_eq!(texts(90), ["15m", "30m", "1h", "1h 30m"]);
        assert_eq!(texts(30 * 1440).last().map(String::as_str), Some("30days"));
        assert!(texts(30 * 1440).iter().all(|text| parse(text).is_some()));
    }
}
