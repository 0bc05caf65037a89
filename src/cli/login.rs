//! `wayleave login`: a person lets this machine in, by a browser on it or, with `--device`, on another.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::logout::revoke;
use crate::cli::person::access::{Access, Given};
use crate::cli::person::credentials::{Credentials, Lock};
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::profile::{Folders, Profile};
use crate::cli::person::{Output, PersonArguments, to_the_second, wait};
use crate::identity::principal::{Requirement, SHORTEST_AGE};
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
    /// Sign in again in this class, as an access rule asks for (an authentication context class, like `mfa`); of several any will do.
    #[arg(long = "acr", value_name = "CLASS", conflicts_with = "device")]
    acr: Vec<String>,
    /// Sign in again unless that was so lately, as an access rule asks for, like 30m.
    #[arg(long, value_name = "DURATION", conflicts_with = "device", value_parser = age)]
    max_age: Option<u32>,
    /// Roots to trust for this edge beside the usual ones, PEM; a copy is kept with the profile.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    person: PersonArguments,
}

impl LoginArguments {
    /// How the sign-in has to be.
    fn required(&self) -> Requirement {
        let classes = self.acr.iter().map(|class| class.as_str().into());
        Requirement {
            acr: Some(classes.collect()).filter(|classes: &Vec<_>| !classes.is_empty()),
            max_age: self.max_age,
        }
    }
}

fn age(text: &str) -> Result<u32, &'static str> {
    let age = humantime::parse_duration(text).map_err(|_| "it must be like 30m or 4h")?;
    let seconds = u32::try_from(age.as_secs()).ok();
    let seconds = seconds.filter(|seconds| *seconds >= SHORTEST_AGE);
    seconds.ok_or("it must be a minute at least")
}

/// The command that signs somebody in again, as a rule asks for: the classes, and the age in seconds. What is not fit for a shell is left out.
pub(super) fn again<'a>(
    profile: &str,
    acr: impl IntoIterator<Item = &'a str>,
    max_age: Option<u64>,
) -> String {
    let is_plain = |class: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+-".contains(&byte);
        !class.is_empty() && !class.starts_with('-') && class.bytes().all(is_plain)
    };
    let mut command = format!("wayleave login --profile {profile}");
    for class in acr.into_iter().filter(is_plain) {
        let _fits = write!(command, " --acr {class}");
    }
    if let Some(seconds) = max_age {
        let age = humantime::format_duration(Duration::from_secs(seconds)).to_string();
        let _fits = write!(command, " --max-age {}", age.replace(' ', ""));
    }
    command
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
            to_the_second(of("session_ends_at"))
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

#[cfg(test)]
mod tests {
    use super::again;

    #[test]
    fn what_a_rule_asks_for_becomes_a_command() {
        let mfa = again("corp", ["mfa", "http://schemas.example/hwk"], Some(5400));
        assert_eq!(
            mfa,
            "wayleave login --profile corp --acr mfa --acr http://schemas.example/hwk --max-age 1h30m"
        );
        let odd = again("corp", ["$(reboot)", "--device", "a b", ""], None);
        assert_eq!(odd, "wayleave login --profile corp");
    }
}
