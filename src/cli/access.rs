//! `wayleave access`: requests for access and grants, one's own and those that one decides about.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::cli::client::{self, Client, Failure};
use crate::cli::person::fault::Fault;
use crate::cli::person::{Output, PersonArguments};

/// As many characters of an id as are shown.
const SHORT: usize = 8;

/// Requests for access and grants: list, approve, refuse, withdraw, revoke, give back, review.
#[derive(Debug, clap::Args)]
pub struct AccessArguments {
    #[command(subcommand)]
    command: Option<AccessCommand>,
    #[command(flatten)]
    person: PersonArguments,
}

#[derive(Debug, Subcommand)]
enum AccessCommand {
    /// List what you asked for, what you were granted, and what you have to decide (as without a command).
    List,
    /// Approve of somebody's request.
    Approve {
        /// As `wayleave access` shows it.
        id: String,
        /// For less than was asked for, like 30m.
        #[arg(long = "for", value_name = "DURATION", value_parser = length)]
        lasting: Option<Duration>,
    },
    /// Refuse somebody's request.
    Refuse {
        /// As `wayleave access` shows it.
        id: String,
        /// Why; whoever asked reads it.
        #[arg(short = 'm', long)]
        reason: String,
    },
    /// Take a request of yours back.
    Withdraw {
        /// As `wayleave access` shows it.
        id: String,
    },
    /// Take somebody's grant away.
    Revoke {
        /// As `wayleave access` shows it.
        id: String,
    },
    /// Give a grant of yours back.
    GiveBack {
        /// As `wayleave access` shows it.
        id: String,
    },
    /// Say that you looked at what somebody took without an approval.
    Review {
        /// As `wayleave access` shows it.
        id: String,
        /// What you found.
        #[arg(short = 'm', long)]
        note: String,
    },
}

/// What an act is about: where it is listed, and what the API calls it.
struct Act<'a> {
    id: &'a str,
    kind: &'static str,
    verb: &'static str,
    body: Value,
    done: &'static str,
}

impl AccessCommand {
    /// `None` where it is only looked.
    fn act(&self) -> Option<Act<'_>> {
        let act = |id, kind, verb, body, done| {
            Some(Act {
                id,
                kind,
                verb,
                body,
                done,
            })
        };
        match self {
            Self::List => None,
            Self::Approve { id, lasting } => {
                let body = json!({ "seconds": lasting.map(|lasting| lasting.as_secs()) });
                act(id, "requests", "approve", body, "Approved.")
            }
            Self::Refuse { id, reason } => act(
                id,
                "requests",
                "refuse",
                json!({ "reason": reason }),
                "Refused.",
            ),
            Self::Withdraw { id } => act(id, "requests", "withdraw", json!({}), "Taken back."),
            Self::Revoke { id } => act(id, "grants", "revoke", json!({}), "Revoked."),
            Self::GiveBack { id } => act(id, "grants", "give-back", json!({}), "Given back."),
            Self::Review { id, note } => {
                act(id, "grants", "review", json!({ "note": note }), "Reviewed.")
            }
        }
    }
}

/// Does what the arguments say.
pub fn run(arguments: &AccessArguments) -> anyhow::Result<ExitCode> {
    let is_json = arguments.person.output == Output::Json;
    client::ask_as_person(&arguments.person, async |client| {
        let lists = lists(&client).await?;
        let Some(act) = arguments.command.as_ref().and_then(AccessCommand::act) else {
            if is_json {
                anstream::println!("{lists:#}");
            } else {
                anstream::print!("{}", told(&lists));
            }
            return Ok(ExitCode::SUCCESS);
        };
        let id = whole_id(&lists, act.kind, act.id)?;
        let path = format!("access/{}/{id}/{}", act.kind, act.verb);
        client.post(&path, &act.body).await?;
        if is_json {
            anstream::println!("{:#}", json!({ "id": id }));
            return Ok(ExitCode::SUCCESS);
        }
        // What came of it may be less than was asked for.
        let about = match act.verb {
            "approve" => about(&self::lists(&client).await?, "grants", &id),
            _ => about(&lists, act.kind, &id),
        };
        anstream::println!("{} {about}", act.done);
        Ok(ExitCode::SUCCESS)
    })
}

async fn lists(client: &Client) -> Result<Value, Failure> {
    Ok(json!({
        "own": client.get("access/own", &[]).await?,
        "to_decide": client.get("access/to-decide", &[]).await?,
    }))
}

/// The one id that begins so.
fn whole_id(lists: &Value, kind: &str, begin: &str) -> Result<String, Fault> {
    let (own, others) = (&lists["own"], &lists["to_decide"]);
    let mut of_kind = vec![&own[kind], &others[kind]];
    if kind == "grants" {
        of_kind.push(&others["to_review"]);
    }
    let all = of_kind.into_iter().filter_map(Value::as_array).flatten();
    let mut found: Vec<&str> = all
        .filter_map(|one| one["id"].as_str())
        .filter(|id| !begin.is_empty() && id.starts_with(begin))
        .collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [id] => Ok((*id).to_owned()),
        // A request and the grant that came of it have the same id.
        [] if kind == "requests" && whole_id(lists, "grants", begin).is_ok() => {
            let said = format!("{begin} is approved already, and is a grant now");
            Err(Fault::usage(said).next("wayleave access shows it"))
        }
        [] => Err(Fault::usage(format!("none of your {kind} is {begin}")).next("wayleave access")),
        _ => Err(Fault::usage(format!("{begin} is how several begin")).next("give more of it")),
    }
}

/// A list, and how one of it is told.
type Listed<'a> = (&'a Value, fn(&Value) -> String);

/// What an act was about, as it was listed before.
fn about(lists: &Value, kind: &str, id: &str) -> String {
    let (own, others) = (&lists["own"], &lists["to_decide"]);
    let parts: &[Listed<'_>] = match kind {
        "requests" => &[
            (&others["requests"], request_of_other),
            (&own["requests"], wanted),
        ],
        _ => &[
            (&others["grants"], grant_of_other),
            (&others["to_review"], grant_of_other),
            (&own["grants"], own_grant),
        ],
    };
    let found = parts.iter().find_map(|(list, line)| {
        let mut list = list.as_array().into_iter().flatten();
        list.find(|one| one["id"] == id).map(line)
    });
    found.unwrap_or_default()
}

/// A part of the answer: its heading, and how one of it is told.
type Part<'a> = (&'static str, &'a Value, fn(&Value) -> String);

fn told(lists: &Value) -> String {
    let (own, others) = (&lists["own"], &lists["to_decide"]);
    let parts: [Part<'_>; 5] = [
        ("For you to decide:", &others["requests"], request_of_other),
        (
            "Taken without an approval, for you to review:",
            &others["to_review"],
            grant_of_other,
        ),
        (
            "Granted to others, for you to revoke:",
            &others["grants"],
            grant_of_other,
        ),
        ("Your requests:", &own["requests"], own_request),
        ("Your grants:", &own["grants"], own_grant),
    ];
    let mut said = String::new();
    for (heading, list, line) in parts {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        if list.is_empty() {
            continue;
        }
        let _fits = writeln!(said, "{heading}");
        for one in list {
            let id = short(text(one, "id"));
            let _fits = writeln!(said, "  {id}  {}", line(one));
        }
    }
    if said.is_empty() {
        said.push_str("There are no requests and no grants. `wayleave routes` says what you can ask for, `wayleave request ROUTE -m WHY` asks.\n");
    }
    said
}

fn request_of_other(request: &Value) -> String {
    let (user, reason) = (text(request, "user"), text(request, "reason"));
    format!(
        "{user} ({}), {}: {reason}",
        text(request, "provider"),
        wanted(request)
    )
}

fn own_request(request: &Value) -> String {
    let state = match text(request, "state") {
        "open" => "waits".to_owned(),
        "refused" => format!(
            "refused by {}: {}",
            text(request, "decided_by"),
            text(request, "why")
        ),
        "withdrawn" => "taken back".to_owned(),
        other => other.to_owned(),
    };
    format!("{}: {state}", wanted(request))
}

fn wanted(request: &Value) -> String {
    format!(
        "{} {}{} for {}, asked {}",
        text(request, "method"),
        text(request, "host"),
        text(request, "target"),
        length_of(&request["seconds"]),
        clock_time(&request["asked_at"])
    )
}

fn grant_of_other(grant: &Value) -> String {
    let (user, reason) = (text(grant, "user"), text(grant, "reason"));
    format!(
        "{user} ({}), rule {}, {}: {reason}",
        text(grant, "provider"),
        text(grant, "rule"),
        until(grant)
    )
}

fn own_grant(grant: &Value) -> String {
    let by = if grant["break_glass"] == true {
        "taken without an approval".to_owned()
    } else {
        format!("by {}", text(grant, "by"))
    };
    format!("rule {}, {by}, {}", text(grant, "rule"), until(grant))
}

fn until(grant: &Value) -> String {
    if grant["live"] == true {
        format!("until {}", clock_time(&grant["until"]))
    } else {
        let ended = [&grant["ended_at"], &grant["until"]];
        let ended = ended.into_iter().find(|moment| !moment.is_null());
        format!("ended {}", clock_time(ended.unwrap_or(&Value::Null)))
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The part of an id that is shown.
pub(super) fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

/// A moment as people on a terminal read it.
pub(super) fn clock_time(moment: &Value) -> String {
    let moment = moment.as_str().unwrap_or_default();
    let to_the_minute = moment.get(..16).unwrap_or(moment);
    format!("{} UTC", to_the_minute.replace('T', " "))
}

/// Seconds as people read them.
pub(super) fn length_of(seconds: &Value) -> String {
    let seconds = Duration::from_secs(seconds.as_u64().unwrap_or_default());
    humantime::format_duration(seconds).to_string()
}

/// Reads a time that lasts.
pub(super) fn length(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "it must be like 30m or 4h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_how_they_begin() {
        let lists = json!({
            "own": { "requests": [{ "id": "aabb" }], "grants": [{ "id": "aabb" }] },
            "to_decide": { "requests": [{ "id": "aacc" }], "grants": [], "to_review": [{ "id": "dd" }] },
        });
        let found = |kind, begin| whole_id(&lists, kind, begin).ok();
        assert_eq!(found("requests", "aab"), Some("aabb".to_owned()));
        assert_eq!(found("requests", "aa"), None);
        assert_eq!(found("requests", ""), None);
        assert_eq!(found("grants", "aa"), Some("aabb".to_owned()));
        assert_eq!(found("grants", "dd"), Some("dd".to_owned()));
        assert_eq!(found("requests", "dd"), None);
        let said = |begin| format!("{:?}", whole_id(&lists, "requests", begin).unwrap_err());
        assert!(said("dd").contains("approved already"), "{}", said("dd"));
        assert!(said("ee").contains("none of your requests"));
    }

    #[test]
    fn a_grant_that_was_ended_says_when_that_was() {
        let grant = |live: bool, ended: Value| {
            until(&json!({ "live": live, "until": "2027-01-31T18:00:00.000Z", "ended_at": ended }))
        };
        assert_eq!(grant(true, Value::Null), "until 2027-01-31 18:00 UTC");
        assert_eq!(grant(false, Value::Null), "ended 2027-01-31 18:00 UTC");
        let revoked = "2027-01-31T17:05:00.000Z".into();
        assert_eq!(grant(false, revoked), "ended 2027-01-31 17:05 UTC");
    }
}
