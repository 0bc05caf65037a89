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
        Output::Text => anstream::print!("{}", text(&routes, &access.profile.name)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(routes: &[Route], profile: &str) -> String {
    let mut said = String::new();
    let width = routes.iter().map(|route| route.name.len()).max();
    let width = width.unwrap_or_default();
    let mut part = |heading: &str, line: &dyn Fn(&Route) -> Option<String>| {
        let lines = routes
            .iter()
            .filter_map(|route| Some((route, line(route)?)));
        for (number, (route, line)) in lines.enumerate() {
            if number == 0 {
                let _fits = writeln!(said, "{heading}");
            }
            let _fits = writeln!(said, "  {:width$}  {line}", route.name);
        }
    };
    part("You may open:", &|route| opened(route, profile));
    part("You may ask for:", &asked);
    part("You may not open:", &shut);
    if routes.is_empty() {
        said.push_str("There are no routes.\n");
    }
    said
}

/// How to get there, if anywhere.
fn opened(route: &Route, profile: &str) -> Option<String> {
    let name = &route.name;
    if !route.open {
        return in_parts(&route.open_in_parts).map(|parts| format!("{} ({parts})", route.url));
    }
    let there = match route {
        route if route.is_tcp() => format!("wayleave forward {name}"),
        route if route.is_kubernetes() => format!("wayleave kubeconfig {name}"),
        route => route.url.clone(),
    };
    Some(match &route.step_up {
        Some(asked) => format!("{there} (first: {})", asked.command(profile)),
        None => there,
    })
}

/// How it is asked for, if it can be.
fn asked(route: &Route) -> Option<String> {
    let name = &route.name;
    if route.may_be_asked_for() {
        let method = if route.is_tcp() { " -X POST" } else { "" };
        return Some(format!("wayleave request {name}{method} -m WHY"));
    }
    let parts = in_parts(&route.ask_in_parts)?;
    Some(format!("wayleave request {name}/PATH -m WHY ({parts})"))
}

/// Why nothing of it opens.
fn shut(route: &Route) -> Option<String> {
    let is_shut = !route.open && opened(route, "").is_none() && asked(route).is_none();
    is_shut.then(|| route.why_not.clone().unwrap_or_default())
}

fn in_parts(parts: &[String]) -> Option<String> {
    (!parts.is_empty()).then(|| format!("parts of it: {}", parts.join(", ")))
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
        let routes = [
            route("lines", "tcp", None),
            route("grafana", "http", None),
            route("prod", "kubernetes", None),
            route("console", "http", Some("approval_required")),
            route("db", "tcp", Some("approval_required")),
            route("payroll", "http", Some("no_rule")),
            Route {
                open_in_parts: vec!["/reports/*".to_owned(), "POST /in".to_owned()],
                ask_in_parts: vec!["/admin".to_owned()],
                ..route("wiki", "http", Some("no_rule"))
            },
            Route {
                step_up: serde_json::from_str(r#"{"acr_values":["mfa"],"max_age":3600}"#).ok(),
                ..route("vault", "http", None)
            },
        ];
        let said = text(&routes, "corp");
        let expected = "\
You may open:
  lines    wayleave forward lines
  grafana  https://it.example/
  prod     wayleave kubeconfig prod
  wiki     https://it.example/ (parts of it: /reports/*, POST /in)
  vault    https://it.example/ (first: wayleave login --profile corp --acr mfa --max-age 1h)
You may ask for:
  console  wayleave request console -m WHY
  db       wayleave request db -X POST -m WHY
  wiki     wayleave request wiki/PATH -m WHY (parts of it: /admin)
You may not open:
  payroll  Because.
";
        assert_eq!(said, expected);
    }
}
