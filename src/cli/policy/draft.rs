//! `wayleave policy draft`: a policy that is proposed, left for review, and applied once others approved.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::cli::audit::moment;
use crate::cli::client::ClientError;
use crate::cli::policy::{Command, Outcome, in_file, lately, read, show, show_draft};
use crate::cli::refusal::DRAFT_NEEDS_APPROVALS;

#[derive(Debug, Subcommand)]
pub(super) enum DraftCommand {
    /// Keep a document as a draft, or give a draft of yours other words, which takes its approvals.
    Save {
        /// The document; - for standard input.
        file: PathBuf,
        /// Why; becomes the message of the revision.
        #[arg(short, long)]
        message: String,
        /// A draft that there is, instead of a new one.
        #[arg(long, value_name = "N")]
        draft: Option<i64>,
        /// The version of the draft that the document was made from; the present one if left out.
        #[arg(long, value_name = "N", requires = "draft")]
        version: Option<i64>,
        /// The revision that the document was made from; the current one, or the draft's own, if left out.
        #[arg(long, value_name = "N")]
        parent: Option<i64>,
        #[command(flatten)]
        who: WhoArguments,
    },
    /// List the drafts that are under way, newest first.
    List {
        /// Those that were applied or discarded as well.
        #[arg(long)]
        all: bool,
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
        limit: u16,
    },
    /// Say what a draft would change, who would lose or gain what, and what others say of it.
    Show {
        /// Its number.
        draft: i64,
        /// How far back to look for who would lose or gain something.
        #[arg(long, value_name = "WHEN", default_value = "14d", value_parser = moment)]
        last: String,
        /// Print the document and nothing else.
        #[arg(long)]
        text: bool,
    },
    /// Say something of a draft.
    Comment {
        /// Its number.
        draft: i64,
        /// What.
        #[arg(short, long)]
        message: String,
        #[command(flatten)]
        who: WhoArguments,
    },
    /// Leave a draft of yours for review.
    Submit {
        /// Its number.
        draft: i64,
        #[command(flatten)]
        who: WhoArguments,
    },
    /// Agree to somebody else's draft. Only people can; the operator token is no person.
    Approve(ReviewArguments),
    /// Say no to somebody else's draft.
    Reject(ReviewArguments),
    /// Bring a draft onto the current revision, which takes its approvals.
    Rebase {
        /// Its number.
        draft: i64,
        #[command(flatten)]
        who: WhoArguments,
    },
    /// Make a draft the policy, as a new revision.
    Apply {
        /// Its number.
        draft: i64,
        /// The version that you saw; the present one, which is shown, if left out.
        #[arg(long, value_name = "N")]
        version: Option<i64>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        who: WhoArguments,
    },
    /// Give up a draft.
    Discard {
        /// Its number.
        draft: i64,
        #[command(flatten)]
        who: WhoArguments,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct WhoArguments {
    /// Who; stands in the history beside "operator".
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReviewArguments {
    /// Its number.
    draft: i64,
    /// Why.
    #[arg(short, long)]
    message: String,
    /// The version that you saw; the present one, which is shown, if left out.
    #[arg(long, value_name = "N")]
    version: Option<i64>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    who: WhoArguments,
}

impl Command {
    pub(super) async fn draft(&self, command: &DraftCommand) -> Outcome {
        match command {
            DraftCommand::Save {
                file,
                message,
                draft,
                version,
                parent,
                who,
            } => {
                let version = match (*draft, *version) {
                    (Some(draft), None) => self.present_version(draft).await?,
                    (_, version) => version.into(),
                };
                let body = json!({
                    "draft": draft,
                    "version": version,
                    "text": read(file)?,
                    "message": message,
                    "parent": parent,
                    "author": who.author,
                });
                let said = self.client.post("policy/drafts", &body).await;
                let said = said.map_err(|error| in_file(error, file))?;
                self.print(&said, show_draft::told)
            }
            DraftCommand::List { all, limit } => {
                let query = [("all", all.to_string()), ("limit", limit.to_string())];
                let said = self.client.get("policy/drafts", &query).await?;
                self.print(&said, show_draft::list)
            }
            DraftCommand::Show { draft, last, text } => {
                let said = self.shown(*draft, last).await?;
                self.print(
                    &said,
                    if *text {
                        show_draft::text
                    } else {
                        show_draft::all
                    },
                )
            }
            DraftCommand::Comment {
                draft,
                message,
                who,
            } => {
                let body = json!({ "text": message, "author": who.author });
                let said = self.step(*draft, "comments", &body).await?;
                self.print(&said, show_draft::commented)
            }
            DraftCommand::Submit { draft, who } => self.simple(*draft, "submit", who).await,
            DraftCommand::Rebase { draft, who } => self.simple(*draft, "rebase", who).await,
            DraftCommand::Discard { draft, who } => self.simple(*draft, "discard", who).await,
            DraftCommand::Approve(review) => self.review("approve", review).await,
            DraftCommand::Reject(review) => self.review("reject", review).await,
            DraftCommand::Apply {
                draft,
                version,
                yes,
                who,
            } => {
                let Some(version) = self.seen(*draft, *version, *yes).await? else {
                    return Ok(ExitCode::FAILURE);
                };
                let body = json!({ "version": version, "author": who.author });
                let said = self.step(*draft, "apply", &body).await;
                self.print(&said.map_err(lacks_approvals)?, show::written)
            }
        }
    }

    /// A draft, and for whom what would change.
    async fn shown(&self, draft: i64, last: &str) -> Result<Value, ClientError> {
        let path = format!("policy/drafts/{draft}");
        let mut said = self.client.get(&path, &[]).await?;
        if said["effect"]["plan"]["is_empty"] == false {
            let body = json!({ "text": said["text"], "since": last });
            said["effect"]["plan"]["replay"] = self.replayed(&body).await?;
        }
        Ok(said)
    }

    async fn present_version(&self, draft: i64) -> Result<Value, ClientError> {
        let path = format!("policy/drafts/{draft}");
        Ok(self.client.get(&path, &[]).await?["draft"]["version"].take())
    }

    /// The version that somebody speaks of. One that they did not name is shown to them first; `None` if they do not agree.
    async fn seen(
        &self,
        draft: i64,
        version: Option<i64>,
        yes: bool,
    ) -> Result<Option<i64>, crate::cli::client::Failure> {
        if version.is_some() {
            return Ok(version);
        }
        let said = self.shown(draft, &lately()).await?;
        let is_agreed = self.agreed(&show_draft::all(&said), yes, true)?;
        let version = said["draft"]["version"].as_i64();
        Ok(version.filter(|_| is_agreed))
    }

    async fn review(&self, verdict: &str, review: &ReviewArguments) -> Outcome {
        let seen = self.seen(review.draft, review.version, review.yes).await?;
        let Some(version) = seen else {
            return Ok(ExitCode::FAILURE);
        };
        let body = json!({
            "version": version,
            "message": review.message,
            "author": review.who.author,
        });
        let said = self.step(review.draft, verdict, &body).await?;
        self.print(&said, show_draft::told)
    }

    async fn simple(&self, draft: i64, step: &str, who: &WhoArguments) -> Outcome {
        let body = json!({ "author": who.author });
        let said = self.step(draft, step, &body).await?;
        self.print(&said, show_draft::told)
    }

    async fn step(&self, draft: i64, step: &str, body: &Value) -> Result<Value, ClientError> {
        let path = format!("policy/drafts/{draft}/{step}");
        self.client.post(&path, body).await
    }
}

/// Somebody who has a draft need not be told to make one.
fn lacks_approvals(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused(mut refusal) if refusal.problem["code"] == "needs_approvals" => {
            refusal.problem["code"] = DRAFT_NEEDS_APPROVALS.into();
            ClientError::Refused(refusal)
        }
        other => other,
    }
}
