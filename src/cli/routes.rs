//! `wayleave routes`: what you may open, and why not the rest.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::person::access::Access;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::token_cache::Route;
use crate::cli::person::{Output, PersonArguments, wait};

/// Asks, and prints the answer.
pub fn run(arguments: &PersonArguments) -> ExitCode {
    arguments.end(show(arguments))
}

fn show(arguments: &PersonArguments) -> Result<ExitCode, Fault> {
    let access = Access::open(arguments)?;
    let home = Home::new(&access.profile)?;
    let routes = wait(access.routes(&home, true))?;
    match arguments.output {
        Output::Json => anstream::println!("{:#}", json!({ "routes": routes })),
        Output::Text => anstream::print!("{}", text(&routes)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(routes: &[Route]) -> String {
    let mut said = String::new();
    let width = routes.iter().map(|route| route.name.len()).max();
    let width = width.unwrap_or_default();
    for (heading, is_open) in [("You may open:", true), ("You may not open:", false)] {
        let mut wanted = routes
            .iter()
            .filter(|route| route.open == is_open)
            .peekable();
        if wanted.peek().is_none() {
            continue;
        }
        let _fits = writeln!(said, "{heading}");
        for route in wanted {
            let more = route.why_not.as_deref().unwrap_or(&route.url);
            let _fits = writeln!(said, "  {:width$}  {more}", route.name);
        }
    }
    if routes.is_empty() {
        said.push_str("There are no routes.\n");
    }
    said
}
