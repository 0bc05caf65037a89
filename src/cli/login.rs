//! `wayleave login`: a person lets this machine in, by a browser on it or, with `--device`, on another.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::logout::revoke;
use crate::cli::person::access::{Access, Given};
use crate::cli::person::credentials::{Credentials, Lock};
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::profile::{Folders, Profile};
use crate::cli::person::{Output, PersonArguments, wait};
use crate::token::dpop::prover::Prover;

mod browser;
mod device;
mod loopback;

/// Sign in to an edge on this machine.
#[derive(Debug, clap::Args)]
pub struct LoginArguments {
    /// The edge's home host, like `https://access.corp.example`. Default: that of the profile.
    #[arg(long, env = "WAYLEAVE_EDGE", value_name = "URL")]
    edge: Option<String>,
    /// Without a browser on this machine: shows a code to type in one elsewhere.
    #[arg(long)]
    device: bool,
    /// Do not open a browser, only print the address to open on this machine.
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,
    /// Wait for the browser at this port, which may be forwarded from elsewhere. Default: any free one.
    #[arg(long, value_name = "PORT", conflicts_with = "device", value_parser = clap::value_parser!(u16).range(1..))]
    callback_port: Option<u16>,
    /// Roots to trust for this edge beside the usual ones, PEM; a copy is kept with the profile.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    person: PersonArguments,
}

/// Signs in.
pub fn run(arguments: &LoginArguments) -> ExitCode {
    arguments.person.end(sign_in(arguments))
}

fn sign_in(arguments: &LoginArguments) -> Result<ExitCode, Fault> {
    let folders = Folders::find()?;
    let named = arguments.person.profile.as_deref();
    let mut profile = folders.for_login(named, arguments.edge.as_deref())?;
    if let Some(file) = &arguments.ca_file {
        profile.ca_file = Some(folders.keep_ca(&profile.name, file)?);
    }
    let home = Home::new(&profile)?;
    let key = Prover::generate().map_err(|error| Fault::failed(error.to_string()))?;
    let answer = wait(async {
        home.check().await?;
        if arguments.device {
            device::let_in(&home, &key, arguments.person.output).await
        } else {
            browser::let_in(&home, &key, arguments).await
        }
    })?;
    let access = Access { folders, profile };
    keep(&access, &home, key, &answer)?;
    let me = wait(access.ask(&home, "me"))?;
    tell(&access.profile, &me, arguments.person.output);
    Ok(ExitCode::SUCCESS)
}

/// Keeps what was given in place of what was there, which is given back.
fn keep(access: &Access, home: &Home, key: Prover, answer: &Value) -> Result<(), Fault> {
    let given = Given::read(answer)?;
    let refresh = given.refresh_token.unwrap_or_default();
    let Access { folders, profile } = access;
    let _lock = Lock::take(folders, &profile.name)?;
    let former = Credentials::load(folders, profile).ok();
    let credentials = Credentials {
        edge: profile.edge.clone(),
        refresh_token: Zeroizing::new(refresh),
        key,
    };
    credentials.keep(folders, &profile.name)?;
    let mut cache = access.cache();
    cache.clear();
    cache.set_home(given.access);
    cache.keep(folders, &profile.name)?;
    folders.keep(profile)?;
    if let Some(former) = former {
        // It may have ended long ago.
        let _ended = wait(revoke(home, &former.key, &former.refresh_token));
    }
    Ok(())
}

fn tell(profile: &Profile, me: &Value, output: Output) {
    let of = |name: &str| me[name].as_str().unwrap_or_default();
    let edge = profile.edge.as_str();
    match output {
        Output::Text => anstream::println!(
            "Signed in to {edge} as {}, until {}.",
            of("user"),
            of("session_ends_at")
        ),
        Output::Json => {
            let said = json!({
                "edge": edge, "profile": profile.name, "signed_in": true, "user": of("user"),
                "session_ends_at": of("session_ends_at"),
            });
            anstream::println!("{said:#}");
        }
    }
}
