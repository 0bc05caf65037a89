//! From a file to a [`Config`], or to everything that is wrong with it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use crate::address::host::Host;
use crate::config::checked::{Config, LogConfig, PolicyConfig};
use crate::config::environment::Environment;
use crate::config::faults::ConfigFault;
use crate::config::secrets::SecretKeys;
use crate::config::section::{Reading, Section};
use crate::config::{
    agents, audit, clusters, issuers, limits, listeners, mesh, providers, raw, session, store,
    tokens,
};
use crate::identity::principal::SERVICE_ACCOUNTS;
use crate::secret::{ExposeSecret, SecretString};

/// Fewest characters of an operator token: 128 bits in hexadecimal.
const SHORTEST_TOKEN: usize = 32;
/// More people than this are never asked for.
const MOST_APPROVALS: u64 = 9;

impl Config {
    /// Reads a file with the process's environment over it. All faults are returned, never only the first.
    pub fn load(path: &Path) -> Result<Self, Vec<ConfigFault>> {
        Self::load_with(path, &Environment::of_process())
    }

    /// Reads a file with any environment over it.
    pub fn load_with(path: &Path, environment: &Environment) -> Result<Self, Vec<ConfigFault>> {
        let fault = |message: String| ConfigFault {
            file: path.to_owned(),
            key: String::new(),
            line: None,
            message,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![fault(format!("this cannot be read: {error}"))])?;
        let mut root = raw::parse(path, &text)?;
        let astray = environment.lay_over(&mut root);
        let reading = Reading {
            file: path,
            environment,
            faults: RefCell::default(),
            asked: RefCell::default(),
        };
        let config = read(&Section::root(&reading, &root));
        let mut faults = reading.faults.into_inner();
        faults.extend(astray.into_iter().map(|name| {
            fault(format!(
                "the variable {name} names no key; WAYLEAVE_SECTION__KEY=value does"
            ))
        }));
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => {
                faults.sort_by_key(|fault| fault.line);
                Err(faults)
            }
        }
    }
}

/// Reads every section, also after one had a fault.
fn read(root: &Section<'_>) -> Option<Config> {
    let home_host = listeners::home(&root.section("home"));
    let listeners = listeners::read(root, home_host.as_ref());
    let (admin, admin_hosts, operator_token) = {
        let section = root.section("admin");
        let hosts = admin_hosts(&section);
        (admin(&section), hosts, operator_token(&section))
    };
    let store = store::read(&root.section("store"));
    let session = session::read(&root.section("session"));
    let tokens = tokens::read(&root.section("tokens"));
    let agents = agents::read(&root.section("agents"));
    // The policy calls its service accounts so.
    let mut names = BTreeSet::from([SERVICE_ACCOUNTS.to_owned()]);
    let identity_providers = providers::read(root, &mut names);
    let trusted_issuers = issuers::read(root, &mut names);
    let policy_issuers = issuers::of_policy(&root.section("policy_issuers"));
    let nobody = |count: Option<usize>| count == Some(0);
    if nobody(identity_providers.as_ref().map(Vec::len))
        && nobody(trusted_issuers.as_ref().map(Vec::len))
    {
        root.fault(
            "identity_providers",
            "there is neither an identity provider nor a trusted issuer; nobody could be known",
        );
    }
    let kubernetes = clusters::read(root);
    let mesh = mesh::read(&root.section("mesh"));
    let policy = policy(&root.section("policy"));
    let limits = limits::read(&root.section("limits"));
    let audit = audit::read(&root.section("audit"));
    let log = log(&root.section("log"));
    let workers = workers(&root.section("data_plane"));
    Some(Config {
        home_host: home_host?,
        listeners: listeners?,
        admin: admin?,
        admin_hosts: admin_hosts?,
        operator_token: operator_token?,
        store: store?,
        session: session?,
        tokens: tokens?,
        agents: agents?,
        identity_providers: identity_providers?,
        trusted_issuers: trusted_issuers?,
        policy_issuers: policy_issuers?,
        kubernetes: kubernetes?,
        mesh: mesh?,
        policy: policy?,
        limits: limits?,
        audit: audit?,
        log: log?,
        workers: workers?,
    })
}

/// The outer `None` says that a fault was noted.
fn operator_token(section: &Section<'_>) -> Option<Option<SecretString>> {
    let keys = SecretKeys {
        literal: "operator_token",
        file: "operator_token_file",
        variable: "operator_token_env",
    };
    let token = keys.text(section, |_| false)?;
    if token
        .as_ref()
        .is_some_and(|token| token.expose_secret().len() < SHORTEST_TOKEN)
    {
        section.fault(
            keys.file,
            format!("the token has fewer than {SHORTEST_TOKEN} characters; make one with `openssl rand -hex 32`"),
        );
        return None;
    }
    Some(token)
}

fn admin(section: &Section<'_>) -> Option<SocketAddr> {
    if !section.has("address") {
        return Some(SocketAddr::from(([127, 0, 0, 1], 9901)));
    }
    section.parsed("address", |text| {
        text.parse()
            .map_err(|_| "this must be an IP address and a port, like 127.0.0.1:9901")
    })
}

fn policy(section: &Section<'_>) -> Option<PolicyConfig> {
    let file = section.optional_file("file");
    let approvals = if section.has("approvals") {
        section.number("approvals", 0..=MOST_APPROVALS)
    } else {
        Some(0)
    };
    if approvals.is_some_and(|approvals| approvals > 0) && section.has("file") {
        section.fault(
            "approvals",
            "whoever can write policy.file would need no approval; take one of the two out",
        );
        return None;
    }
    Some(PolicyConfig {
        file: file?,
        approvals: usize::try_from(approvals?).ok()?,
    })
}

fn admin_hosts(section: &Section<'_>) -> Option<Vec<Host>> {
    if !section.has("hosts") {
        return Some(Vec::new());
    }
    let read = |text: &String| {
        let host = Host::parse(text);
        host.map_err(|error| section.fault("hosts", format!("{text}: {error}")))
            .ok()
    };
    section.list("hosts")?.iter().map(read).collect()
}

fn log(section: &Section<'_>) -> Option<LogConfig> {
    let access_log = match section.text("access").as_deref() {
        None | Some("stdout") => None,
        Some(path) => Some(section.reading.resolve(path)),
    };
    let filter = if section.has("filter") {
        section.parsed("filter", |text| {
            tracing_subscriber::EnvFilter::try_new(text)
                .map(|_| text.to_owned())
                .map_err(|error| format!("this is no filter such as \"info\": {error}"))
        })
    } else {
        Some("info".to_owned())
    };
    Some(LogConfig {
        access_log,
        filter: filter?,
    })
}

fn workers(section: &Section<'_>) -> Option<usize> {
    if section.has("workers") {
        return usize::try_from(section.number("workers", 1..=256)?).ok();
    }
    Some(std::thread::available_parallelism().map_or(1, usize::from))
}

/// Every key that reading this file asks for, positions in lists left out.
#[cfg(test)]
pub(super) fn keys_asked_for(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let root = raw::parse(path, &text).unwrap();
    let reading = Reading {
        file: path,
        environment: &Environment::default(),
        faults: RefCell::default(),
        asked: RefCell::default(),
    };
    read(&Section::root(&reading, &root));
    reading.asked.into_inner()
}
