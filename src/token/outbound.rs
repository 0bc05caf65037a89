//! The HTTP client for identity providers and key sets: https only, no redirects, no private addresses unless allowed,
//! bounded time and size (security.md M1, M2, L2, L3).
//!
//! Knows nothing of what is fetched. Compression is not offered, so the cap on what is read is the cap after inflation.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use url::{Host, Url};

mod network;

pub use network::Network;

/// Largest answer that is read.
pub const LARGEST_ANSWER: usize = 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a client may go.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Extra roots, PEM.
    pub ca_file: Option<&'a Path>,
    /// CIDR blocks that may be connected to although they are not public.
    pub allowed_private_networks: &'a [String],
    /// Plain http, and any scheme, to loopback addresses (development).
    pub insecure_allow_http_loopback: bool,
}

/// Why there is no answer. Never holds the answer's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OutboundError {
    #[error("{0} is not a network in CIDR form")]
    Network(String),
    #[error("the CA file cannot be used")]
    CaFile,
    #[error("the HTTP client cannot be set up")]
    Client,
    #[error("only https addresses are asked")]
    Scheme,
    #[error("the address of {0} is private and not in allowed_private_networks")]
    Forbidden(String),
    #[error("no answer from {0} in time")]
    Timeout(String),
    #[error("{0} cannot be reached")]
    Unreachable(String),
    #[error("{host} answers with status {status}")]
    Status { host: String, status: u16 },
    #[error("the answer of {0} is longer than 1 MiB")]
    TooLong(String),
    #[error("the answer of {0} is not JSON of the expected form")]
    Json(String),
}

/// An answer within the limits, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// As it came; whoever asked decides what it means.
    pub status: u16,
    /// As they came.
    pub headers: HeaderMap,
    /// The whole body, at most [`LARGEST_ANSWER`] bytes.
    pub body: Vec<u8>,
}

/// The bounded client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbound {
    client: reqwest::Client,
    guard: Guard,
}

/// Decides about addresses; the resolver asks it about every address a name leads to.
#[derive(Clone, Debug)]
struct Guard {
    allowed: Arc<[Network]>,
    loopback: bool,
}

impl Guard {
    fn permits(&self, address: IpAddr) -> bool {
        // An IPv4 address in IPv6 clothes is judged as what it leads to.
        let address = address.to_canonical();
        network::is_public(address)
            || (self.loopback && address.is_loopback())
            || self.allowed.iter().any(|n| n.contains(address))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|a| guard.permits(a.ip())).collect();
            if permitted.is_empty() {
                return Err(OutboundError::Forbidden(host).into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

impl Outbound {
    /// A client that may go where `reach` says.
    pub fn new(reach: Reach<'_>) -> Result<Self, OutboundError> {
        let allowed = reach
            .allowed_private_networks
            .iter()
            .map(|text| Network::parse(text).ok_or_else(|| OutboundError::Network(text.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        let guard = Guard {
            allowed: allowed.into(),
            loopback: reach.insecure_allow_http_loopback,
        };
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            // A proxy would resolve names itself, past the guard.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .https_only(!reach.insecure_allow_http_loopback)
            .dns_resolver(guard.clone());
        if let Some(path) = reach.ca_file {
            let pem = std::fs::read(path).map_err(|_| OutboundError::CaFile)?;
            let roots =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| OutboundError::CaFile)?;
            if roots.is_empty() {
                return Err(OutboundError::CaFile);
            }
            builder = builder.tls_certs_merge(roots);
        }
        let client = builder.build().map_err(|_| OutboundError::Client)?;
        Ok(Self { client, guard })
    }

    /// Whether `url` may be asked at all: its scheme, and its address where the host is one.
    pub fn check(&self, url: &Url) -> Result<(), OutboundError> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(OutboundError::Scheme),
        };
        let loopback = address.map_or(url.host_str() == Some("localhost"), |a| {
            a.to_canonical().is_loopback()
        });
        let scheme_is_good =
            url.scheme() == "https" || (url.scheme() == "http" && self.guard.loopback && loopback);
        if !scheme_is_good {
            return Err(OutboundError::Scheme);
        }
        match address {
            Some(address) if !self.guard.permits(address) => {
                Err(OutboundError::Forbidden(host_of(url)))
            }
            _ => Ok(()),
        }
    }

    /// Fetches a JSON document; any status but 200 is an error.
    pub async fn fetch_json<T: serde::de::DeserializeOwned>(
        &self,
        url: &Url,
        bearer: Option<&str>,
    ) -> Result<T, OutboundError> {
        self.check(url)?;
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        let answer = self.send(url, request).await?;
        if answer.status != 200 {
            return Err(OutboundError::Status {
                host: host_of(url),
                status: answer.status,
            });
        }
        serde_json::from_slice(&answer.body).map_err(|_| OutboundError::Json(host_of(url)))
    }

    /// Sends a request that a protocol library made.
    pub async fn execute(&self, request: http::Request<Vec<u8>>) -> Result<Answer, OutboundError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| OutboundError::Scheme)?;
        self.check(&url)?;
        let request = self
            .client
            .request(parts.method, url.clone())
            .headers(parts.headers)
            .body(body);
        self.send(&url, request).await
    }

    async fn send(
        &self,
        url: &Url,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, OutboundError> {
        let failed = |error: reqwest::Error| fault_of(url, &error);
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(OutboundError::TooLong(host_of(url)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            body,
        })
    }
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn fault_of(url: &Url, error: &reqwest::Error) -> OutboundError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(OutboundError::Forbidden(host)) = cause.downcast_ref() {
            return OutboundError::Forbidden(host.clone());
        }
        source = cause.source();
    }
    if error.is_timeout() {
        OutboundError::Timeout(host_of(url))
    } else {
        OutboundError::Unreachable(host_of(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(allowed: &[&str], loopback: bool) -> Outbound {
        let allowed: Vec<String> = allowed.iter().map(|&n| n.to_owned()).collect();
        Outbound::new(Reach {
            ca_file: None,
            allowed_private_networks: &allowed,
            insecure_allow_http_loopback: loopback,
        })
        .unwrap()
    }

    #[test]
    fn m1_private_addresses_are_refused() {
        let strict = outbound(&[], false);
        for host in [
            "127.0.0.1",
            "0x7f.1",
            "2130706433",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[fe80::1]",
            "[fd00::1]",
            "[ff02::1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
        ] {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            assert!(
                matches!(strict.check(&url), Err(OutboundError::Forbidden(_))),
                "{host}"
            );
        }
        for host in ["8.8.8.8", "[2606:4700::1111]", "idp.example"] {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            assert_eq!(strict.check(&url), Ok(()), "{host}");
        }
        let url = Url::parse("https://10.1.2.3/").unwrap();
        assert_eq!(outbound(&["10.0.0.0/8"], false).check(&url), Ok(()));
        assert!(outbound(&["10.2.0.0/16"], false).check(&url).is_err());
    }

    #[test]
    fn m2_plain_http_is_for_loopback_only() {
        let check = |client: &Outbound, url: &str| client.check(&Url::parse(url).unwrap());
        let open = outbound(&["10.0.0.0/8"], true);
        assert_eq!(check(&open, "http://127.0.0.1:9/"), Ok(()));
        assert_eq!(check(&open, "http://10.0.0.1/"), Err(OutboundError::Scheme));
        assert_eq!(
            check(&open, "http://idp.example/"),
            Err(OutboundError::Scheme)
        );
        assert_eq!(check(&open, "ftp://127.0.0.1/"), Err(OutboundError::Scheme));
        let strict = outbound(&["127.0.0.0/8"], false);
        assert_eq!(
            check(&strict, "http://127.0.0.1/"),
            Err(OutboundError::Scheme)
        );
    }

    #[tokio::test]
    async fn m1_names_that_lead_to_private_addresses_are_refused() {
        let url = Url::parse("https://localhost:1/").unwrap();
        let answer = outbound(&[], false)
            .fetch_json::<serde_json::Value>(&url, None)
            .await;
        assert_eq!(answer, Err(OutboundError::Forbidden("localhost".into())));
    }
}
