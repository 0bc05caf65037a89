//! `wayleave env`: runs a command with a token and a URL of one route in its environment.

use std::process::{Command, ExitCode};

use crate::cli::curl::ended;
use crate::cli::person::caller::Caller;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::program::ProgramArguments;
use crate::cli::person::{PersonArguments, wait};

/// Run a command with WAYLEAVE_TOKEN and WAYLEAVE_URL of one route.
#[derive(Debug, clap::Args)]
pub struct EnvArguments {
    /// The route's name, as `wayleave routes` has it.
    route: String,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    person: PersonArguments,
    #[command(flatten)]
    program: ProgramArguments,
}

/// Runs it; ends as it ends.
pub fn run(arguments: &EnvArguments) -> ExitCode {
    arguments.person.end(start(arguments))
}

fn start(arguments: &EnvArguments) -> Result<ExitCode, Fault> {
    let access = Caller::open(&arguments.person, &arguments.program)?;
    let (route, token) = wait(async {
        let home = Home::new(access.profile())?;
        let route = access.route(&home, &arguments.route, false).await?;
        let token = access.route_token(&home, &route, false).await?;
        Ok((route, token))
    })?;
    let Some((program, more)) = arguments.command.split_first() else {
        return Err(Fault::usage("there is no command to run"));
    };
    let status = Command::new(program)
        .args(more)
        .env("WAYLEAVE_TOKEN", token.token)
        .env("WAYLEAVE_URL", route.url)
        .status();
    let status =
        status.map_err(|error| Fault::failed(format!("{program} cannot be run: {error}")))?;
    Ok(ended(status))
}
