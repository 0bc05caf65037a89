//! `wayleave demo`: the main job on one machine, and nothing of it left afterwards.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::admin::policy_file::{self, FollowedFile};
use crate::app::compose::policy_rules;
use crate::app::serve::serve;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::demo::identity_provider::PEOPLE;
use crate::demo::stage::{Ports, Stage};
use crate::lifecycle::Lifecycle;
use crate::store::Store;
use crate::telemetry::text;

/// How long the parties have to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long requests under way may go on.
const DRAIN: Duration = Duration::from_secs(2);

/// Where the demonstration listens, on 127.0.0.1.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DemoArguments {
    /// Port of the front door, plain http.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the front door with TLS.
    #[arg(long, default_value_t = 8443)]
    https_port: u16,
    /// Port of metrics and health checks.
    #[arg(long, default_value_t = 9901)]
    admin_port: u16,
    /// Port of the demo identity provider.
    #[arg(long, default_value_t = 8081)]
    identity_provider_port: u16,
    /// Keep the policy in the store instead of following a file, to try `wayleave policy apply`, `rollback` and drafts.
    #[arg(long)]
    policy_in_store: bool,
}

/// Sets the stage, and takes everything away again on Ctrl-C.
pub fn run(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    runtime.block_on(play(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn play(arguments: &DemoArguments) -> anyhow::Result<()> {
    // The parties outlive the edge, which may still speak to them while it drains.
    let parties = Lifecycle::new();
    let ports = Ports {
        http: arguments.port,
        https: arguments.https_port,
        admin: arguments.admin_port,
        identity_provider: arguments.identity_provider_port,
    };
    let stage = Stage::set_up(ports, Arc::new(SystemClock), &parties).await?;
    let outcome = open_the_door(&stage, &parties, arguments.policy_in_store).await;
    parties.stop(STOP_WITHIN).await;
    // Dropping the stage removes its folder; whatever is left of it would be said.
    stage
        .close()
        .context("the demo's folder cannot be removed")?;
    outcome
}

/// Runs the edge as `wayleave serve` does, until Ctrl-C or SIGTERM.
async fn open_the_door(
    stage: &Stage,
    parties: &Lifecycle,
    policy_in_store: bool,
) -> anyhow::Result<()> {
    let path = stage.configuration_file();
    let mut config = load(stage)?;
    if policy_in_store {
        stage.follow_no_file()?;
        put_policy_into_store(&config).await?;
        config = load(stage)?;
    }
    // Nobody waits for a demonstration to end.
    config.limits.drain = DRAIN;
    text::start(&config.log.filter)?;
    let edge = Lifecycle::new();
    tokio::select! {
        served = serve(&path, config, &edge, |_| announce(stage, policy_in_store)) => Ok(served?),
        () = parties.failed() => anyhow::bail!("a part of the demo ended unexpectedly"),
    }
}

fn load(stage: &Stage) -> anyhow::Result<Config> {
    Config::load(&stage.configuration_file()).map_err(|faults| {
        let faults: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        anyhow::anyhow!("the demo's own configuration has faults:{faults}")
    })
}

/// Makes the demo's file the first revision, as an edge that follows it would.
async fn put_policy_into_store(config: &Config) -> anyhow::Result<()> {
    let Some(path) = config.policy.file.clone() else {
        return Ok(());
    };
    let content = policy_file::read(&path).await?;
    let store = Store::open(&config.store, Arc::new(SystemClock)).await?;
    let file = FollowedFile {
        store: store.clone(),
        path,
        rules: policy_rules(config),
    };
    let loaded = file.load(&content).await;
    store.close().await;
    loaded?;
    Ok(())
}

/// Says what to open, as whom, and where to look.
fn announce(stage: &Stage, policy_in_store: bool) {
    let Ports {
        http, https, admin, ..
    } = stage.ports;
    let bold = anstyle::Style::new().bold();
    let line = |url: &str, what: &str| anstream::println!("  {url:<40}{what}");
    anstream::println!("{bold}Wayleave runs. Open in a browser on this machine:{bold:#}\n");
    line(
        &format!("http://grafana.localhost:{http}/"),
        "dashboards, for staff",
    );
    line(
        &format!("http://payroll.localhost:{http}/"),
        "payroll, for sre",
    );
    line(
        &format!("http://releases.localhost:{http}/"),
        "releases: for sre, and for staff when one of sre approves",
    );
    line(
        &format!("http://access.localhost:{http}/"),
        "your own page: apps, requests for access, sign-ins",
    );
    line(
        &format!("http://access.localhost:{http}/console"),
        "the admin console: alice is owner, bob auditor",
    );
    anstream::println!("\n{bold}From the command line,{bold:#} for staff:\n");
    line(
        &format!("wayleave login --edge http://access.localhost:{http}"),
        "",
    );
    line("wayleave routes", "what is there, and how to get to it");
    line(
        "wayleave forward lines 7000",
        "then `nc 127.0.0.1 7000`: a service that speaks no HTTP",
    );
    anstream::println!("\n{bold}Sign in as{bold:#}, no password:\n");
    for person in &PEOPLE {
        let groups = person.groups.join(", ");
        anstream::println!(
            "  {:<8}{groups:<18}{}",
            person.subject,
            reach(person.subject)
        );
    }
    let root = stage.path("front-door-root.pem");
    anstream::println!("\n{bold}The same with TLS:{bold:#}\n");
    anstream::println!(
        "  curl --cacert {} -i https://grafana.localhost:{https}/\n",
        root.display()
    );
    anstream::println!("{bold}Behind the scenes:{bold:#}\n");
    let what = if policy_in_store {
        "   the first revision: edit it, then `wayleave policy plan|apply|draft save FILE --config …`"
    } else {
        "   edit it: it is followed"
    };
    line(&stage.path("policy.yaml").display().to_string(), what);
    line(
        &stage.path("access.log").display().to_string(),
        "   one line for each request",
    );
    line(
        &stage.configuration_file().display().to_string(),
        "   for `wayleave policy`, `wayleave explain` and `wayleave audit` (--config …)",
    );
    line(&format!("http://127.0.0.1:{admin}/metrics"), "");
    line(
        &stage.issuer(),
        "the demo identity provider (accepts everybody: never use it elsewhere)",
    );
    anstream::println!("\nCtrl-C ends it and removes everything.");
}

fn reach(person: &str) -> &'static str {
    match person {
        "alice" => "everything; decides at the home page who else gets releases",
        "bob" => "dashboards and lines; may ask for releases, and gets it once alice approves",
        _ => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_edge_accepts_the_configuration_of_the_stage() {
        let lifecycle = Lifecycle::new();
        let any = Ports {
            http: 0,
            https: 0,
            admin: 0,
            identity_provider: 0,
        };
        let stage = Stage::set_up(any, Arc::new(SystemClock), &lifecycle)
            .await
            .unwrap();
        let config = Config::load(&stage.configuration_file())
            .map_err(|faults| {
                faults
                    .iter()
                    .map(|fault| format!("{fault}\n"))
                    .collect::<String>()
            })
            .unwrap();
        assert_eq!(config.listeners.len(), 2);
        assert_eq!(&*config.identity_providers[0].issuer_text, stage.issuer());
        lifecycle.stop(STOP_WITHIN).await;
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_the_option_that_chooses_another() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = Ports {
            http: 0,
            https: port,
            admin: 0,
            identity_provider: 0,
        };
        let set_up = Stage::set_up(ports, Arc::new(SystemClock), &Lifecycle::new()).await;
        let error = set_up.err().unwrap().to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("--https-port"),
            "{error}"
        );
    }
}
