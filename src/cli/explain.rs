//! `wayleave explain`: why somebody may or may not do something.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::cli::client::{self, Client, ClientError, ServerArguments};
use crate::cli::person::fault::Fault;
use crate::cli::svid::svid_kind;
use crate::policy::svids;

/// Say why somebody may or may not do something, rule by rule.
#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    /// The method, like GET; or SVID; or the id of a decision, as the page that refuses has it.
    #[arg(value_name = "METHOD|ID")]
    method: String,
    /// The URL, like `https://grafana.corp.example/d/1`; after SVID, for an SVID of their own, x509 or jwt; none after a decision's id.
    url: Option<String>,
    /// Who: an e-mail address, or provider/subject as the audit log has it. Without more they are taken as they last signed in; without this nobody is signed in.
    #[arg(long = "as", value_name = "WHO")]
    who: Option<String>,
    /// Somebody who signed in at this provider, instead of who really did.
    #[arg(long, requires = "who")]
    provider: Option<String>,
    /// A group of theirs; may be repeated.
    #[arg(long = "group", requires = "provider", value_name = "GROUP")]
    groups: Vec<String>,
    /// A claim of theirs; may be repeated.
    #[arg(long = "claim", requires = "provider", value_name = "NAME=VALUE", value_parser = pair)]
    claims: Vec<(String, String)>,
    /// A program that acts for them, as rules call it; of two the one that asks first.
    #[arg(long = "agent", requires = "provider", value_name = "AGENT")]
    agents: Vec<String>,
    /// How they signed in.
    #[arg(long, requires = "provider", value_name = "CLASS")]
    acr: Option<String>,
    /// When they signed in, like 2h.
    #[arg(long, requires = "provider", value_name = "DURATION")]
    signed_in_ago: Option<String>,
    /// Where the connection comes from.
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<String>,
    /// A request header; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// A rule that an approver has granted them; may be repeated.
    #[arg(long = "granted", requires = "who", value_name = "RULE")]
    granted: Vec<String>,
    /// When, like 2027-01-31T18:00:00Z, instead of now.
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
    /// By an earlier revision instead of the current one.
    #[arg(long, value_name = "N")]
    revision: Option<i64>,
    #[command(flatten)]
    server: ServerArguments,
}

impl ExplainArguments {
    /// A flag that says more of a request that is asked about.
    fn first_of_a_question(&self) -> Option<&'static str> {
        let flags = [
            ("--as", self.who.is_some()),
            ("--source-ip", self.source_ip.is_some()),
            ("--header", !self.headers.is_empty()),
            ("--granted", !self.granted.is_empty()),
            ("--at", self.at.is_some()),
        ];
        let mut given = flags.into_iter().filter(|(_, is_given)| *is_given);
        given.next().map(|(flag, _)| flag)
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it must be like name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Asks, and prints the answer.
pub fn run(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    client::ask(&arguments.server, async |client| {
        let answer = ask(&client, arguments).await?;
        if arguments.server.is_json() {
            anstream::println!("{answer:#}");
        } else {
            anstream::print!("{}", text(&answer));
            if arguments.provider.is_some() && answer["mesh_identity"].is_string() {
                anstream::print!("{}", subject_note(arguments.who.as_deref()));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn ask(client: &Client, arguments: &ExplainArguments) -> Result<Value, ClientError> {
    let method = &arguments.method;
    let is_word = method.chars().all(|c| c.is_ascii_alphabetic());
    let Some(url) = &arguments.url else {
        // Ids of decisions have digits.
        if is_word {
            let example = match method.as_str() {
                "SVID" => "wayleave explain --as alice@corp.example SVID x509",
                _ => "wayleave explain --as alice@corp.example GET https://grafana.corp.example/",
            };
            let message = format!("{method} of what? The address is missing");
            return Err(Fault::usage(message).next(example).into());
        }
        if let Some((scheme, _)) = method.split_once("://") {
            let fault = Fault::usage(format!(
                "{scheme}:// begins an address, and no method stands before it"
            ));
            return Err(fault.next(format!("wayleave explain GET {method}")).into());
        }
        if let Some(flag) = arguments.first_of_a_question() {
            let fault = Fault::usage(format!(
                "{flag} describes a request, and a decision's id names one that was made"
            ));
            return Err(fault.next(format!("wayleave explain {method}")).into());
        }
        let revision = arguments.revision;
        let wanted = revision.map(|revision| ("revision", revision.to_string()));
        let path = format!("policy/explain/{}", arguments.method);
        return client.get(&path, wanted.as_slice()).await;
    };
    let in_capitals = method.to_ascii_uppercase();
    if is_word && *method != in_capitals {
        let message =
            format!("{method} is another method than {in_capitals}, to rules and to servers");
        return Err(Fault::usage(message)
            .next(format!("wayleave explain {in_capitals} {url}"))
            .into());
    }
    let (method, url) = match method.as_str() {
        "SVID" => svid(url).map_err(ClientError::Person)?,
        method => (method.to_owned(), url.clone()),
    };
    let question = question(arguments, &method, &url);
    let body = json!({ "question": question, "revision": arguments.revision });
    client.post("policy/explain", &body).await
}

/// The request that asks for an SVID; every host has that path for itself.
fn svid(kind: &str) -> Result<(String, String), Fault> {
    let kind = svid_kind(kind).map_err(Fault::usage)?;
    let url = format!("https://svid.invalid{}", kind.path());
    Ok((svids::METHOD.to_owned(), url))
}

fn question(arguments: &ExplainArguments, method: &str, url: &str) -> Value {
    let mut question = Map::new();
    let mut say = |name: &str, value: Value| {
        if !value.is_null() {
            question.insert(name.to_owned(), value);
        }
    };
    say("method", method.into());
    say("url", url.into());
    say("source_ip", json!(arguments.source_ip));
    say("at", json!(arguments.at));
    if !arguments.headers.is_empty() {
        say("headers", arguments.headers.iter().cloned().collect());
    }
    if !arguments.granted.is_empty() {
        say("granted", json!(arguments.granted));
    }
    match (&arguments.who, &arguments.provider) {
        (Some(who), Some(provider)) => say("as", person(arguments, who, provider)),
        (who, _) => say("as_known", json!(who)),
    }
    Value::Object(question)
}

/// Many mesh identities come of the subject, of which an address says nothing.
fn subject_note(who: Option<&str>) -> &'static str {
    match who.is_some_and(|who| who.contains('@')) {
        true => {
            "Their subject at the provider is not known here, so the address stands for it: a mesh identity that comes of the subject is another.\n"
        }
        false => "",
    }
}

fn person(arguments: &ExplainArguments, who: &str, provider: &str) -> Value {
    let mut claims = Map::new();
    for (name, value) in &arguments.claims {
        let values = claims.entry(name.clone()).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(value.as_str().into());
        }
    }
    let name = if who.contains('@') {
        "email"
    } else {
        "subject"
    };
    let mut person = json!({ "provider": provider, "groups": arguments.groups, "claims": claims });
    person[name] = who.into();
    if !arguments.agents.is_empty() {
        person["agents"] = json!(arguments.agents);
    }
    for (name, value) in [
        ("acr", &arguments.acr),
        ("signed_in_ago", &arguments.signed_in_ago),
    ] {
        if let Some(value) = value {
            person[name] = value.as_str().into();
        }
    }
    person
}

fn text(answer: &Value) -> String {
    let mut said = String::new();
    let mut line = |text: String| {
        let _fits = writeln!(said, "{text}");
    };
    if let Some(decision) = answer.get("decision") {
        line(made(decision));
    }
    line(who(&answer["person"]));
    let revision = &answer["revision"];
    let Some(route) = answer["route"].as_str() else {
        line(format!("No route of revision {revision} leads there."));
        return said;
    };
    let rule = answer["rule"].as_str().unwrap_or_default();
    let verdict = match answer["verdict"].as_str().unwrap_or_default() {
        "allow" => format!("allowed by rule {rule}"),
        "sign_in" => "asked to sign in".to_owned(),
        "step_up" => format!("asked to sign in again, as rule {rule} wants it"),
        "ask" => format!("asked for an approval by somebody else, as rule {rule} wants it"),
        "deny_nobody" => {
            format!("refused: rule {rule} allows it, and the caller is nobody where it leads")
        }
        "deny_agent" => "refused: no rule lets the agent do it for them".to_owned(),
        "deny_provider" => "refused: the route does not accept this provider".to_owned(),
        _ if rule.is_empty() => "refused: no rule allows it".to_owned(),
        _ => format!("refused by rule {rule}"),
    };
    line(format!(
        "On route {route}, by revision {revision}: {verdict}."
    ));
    match (
        answer["mesh_identity"].as_str(),
        answer["no_mesh_identity"].as_str(),
    ) {
        (Some(identity), _) => line(format!("In the mesh: {identity}")),
        (None, Some(why)) => line(format!("In the mesh nobody: {why}")),
        (None, None) => {}
    }
    let cluster = &answer["kubernetes"];
    match (cluster["user"].as_str(), cluster["nobody"].as_str()) {
        (Some(user), _) => {
            let groups = cluster["groups"].as_array().into_iter().flatten();
            let groups: Vec<&str> = groups.filter_map(Value::as_str).collect();
            let groups = match groups.as_slice() {
                [] => "in no group".to_owned(),
                groups => format!("in {}", groups.join(", ")),
            };
            line(format!("In the cluster: {user}, {groups}"));
        }
        (None, Some(why)) => line(format!("In the cluster nobody: {why}")),
        (None, None) => {}
    }
    if let Some(rule) = answer["shadow"]["rule"].as_str() {
        let would = answer["shadow"]["would"].as_str().unwrap_or_default();
        line(format!("Rule {rule}, in shadow mode, would {would} it."));
    }
    let remedies = answer["remedies"].as_array().into_iter().flatten();
    let remedies: Vec<&str> = remedies.filter_map(Value::as_str).collect();
    if !remedies.is_empty() {
        line("\nWhat would change it:".to_owned());
        remedies
            .iter()
            .for_each(|remedy| line(format!("  {remedy}")));
    }
    let considered = answer["considered"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !considered.is_empty() {
        // The reasons are those that the person would be told.
        let label = answer["person"]["label"].as_str();
        let you = label.map_or(String::new(), |label| {
            format!(" (\u{201c}you\u{201d} is {label})")
        });
        line(format!("\nRules for this route{you}:"));
    }
    // What decided stands first, then what else applies; the rest as written.
    let mut considered: Vec<&Value> = considered.iter().collect();
    considered.sort_by_key(|one| {
        let decided = !rule.is_empty() && one["rule"] == rule;
        (!decided, !fails(one).is_empty())
    });
    for rule in considered {
        let name = rule["rule"].as_str().unwrap_or_default();
        let action = rule["action"].as_str().unwrap_or_default();
        let shadow = if rule["is_shadow"] == true {
            ", in shadow mode"
        } else {
            ""
        };
        let fails = fails(rule);
        let outcome = match fails.is_empty() {
            true => "applies".to_owned(),
            // One stands beside the rule, several below it.
            false if fails.len() == 1 => fails.join(""),
            false => format!("\n      {}", fails.join("\n      ")),
        };
        line(format!("  {name} ({action}{shadow}): {outcome}"));
    }
    said
}

/// Everything that keeps a rule from applying.
fn fails(rule: &Value) -> Vec<&str> {
    let fails = rule["fails"].as_array().into_iter().flatten();
    fails.filter_map(Value::as_str).collect()
}

/// A decision that was made.
fn made(decision: &Value) -> String {
    let what = &decision["what"];
    let of = |name: &str| what[name].as_str().unwrap_or_default();
    let outcome = if what["is_allowed"] == true {
        "allowed"
    } else {
        "refused"
    };
    let at = decision["at"].as_str().unwrap_or_default();
    format!(
        "{at}: {} {}{} from {} was {outcome}. Header values are not recorded.",
        of("method"),
        of("host"),
        of("path"),
        of("peer")
    )
}

fn who(person: &Value) -> String {
    let Some(label) = person["label"].as_str() else {
        return "Somebody who is not signed in".to_owned();
    };
    let provider = person["provider"].as_str().unwrap_or_default();
    let groups: Vec<&str> = person["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let groups = match (person["groups"].is_null(), groups.as_slice()) {
        (true, _) => "groups unknown".to_owned(),
        (false, []) => "in no group".to_owned(),
        (false, names) => format!("in {}", names.join(", ")),
    };
    let agents: Vec<&str> = person["agents"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|agent| agent["id"].as_str())
        .collect();
    let through = match agents.as_slice() {
        [] => String::new(),
        agents => format!(", through {}", agents.join(" for ")),
    };
    format!("{label}, signed in at {provider}, {groups}{through}")
}
