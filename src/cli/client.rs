//! The command line's way to a running edge: its API, as somebody who is signed in, or with the operator token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use crate::cli::client::whom::{Environment, Whom};
use crate::cli::person::access::Access;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::{Call, Home};
use crate::cli::person::profile::Folders;
use crate::cli::person::{Output, PersonArguments};
use crate::cli::{is_unheard, refusal};
use crate::config::Config;
use crate::secret::{ExposeSecret, SecretString};

mod whom;

pub use whom::ServerArguments;

/// Where an operator's configuration is, if nothing says where.
const CONFIG: &str = "wayleave.toml";
/// What to do when it is not known who asks.
const WHO: &str = "wayleave login --edge https://access.corp.example, to do it as yourself; or as operator: --config FILE, or --server URL";

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// An edge that can be asked.
pub(super) enum Client {
    /// As operator, at its admin listener.
    Operator {
        http: reqwest::Client,
        base: Url,
        token: SecretString,
    },
    /// As somebody who is signed in, at its home host.
    Person(Access, Home),
}

/// What the edge refused, as RFC 9457 has it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The members; `code` says which refusal it is.
    pub(super) problem: Value,
}

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

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Client(fault.into())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// Tells of it, and says how the process ends.
    pub(super) fn told(self, output: Output) -> anyhow::Result<ExitCode> {
        let fault = match self {
            Self::Other(error) if output == Output::Text || is_unheard(&error) => {
                return Err(error);
            }
            Self::Other(error) => Fault::failed(format!("{error:#}")),
            Self::Client(ClientError::Unreachable(why)) => Fault::unreachable(why).next(
                "does the edge run, and is this its admin listener? (--server URL, or --config FILE)",
            ),
            Self::Client(ClientError::Person(fault)) => fault,
            Self::Client(ClientError::Refused(refusal)) => refusal::fault(refusal),
        };
        Ok(fault.tell(output))
    }
}

pub(super) fn complain(message: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{style}error{style:#}: {message}");
}

/// Asks an edge, tells what is wrong if it cannot be asked or says no, and says how the process ends.
pub(super) fn ask(
    server: &ServerArguments,
    asking: impl AsyncFnOnce(Client) -> Result<ExitCode, Failure>,
) -> anyhow::Result<ExitCode> {
    let runtime = crate::cli::runtime()?;
    let asked = runtime.block_on(async { asking(Client::new(server)?).await });
    asked.or_else(|failure| failure.told(server.output()))
}

/// The same as somebody who is signed in, whatever else there is.
pub(super) fn ask_as_person(
    person: &PersonArguments,
    asking: impl AsyncFnOnce(Client) -> Result<ExitCode, Failure>,
) -> anyhow::Result<ExitCode> {
    let runtime = crate::cli::runtime()?;
    let asked = runtime.block_on(async { asking(Client::person(Access::open(person)?)?).await });
    asked.or_else(|failure| failure.told(person.output))
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ClientError {
    /// Nothing answers there.
    Unreachable(String),
    /// It says no.
    Refused(Refusal),
    /// Whoever asks is not signed in, or something is wrong on their machine.
    Person(Fault),
}

impl ClientError {
    /// Whether whoever asks may not know this.
    pub(super) fn is_not_permitted(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.problem["code"] == "not_permitted",
            Self::Unreachable(_) | Self::Person(_) => false,
        }
    }
}

impl From<Fault> for ClientError {
    fn from(fault: Fault) -> Self {
        Self::Person(fault)
    }
}

impl Client {
    fn new(arguments: &ServerArguments) -> Result<Self, Failure> {
        let named = match arguments.whom(Environment::read())? {
            Whom::Config(file) => return Ok(Self::operator(of_config(&file)?)?),
            Whom::Server(server) => {
                let token = presented_token(arguments.token_file.as_deref())?;
                return Ok(Self::operator((server, token))?);
            }
            Whom::Profile(name) => Some(name),
            Whom::Usual => None,
        };
        let folders = Folders::find()?;
        match folders.profile(named.as_deref()) {
            Ok(profile) => Ok(Self::person(Access { folders, profile })?),
            // Whoever has signed in nowhere may still have a configuration.
            Err(_) if named.is_none() && Path::new(CONFIG).exists() => {
                Ok(Self::operator(of_config(Path::new(CONFIG))?)?)
            }
            Err(fault) => Err(fault.next(WHO).into()),
        }
    }

    fn person(access: Access) -> Result<Self, Fault> {
        let home = Home::new(&access.profile)?;
        Ok(Self::Person(access, home))
    }

    fn operator((base, token): (Url, SecretString)) -> anyhow::Result<Self> {
        refuse_plain(&base)?;
        let http = reqwest::Client::builder()
            .timeout(ANSWER)
            // A token goes to the server that was named and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .no_proxy()
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self::Operator { http, base, token })
    }

    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Value, ClientError> {
        let call = Call {
            method: Method::GET,
            path,
            query,
            body: None,
        };
        self.send(&call).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let call = Call {
            method: Method::POST,
            path,
            query: &[],
            body: Some(body),
        };
        self.send(&call).await
    }

    async fn send(&self, call: &Call<'_>) -> Result<Value, ClientError> {
        match self {
            Self::Operator { http, base, token } => send_as_operator(http, base, token, call).await,
            Self::Person(access, home) => {
                let answer = access.call(home, call).await?;
                answer.map_err(ClientError::Refused)
            }
        }
    }
}

async fn send_as_operator(
    http: &reqwest::Client,
    base: &Url,
    token: &SecretString,
    call: &Call<'_>,
) -> Result<Value, ClientError> {
    let unreachable = |error: &dyn std::fmt::Display| {
        ClientError::Unreachable(format!("{base} does not answer: {error}"))
    };
    let mut url = base.clone();
    url.set_path(&format!("/api/v1/{}", call.path));
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(call.query);
    }
    let request = http.request(call.method.clone(), url);
    let mut request = request.bearer_auth(token.expose_secret());
    if let Some(body) = call.body {
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

#[expect(
    clippy::disallowed_methods,
    reason = "a flag would show the token in the list of processes"
)]
fn presented_token(file: Option<&Path>) -> anyhow::Result<SecretString> {
    let text = match file {
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

fn of_config(file: &Path) -> anyhow::Result<(Url, SecretString)> {
    let path = file.display();
    let config = match Config::load(file) {
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
