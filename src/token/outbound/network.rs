//! IP networks: CIDR blocks, and which addresses are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses in CIDR form (RFC 4632 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    /// Reads `ADDRESS/LENGTH`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(text) => text.parse().ok()?,
            None => longest,
        };
        (length <= longest).then_some(Self { address, length })
    }

    /// Whether the address lies in the block; the two families never match each other.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let difference = u32::from(block) ^ u32::from(address);
                difference.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                let difference = u128::from(block) ^ u128::from(address);
                difference.leading_zeros() >= u32::from(self.length)
            }
            _ => false,
        }
    }
}

/// Whether an address is on the public internet (IANA's special-purpose registries, RFC 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18)
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only 2000::/3 is given out; within it the tunnels (2001::/23, 6to4) lead to IPv4 addresses we have not judged.
    let [a, b, ..] = address.segments();
    a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
}
