//! `wayleave token`: an access token for one route, from the cache if there is a good one.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::curl::Address;
use crate::cli::person::caller::Caller;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::{Home, proof};
use crate::cli::person::program::ProgramArguments;
use crate::cli::person::token_cache::Kept;
use crate::cli::person::{Output, PersonArguments, wait};

/// Print an access token for one route.
#[derive(Debug, clap::Args)]
pub struct TokenArguments {
    /// The route's name, as `wayleave routes` has it.
    route: String,
    /// One that whoever has it can use, for tools that cannot prove a key. The edge has to allow it (tokens.allow_unbound).
    #[arg(long, conflicts_with = "headers")]
    bearer: bool,
    /// Print the headers for one request instead, its proof included: good once, for a minute.
    #[arg(long, num_args = 2, value_names = ["METHOD", "PATH"])]
    headers: Vec<String>,
    #[command(flatten)]
    person: PersonArguments,
    #[command(flatten)]
    program: ProgramArguments,
}

/// Gets it, and prints it.
pub fn run(arguments: &TokenArguments) -> ExitCode {
    arguments.person.end(show(arguments))
}

fn show(arguments: &TokenArguments) -> Result<ExitCode, Fault> {
    let access = Caller::open(&arguments.person, &arguments.program)?;
    let is_bound = !arguments.bearer;
    if let Caller::Program(program) = &access
        && is_bound
        && arguments.headers.is_empty()
        && !program.has_lasting_key()
    {
        let message = "a token that is bound to a key of this process is of no use after it";
        return Err(Fault::usage(message)
            .next("--headers METHOD PATH gives headers for one request, --bearer a token without a key; or use `wayleave curl`"));
    }
    // Nothing but two small files is read when there is a good one.
    let kept = match access.kept(&arguments.route, is_bound) {
        Some(kept) => kept,
        None => wait(async {
            let home = Home::new(access.profile())?;
            let route = access.route(&home, &arguments.route, is_bound).await?;
            access.route_token(&home, &route, is_bound).await
        })?,
    };
    let [method, path] = arguments.headers.as_slice() else {
        print(&arguments.person, &kept, is_bound);
        return Ok(ExitCode::SUCCESS);
    };
    let [authorization, proof] = headers(&access, &kept, arguments, method, path)?;
    match arguments.person.output {
        Output::Text => anstream::println!("Authorization: {authorization}\nDPoP: {proof}"),
        Output::Json => {
            let said = json!({ "Authorization": authorization, "DPoP": proof });
            anstream::println!("{said:#}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn headers(
    access: &Caller,
    kept: &Kept,
    arguments: &TokenArguments,
    method: &str,
    path: &str,
) -> Result<[String; 2], Fault> {
    let route = wait(async {
        let home = Home::new(access.profile())?;
        access.route(&home, &arguments.route, true).await
    })?;
    let address = Address::of(&route, path)?;
    let key = access.key()?;
    let proof = proof(&key, method, &address.proven, Some(&kept.token))?;
    Ok([format!("DPoP {}", kept.token), proof])
}

fn print(person: &PersonArguments, kept: &Kept, is_bound: bool) {
    let kind = if is_bound { "DPoP" } else { "Bearer" };
    match person.output {
        Output::Text => anstream::println!("{}", kept.token),
        Output::Json => {
            let expires_at = crate::clock::Timestamp::from_seconds(kept.expires_at).rfc3339();
            let said: Value = json!({
                "access_token": kept.token, "token_type": kind, "expires_at": expires_at,
                "resource": kept.resource,
            });
            anstream::println!("{said:#}");
        }
    }
}
