//! How long requests took in the last hour, in memory: a ring of minutes, each with a few buckets. Counting is two atomic additions and takes no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;

/// Upper ends of the buckets, in microseconds; what takes longer is in the last.
const ENDS: [u64; 20] = [
    250, 500, 750, 1_000, 1_500, 2_500, 4_000, 6_000, 10_000, 15_000, 25_000, 40_000, 65_000,
    100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000, 60_000_000,
];
const MINUTES: usize = 60;

struct Minute {
    /// Since the Unix epoch.
    number: AtomicI64,
    buckets: [AtomicU32; ENDS.len()],
}

/// The last hour. Cheap to clone.
#[derive(Clone)]
pub struct Latency(Arc<[Minute; MINUTES]>);

/// How long requests took: half of them no longer than this, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Half.
    pub half: Duration,
    /// 95 of 100.
    pub p95: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// How many requests that is about.
    pub requests: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Minute {
            number: AtomicI64::new(i64::MIN),
            buckets: Default::default(),
        })))
    }
}

fn minute_of(at: Timestamp) -> i64 {
    at.seconds().div_euclid(60)
}

impl Latency {
    /// A request ended.
    pub fn observe(&self, ended: Timestamp, took: Duration) {
        let number = minute_of(ended);
        let minute = self.minute(number);
        let before = minute.number.load(Ordering::Relaxed);
        let is_new = before < number;
        let won = is_new
            && minute
                .number
                .compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won {
            // Whoever counts at this very moment may be lost; this is a picture, and no account.
            for bucket in &minute.buckets {
                bucket.store(0, Ordering::Relaxed);
            }
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = ENDS
            .partition_point(|end| *end < micros)
            .min(ENDS.len() - 1);
        if let Some(bucket) = minute.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is within the ring")]
    fn minute(&self, number: i64) -> &Minute {
        let index = number.rem_euclid(MINUTES as i64);
        &self.0[usize::try_from(index).unwrap_or_default()]
    }

    /// The percentiles of so many minutes until now; `None` without a request.
    pub fn percentiles(&self, until: Timestamp, minutes: usize) -> Option<Percentiles> {
        let last = minute_of(until);
        let minutes = i64::try_from(minutes.min(MINUTES)).unwrap_or_default();
        let mut buckets = [0_u64; ENDS.len()];
        for number in (last - minutes + 1)..=last {
            let minute = self.minute(number);
            if minute.number.load(Ordering::Relaxed) != number {
                continue;
            }
            for (sum, bucket) in buckets.iter_mut().zip(&minute.buckets) {
                *sum += u64::from(bucket.load(Ordering::Relaxed));
            }
        }
        let requests: u64 = buckets.iter().sum();
        let at = |part: u64| Duration::from_micros(value(&buckets, requests * part, 1000));
        (requests > 0).then(|| Percentiles {
            half: at(500),
            p95: at(950),
            p99: at(990),
            requests,
        })
    }
}

/// The value below which `part / of` requests are, taking those of a bucket as spread evenly over it.
fn value(buckets: &[u64], part: u64, of: u64) -> u64 {
    let (mut below, mut begin) = (0, 0);
    for (count, end) in buckets.iter().zip(ENDS) {
        if *count > 0 && (below + count) * of >= part {
            let within = part.saturating_sub(below * of);
            return begin + (end - begin) * within / (count * of);
        }
        below += count;
        begin = end;
    }
    begin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let latency = Latency::default();
        let start = Timestamp::from_seconds(1_900_000_020);
        assert_eq!(latency.percentiles(start, 60), None);
        for number in 1..=100 {
            latency.observe(start, Duration::from_millis(number));
        }
        let found = latency.percentiles(start, 60).unwrap();
        assert_eq!(found.requests, 100);
        let close =
            |found: Duration, wanted: u64| found.as_millis().abs_diff(u128::from(wanted)) <= 13;
        assert!(
            close(found.half, 50) && close(found.p95, 95) && close(found.p99, 99),
            "{found:?}"
        );
        let later = start.plus(Duration::from_secs(59 * 60));
        assert_eq!(latency.percentiles(later, 60).unwrap().requests, 100);
        assert_eq!(latency.percentiles(later, 5), None);
        let after = start.plus(Duration::from_secs(60 * 60));
        assert_eq!(latency.percentiles(after, 60), None);
        // The same place of the ring, an hour later.
        latency.observe(after, Duration::from_secs(3600));
        let found = latency.percentiles(after, 60).unwrap();
        assert_eq!(
            (found.requests, found.p99 <= Duration::from_secs(60)),
            (1, true)
        );
    }
}
