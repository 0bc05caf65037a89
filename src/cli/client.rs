//! The command line's way to a running edge: its operators' API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use crate::cli::refusal;
use crate::config::Config;
use crate::secret::{ExposeSecret, SecretString};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Which edge, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArguments {
    /// The configuration of the edge on this machine: says where its admin listener is, and the operator token.
    #[arg(
        long,
        default_value = "wayleave.toml",
        value_name = "FILE",
        global = true
    )]
    config: PathBuf,
    /// The admin listener of an edge elsewhere (instead of --config), like `http://127.0.0.1:9901`.
    #[arg(long, env = "WAYLEAVE_SERVER", value_name = "URL", global = true)]
    server: Option<Url>,
    /// A file with the operator token of that edge; or put it into WAYLEAVE_OPERATOR_TOKEN.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// An edge that can be asked.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
}

/// What the edge refused, as RFC 9457 has it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The members; `code` says which refusal it is.
    pub(super) problem: Value,
}

/// The edge does not let us.
const DENIED: u8 = 4;
/// The edge does not answer.
const UNREACHABLE: u8 = 5;

/// Why a command did not do what was asked.
pub(super) enum Failure {
    /// The edge.
    Client(ClientError),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// Tells of it, as JSON if that was asked for, and says how the process ends.
    pub(super) fn told(self, json: bool) -> anyhow::Result<ExitCode> {
        let refusal = match self {
            Self::Other(error) => return Err(error),
            Self::Client(ClientError::Unreachable(why)) => {
                let next = "does the edge run, and is this its admin listener? (--server URL, or --config FILE)";
                complain(&format!("{why}\n  {next}"));
                return Ok(ExitCode::from(UNREACHABLE));
            }
            Self::Client(ClientError::Refused(refusal)) => refusal,
        };
        if json {
            anstream::println!("{:#}", refusal.problem);
        } else {
            complain(&refusal::told(&refusal.problem));
        }
        Ok(match refusal.status.as_u16() {
            401 | 403 => ExitCode::from(DENIED),
            _ => ExitCode::FAILURE,
        })
    }
}

pub(super) fn complain(message: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{style}error{style:#}: {message}");
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ClientError {
    /// Nothing answers there.
    Unreachable(String),
    /// It says no.
    Refused(Refusal),
}

impl Client {
    pub(super) fn new(arguments: &ServerArguments) -> anyhow::Result<Self> {
        let (base, token) = match &arguments.server {
            Some(server) => (server.clone(), presented_token(arguments)?),
            None => of_config(arguments)?,
        };
        refuse_plain(&base)?;
        let http = reqwest::Client::builder()
            .timeout(ANSWER)
            // A token goes to the server that was named and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self { http, base, token })
    }

    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Value, ClientError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(Method::GET, url, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(Method::POST, self.url(path), Some(body)).await
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/api/v1/{path}"));
        url
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let unreachable = |error: &dyn std::fmt::Display| {
            ClientError::Unreachable(format!("{} does not answer: {error}", self.base))
        };
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| unreachable(&error))?;
        let said: Option<Value> = serde_json::from_str(&text).ok();
        match said {
            Some(value) if status.is_success() => Ok(value),
            Some(problem) => Err(ClientError::Refused(Refusal { status, problem })),
            None => Err(unreachable(&format!(
                "what it says ({status}) is not from an edge of this release"
            ))),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a flag would show the token in the list of processes"
)]
fn presented_token(arguments: &ServerArguments) -> anyhow::Result<SecretString> {
    let text = match &arguments.token_file {
        Some(file) => read_token(file)?,
        None => std::env::var("WAYLEAVE_OPERATOR_TOKEN").ok().context(
            "with --server give --token-file FILE as well, or set WAYLEAVE_OPERATOR_TOKEN",
        )?,
    };
    Ok(SecretString::from(text.trim().to_owned()))
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn of_config(arguments: &ServerArguments) -> anyhow::Result<(Url, SecretString)> {
    let path = arguments.config.display();
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
            bail!(
                "{path} cannot be used; name another with --config, or an edge with --server URL:{}",
                faults.concat()
            );
        }
    };
    let Some(token) = config.operator_token else {
        bail!(
            "{path} has no operator token: set admin.operator_token_file there, and restart the edge"
        );
    };
    let address = reachable(config.admin);
    let base =
        Url::parse(&format!("http://{address}")).context("the admin address makes no URL")?;
    Ok((base, token))
}

/// Where one's own machine reaches a listener that is bound to every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The token would be readable on the way.
fn refuse_plain(base: &Url) -> anyhow::Result<()> {
    let is_local = match base.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if base.scheme() == "https" || (base.scheme() == "http" && is_local) {
        return Ok(());
    }
    bail!(
        "{base} is neither https nor on this machine, so the operator token could be read on the way; use a tunnel, such as `ssh -L 9901:127.0.0.1:9901 HOST` or `kubectl port-forward`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_over_no_open_line() {
        for (url, expected) in [
            ("http://127.0.0.1:9901", true),
            ("http://[::1]:9901", true),
            ("http://localhost:9901", true),
            ("https://admin.example", true),
            ("http://10.0.0.1:9901", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("ftp://127.0.0.1", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(refuse_plain(&url).is_ok(), expected, "{url}");
        }
        let any = reachable("0.0.0.0:9901".parse().unwrap());
        assert_eq!(any.to_string(), "127.0.0.1:9901");
    }
}
