//! What the edge says of drafts, as text for people.

use std::fmt::Write;

use serde_json::Value;

use crate::cli::policy::show::{
    self, CHANGED, REMOVED, changes, list as items, plan, short, text as word,
};
use crate::cli::refusal::fault_line;

pub(super) fn list(said: &Value) -> String {
    let drafts = items(said, "drafts");
    if drafts.is_empty() {
        return "There is no draft under way; `wayleave policy draft save FILE -m WHY` makes one.\n"
            .to_owned();
    }
    drafts
        .iter()
        .map(|draft| format!("{}\n", one_line(draft, &draft["needed"])))
        .collect()
}

/// What became of a step.
pub(super) fn told(said: &Value) -> String {
    let draft = &said["draft"];
    let mut told = format!("{}\n", one_line(draft, &draft["needed"]));
    if word(draft, "state") == "open" {
        let number = &draft["draft"];
        let _fits = writeln!(
            told,
            "Leave it for review with `wayleave policy draft submit {number}`."
        );
    }
    told
}

pub(super) fn commented(said: &Value) -> String {
    format!("This is comment {}.\n", said["comment"])
}

pub(super) fn text(said: &Value) -> String {
    word(said, "text").to_owned()
}

pub(super) fn all(said: &Value) -> String {
    let draft = &said["draft"];
    let mut told = format!("{}\n", one_line(draft, &said["needed"]));
    for approval in items(said, "approvals") {
        if approval["counts"] == true {
            told.push_str(&show::approval(approval));
            continue;
        }
        let (by, at) = (word(approval, "by"), short(word(approval, "at")));
        let message = word(approval, "message");
        let _fits = writeln!(
            told,
            "{REMOVED}approved, but may not review any more{REMOVED:#}: {by}, {at}: {message}"
        );
    }
    told.push('\n');
    told.push_str(&effect(said));
    for comment in items(said, "comments") {
        let (author, at) = (word(comment, "author"), short(word(comment, "at")));
        let indented = word(comment, "text").replace('\n', "\n    ");
        let _fits = write!(
            told,
            "\n{} {author}, {at}, of version {}:\n    {indented}\n",
            comment["comment"], comment["version"]
        );
    }
    told
}

/// What it would do, and to whom.
fn effect(said: &Value) -> String {
    let faults = items(said, "faults");
    if !faults.is_empty() {
        let mut told = format!("{REMOVED}It cannot be applied any more:{REMOVED:#}\n");
        for fault in faults {
            let _fits = writeln!(told, "  {}", fault_line(fault, None));
        }
        return told;
    }
    let effect = &said["effect"];
    let mut told = String::new();
    let is_over = matches!(word(&said["draft"], "state"), "applied" | "discarded");
    if effect["is_behind"] == true && !is_over {
        let own = changes(items(effect, "changes"));
        let parent = parent(&said["draft"]);
        let number = &said["draft"]["draft"];
        let _fits = write!(
            told,
            "What it changes of {parent}, from which it was made:\n\n{own}\n\
             {CHANGED}The policy moved on{CHANGED:#}: bring it up to date with `wayleave policy draft rebase {number}`. As it is:\n\n"
        );
    }
    told.push_str(&plan(&effect["plan"]));
    if let Some(tests) = effect["tests"].as_u64().filter(|tests| *tests > 0) {
        let tests = match tests {
            1 => "its test".to_owned(),
            many => format!("its {many} tests"),
        };
        let _fits = writeln!(told, "\nIt passes {tests}.");
    }
    told
}

fn parent(draft: &Value) -> String {
    match draft["parent"].as_i64() {
        Some(parent) => format!("revision {parent}"),
        None => "nothing".to_owned(),
    }
}

fn one_line(draft: &Value, needed: &Value) -> String {
    let (number, version) = (&draft["draft"], &draft["version"]);
    let state = match (word(draft, "state"), draft["revision"].as_i64()) {
        ("applied", Some(revision)) => format!("applied as revision {revision}"),
        ("submitted", _) => match (draft["approvals"].as_u64(), needed.as_u64()) {
            (None | Some(0), None | Some(0)) => "submitted, no approval is needed".to_owned(),
            (Some(1), None | Some(0)) => "submitted, 1 approval and none is needed".to_owned(),
            (Some(have), None | Some(0)) => {
                format!("submitted, {have} approvals and none is needed")
            }
            (have, Some(needed)) => {
                format!(
                    "submitted, {} of {needed} approvals",
                    have.unwrap_or_default()
                )
            }
        },
        (state, _) => state.to_owned(),
    };
    let at = short(word(draft, "changed_at"));
    let (author, message) = (word(draft, "author"), word(draft, "message"));
    let onto = parent(draft);
    format!("draft {number} by {author}: {message} ({state}; version {version} onto {onto}, {at})")
}
