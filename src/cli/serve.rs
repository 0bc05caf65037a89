//! `wayleave serve`: the edge itself, until SIGTERM.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use crate::app::compose::Running;
use crate::app::serve::serve;
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::telemetry::text;

/// Checks the configuration and serves it. A faulty one is reported as a whole, and nothing starts.
pub fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(faults) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            for fault in faults {
                anstream::eprintln!("{style}error{style:#}: {fault}");
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    text::start(&config.log.filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let lifecycle = Lifecycle::new();
    runtime.block_on(serve(path, config, &lifecycle, announce))?;
    Ok(ExitCode::SUCCESS)
}

fn announce(running: &Running) {
    for address in &running.addresses {
        tracing::info!(%address, "listening");
    }
    tracing::info!(address = %running.admin, "the admin listener is ready");
}
