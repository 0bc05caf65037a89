//! The command line: one file per subcommand. What people asked to see goes to standard output, complaints to standard error.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not signed in (or the audit log is not whole), 4 not allowed, 5 the edge does not answer,
//! 6 changes pending and 7 findings, where those are asked for.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::person::{Output, PersonArguments};

pub mod access;
pub mod audit;
pub mod check;
pub mod client;
pub mod completions;
mod confirm;
pub mod curl;
pub mod demo;
pub mod env;
pub mod explain;
pub mod forward;
pub mod init;
pub mod keys;
pub mod kube_credential;
pub mod kubeconfig;
pub mod login;
pub mod logout;
pub mod man;
pub mod person;
pub mod policy;
mod refusal;
pub mod request;
pub mod routes;
pub mod serve;
pub mod service_account;
pub mod svid;
pub mod token;
pub mod whoami;

/// An identity-aware access proxy that extends service-mesh identity beyond the cluster.
#[derive(Debug, Parser)]
#[command(name = "wayleave", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the edge.
    Serve(ConfigArgument),
    /// Try it all on this machine: an edge, an identity provider and four mesh workloads.
    Demo(demo::DemoArguments),
    /// Write a commented configuration, a starting policy and a store key.
    Init {
        /// The folder to write to.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Look at and change the policy of a running edge: export, plan, apply, draft, history, show, diff, rollback.
    Policy(Box<policy::PolicyArguments>),
    /// Say why somebody may or may not do something, rule by rule.
    Explain(Box<explain::ExplainArguments>),
    /// Look at, export and verify the log of what happened: list, export, verify.
    Audit(Box<audit::AuditArguments>),
    /// Look at and rotate the keys that sign assertions, access tokens and checkpoints: list, rotate.
    Keys(Box<keys::KeysArguments>),
    /// Sign in to an edge on this machine.
    Login(Box<login::LoginArguments>),
    /// Give the tokens of this machine back, and forget them.
    Logout(PersonArguments),
    /// Say who the edge takes you for.
    Whoami(PersonArguments),
    /// List what you may open, and why not the rest.
    Routes(PersonArguments),
    /// Ask for access for a time, and wait until somebody has decided.
    Request(Box<request::RequestArguments>),
    /// Requests for access and grants: list, approve, refuse, withdraw, revoke, give back, review.
    Access(Box<access::AccessArguments>),
    /// Print an access token for one route.
    Token(token::TokenArguments),
    /// Run curl against a route, signed in.
    Curl(curl::CurlArguments),
    /// Reach a TCP route (a database, SSH) by a port on this machine.
    Forward(forward::ForwardArguments),
    /// Tell kubectl of a cluster behind the edge.
    Kubeconfig(kubeconfig::KubeconfigArguments),
    /// Print a credential for kubectl, which runs this by itself.
    KubeCredential(kube_credential::KubeCredentialArguments),
    /// Run a command with a token and the URL of one route in its environment.
    Env(env::EnvArguments),
    /// Make a key for a program that no issuer vouches for.
    ServiceAccount(service_account::ServiceAccountArguments),
    /// Get an SVID of your own, where a rule gives it: a certificate for tools that speak mTLS themselves, or a token.
    Svid(svid::SvidArguments),
    /// Print what a shell needs to complete these commands.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands.
    Man {
        /// The folder to write them to.
        folder: Option<PathBuf>,
    },
    /// Report every fault of a configuration at once, and try the store, providers, CA and upstreams it names.
    Check {
        #[command(flatten)]
        config: ConfigArgument,
        /// Text for people, or JSON for programs.
        #[arg(long, value_enum, default_value_t, value_name = "FORM")]
        output: Output,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration file.
    #[arg(long, default_value = "wayleave.toml", value_name = "FILE")]
    config: PathBuf,
}

/// What short commands wait on.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut single = tokio::runtime::Builder::new_current_thread();
    single
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

/// How a program ends that nobody listens to any more (`wayleave … | head`): as the signal would have ended it, 128 and SIGPIPE.
const UNHEARD: u8 = 141;

/// Printing to a closed pipe is a panic of the library's; it ends the program without a word instead.
fn end_quietly_when_unheard() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload_as_str().unwrap_or_default();
        // "failed printing to stdout: Broken pipe (os error 32)", and what other libraries make of it.
        if words.contains("Broken pipe") {
            std::process::exit(UNHEARD.into());
        }
        told(panic);
    }));
}

fn is_unheard(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Reads the arguments and does what they say.
pub fn run() -> ExitCode {
    let command = Arguments::parse().command;
    // A server does not end because somebody stopped reading its log.
    if !matches!(command, Command::Serve(_) | Command::Demo(_)) {
        end_quietly_when_unheard();
    }
    let outcome = match command {
        Command::Serve(ConfigArgument { config }) => serve::run(&config),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Init { folder } => init::run(&folder),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Check { config, output } => check::run(&config.config, output),
        Command::Login(arguments) => Ok(login::run(&arguments)),
        Command::Logout(arguments) => Ok(logout::run(&arguments)),
        Command::Whoami(arguments) => Ok(whoami::run(&arguments)),
        Command::Routes(arguments) => Ok(routes::run(&arguments)),
        Command::Request(arguments) => request::run(&arguments),
        Command::Access(arguments) => access::run(&arguments),
        Command::Token(arguments) => Ok(token::run(&arguments)),
        Command::Curl(arguments) => Ok(curl::run(&arguments)),
        Command::Forward(arguments) => Ok(forward::run(&arguments)),
        Command::ServiceAccount(arguments) => Ok(service_account::run(&arguments)),
        Command::Kubeconfig(arguments) => Ok(kubeconfig::run(&arguments)),
        Command::KubeCredential(arguments) => Ok(kube_credential::run(&arguments)),
        Command::Svid(arguments) => Ok(svid::run(&arguments)),
        Command::Env(arguments) => Ok(env::run(&arguments)),
        Command::Completions { shell } => Ok(completions::run(shell, &mut Arguments::command())),
        Command::Man { folder } => man::run(folder.as_deref(), Arguments::command()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) if is_unheard(&error) => ExitCode::from(UNHEARD),
        Err(error) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            anstream::eprintln!("{style}error{style:#}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_reads() {
        for line in [
            "wayleave serve",
            "wayleave serve --config x.toml",
            "wayleave check --config x.toml",
            "wayleave check --config x.toml --output json",
            "wayleave policy plan policy.yaml --output json",
            "wayleave policy --output json draft list",
            "wayleave audit list --output json --since 2027-01-31",
            "wayleave keys list --output json",
            "wayleave login --acr mfa --acr hwk --max-age 30m",
            "wayleave init",
            "wayleave init /etc/wayleave",
            "wayleave policy export --revision 3",
            "wayleave policy plan policy.yaml --config x.toml --json",
            "wayleave policy apply policy.yaml -m why --parent 3 --yes",
            "wayleave policy history --limit 5 --server http://127.0.0.1:9901",
            "wayleave policy show 3",
            "wayleave policy schema",
            "wayleave policy plan policy.yaml --detailed-exitcode --fail-on-findings",
            "wayleave explain --as alice@corp.example GET https://grafana.corp.example/d/1",
            "wayleave explain GET https://grafana.corp.example/ --revision 3 --json",
            "wayleave explain --as alice --provider okta --group sre --group ops --claim team=x GET https://g.example/",
            "wayleave policy diff 3 4",
            "wayleave policy rollback 3 -m why",
            "wayleave policy rollback 3 -m why --emergency",
            "wayleave policy draft save policy.yaml -m why --draft 3 --parent 7",
            "wayleave policy draft list --all --json",
            "wayleave policy draft show 3",
            "wayleave policy draft comment 3 -m what --author carol",
            "wayleave policy draft submit 3",
            "wayleave policy draft approve 3 -m fine --version 2 --yes",
            "wayleave policy draft reject 3 -m no",
            "wayleave policy draft rebase 3",
            "wayleave policy draft apply 3 --yes",
            "wayleave policy draft discard 3",
            "wayleave keys list --json",
            "wayleave keys rotate --yes --author carol",
            "wayleave keys rotate --revoke x --config x.toml",
            "wayleave login --edge https://access.corp.example --profile corp --no-browser --callback-port 7777",
            "wayleave login --device --ca-file root.pem",
            "wayleave logout --output json",
            "wayleave whoami --profile corp",
            "wayleave routes",
            "wayleave policy plan policy.yaml --profile corp",
            "wayleave request payroll/reports -m why --for 30m -X POST --no-wait",
            "wayleave request payroll -m why --break-glass --output json",
            "wayleave access",
            "wayleave access list --profile corp",
            "wayleave access approve 0a1b --for 1h",
            "wayleave access refuse 0a1b -m no",
            "wayleave access give-back 0a1b",
            "wayleave access review 0a1b -m seen",
            "wayleave token grafana --bearer",
            "wayleave token grafana --headers GET /api/health",
            "wayleave curl grafana/api/health -- -s -X POST -d x",
            "wayleave forward postgres",
            "wayleave forward postgres 5432 --listen 0.0.0.0 --http1 --profile corp",
            "wayleave forward bastion --stdio",
            "wayleave env grafana -- printenv WAYLEAVE_URL",
            "wayleave kubeconfig prod --kubeconfig config --name corp --use --profile corp",
            "wayleave kube-credential prod --profile corp",
            "wayleave svid /run/me --watch --new-key --output json",
            "wayleave svid --jwt vault --profile corp",
            "wayleave request --svid x509 -m why --for 1h",
            "wayleave explain --as alice@corp.example SVID x509",
            "wayleave completions bash",
            "wayleave man",
            "wayleave demo",
            "wayleave demo --policy-in-store",
            "wayleave demo --port 9080 --https-port 9443 --admin-port 9902 --identity-provider-port 9081",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_does_not() {
        for line in [
            "wayleave check x.toml",
            "wayleave demo --port 99999",
            "wayleave sreve",
            "wayleave policy",
            "wayleave policy apply policy.yaml",
            "wayleave policy history --limit 0",
            "wayleave policy draft approve 3",
            "wayleave policy draft save policy.yaml",
            "wayleave login --device --no-browser",
            "wayleave login --device --acr mfa",
            "wayleave login --max-age 10s",
            "wayleave audit list --since 2027-01-31T18:00",
            "wayleave keys",
            "wayleave keys rotate x",
            "wayleave token",
            "wayleave request payroll",
            "wayleave svid",
            "wayleave svid . --jwt vault",
            "wayleave svid --jwt vault --watch",
            "wayleave request payroll --svid x509 -m why",
            "wayleave request --svid ssh -m why",
            "wayleave request -m why",
            "wayleave request payroll -m why --for ever",
            "wayleave access refuse 0a1b",
            "wayleave token grafana --bearer --headers GET /",
            "wayleave forward",
            "wayleave forward postgres 70000",
            "wayleave forward postgres 5432 --stdio",
            "wayleave forward postgres --stdio --listen ::1",
            "wayleave env grafana",
            "wayleave kubeconfig",
            "wayleave kube-credential",
            "wayleave completions nosh",
        ] {
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn commands_of_programs_read() {
        let reads = |line: &str| Arguments::try_parse_from(line.split(' ')).is_ok();
        for line in [
            "wayleave service-account new backup --key /etc/backup.pem --output json",
            "wayleave token grafana --edge https://access.corp.example --service-account backup --key backup.pem",
            "wayleave curl grafana/x --edge access.corp.example --subject-token-file /run/token -- -s",
            "wayleave forward postgres 5432 --edge access.corp.example --ca-file root.pem",
        ] {
            assert!(reads(line), "{line}");
        }
        for line in [
            "wayleave service-account",
            "wayleave service-account new",
            "wayleave token grafana --service-account backup",
            "wayleave token grafana --service-account backup --key k --subject-token-file t",
        ] {
            assert!(!reads(line), "{line}");
        }
    }
}
