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
    let is_shut = |route: &Route| !route.open && !route.may_be_asked_for();
    let mut part = |heading: &str, is_wanted: &dyn Fn(&Route) -> bool| {
        let mut wanted = routes.iter().filter(|route| is_wanted(route)).peekable();
        if wanted.peek().is_some() {
            let _fits = writeln!(said, "{heading}");
        }
        for route in wanted {
            let _fits = writeln!(said, "  {:width$}  {}", route.name, next(route));
        }
    };
    part("You may open:", &|route| route.open);
    part("You may ask for:", &Route::may_be_asked_for);
    part("You may not open:", &is_shut);
    if routes.is_empty() {
        said.push_str("There are no routes.\n");
    }
    said
}

/// How to get there, or why not.
fn next(route: &Route) -> String {
    let name = &route.name;
    if route.may_be_asked_for() {
        let method = if route.is_tcp() { " -X POST" } else { "" };
        return format!("wayleave request {name}{method} -m WHY");
    }
    match &route.why_not {
        Some(why) => why.clone(),
        None if route.is_tcp() => format!("wayleave forward {name}"),
        None if route.is_kubernetes() => format!("wayleave kubeconfig {name}"),
        None => route.url.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_says_how_it_is_reached() {
        let route = |name: &str, protocol: &str, reason: Option<&str>| Route {
            open: reason.is_none(),
            protocol: Some(protocol.to_owned()),
            reason: reason.map(str::to_owned),
            why_not: reason.map(|_| "Because.".to_owned()),
            ..Route::sample(name, "https://it.example/")
        };
        let said = text(&[
            route("lines", "tcp", None),
            route("grafana", "http", None),
            route("prod", "kubernetes", None),
            route("console", "http", Some("approval_required")),
            route("db", "tcp", Some("approval_required")),
            route("payroll", "http", Some("no_rule")),
        ]);
        let expected = "\
You may open:
  lines    wayleave forward lines
  grafana  https://it.example/
  prod     wayleave kubeconfig prod
You may ask for:
  console  wayleave request console -m WHY
  db       wayleave request db -X POST -m WHY
You may not open:
  payroll  Because.
";
        assert_eq!(said, expected);
    }
}
