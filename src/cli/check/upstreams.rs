//! Whether upstreams are there and prove who they are: by connecting to each address as the edge would, over TLS and with a certificate of its CA.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::report::Report;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::checked::SvidConfig;
use crate::identity::spiffe_id::MeshIdentity;
use crate::mesh::authority::Authority;
use crate::mesh::svid::Svid;
use crate::mesh::tls::{HandshakeFault, Handshaker, check_roots};
use crate::policy::model::{Policy, Route, Transport, Upstream, UpstreamAddress};
use crate::telemetry::causes::Causes;

/// How long an upstream may take to accept a connection, and then to prove itself.
const CONNECT: Duration = Duration::from_secs(3);
/// How long its word is waited for that it does not take our certificate: with TLS 1.3 that comes after the handshake.
const LAST_WORD: Duration = Duration::from_millis(300);
/// Whom it is tried as, in the first namespace of the CA.
const TRIAL: &str = "wayleave-check";

/// Who tries upstreams.
pub(super) struct Caller<'a> {
    authority: Option<(&'a Authority, Svid)>,
    clock: SharedClock,
}

impl<'a> Caller<'a> {
    /// With a certificate of this authority; without one connections alone are tried.
    pub(super) fn new(
        config: &Config,
        authority: Option<&'a Authority>,
        clock: SharedClock,
    ) -> Self {
        let signed = authority.and_then(|authority| {
            let SvidConfig::Ca { namespaces, .. } = &config.mesh.svid;
            let domain = &config.mesh.trust_domain;
            let identity = MeshIdentity::new(domain, namespaces.first()?, TRIAL).ok()?;
            let svid = authority.sign(&identity, clock.now()).ok()?;
            Some((authority, svid))
        });
        Self {
            authority: signed,
            clock,
        }
    }

    /// Tries every address of every route; what several routes share is tried once.
    pub(super) async fn try_all(&self, policy: &Policy, report: &mut Report) {
        let mut tried = HashSet::new();
        for route in &policy.routes {
            try_roots(route, report);
            for address in &route.upstream.addresses {
                if tried.insert((address, &route.upstream.transport, route.upstream.protocol)) {
                    let (host, port) = (&address.host, address.port);
                    let item = format!("upstream {host}:{port} of route {}", route.name);
                    report.item(&item, self.try_one(&route.upstream, address).await);
                }
            }
        }
    }

    async fn try_one(
        &self,
        upstream: &Upstream,
        address: &UpstreamAddress,
    ) -> Result<String, String> {
        let (tcp, peer) = timeout(CONNECT, connect(address)).await.map_err(|_| {
            format!("no connection within {CONNECT:?}; is a firewall in between?")
        })??;
        let Some((authority, svid)) = &self.authority else {
            return Ok(
                "connected; TLS not tried, for want of the certificate authority".to_owned(),
            );
        };
        let bundle = authority.bundle().clone();
        let (transport, protocol) = (&upstream.transport, upstream.protocol);
        let handshaker = Handshaker::new(svid, transport, protocol, bundle, self.clock.clone())
            .map_err(|error| error.to_string())?;
        let handshake = handshaker.handshake(tcp, &address.host, peer.ip());
        let mut stream = timeout(CONNECT, handshake)
            .await
            .map_err(|_| format!("no TLS handshake within {CONNECT:?}; does it speak TLS there?"))?
            .map_err(|fault| said(fault, transport))?;
        let refused = stream.refused();
        let _word = timeout(LAST_WORD, stream.read_u8()).await;
        if refused.is_set() {
            return Err(NOT_TAKEN.to_owned());
        }
        Ok(match (transport, stream.proved()) {
            (Transport::Mtls { .. }, Some(id)) => format!("it is {id}"),
            _ => "it proves its name".to_owned(),
        })
    }
}

/// The file of a route's roots, whether or not its upstream answers.
fn try_roots(route: &Route, report: &mut Report) {
    if let Transport::Tls {
        ca_file: Some(file),
        ..
    } = &route.upstream.transport
    {
        let item = format!("roots {file} of route {}", route.name);
        let read = check_roots(file).map_err(|error| Causes(&error).to_string());
        report.item(&item, read.map(|()| String::new()));
    }
}

const NOT_TAKEN: &str = "it does not take certificates of the edge's CA; is this CA below the mesh's root, and does the workload ask for that root?";

fn said(fault: HandshakeFault, transport: &Transport) -> String {
    match fault {
        HandshakeFault::Peer(who) => {
            let expected = match transport {
                Transport::Mtls { spiffe_ids } => {
                    let ids: Vec<&str> = spiffe_ids.iter().map(|id| id.as_str()).collect();
                    format!("mtls.spiffe_ids expects {}", ids.join(" or "))
                }
                Transport::Tls { server_name, .. } => {
                    format!("tls.server_name expects {server_name}")
                }
            };
            format!("it does not prove who it is: {who}; {expected}")
        }
        HandshakeFault::Refused(_) => NOT_TAKEN.to_owned(),
        HandshakeFault::Other(error) => {
            format!("no TLS: {error}; is there a workload of the mesh at this port?")
        }
    }
}

async fn connect(address: &UpstreamAddress) -> Result<(TcpStream, SocketAddr), String> {
    let unreachable = |error: std::io::Error| {
        format!("no connection: {error}; is the address right, and may this machine reach it?")
    };
    let target = (address.host.as_str(), address.port);
    let found: Vec<SocketAddr> = lookup_host(target).await.map_err(unreachable)?.collect();
    let tcp = TcpStream::connect(&*found).await.map_err(unreachable)?;
    let peer = tcp.peer_addr().map_err(unreachable)?;
    Ok((tcp, peer))
}
