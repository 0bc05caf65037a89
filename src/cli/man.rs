//! `wayleave man`: the manual pages.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Command;

/// Writes a page for each command into a folder; without one prints the first page.
pub fn run(folder: Option<&Path>, command: Command) -> anyhow::Result<ExitCode> {
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(command, folder))
                .with_context(|| format!("{} cannot be written to", folder.display()))?;
        }
        None => clap_mangen::Man::new(command)
            .render(&mut std::io::stdout())
            .context("the page cannot be printed")?,
    }
    Ok(ExitCode::SUCCESS)
}
