//! What an edge refuses, as text for people.

use std::fmt::Write;

use serde_json::Value;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A refusal: what it is about, and what can be done.
pub(super) fn told(problem: &Value) -> String {
    let mut said = text(problem, "detail").to_owned();
    for fault in problem["faults"].as_array().into_iter().flatten() {
        let line = fault["line"].as_u64().unwrap_or_default();
        let place = if line > 0 {
            format!("line {line}: ")
        } else {
            String::new()
        };
        let _fits = write!(
            said,
            "\n  {place}{}: {}",
            text(fault, "key"),
            text(fault, "message")
        );
    }
    match text(problem, "code") {
        "conflict" => {
            if let Some(line) = problem.get("current").filter(|current| current.is_object()) {
                let _fits = write!(said, ": {}", one_line(line));
            }
            said.push_str("\n  look at it with `wayleave policy diff`, bring your document up to date (`wayleave policy export`), and plan again");
        }
        "follows_a_file" => {
            said.push_str("\n  change that file; or take policy.file out of the configuration, restart, and change the policy from here");
        }
        "needs_approvals" => said.push_str(
            "\n  leave it for review: `wayleave policy draft save FILE -m WHY`, then `wayleave policy draft submit N`",
        ),
        "draft_behind" => {
            said.push_str("\n  bring it up to date with `wayleave policy draft rebase N`, and look at it again");
        }
        "draft_conflicts" => {
            said.push_str("\n  change your document by hand (`wayleave policy export`), and save it with `--draft N --parent REVISION`");
        }
        "draft_overtaken" => said.push_str("\n  look at it again with `wayleave policy draft show N`"),
        "no_such_draft" => said.push_str("\n  see `wayleave policy draft list`"),
        "unknown_person" => {
            said.push_str("\n  describe them with --provider and --group instead");
        }
        "unknown_decision" => {
            said.push_str("\n  it takes about a second until a decision is recorded; of requests that were let through only the first of several alike has its own")
        }
        "no_such_revision" => said.push_str("\n  see `wayleave policy history`"),
        _ => {}
    }
    said
}

/// A revision in a line.
pub(super) fn one_line(record: &Value) -> String {
    let at = text(record, "created_at");
    let at = at.get(..19).unwrap_or(at).replace('T', " ");
    let from = match record["draft"].as_i64() {
        Some(draft) => format!(" (draft {draft})"),
        None => String::new(),
    };
    let mark = if record["emergency"] == true {
        "EMERGENCY: "
    } else {
        ""
    };
    format!(
        "revision {} of {at} UTC by {}: {mark}{}{from}",
        record["revision"],
        text(record, "author"),
        text(record, "message")
    )
}
