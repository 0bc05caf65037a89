//! `wayleave completions`: what a shell has to know to complete our commands.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// Prints it.
pub fn run(shell: Shell, command: &mut Command) -> ExitCode {
    clap_complete::generate(shell, command, "wayleave", &mut std::io::stdout());
    ExitCode::SUCCESS
}
