//! `wayleave request`: asks for access that a rule gives for a time, and waits until somebody has decided.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::access::{clock_time, length, length_of, short};
use crate::cli::client::{self, Client, ClientError, Failure, Refusal, complain};
use crate::cli::curl::address;
use crate::cli::person::access::Access;
use crate::cli::person::home::Home;
use crate::cli::person::token_cache::AskedSignIn;
use crate::cli::person::{Output, PersonArguments};
use crate::cli::refusal;
use crate::cli::svid::svid_kind;
use crate::policy::svids::{self, SvidKind};

/// Between two looks at what became of it.
const AGAIN: Duration = Duration::from_secs(2);
/// It was refused.
const DENIED: u8 = 4;

/// Ask for access for a time, and wait until somebody has decided.
#[derive(Debug, clap::Args)]
pub struct RequestArguments {
    /// A route's name and a path below it, like `payroll/reports`; or a whole URL of a route.
    #[arg(value_name = "ROUTE/PATH", required_unless_present = "svid")]
    target: Option<String>,
    /// An SVID of your own instead (`wayleave svid`): x509 or jwt.
    #[arg(long, value_name = "KIND", conflicts_with_all = ["target", "method"], value_parser = svid_kind)]
    svid: Option<SvidKind>,
    /// Why; whoever decides reads it.
    #[arg(short = 'm', long)]
    reason: String,
    /// For how long, like 30m or 4h; as long as the rule allows, if it is left out.
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    lasting: Option<Duration>,
    /// What to do there, if it is not to look at it.
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// Take it at once, where the rule lets that be: everybody hears of it, and it is looked at afterwards.
    #[arg(long)]
    break_glass: bool,
    /// Do not wait.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    person: PersonArguments,
}

/// Asks, waits, and tells what became of it.
pub fn run(arguments: &RequestArguments) -> anyhow::Result<ExitCode> {
    client::ask_as_person(&arguments.person, async |client| {
        request(&client, arguments).await
    })
}

async fn request(client: &Client, arguments: &RequestArguments) -> Result<ExitCode, Failure> {
    let Client::Person(access, home) = client else {
        return Err(anyhow::anyhow!("only people can ask").into());
    };
    let (url, method) = match (arguments.svid, &arguments.target) {
        (None, Some(target)) => {
            let (_, address) = address(access, home, target).await?;
            (address.url, arguments.method.to_ascii_uppercase())
        }
        (Some(kind), _) => (home.url(kind.path()), svids::METHOD.to_owned()),
        (None, None) => return Err(anyhow::anyhow!("give a route, or --svid KIND").into()),
    };
    let body = json!({
        "url": url.as_str(),
        "method": method,
        "reason": arguments.reason,
        "seconds": arguments.lasting.map(|lasting| lasting.as_secs()),
        "break_glass": arguments.break_glass,
    });
    let mut said = match client.post("access/requests", &body).await {
        Ok(said) => said,
        Err(ClientError::Refused(refusal)) if refusal.problem["code"] == "open_already" => {
            match arguments.person.output {
                Output::Json => anstream::println!("{:#}", json!({ "open": true })),
                Output::Text => {
                    anstream::println!("You may open it already; there is nothing to ask for.");
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
        Err(ClientError::Refused(refusal)) => {
            return Err(not_asked(access, home, refusal, arguments).await);
        }
        Err(error) => return Err(error.into()),
    };
    let id = said["request"]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if !is_settled(&said) && !arguments.no_wait {
        // What was taken at once only has to get here.
        if said["request"]["state"] == "open" {
            let waiting = format!(
                "Asked for {} until somebody decides. Ctrl-C leaves it open; `wayleave access withdraw {}` takes it back.",
                length_of(&said["request"]["seconds"]),
                short(&id),
            );
            anstream::eprintln!("{waiting}");
        }
        said = settled(client, &id).await?;
    }
    Ok(tell(arguments, &said))
}

/// Why nothing was asked for, and what there is to do instead.
async fn not_asked(
    access: &Access,
    home: &Home,
    refusal: Refusal,
    arguments: &RequestArguments,
) -> Failure {
    let problem = &refusal.problem;
    let code = problem["code"].as_str().unwrap_or_default();
    let next = match (code, &arguments.target) {
        ("step_up_required", _) => {
            let asked: Option<AskedSignIn> = serde_json::from_value(problem.clone()).ok();
            let again = asked.map(|asked| asked.command(&access.profile.name));
            again.map(|again| format!("{again}; a browser is led there by itself"))
        }
        ("nothing_to_ask_for", Some(target)) => askable_parts(access, home, target).await,
        _ => None,
    };
    let fault = refusal::fault(refusal);
    match next {
        Some(next) => fault.next(next).into(),
        None => fault.into(),
    }
}

/// Which parts of a route can be asked for, where the whole cannot.
async fn askable_parts(access: &Access, home: &Home, target: &str) -> Option<String> {
    let name = target.split(['/', '?']).next()?;
    let routes = access.routes(home, true).await.ok()?;
    let route = routes.iter().find(|route| route.name == name)?;
    let parts = route.ask_in_parts.join(", ");
    let next =
        format!("parts of {name} can be asked for: {parts}; name such a path behind the route");
    (!parts.is_empty()).then_some(next)
}

/// Looks again until it is decided. What does not answer for a while is asked again.
async fn settled(client: &Client, id: &str) -> Result<Value, ClientError> {
    let path = format!("access/requests/{id}");
    loop {
        match client.get(&path, &[]).await {
            Ok(said) if is_settled(&said) => return Ok(said),
            Err(ClientError::Person(fault)) if !fault.is_passing() => return Err(fault.into()),
            Err(ClientError::Refused(Refusal { status, problem })) if !status.is_server_error() => {
                return Err(ClientError::Refused(Refusal { status, problem }));
            }
            Ok(_) | Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Whether there is no more to wait for: a grant has to have reached this edge as well.
fn is_settled(said: &Value) -> bool {
    match said["request"]["state"].as_str() {
        Some("open") => false,
        Some("granted") => said["in_force"] == true || said["grant"]["live"] == false,
        Some(_) | None => true,
    }
}

fn tell(arguments: &RequestArguments, said: &Value) -> ExitCode {
    let state = said["request"]["state"].as_str().unwrap_or_default();
    let is_live = said["grant"]["live"] == true;
    if arguments.person.output == Output::Json {
        anstream::println!("{said:#}");
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (told, code) = match state {
        "open" => {
            let id = text(&said["request"]["id"]);
            let told = format!(
                "Asked ({}); `wayleave access` tells what becomes of it.",
                short(&id)
            );
            (Ok(told), ExitCode::SUCCESS)
        }
        "granted" if is_live => {
            let until = clock_time(&said["grant"]["until"]);
            let how = if said["grant"]["break_glass"] == true {
                "Taken without an approval".to_owned()
            } else {
                format!("Granted by {}", text(&said["grant"]["by"]))
            };
            (Ok(format!("{how}, until {until}.")), ExitCode::SUCCESS)
        }
        "refused" => {
            let (by, why) = (&said["request"]["decided_by"], &said["request"]["why"]);
            let told = format!("{} refused it: {}", text(by), text(why));
            (Err(told), ExitCode::from(DENIED))
        }
        "expired" => (
            Err("nobody decided it in time".to_owned()),
            ExitCode::FAILURE,
        ),
        "withdrawn" => (Err("it was taken back".to_owned()), ExitCode::FAILURE),
        _ => (Err("the grant is over".to_owned()), ExitCode::FAILURE),
    };
    if arguments.person.output == Output::Text {
        match told {
            Ok(told) => anstream::println!("{told}"),
            Err(told) => complain(&told),
        }
    }
    code
}
