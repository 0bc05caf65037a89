//! `wayleave policy`: what is in force, what a document would change, and making it so.

mod draft;
mod istio;
mod show;
mod show_draft;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::cli::audit::moment;
use crate::cli::client::{self, Client, ClientError, Failure, ServerArguments};
use crate::cli::confirm::{Asking, agreed};
use crate::cli::person::Output;
use crate::cli::person::fault::Fault;
use crate::cli::policy::istio::IstioArguments;
use crate::cli::refusal::of_file;
use crate::policy::yaml::{LARGEST_DOCUMENT, SCHEMA};

/// Changes are pending (with `--detailed-exitcode`). Not 2, which says that an option is wrong.
const PENDING: u8 = 6;
/// Something is odd about the policy (with `--fail-on-findings`).
const FINDINGS: u8 = 7;

/// Look at and change the policy of a running edge.
#[derive(Debug, clap::Args)]
pub struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Print the policy as its author wrote it.
    Export {
        /// An earlier revision instead of the current one.
        #[arg(long, value_name = "N")]
        revision: Option<i64>,
        /// As its author wrote it, or as manifests for Istio.
        #[arg(long, value_enum, default_value_t = Format::Document)]
        format: Format,
        #[command(flatten)]
        istio: IstioArguments,
    },
    /// Say what a document would change, or all that is wrong with it.
    Plan {
        /// The document; - for standard input.
        file: PathBuf,
        /// Exit with 6 when there is something to change.
        #[arg(long)]
        detailed_exitcode: bool,
        /// Exit with 7 when something is odd about the policy, whether or not there is something to change.
        #[arg(long)]
        fail_on_findings: bool,
        /// How far back to look for who would lose or gain something.
        #[arg(long, value_name = "WHEN", default_value = "14d", value_parser = moment)]
        last: String,
    },
    /// Say who would lose or gain what, by deciding once more what people did lately.
    Replay {
        /// The document; - for standard input.
        #[arg(required_unless_present = "revision")]
        file: Option<PathBuf>,
        /// An earlier revision instead of a document.
        #[arg(long, value_name = "N", conflicts_with = "file")]
        revision: Option<i64>,
        /// How far back: 14d, or a moment like 2027-01-31T18:00:00Z.
        #[arg(long, value_name = "WHEN", default_value = "14d", value_parser = moment)]
        last: String,
    },
    /// Make a document the policy, as a new revision.
    Apply {
        /// The document; - for standard input.
        file: PathBuf,
        /// The revision that the document was made from: refuses if another is current by now. `current` is whichever that is; --yes needs one or the other.
        #[arg(long, value_name = "N")]
        parent: Option<Parent>,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// List the revisions, newest first.
    History {
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
        limit: u16,
        /// Those before this revision.
        #[arg(long, value_name = "REVISION")]
        before: Option<i64>,
    },
    /// Say who made a revision, why, and what it changed.
    Show {
        /// Its number.
        revision: i64,
    },
    /// Say what differs between two revisions.
    Diff {
        /// From this one.
        from: i64,
        /// To this one; the current one if left out.
        to: Option<i64>,
    },
    /// Propose a policy and leave it for review: save, list, show, comment, submit, approve, reject, rebase, apply, discard.
    #[command(subcommand)]
    Draft(draft::DraftCommand),
    /// Print the JSON Schema of policy documents, for editors. Asks no edge.
    Schema,
    /// Make an earlier revision the policy again, as a new revision.
    Rollback {
        /// Its number.
        revision: i64,
        #[command(flatten)]
        note: NoteArguments,
    },
}

/// What a policy is exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Document,
    Istio,
}

#[derive(Debug, clap::Args)]
struct NoteArguments {
    /// Why; stands in the history.
    #[arg(short, long)]
    message: String,
    /// Who; stands in the history beside "operator".
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Go past the approvals that the edge asks for. Stands in history and audit log.
    #[arg(long)]
    emergency: bool,
}

/// Does what the arguments say.
pub fn run(arguments: &PolicyArguments) -> anyhow::Result<ExitCode> {
    let output = arguments.server.output();
    if let PolicyCommand::Schema = arguments.command {
        anstream::print!("{SCHEMA}");
        return Ok(ExitCode::SUCCESS);
    }
    client::ask(&arguments.server, async |client| {
        Command { client, output }.run(&arguments.command).await
    })
}

type Outcome = Result<ExitCode, Failure>;

struct Command {
    client: Client,
    output: Output,
}

impl Command {
    async fn run(&self, command: &PolicyCommand) -> Outcome {
        match command {
            PolicyCommand::Export {
                revision,
                format: Format::Istio,
                istio,
            } => self.export_to_istio(*revision, istio).await,
            PolicyCommand::Export { istio, .. } if istio.are_given() => {
                Err(anyhow::anyhow!("this needs --format istio").into())
            }
            PolicyCommand::Export { revision, .. } => self.export(*revision).await,
            PolicyCommand::Plan {
                file,
                detailed_exitcode,
                fail_on_findings,
                last,
            } => {
                let plan = self.planned(&read(file)?, last).await;
                let plan = plan.map_err(|error| in_file(error, file))?;
                self.print(&plan, show::plan)?;
                let is_pending = *detailed_exitcode && plan["is_empty"] == false;
                let is_odd = *fail_on_findings && !show::list(&plan, "findings").is_empty();
                Ok(match (is_odd, is_pending) {
                    (true, _) => ExitCode::from(FINDINGS),
                    (false, true) => ExitCode::from(PENDING),
                    (false, false) => ExitCode::SUCCESS,
                })
            }
            PolicyCommand::Replay {
                file,
                revision,
                last,
            } => {
                let text = file.as_deref().map(read).transpose()?;
                let body = json!({ "text": text, "revision": revision, "since": last });
                let said = self.client.post("policy/replay", &body).await;
                let named = |error| match file {
                    Some(file) => in_file(error, file),
                    None => error,
                };
                self.print(&said.map_err(named)?, show::replayed)
            }
            PolicyCommand::Apply { file, parent, note } => self.apply(file, *parent, note).await,
            PolicyCommand::History { limit, before } => {
                let mut query = vec![("limit", limit.to_string())];
                query.extend(before.map(|before| ("before", before.to_string())));
                let said = self.client.get("policy/revisions", &query).await?;
                self.print(&said, show::history)
            }
            PolicyCommand::Show { revision } => {
                let said = self.shown_revision(*revision).await?;
                self.print(&said, show::revision)
            }
            PolicyCommand::Diff { from, to } => self.diff(*from, *to).await,
            PolicyCommand::Draft(command) => self.draft(command).await,
            PolicyCommand::Schema => Ok(ExitCode::SUCCESS),
            PolicyCommand::Rollback { revision, note } => self.rollback(*revision, note).await,
        }
    }

    fn print(&self, said: &Value, as_text: fn(&Value) -> String) -> Outcome {
        if self.output == Output::Json {
            anstream::println!("{said:#}");
        } else {
            anstream::print!("{}", as_text(said));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn export(&self, revision: Option<i64>) -> Outcome {
        let wanted = revision.map(|revision| ("revision", revision.to_string()));
        let said = self
            .client
            .get("policy/document", wanted.as_slice())
            .await?;
        self.print(&said, |said| {
            said["text"].as_str().unwrap_or_default().to_owned()
        })
    }

    async fn export_to_istio(&self, revision: Option<i64>, wanted: &IstioArguments) -> Outcome {
        let said = istio::fetch(&self.client, wanted, revision).await?;
        Ok(istio::deliver(&said, wanted, self.output == Output::Json)?)
    }

    /// What would change, and for whom.
    async fn planned(&self, text: &str, last: &str) -> Result<Value, ClientError> {
        let document = json!({ "text": text });
        let mut plan = self.client.post("policy/plan", &document).await?;
        if plan["is_empty"] == false {
            let body = json!({ "text": text, "since": last });
            plan["replay"] = self.replayed(&body).await?;
        }
        Ok(plan)
    }

    /// Who would lose or gain what; that it is withheld from those who may not know what others did.
    async fn replayed(&self, body: &Value) -> Result<Value, ClientError> {
        match self.client.post("policy/replay", body).await {
            Err(error) if error.is_not_permitted() => Ok(show::WITHHELD.into()),
            replayed => replayed,
        }
    }

    async fn apply(&self, file: &Path, parent: Option<Parent>, note: &NoteArguments) -> Outcome {
        let text = read(file)?;
        let plan = self.planned(&text, &lately()).await;
        let plan = plan.map_err(|error| in_file(error, file))?;
        if plan["is_empty"] == true {
            return self.print(&plan, show::plan);
        }
        let is_file = file != Path::new("-");
        if !is_refused(&plan, note) {
            made_from(&plan, parent, note)?;
            if !self.agreed(&show::plan(&plan), note.yes, is_file)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        let parent = match parent {
            Some(Parent::Revision(revision)) => revision.into(),
            Some(Parent::Current) | None => plan["parent"].clone(),
        };
        let body = json!({ "text": text, "note": noted(note, &parent) });
        let said = self.client.post("policy/apply", &body).await?;
        self.print(&said, show::written)
    }

    async fn diff(&self, from: i64, to: Option<i64>) -> Outcome {
        let to = match to {
            Some(to) => to,
            None => self.newest().await?.as_i64().unwrap_or_default(),
        };
        let ends = [("from", from.to_string()), ("to", to.to_string())];
        let said = self.client.get("policy/diff", &ends).await?;
        let is_equal = show::list(&said, "changes").is_empty();
        if is_equal && self.document(from).await? != self.document(to).await? {
            return self.print(&said, show::reworded);
        }
        self.print(&said, show::diff)
    }

    async fn rollback(&self, revision: i64, note: &NoteArguments) -> Outcome {
        let text = self.document(revision).await?;
        let plan = self.planned(&text, &lately()).await?;
        if plan["is_empty"] == true {
            return self.print(&plan, show::plan);
        }
        if !is_refused(&plan, note) && !self.agreed(&show::plan(&plan), note.yes, true)? {
            return Ok(ExitCode::FAILURE);
        }
        let body = json!({ "to": revision, "note": noted(note, &plan["parent"]) });
        let said = self.client.post("policy/rollback", &body).await?;
        self.print(&said, show::written)
    }

    /// A revision, what it changed, and who approved of it if it was a draft; of the last nothing for those who may not look at drafts.
    async fn shown_revision(&self, revision: i64) -> Result<Value, ClientError> {
        let path = format!("policy/revisions/{revision}");
        let mut said = self.client.get(&path, &[]).await?;
        if let Some(draft) = said["revision"]["draft"].as_i64() {
            let path = format!("policy/drafts/{draft}");
            match self.client.get(&path, &[]).await {
                Ok(draft) => said["approvals"] = draft["approvals"].clone(),
                Err(error) if error.is_not_permitted() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(said)
    }

    /// The text of a revision.
    async fn document(&self, revision: i64) -> Result<String, ClientError> {
        let wanted = [("revision", revision.to_string())];
        let said = self.client.get("policy/document", &wanted).await?;
        Ok(said["text"].as_str().unwrap_or_default().to_owned())
    }

    /// The number of the current revision, or null.
    async fn newest(&self) -> Result<Value, ClientError> {
        let said = self
            .client
            .get("policy/revisions", &[("limit", "1".to_owned())])
            .await?;
        Ok(said["revisions"][0]["revision"].clone())
    }

    /// Shows what would change, and asks whoever sits there, if standard input is free for that.
    fn agreed(&self, changes: &str, yes: bool, is_free: bool) -> Result<bool, Fault> {
        let asking = Asking {
            yes,
            is_free,
            output: self.output,
        };
        agreed(&format!("{changes}\n"), asking)
    }
}

/// Whoever is asked sees what would be undone of others' changes; with `--yes` nobody would.
fn made_from(plan: &Value, parent: Option<Parent>, note: &NoteArguments) -> Result<(), Fault> {
    let (Some(current), None, true) = (plan["parent"].as_i64(), parent, note.yes) else {
        return Ok(());
    };
    let fault = Fault::usage("--yes does not say which revision the document was made from");
    Err(fault.next(format!(
        "--parent {current} if it was made from the current one, --parent current if it counts whatever others changed"
    )))
}

/// The revision that a document was made from.
#[derive(Clone, Copy, Debug)]
enum Parent {
    Revision(i64),
    /// Whichever is current.
    Current,
}

impl FromStr for Parent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "current" => Ok(Self::Current),
            number => { number.parse().map(Self::Revision) }
                .map_err(|_| "it is the number of a revision, or `current`"),
        }
    }
}

/// An edge that follows a file, or asks for approvals, refuses whatever is agreed to here.
fn is_refused(plan: &Value, note: &NoteArguments) -> bool {
    let asks = plan["approvals"].as_u64().is_some_and(|asked| asked > 0);
    !plan["follows"].is_null() || asks && !note.emergency
}

/// How far back it is looked for who would lose or gain something, where nobody says.
fn lately() -> String {
    moment("14d").unwrap_or_default()
}

/// Faults are told with the file that they are in.
fn in_file(error: ClientError, file: &Path) -> ClientError {
    match error {
        ClientError::Refused(refusal) => ClientError::Refused(of_file(refusal, file)),
        other => other,
    }
}

fn noted(note: &NoteArguments, parent: &Value) -> Value {
    json!({
        "parent": parent,
        "author": note.author,
        "message": note.message,
        "emergency": note.emergency,
    })
}

/// At most a byte more than a document may have: whoever reads it says no to that.
fn read(file: &Path) -> anyhow::Result<String> {
    let limit = u64::try_from(LARGEST_DOCUMENT)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let (name, mut bytes) = (file.display(), Vec::new());
    let read = if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(limit).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("{name} cannot be read"))?;
    if bytes.len() > LARGEST_DOCUMENT {
        bail!("{name} is larger than 32 MiB, which is the most that a policy document may have");
    }
    String::from_utf8(bytes).with_context(|| format!("{name} cannot be read"))
}
