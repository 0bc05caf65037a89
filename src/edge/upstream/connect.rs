//! From an upstream's addresses to an encrypted connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::edge::upstream::SendError;
use crate::mesh::tls::{HandshakeFault, Handshaker, SecureStream};
use crate::policy::model::UpstreamAddress;
use crate::secret::random;

/// Connects to one of the addresses, by weight; where one does not accept connections the next is tried. `within` bounds it all.
pub(super) async fn connect(
    addresses: &[UpstreamAddress],
    handshaker: &Handshaker,
    within: Duration,
) -> Result<(SecureStream, SocketAddr), SendError> {
    let end = Instant::now() + within;
    let order = in_order(addresses, || u64::from_le_bytes(random()));
    let mut last = SendError::Resolve(io::ErrorKind::NotFound.into());
    for (tried, address) in order.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let is_last = tried + 1 == order.len();
        // The last may take all the time there is, the others half of it.
        let until = if is_last {
            end
        } else {
            Instant::now() + left / 2
        };
        match timeout_at(until, to_one(address, handshaker, until)).await {
            Ok(Ok(connected)) => return Ok(connected),
            // Somebody else, or one who does not want us: that is an answer.
            Ok(Err(fault @ (SendError::PeerIdentity(_) | SendError::IdentityRefused(_)))) => {
                return Err(fault);
            }
            Ok(Err(fault)) => last = fault,
            Err(_) => last = SendError::ConnectTimeout,
        }
    }
    Err(last)
}

async fn to_one(
    address: &UpstreamAddress,
    handshaker: &Handshaker,
    until: Instant,
) -> Result<(SecureStream, SocketAddr), SendError> {
    let found = lookup_host((address.host.as_str(), address.port)).await;
    let found: Vec<SocketAddr> = found.map_err(SendError::Resolve)?.collect();
    let mut last = SendError::Resolve(io::ErrorKind::NotFound.into());
    for (tried, peer) in found.iter().enumerate() {
        let now = Instant::now();
        let part = if tried + 1 == found.len() { 1 } else { 2 };
        let until = now + until.saturating_duration_since(now) / part;
        let tcp = match timeout_at(until, TcpStream::connect(peer)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(fault)) => {
                last = SendError::Connect(fault);
                continue;
            }
            Err(_) => {
                last = SendError::ConnectTimeout;
                continue;
            }
        };
        // Without it small requests may wait; it can only fail on a connection that is gone.
        let _kept_small = tcp.set_nodelay(true);
        return match handshaker.handshake(tcp, &address.host, peer.ip()).await {
            Ok(stream) => Ok((stream, *peer)),
            Err(HandshakeFault::Peer(who)) => Err(SendError::PeerIdentity(who)),
            Err(HandshakeFault::Refused(fault)) => Err(SendError::IdentityRefused(fault.into())),
            Err(HandshakeFault::Other(fault)) => Err(SendError::Tls(fault)),
        };
    }
    Err(last)
}

/// The addresses in the order to try them: each place goes to one of those left, by weight.
fn in_order(
    addresses: &[UpstreamAddress],
    mut chance: impl FnMut() -> u64,
) -> Vec<&UpstreamAddress> {
    let mut left: Vec<&UpstreamAddress> = addresses.iter().collect();
    let mut order = Vec::with_capacity(left.len());
    while left.len() > 1 {
        let total: u64 = left.iter().map(|address| u64::from(address.weight)).sum();
        let mut at = chance() % total.max(1);
        let mut chosen = 0;
        for (index, address) in left.iter().enumerate() {
            let weight = u64::from(address.weight);
            if at < weight {
                chosen = index;
                break;
            }
            at -= weight;
        }
        order.push(left.remove(chosen));
    }
    order.append(&mut left);
    order
}

#[cfg(test)]
mod tests {
    use super::in_order;
    use crate::policy::model::UpstreamAddress;

    #[test]
    fn addresses_are_chosen_by_weight() {
        let address = |host: &str, weight| UpstreamAddress {
            host: host.to_owned(),
            port: 1,
            weight,
        };
        let addresses = [address("a", 1), address("b", 3), address("c", 4)];
        let mut first = std::collections::BTreeMap::new();
        for at in 0..8 {
            let order = in_order(&addresses, || at);
            assert_eq!(order.len(), 3);
            *first.entry(order[0].host.as_str()).or_insert(0) += 1;
        }
        let first: Vec<_> = first.into_iter().collect();
        assert_eq!(first, [("a", 1), ("b", 3), ("c", 4)]);
    }
}
