//! `wayleave whoami`: who the edge takes you for.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::person::access::Access;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::{Output, PersonArguments, to_the_second, wait};

/// Asks, and prints the answer.
pub fn run(arguments: &PersonArguments) -> ExitCode {
    arguments.end(show(arguments))
}

fn show(arguments: &PersonArguments) -> Result<ExitCode, Fault> {
    let access = Access::open(arguments)?;
    let home = Home::new(&access.profile)?;
    let mut me = wait(access.ask(&home, "me"))?;
    match arguments.output {
        Output::Json => {
            me["edge"] = access.profile.edge.as_str().into();
            me["profile"] = access.profile.name.as_str().into();
            anstream::println!("{me:#}");
        }
        Output::Text => anstream::print!("{}", text(&me, &access)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(me: &Value, access: &Access) -> String {
    let of = |name: &str| me[name].as_str().unwrap_or("none").to_owned();
    let groups = match me["groups"].as_array() {
        None => "not known".to_owned(),
        Some(names) if names.is_empty() => "none".to_owned(),
        Some(names) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            names.join(", ")
        }
    };
    let rows = [
        ("You are", of("user")),
        ("Signed in at", of("provider")),
        ("Groups", groups),
        ("Mesh identity", of("mesh_identity")),
        ("Until", to_the_second(&of("session_ends_at"))),
        ("Edge", access.profile.edge.to_string()),
        ("Profile", access.profile.name.clone()),
    ];
    let rows = rows
        .iter()
        .map(|(name, value)| format!("{name:<14} {value}\n"));
    rows.collect()
}
