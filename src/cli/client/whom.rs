//! As whom a command asks an edge: what stands on the command line comes before what the environment says, and both before what is usual.

use std::path::PathBuf;

use url::Url;

use crate::cli::person::Output;
use crate::cli::person::fault::Fault;

/// What each of the options makes of whoever asks.
const EACH: &str = "--profile asks as yourself, with what your roles let you do; --config FILE and --server URL ask as operator";

/// Which edge, and as whom: as yourself where you are signed in (`wayleave login`), or as operator.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArguments {
    /// As yourself, with what your roles let you do, at the edge of this profile; also WAYLEAVE_PROFILE. Without it and without the next three: the one that you
    /// signed in to last, or else as operator by ./wayleave.toml.
    #[arg(long, value_name = "NAME", global = true)]
    profile: Option<String>,
    /// As operator: the configuration of the edge on this machine, which says where its admin listener is, and the operator token.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// As operator: the admin listener of an edge elsewhere (instead of --config), like `http://127.0.0.1:9901`; also WAYLEAVE_SERVER, which any of these options
    /// overrides.
    #[arg(long, value_name = "URL", global = true)]
    server: Option<Url>,
    /// A file with the operator token of that edge; or put it into WAYLEAVE_OPERATOR_TOKEN.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) token_file: Option<PathBuf>,
    /// Text for people, or JSON for programs.
    #[arg(long, value_enum, default_value_t, value_name = "FORM", global = true)]
    output: Output,
    /// What `--output json` was called formerly.
    #[arg(long, global = true, hide = true)]
    json: bool,
}

/// Whoever asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Somebody who signed in, by the name of their profile.
    Profile(String),
    /// The operator of the edge with this configuration.
    Config(PathBuf),
    /// The operator of the edge with this admin listener.
    Server(Url),
    /// Nothing says.
    Usual,
}

/// What the environment says.
#[derive(Default)]
pub(super) struct Environment {
    profile: Option<String>,
    server: Option<String>,
}

impl Environment {
    #[expect(
        clippy::disallowed_methods,
        reason = "clap takes what is in the environment for an option that was given, and options have to come first"
    )]
    pub(super) fn read() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            profile: set("WAYLEAVE_PROFILE"),
            server: set("WAYLEAVE_SERVER"),
        }
    }
}

impl ServerArguments {
    /// How a command says what it found.
    pub(in crate::cli) fn output(&self) -> Output {
        if self.json { Output::Json } else { self.output }
    }

    pub(in crate::cli) fn is_json(&self) -> bool {
        self.output() == Output::Json
    }

    pub(super) fn whom(&self, environment: Environment) -> Result<Whom, Fault> {
        let given = [
            ("--profile", self.profile.is_some()),
            ("--config", self.config.is_some()),
            ("--server", self.server.is_some()),
        ];
        let mut given = given.iter().filter(|(_, is_given)| *is_given);
        if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
            let message = format!("{first} and {second} say different things of who asks");
            return Err(Fault::usage(message).next(EACH));
        }
        let whom = match (&self.profile, &self.config, &self.server) {
            (Some(profile), ..) => Whom::Profile(profile.clone()),
            (None, Some(config), _) => Whom::Config(config.clone()),
            (None, None, Some(server)) => Whom::Server(server.clone()),
            (None, None, None) => environment.whom()?,
        };
        if self.token_file.is_some() && !matches!(whom, Whom::Server(_)) {
            return Err(Fault::usage("--token-file goes with --server URL alone").next(EACH));
        }
        Ok(whom)
    }
}

impl Environment {
    fn whom(self) -> Result<Whom, Fault> {
        match (self.profile, self.server) {
            (Some(_), Some(_)) => {
                let message =
                    "WAYLEAVE_PROFILE and WAYLEAVE_SERVER say different things of who asks";
                Err(Fault::usage(message).next(EACH))
            }
            (Some(profile), None) => Ok(Whom::Profile(profile)),
            (None, Some(server)) => {
                let url = Url::parse(&server)
                    .map_err(|error| Fault::usage(format!("WAYLEAVE_SERVER is no URL: {error}")))?;
                Ok(Whom::Server(url))
            }
            (None, None) => Ok(Whom::Usual),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::person::fault::Kind;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        server: ServerArguments,
    }

    fn whom(line: &str, profile: Option<&str>, server: Option<&str>) -> Result<Whom, Kind> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let environment = Environment {
            profile: profile.map(str::to_owned),
            server: server.map(str::to_owned),
        };
        let arguments = Line::try_parse_from(words).unwrap().server;
        arguments.whom(environment).map_err(|fault| fault.kind())
    }

    #[test]
    fn what_stands_on_the_command_line_comes_before_the_environment() {
        let profile = || Ok(Whom::Profile("corp".to_owned()));
        let server = |url: &str| Ok(Whom::Server(Url::parse(url).unwrap()));
        let (here, there) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
        for (line, of_profile, of_server, expected) in [
            ("", None, None, Ok(Whom::Usual)),
            ("", Some("corp"), None, profile()),
            ("", None, Some(here), server(here)),
            ("--profile corp", None, Some(here), profile()),
            ("--profile corp", Some("other"), None, profile()),
            (
                "--server http://127.0.0.1:2",
                Some("corp"),
                Some(here),
                server(there),
            ),
            (
                "--server http://127.0.0.1:2 --token-file t",
                None,
                None,
                server(there),
            ),
            ("--token-file t", None, Some(here), server(here)),
            (
                "--config x.toml",
                Some("corp"),
                Some(here),
                Ok(Whom::Config("x.toml".into())),
            ),
        ] {
            assert_eq!(whom(line, of_profile, of_server), expected, "{line}");
        }
    }

    #[test]
    fn who_asks_is_said_once() {
        for line in [
            "--profile corp --config x.toml",
            "--profile corp --server http://127.0.0.1:2",
            "--config x.toml --server http://127.0.0.1:2",
            "--profile corp --token-file t",
            "--config x.toml --token-file t",
            "--token-file t",
        ] {
            assert_eq!(whom(line, None, None), Err(Kind::Usage), "{line}");
        }
        let (corp, here) = (Some("corp"), Some("http://127.0.0.1:1"));
        assert_eq!(whom("", corp, here), Err(Kind::Usage));
        assert_eq!(whom("", None, Some("x y")), Err(Kind::Usage));
    }
}
