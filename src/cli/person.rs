//! What the commands of people share: which edge, who they are there, and what goes wrong.
//!
//! `login`, `logout`, `whoami`, `routes`, `token`, `curl`, `forward`, `kubeconfig`, `kube-credential`, `env`, `svid` speak to the home host of an edge with tokens that are kept on this machine, by profile.

pub(in crate::cli) mod access;
pub(in crate::cli) mod caller;
pub(in crate::cli) mod credentials;
pub(in crate::cli) mod fault;
pub(in crate::cli) mod home;
pub(in crate::cli) mod keyring;
pub(in crate::cli) mod profile;
pub(in crate::cli) mod program;
pub(in crate::cli) mod token_cache;

use std::process::ExitCode;

use clap::ValueEnum;

use crate::cli::person::fault::Fault;

/// How a command says what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What every command of people takes.
#[derive(Clone, Debug, clap::Args)]
pub struct PersonArguments {
    /// The profile: which edge, and who you are there. Default: the one that you signed in to last.
    #[arg(long, env = "WAYLEAVE_PROFILE", value_name = "NAME", global = true)]
    pub(in crate::cli) profile: Option<String>,
    /// Text for people, or JSON for programs.
    #[arg(long, value_enum, default_value_t, value_name = "FORM", global = true)]
    pub(in crate::cli) output: Output,
}

impl PersonArguments {
    /// How the process ends after a command.
    pub(in crate::cli) fn end(&self, done: Result<ExitCode, Fault>) -> ExitCode {
        done.unwrap_or_else(|fault| fault.tell(self.output))
    }
}

/// Waits for what a command does over the network.
pub(in crate::cli) fn wait<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = crate::cli::runtime().map_err(|error| Fault::failed(format!("{error:#}")))?;
    let done = runtime.block_on(work);
    // Whoever waits for standard input still would keep the process.
    runtime.shutdown_background();
    done
}

/// A moment (RFC 3339) without parts of a second.
pub(in crate::cli) fn to_the_second(moment: &str) -> String {
    match moment.split_once('.') {
        Some((before, _)) if moment.ends_with('Z') => format!("{before}Z"),
        _ => moment.to_owned(),
    }
}
