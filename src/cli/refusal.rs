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
    format!(
        "revision {} of {at} UTC by {}: {}",
        record["revision"],
        text(record, "author"),
        text(record, "message")
    )
}
