//! `wayleave demo`: the parties of the demonstration on one machine, and nothing of them left afterwards.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::clock::SystemClock;
use crate::demo::identity_provider::PEOPLE;
use crate::demo::stage::{Ports, Stage};
use crate::lifecycle::Lifecycle;

/// How long the parties have to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

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
    let lifecycle = Lifecycle::new();
    let ports = Ports {
        http: arguments.port,
        https: arguments.https_port,
        admin: arguments.admin_port,
        identity_provider: arguments.identity_provider_port,
    };
    let stage = Stage::set_up(ports, Arc::new(SystemClock), &lifecycle).await?;
    let outcome = hold(&stage, &lifecycle).await;
    lifecycle.stop(STOP_WITHIN).await;
    // Dropping the stage removes its folder; whatever is left of it would be said.
    stage
        .close()
        .context("the demo's folder cannot be removed")?;
    outcome
}

/// Keeps the stage until Ctrl-C or SIGTERM.
async fn hold(stage: &Stage, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    announce(stage);
    tokio::select! {
        () = lifecycle.failed() => anyhow::bail!("a part of the demo ended unexpectedly"),
        stopped = until_told_to_stop() => stopped.context("signals cannot be received"),
    }
}

async fn until_told_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Says what runs and where. The front door is not part of it yet, and is not announced.
fn announce(stage: &Stage) {
    let bold = anstyle::Style::new().bold();
    anstream::println!("{bold}The demo's parties run.{bold:#}\n");
    anstream::println!("  {}     the demo identity provider", stage.issuer());
    anstream::println!(
        "  {}     the edge's configuration",
        stage.configuration_file().display()
    );
    anstream::println!("  {}     its policy", stage.path("policy.yaml").display());
    anstream::println!("\n{bold}People{bold:#}");
    for person in &PEOPLE {
        anstream::println!("  {:<6} ({})", person.subject, person.groups.join(", "));
    }
    anstream::println!(
        "\nThe data plane that stands between them is not in this version. Ctrl-C ends it and removes everything."
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

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
