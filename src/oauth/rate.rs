//! How often one address may ask, in bounded memory: a leaky bucket for each (GCRA).

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::clock::Timestamp;
use crate::oauth::caller::Person;

/// Addresses remembered at most; in a flood of more the least used are forgotten.
const ADDRESSES: usize = 50_000;

/// A rate per address, or per whatever else there are many of.
pub struct Rate<K = IpAddr> {
    /// Micros between two requests in the long run.
    every: i64,
    /// How far ahead of that a burst may run.
    burst: i64,
    cells: Cache<K, Arc<AtomicI64>>,
    /// For all addresses together, if that is limited.
    whole: Option<(i64, i64, AtomicI64)>,
}

/// Everything that is limited.
pub struct Rates {
    /// The token endpoint and its relatives.
    pub tokens: Rate,
    /// Programs that register themselves.
    pub registrations: Rate,
    /// Machines that begin to wait for approval.
    pub devices: Rate,
    /// Codes that people type, and that are wrong (RFC 8628 §5.1).
    pub user_codes: Rate,
    /// Exchanges that are refused and told of: whoever is refused more often fills no disk.
    pub refusals: Rate,
    /// SVIDs that one person asks for.
    pub svids: Rate<Person>,
}

impl Rates {
    /// With so many requests for tokens per second and address.
    pub fn new(tokens_per_second: u32) -> Self {
        let second = Duration::from_secs(1);
        let every = second / tokens_per_second.max(1);
        Self {
            tokens: Rate::new(every, tokens_per_second.saturating_mul(10)),
            registrations: Rate::new(second * 30, 20).of_all(second, 100),
            devices: Rate::new(second * 6, 20),
            refusals: Rate::new(second * 60, 20).of_all(second * 10, 200),
            svids: Rate::of_any(second * 5, 30),
            user_codes: Rate::new(second * 120, 5).of_all(second / 2, 100),
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl<K: Clone + Eq + Hash> Rate<K> {
    /// One in so long, and so many at once.
    fn of_any(every: Duration, burst: u32) -> Self {
        let every = micros(every);
        Self {
            every,
            burst: every.saturating_mul(i64::from(burst)),
            cells: Cache::new(ADDRESSES),
            whole: None,
        }
    }

    /// Whether one of them may ask now; counts it if so.
    pub fn take_of(&self, key: &K, now: Timestamp) -> bool {
        if !advance(&self.cell(key), self.every, self.burst, now) {
            return false;
        }
        match &self.whole {
            Some((every, burst, cell)) => advance(cell, *every, *burst, now),
            None => true,
        }
    }

    fn cell(&self, key: &K) -> Arc<AtomicI64> {
        if let Some(cell) = self.cells.get(key) {
            return cell;
        }
        let cell = Arc::new(AtomicI64::new(i64::MIN));
        self.cells.insert(key.clone(), Arc::clone(&cell));
        cell
    }
}

impl Rate {
    /// One in so long for an address, and so many at once.
    pub fn new(every: Duration, burst: u32) -> Self {
        Self::of_any(every, burst)
    }

    /// The same for all addresses together.
    fn of_all(mut self, every: Duration, burst: u32) -> Self {
        let every = micros(every);
        let burst = every.saturating_mul(i64::from(burst));
        self.whole = Some((every, burst, AtomicI64::new(i64::MIN)));
        self
    }

    /// Whether an address may ask now; counts it if so.
    pub fn take(&self, address: IpAddr, now: Timestamp) -> bool {
        self.take_of(&subscriber(address), now)
    }

    /// What was taken does not count after all.
    pub fn give_back(&self, address: IpAddr) {
        let cell = self.cell(&subscriber(address));
        cell.fetch_sub(self.every, Ordering::Relaxed);
        if let Some((every, _, cell)) = &self.whole {
            cell.fetch_sub(*every, Ordering::Relaxed);
        }
    }
}

fn advance(cell: &AtomicI64, every: i64, burst: i64, now: Timestamp) -> bool {
    let now = now.micros();
    let next = |free_at: i64| {
        let after = free_at.max(now).saturating_add(every);
        (after - now <= burst).then_some(after)
    };
    cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        .is_ok()
}

/// Whoever has one address of IPv6 has 2^64 of them.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn at(milliseconds: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(milliseconds))
    }

    #[test]
    fn l6_each_address_has_a_burst_and_then_a_rate() {
        let rate = Rate::new(Duration::from_millis(100), 5);
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let granted = |address, at| (0..50).filter(|_| rate.take(address, at)).count();
        assert_eq!(granted(one, at(0)), 5);
        assert_eq!(granted(other, at(0)), 5, "others are not slowed down");
        assert_eq!(granted(one, at(100)), 1);
        assert_eq!(granted(one, at(350)), 2);
        assert_eq!(granted(one, at(10_000)), 5, "rest is not saved up");
        rate.give_back(one);
        assert_eq!(granted(one, at(10_000)), 1);
    }

    #[test]
    fn l6_an_ipv6_network_counts_as_one_and_memory_is_bounded() {
        let rate = Rate::new(Duration::from_secs(1), 1);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(rate.take(ip("2001:db8::1"), NOW));
        assert!(!rate.take(ip("2001:db8::ffff:2"), NOW));
        assert!(rate.take(ip("2001:db8:0:1::1"), NOW));
        assert!(rate.take(ip("192.0.2.1"), NOW));
        assert!(!rate.take(ip("::ffff:192.0.2.1"), NOW));
        for number in 0..200_000_u32 {
            rate.take(IpAddr::from(number.to_be_bytes()), NOW);
        }
        assert!(rate.cells.len() <= ADDRESSES + 1);
    }

    #[test]
    fn i5_all_addresses_together_have_so_many_tries() {
        let rate = Rate::new(Duration::from_secs(120), 5).of_all(Duration::from_secs(1), 10);
        let tries = (0..100_u32).map(|number| IpAddr::from(number.to_be_bytes()));
        assert_eq!(tries.filter(|ip| rate.take(*ip, NOW)).count(), 10);
    }
}
