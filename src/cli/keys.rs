//! `wayleave keys`: the keys that sign, and having another one made.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::cli::client::{self, Client, Failure, ServerArguments};
use crate::cli::confirm::{Asking, agreed};

/// Look at and rotate the keys that sign assertions, access tokens and checkpoints.
#[derive(Debug, clap::Args)]
pub struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List all keys, newest first. With --output json as a JWK set, by which `audit verify --keys` verifies.
    List,
    /// Make another key: it is published now and signs later, so that nobody notices.
    Rotate {
        /// Take this key out of use at once instead, because somebody else may have it; another one signs at once if this one does.
        #[arg(long, value_name = "KID")]
        revoke: Option<String>,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        /// Who you are, for the audit log.
        #[arg(long)]
        author: Option<String>,
    },
}

/// Does what the arguments say.
pub fn run(arguments: &KeysArguments) -> anyhow::Result<ExitCode> {
    client::ask(&arguments.server, async |client| {
        ask(&client, arguments).await
    })
}

async fn ask(client: &Client, arguments: &KeysArguments) -> Result<ExitCode, Failure> {
    let is_json = arguments.server.is_json();
    let said = match &arguments.command {
        KeysCommand::List => {
            let said = client.get("keys", &[]).await?;
            print(&said, list(&said), is_json);
            return Ok(ExitCode::SUCCESS);
        }
        KeysCommand::Rotate {
            revoke,
            yes,
            author,
        } => {
            let path = match revoke {
                Some(_) => "keys/revoke",
                None => "keys/rotate",
            };
            let mut body = json!({ "preview": true, "author": author });
            if let Some(kid) = revoke {
                body["kid"] = kid.as_str().into();
            }
            let preview = client.post(path, &body).await?;
            let changes = told(&preview);
            let asking = Asking {
                yes: *yes,
                is_free: true,
                output: arguments.server.output(),
            };
            if !agreed(&changes, asking)? {
                return Ok(ExitCode::SUCCESS);
            }
            body["preview"] = false.into();
            client.post(path, &body).await?
        }
    };
    print(&said, told(&said), is_json);
    Ok(ExitCode::SUCCESS)
}

fn print(said: &Value, text: String, is_json: bool) {
    match is_json {
        true => anstream::println!("{said:#}"),
        false => anstream::print!("{text}"),
    }
}

fn list(said: &Value) -> String {
    let text = |key: &Value, name: &str| key[name].as_str().unwrap_or("-").to_owned();
    let keys = said["keys"].as_array().into_iter().flatten();
    let line = |key: &Value| {
        let (state, kid) = (text(key, "state"), text(key, "kid"));
        let what = match state.as_str() {
            "retired" => format!("published until {}", text(key, "published_until")),
            "archived" => format!("signed until {}", text(key, "signs_until")),
            "revoked" => format!("since {}", text(key, "revoked_at")),
            _ => format!("signs from {}", text(key, "signs_from")),
        };
        format!("{kid}  {state:<8}  {what}\n")
    };
    keys.map(line).collect()
}

/// What was done or would be.
fn told(said: &Value) -> String {
    let text = |name: &str| said[name].as_str().unwrap_or("-");
    let is_done = said["preview"] == false;
    if said["kid"].is_string() {
        let verb = if is_done { "is" } else { "would be" };
        let signs = match said["signs"] == true {
            true => {
                "\nIt signed, so another key does at once. Workloads refuse that one's assertions until they have read the keys again, within five minutes."
            }
            false => "",
        };
        return format!(
            "Key {} ({}) {verb} revoked: it verifies nothing any more.{signs}\n",
            text("kid"),
            text("state")
        );
    }
    let verb = if is_done { "is" } else { "would be" };
    format!(
        "Another key {verb} published now, and signs from {} on.\n{} signs until then, and stays published until {}.\n",
        text("signs_from"),
        text("active"),
        text("published_until")
    )
}
