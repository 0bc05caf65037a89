//! `wayleave audit`: what happened, and whether the log of it is whole.

mod export;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use crate::audit::chain::{Break, Entry, Filed, Follower, Link, START};
use crate::audit::checkpoint::Keys;
use crate::audit::event::kinds::KINDS;
use crate::audit::export as lines;
use crate::audit::verify::{InForce, Verified, Verifier};
use crate::cli::client::{self, Client, Failure, ServerArguments};
use crate::clock::{Clock, SystemClock};

/// The log is not whole.
const BROKEN: u8 = 3;

/// Look at, export and verify the log of what happened.
#[derive(Debug, clap::Args)]
pub struct AuditArguments {
    #[command(subcommand)]
    command: AuditCommand,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List events, newest first.
    List {
        #[command(flatten)]
        filter: FilterArguments,
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Those before this event.
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,
    },
    /// Write events to standard output, oldest first. A whole log as jsonl can be verified later.
    Export {
        #[command(flatten)]
        filter: FilterArguments,
        /// How.
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
    },
    /// Verify that no event was changed, left out or put in; names the first position where one was.
    Verify {
        /// A whole log that was exported as jsonl, instead of the edge's.
        #[arg(requires = "keys")]
        file: Option<PathBuf>,
        /// The edge's public keys: what `wayleave keys list --output json` says, or https://HOME/.wayleave/jwks.json of a log that no older key signed. With FILE they have to be given; without it, those that the edge says it has.
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
        /// An older export of the log, as jsonl, from which it has to go on: whoever rewrote the log since is found.
        #[arg(long, value_name = "FILE")]
        extends: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A JSON object on each line.
    Jsonl,
    /// RFC 4180, with a heading.
    Csv,
}

#[derive(Debug, clap::Args)]
struct FilterArguments {
    /// Of this kind.
    #[arg(long, value_parser = PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name)))]
    kind: Option<String>,
    /// By this e-mail address, or provider/subject, or operator, whatever name stands behind that.
    #[arg(long)]
    actor: Option<String>,
    /// No older than this: 14d, a day like 2027-01-31, which begins at midnight UTC, or a moment like 2027-01-31T18:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<String>,
    /// Older than this.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<String>,
    /// With this text in it as `--output json` shows it, in capitals or not.
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
}

impl FilterArguments {
    fn query(&self) -> Vec<(&'static str, String)> {
        let pairs = [
            ("kind", &self.kind),
            ("actor", &self.actor),
            ("since", &self.since),
            ("until", &self.until),
            ("contains", &self.contains),
        ];
        let given = pairs.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }
}

/// A moment, the beginning of a day, or how long ago it was.
pub(super) fn moment(text: &str) -> Result<String, &'static str> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = jiff::SignedDuration::try_from(ago).map_err(|_| "this is too long ago")?;
        let then = SystemClock.now().to_jiff().checked_sub(ago);
        return then
            .map(|then| then.to_string())
            .map_err(|_| "this is too long ago");
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment.to_string());
    }
    // A time of day without an offset would be nobody knows when.
    let day = text.parse::<jiff::civil::Date>().ok();
    let day = day.filter(|_| !text.contains(['T', 't', ' ']));
    let midnight = day.map(|day| day.to_datetime(jiff::civil::Time::midnight()));
    midnight
        .and_then(|midnight| jiff::tz::Offset::UTC.to_timestamp(midnight).ok())
        .map(|midnight| midnight.to_string())
        .ok_or("say how long ago, like 14d, a day, like 2027-01-31, or a moment, like 2027-01-31T18:00:00Z")
}

/// Does what the arguments say.
pub fn run(arguments: &AuditArguments) -> anyhow::Result<ExitCode> {
    if let AuditCommand::Verify {
        file: Some(file),
        keys: Some(keys),
        extends,
    } = &arguments.command
    {
        let verify = || {
            let older = extends.as_deref().map(end_of).transpose()?;
            let outcome = verify_file(file, &read_keys(keys)?, older)?;
            told(outcome, arguments.server.is_json(), Source::File(file))
        };
        let failed = |error| Failure::Other(error).told(arguments.server.output());
        return verify().or_else(failed);
    }
    client::ask(&arguments.server, async |client| {
        ask(&client, arguments).await
    })
}

async fn ask(client: &Client, arguments: &AuditArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        AuditCommand::List {
            filter,
            limit,
            before,
        } => {
            let mut query = filter.query();
            query.push(("limit", limit.to_string()));
            query.extend(before.map(|before| ("before", before.to_string())));
            let said = client.get("audit/events", &query).await?;
            let entries = entries(&said)?;
            match arguments.server.is_json() {
                true => anstream::println!("{said:#}"),
                false => {
                    anstream::print!("{}", export::as_text(&entries));
                    let is_full = entries.len() >= usize::from(*limit);
                    if let Some(last) = entries.last().filter(|last| is_full && last.seq > 1) {
                        let last = last.seq;
                        anstream::println!(
                            "There may be older ones: add --before {last}, or --limit for more at once."
                        );
                    }
                }
            }
        }
        AuditCommand::Export { filter, format } => {
            let query = filter.query();
            let mut out = anstream::stdout().lock();
            if let Format::Csv = format {
                writeln!(out, "{}", lines::CSV_HEADING).context(CANNOT_WRITE)?;
            }
            each_page(client, &query, |page, _| {
                for entry in page {
                    let line = match format {
                        Format::Jsonl => lines::as_json(entry),
                        Format::Csv => lines::as_csv(entry),
                    };
                    writeln!(out, "{line}").context(CANNOT_WRITE)?;
                }
                Ok(())
            })
            .await?;
            if let (Format::Jsonl, false) = (format, query.is_empty()) {
                let asked: serde_json::Map<String, Value> = query
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
                    .collect();
                writeln!(out, "{}", serde_json::json!({ "filter": asked }))
                    .context(CANNOT_WRITE)?;
            }
            if let (Format::Jsonl, true) = (format, query.is_empty()) {
                let said = client.get("audit/checkpoints", &[]).await?;
                for (seq, token) in checkpoints(&said) {
                    let line = serde_json::json!({ "seq": seq, "checkpoint": token });
                    writeln!(out, "{line}").context(CANNOT_WRITE)?;
                }
            }
        }
        AuditCommand::Verify { keys, extends, .. } => {
            let older = extends.as_deref().map(end_of).transpose()?;
            let outcome = verify_edge(client, keys.as_deref(), older).await?;
            return Ok(told(outcome, arguments.server.is_json(), Source::Edge)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

const CANNOT_WRITE: &str = "standard output cannot be written";

/// Every event that fits, oldest first, page by page; with each page what the edge says of the newest one.
async fn each_page(
    client: &Client,
    query: &[(&'static str, String)],
    mut read: impl FnMut(&[Entry], &Value) -> anyhow::Result<()>,
) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let mut query = query.to_vec();
        query.push(("after", after.to_string()));
        let said = client.get("audit/events", &query).await?;
        let page = entries(&said)?;
        read(&page, &said["head"])?;
        match page.last() {
            Some(last) => after = last.seq,
            None => return Ok(()),
        }
    }
}

fn entries(said: &Value) -> anyhow::Result<Vec<Entry>> {
    let events = said["events"].as_array().map_or(&[][..], Vec::as_slice);
    let read = |event: &Value| {
        Some(Entry {
            seq: event["seq"].as_i64()?,
            at: event["at"].as_i64()?,
            body: event["body"].as_str()?.to_owned(),
            hash: event["hash"].as_str()?.to_owned(),
            filed: filed(event),
        })
    };
    let read: Option<Vec<Entry>> = events.iter().map(read).collect();
    read.context("what the edge says of its events is not as this release knows it")
}

/// An edge of an earlier release does not say it.
fn filed(event: &Value) -> Option<Filed> {
    Some(Filed {
        kind: event["kind"].as_str()?.to_owned(),
        actor: event["actor"].as_str()?.to_owned(),
    })
}

fn checkpoints(said: &Value) -> impl Iterator<Item = (i64, &str)> {
    let all = said["checkpoints"].as_array().into_iter().flatten();
    all.filter_map(|one| Some((one["seq"].as_i64()?, one["token"].as_str()?)))
}

/// An edge of an earlier release does not say it.
fn in_force(said: &Value) -> Option<InForce> {
    Some(InForce {
        revision: said["revision"].as_i64()?,
        digest: said["digest"].as_str()?.to_owned(),
        seq: said["seq"].as_i64()?,
    })
}

async fn verify_edge(
    client: &Client,
    keys: Option<&Path>,
    older: Option<(i64, Link)>,
) -> Result<Result<Verified, Break>, Failure> {
    let said = client.get("audit/checkpoints", &[]).await?;
    let keys = match keys {
        Some(file) => read_keys(file)?,
        None => Keys::read(&said["keys"]).context("the edge does not say what its keys are")?,
    };
    let mut verifier = match Verifier::new(checkpoints(&said), &keys) {
        Ok(verifier) => verifier,
        Err(broken) => return Ok(Err(broken)),
    };
    if let Some((seq, link)) = older {
        verifier.extends(seq, link);
    }
    if let Some(policy) = in_force(&said["policy"]) {
        verifier.tells_of(policy);
    }
    let mut outcome = Ok(());
    let mut newest = Value::Null;
    each_page(client, &[], |page, head| {
        newest = head.clone();
        if outcome.is_ok() {
            outcome = page.iter().try_for_each(|entry| verifier.event(entry));
        }
        Ok(())
    })
    .await?;
    let head = newest["seq"].as_i64().zip(newest["hash"].as_str());
    Ok(outcome.and_then(|()| verifier.end(head)))
}

/// A log as [`AuditCommand::Export`] writes it: events, then checkpoints.
struct Exported {
    events: Vec<Entry>,
    checkpoints: Vec<(i64, String)>,
}

fn read_export(file: &Path) -> anyhow::Result<Exported> {
    let name = file.display();
    let (mut events, mut checkpoints) = (Vec::new(), Vec::new());
    let opened = File::open(file).with_context(|| format!("{name} cannot be read"))?;
    for (number, line) in (1..).zip(BufReader::new(opened).lines()) {
        let line = line.with_context(|| format!("{name} cannot be read"))?;
        match export::read(&line) {
            Some(export::Line::Event(entry)) => events.push(entry),
            Some(export::Line::Checkpoint(seq, token)) => checkpoints.push((seq, token)),
            Some(export::Line::Filter) => bail!(
                "{name} is a part of a log, exported with a filter; only a whole one can be verified"
            ),
            None => bail!("line {number} of {name} is not one of an exported log"),
        }
    }
    if events.is_empty() {
        bail!("{name} has no event, so that there is nothing to verify");
    }
    Ok(Exported {
        events,
        checkpoints,
    })
}

/// The last event of an older export, and its hash, once everything in it leads there.
fn end_of(file: &Path) -> anyhow::Result<(i64, Link)> {
    let older = read_export(file)?;
    let name = file.display();
    let (first, rest) =
        { older.events.split_first() }.with_context(|| format!("{name} has no event"))?;
    let whole = || format!("{name} is not whole itself");
    let mut follower = if first.seq == 1 {
        let mut follower = Follower::after(0, START);
        follower.follow(first).with_context(whole)?;
        follower
    } else {
        // What was before it was pruned when it was exported.
        let link = Link::parse(&first.hash).with_context(whole)?;
        Follower::after(first.seq, link)
    };
    { rest.iter() }
        .try_for_each(|entry| follower.follow(entry))
        .with_context(whole)?;
    Ok(follower.at())
}

fn verify_file(
    file: &Path,
    keys: &Keys,
    older: Option<(i64, Link)>,
) -> anyhow::Result<Result<Verified, Break>> {
    let log = read_export(file)?;
    let signed = log.checkpoints.iter();
    let signed = signed.map(|(seq, token)| (*seq, token.as_str()));
    let outcome = Verifier::new(signed, keys).and_then(|mut verifier| {
        if let Some((seq, link)) = older {
            verifier.extends(seq, link);
        }
        { log.events.iter() }.try_for_each(|entry| verifier.event(entry))?;
        verifier.end(None)
    });
    Ok(outcome)
}

fn read_keys(file: &Path) -> anyhow::Result<Keys> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
    let keys = serde_json::from_str(&text).ok();
    keys.and_then(|keys| Keys::read(&keys))
        .with_context(|| format!("{name} is no JWK set"))
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}

/// Where the log that was verified is: of a file nobody can say whether the log went on.
#[derive(Clone, Copy)]
enum Source<'a> {
    Edge,
    File(&'a Path),
}

fn told(
    outcome: Result<Verified, Break>,
    json: bool,
    source: Source<'_>,
) -> anyhow::Result<ExitCode> {
    let (source, file) = match source {
        Source::Edge => ("edge", None),
        Source::File(file) => ("file", Some(file)),
    };
    let said = match &outcome {
        Ok(verified) => serde_json::json!({
            "is_whole": true, "source": source, "events": verified.events, "checkpoints": verified.checkpoints, "last": verified.last,
            "signed_to": verified.signed_to, "policy": verified.policy,
            "pruned": verified.pruned.map(|gone| serde_json::json!({ "up_to": gone.up_to, "at": crate::clock::Timestamp::from_micros(gone.at).rfc3339(), "age_seconds": gone.age })),
        }),
        Err(broken) => {
            serde_json::json!({ "is_whole": false, "source": source, "first_bad": broken.seq, "what": broken.what })
        }
    };
    if json {
        anstream::println!("{said:#}");
    }
    match outcome {
        Ok(Verified {
            events,
            checkpoints,
            last,
            signed_to,
            pruned,
            policy,
        }) => {
            if !json {
                anstream::println!(
                    "The log is whole up to event {last}: {}, {}.",
                    counted(events, "event"),
                    counted(checkpoints as u64, "signed checkpoint"),
                );
                if let Some(policy) = policy {
                    anstream::println!(
                        "The policy in force is revision {policy}, as it was when it was written."
                    );
                }
                if let Some(pruned) = pruned {
                    anstream::println!("{}", pruned.words());
                }
                if signed_to < last {
                    anstream::println!(
                        "Nothing is signed yet after event {signed_to}: whoever has the database could have written what follows. An edge signs after ten minutes."
                    );
                }
                if let Some(file) = file {
                    anstream::println!(
                        "The file ends there; whether the log went on, only the edge can say (`wayleave audit verify --extends {}`).",
                        file.display()
                    );
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            if !json {
                anstream::eprintln!("The log is NOT whole: {broken}.");
            }
            Ok(ExitCode::from(BROKEN))
        }
    }
}
