//! Asking whoever sits there before something is changed.

use std::io::IsTerminal;

use anyhow::{Context, bail};

/// Shows what would change, and asks, if standard input is free for that; `otherwise` says what to do where nobody can be asked.
pub(super) fn agreed(changes: &str, is_free: bool, otherwise: &str) -> anyhow::Result<bool> {
    if !is_free || !std::io::stdin().is_terminal() {
        bail!("nobody can be asked here; {otherwise}");
    }
    anstream::eprint!("{changes}Make it so? [y/N] ");
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("no answer can be read")?;
    let is_agreed = matches!(answer.trim(), "y" | "Y" | "yes");
    if !is_agreed {
        anstream::eprintln!("Nothing was changed.");
    }
    Ok(is_agreed)
}
