//! Asking whoever sits there before something is changed.

use std::io::IsTerminal;

use crate::cli::person::Output;
use crate::cli::person::fault::Fault;

/// How somebody may be asked.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    /// They said yes already; what would change is shown all the same.
    pub(super) yes: bool,
    /// Standard input is not what is to be applied.
    pub(super) is_free: bool,
    /// Programs are shown nothing and asked nothing.
    pub(super) output: Output,
}

/// Shows what would change, and asks; standard output is for what came of it.
pub(super) fn agreed(changes: &str, asking: Asking) -> Result<bool, Fault> {
    let is_text = asking.output == Output::Text;
    if is_text {
        anstream::eprint!("{changes}");
    }
    if asking.yes {
        return Ok(true);
    }
    if !is_text || !asking.is_free || !std::io::stdin().is_terminal() {
        let next = match is_text {
            true => "look at what would change, above, and say --yes",
            false => "look at what would change without `--output json`, and say --yes",
        };
        return Err(Fault::failed("nobody can be asked here").next(next));
    }
    anstream::eprint!("Make it so? [y/N] ");
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Fault::failed(format!("no answer can be read: {error}")))?;
    let is_agreed = matches!(answer.trim(), "y" | "Y" | "yes");
    if !is_agreed {
        anstream::eprintln!("Nothing was changed.");
    }
    Ok(is_agreed)
}
