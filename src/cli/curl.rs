//! `wayleave curl`: runs curl with a token for the route that its URL leads to, bound to a key that is proven for this one request.
//!
//! A proof is of one method and one URL, and good once, so curl must make exactly the request that it was made for. Options that we know to leave
//! method and URL alone, or whose effect on them we know, are passed on; all others are refused. Token and proof are in no argument and no file:
//! curl reads them from a pipe.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, ExitCode, ExitStatus};

use url::Url;

use crate::cli::person::caller::{Caller, Routes};
use crate::cli::person::fault::Fault;
use crate::cli::person::home::{Home, proof};
use crate::cli::person::program::ProgramArguments;
use crate::cli::person::token_cache::Route;
use crate::cli::person::{PersonArguments, wait};

mod challenge;
mod options;

/// Run curl against a route, signed in.
#[derive(Debug, clap::Args)]
pub struct CurlArguments {
    /// A route's name and a path below it, like `grafana/api/health`; or a whole URL of a route.
    #[arg(value_name = "ROUTE/PATH")]
    target: String,
    /// Options for curl.
    #[arg(last = true, value_name = "OPTION", allow_hyphen_values = true)]
    options: Vec<String>,
    #[command(flatten)]
    person: PersonArguments,
    #[command(flatten)]
    program: ProgramArguments,
}

/// A URL of a route.
pub(super) struct Address {
    pub(super) url: Url,
    /// The same without its query, as proofs have it.
    pub(super) proven: String,
}

/// Runs it; ends as curl ends.
pub fn run(arguments: &CurlArguments) -> ExitCode {
    arguments.person.end(start(arguments))
}

fn start(arguments: &CurlArguments) -> Result<ExitCode, Fault> {
    let intent = options::intent(&arguments.options).map_err(|why| {
        let next =
            "wayleave token ROUTE --headers METHOD PATH gives headers for one request of any tool";
        Fault::usage(why).next(next)
    })?;
    let access = Caller::open(&arguments.person, &arguments.program)?;
    let (address, token) = wait(async {
        let home = Home::new(access.profile())?;
        let (route, address) = address(&access, &home, &arguments.target).await?;
        if intent.sends_a_file && address.url.path().ends_with('/') {
            let message = "curl would add the file's name to a path that ends in a slash";
            return Err(Fault::usage(message).next("give the whole path that the file is to have"));
        }
        let token = access.route_token(&home, &route, true).await?;
        if address.url.origin().ascii_serialization() != token.resource {
            return Err(Fault::failed(
                "the edge gave a token for another host than the route's",
            ));
        }
        Ok((address, token.token))
    })?;
    let proof = proof(
        &access.key()?,
        &intent.method,
        &address.proven,
        Some(&token),
    )?;
    let mut config = vec![
        ("url", address.url.to_string()),
        ("header", format!("Authorization: DPoP {token}")),
        ("header", format!("DPoP: {proof}")),
        ("proto", format!("={}", address.url.scheme())),
    ];
    if let Some(file) = &access.profile().ca_file {
        config.push(("cacert", file.display().to_string()));
    }
    let (code, heads) = curl(&config, &arguments.options)?;
    if let Some(asked) = challenge::step_up(&heads) {
        let again = asked.command(&access.profile().name);
        anstream::eprintln!("\nThis opens only after another sign-in:\n  {again}");
    }
    Ok(code)
}

/// What a route's name and a path, or a whole URL, lead to.
pub(super) async fn address(
    routes: &impl Routes,
    home: &Home,
    target: &str,
) -> Result<(Route, Address), Fault> {
    let (route, path) = found(routes, home, target).await?;
    let address = Address::of(&route, &path)?;
    Ok((route, address))
}

/// The route that a target names, and the path below it.
async fn found(routes: &impl Routes, home: &Home, target: &str) -> Result<(Route, String), Fault> {
    if target.contains("://") {
        let url = Url::parse(target).map_err(|_| Fault::usage(format!("{target} is no URL")))?;
        let route = routes.at(home, &url).await?;
        let below = url
            .as_str()
            .get(route.url.len()..)
            .unwrap_or_default()
            .to_owned();
        return Ok((route, below));
    }
    let end = target.find(['/', '?']).unwrap_or(target.len());
    let (name, path) = target.split_at(end);
    Ok((routes.named(home, name).await?, path.to_owned()))
}

impl Address {
    /// A path below a route's own.
    pub(super) fn of(route: &Route, path: &str) -> Result<Self, Fault> {
        let base = route.url.trim_end_matches('/');
        let separator = if path.is_empty() || path.starts_with(['/', '?']) {
            ""
        } else {
            "/"
        };
        let slash = if path.is_empty() || path.starts_with('?') {
            "/"
        } else {
            ""
        };
        let text = format!("{base}{slash}{separator}{path}");
        let wrong = || Fault::usage(format!("{path} is no path of {}", route.name));
        let mut url = Url::parse(&text).map_err(|_| wrong())?;
        let own = Url::parse(&route.url).map_err(|_| wrong())?;
        if url.origin() != own.origin() || !url.path().starts_with(own.path()) {
            return Err(wrong().next("a path begins with a slash and has no steps up"));
        }
        url.set_fragment(None);
        let mut proven = url.clone();
        proven.set_query(None);
        Ok(Self {
            url,
            proven: proven.to_string(),
        })
    }
}

/// Runs it; gives how it ended, and the heads of the answers that it got.
fn curl(config: &[(&str, String)], more: &[String]) -> Result<(ExitCode, String), Fault> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Fault::failed(format!("curl cannot be {what}: {error}"))
    };
    let unprepared = |error: std::io::Error| failed("prepared", &error);
    let (reader, mut writer) = std::io::pipe().map_err(unprepared)?;
    let (heads, heads_of_curl) = std::io::pipe().map_err(unprepared)?;
    // The only descriptors that curl inherits beside the usual three.
    for inherited in [reader.as_fd(), heads_of_curl.as_fd()] {
        rustix::io::fcntl_setfd(inherited, rustix::io::FdFlags::empty())
            .map_err(|error| unprepared(error.into()))?;
    }
    let text: String = config
        .iter()
        .map(|(name, value)| format!("{name} = \"{}\"\n", quoted(value)))
        .collect();
    // A pipe holds more than this before it is read.
    writer
        .write_all(text.as_bytes())
        .map_err(|error| failed("prepared", &error))?;
    drop(writer);
    let descriptor = reader.as_raw_fd();
    let running = Command::new("curl")
        // First, so that nobody's ~/.curlrc changes what is asked for.
        .args(["--disable", "--globoff", "--path-as-is", "--config"])
        .arg(format!("/dev/fd/{descriptor}"))
        // Whoever wants them elsewhere says so after this.
        .arg("--dump-header")
        .arg(format!("/dev/fd/{}", heads_of_curl.as_raw_fd()))
        .args(more)
        .spawn();
    let mut running = running.map_err(|error| failed("run", &error).next("is curl installed?"))?;
    // What is read ends with the last writer, which is curl then.
    drop((reader, heads_of_curl));
    let heads = challenge::read(heads);
    let status = running.wait().map_err(|error| failed("run", &error))?;
    Ok((ended(status), heads))
}

/// As curl's configuration files have it.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// The exit code of a program that we ran, as our own.
pub(super) fn ended(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::{Address, Route};

    #[test]
    fn a_path_stays_below_its_route() {
        let route = |url: &str| Route::sample("app", url);
        let (whole, part) = (
            route("https://app.example/"),
            route("https://app.example/a/"),
        );
        for (route, path, expected) in [
            (&whole, "", "https://app.example/"),
            (&whole, "/x?y=1#z", "https://app.example/x?y=1"),
            (&whole, "x", "https://app.example/x"),
            (&whole, "?q=a b", "https://app.example/?q=a%20b"),
            (&part, "/x", "https://app.example/a/x"),
            (
                &whole,
                "//evil.example",
                "https://app.example//evil.example",
            ),
            (
                &whole,
                "/@evil.example",
                "https://app.example/@evil.example",
            ),
        ] {
            let address = Address::of(route, path).unwrap();
            assert_eq!(address.url.as_str(), expected, "{path}");
            assert!(!address.proven.contains('?'));
        }
        for (route, path) in [(&part, "/../b"), (&part, "/%2e%2e/b")] {
            assert!(Address::of(route, path).is_err(), "{path}");
        }
    }
}
