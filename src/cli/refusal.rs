//! What an edge refuses, as text for people.

use std::fmt::Write;

use serde_json::Value;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The code of a draft that may not be applied yet.
pub(super) const DRAFT_NEEDS_APPROVALS: &str = "draft_needs_approvals";

/// A fault of a document or question in a line: where, what, why.
pub(super) fn fault_line(fault: &Value) -> String {
    let number = |name: &str| fault[name].as_u64().filter(|number| *number > 0);
    let mut said = match (number("line"), number("column")) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        (Some(line), None) => format!("line {line}: "),
        (None, _) => String::new(),
    };
    let key = text(fault, "key");
    if !key.is_empty() {
        let _fits = write!(said, "{key}: ");
    }
    said + text(fault, "message")
}

/// A refusal: what it is about, and what can be done.
pub(super) fn told(problem: &Value) -> String {
    let mut said = text(problem, "detail").to_owned();
    for fault in problem["faults"].as_array().into_iter().flatten() {
        let _fits = write!(said, "\n  {}", fault_line(fault));
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
        // Told apart by whoever asked for a draft to be applied.
        DRAFT_NEEDS_APPROVALS => said.push_str(
            "\n  others have to approve of this version: they look at it with `wayleave policy draft show N`, and agree with `wayleave policy draft approve N -m WHY`; \
             one that is still open is submitted first, with `wayleave policy draft submit N`",
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_says_where_it_is_and_nothing_that_it_lacks() {
        let fault = |line: u64, column: u64, key: &str| {
            fault_line(&json!({ "line": line, "column": column, "key": key, "message": "no" }))
        };
        assert_eq!(fault(3, 5, "rules[0]"), "line 3, column 5: rules[0]: no");
        assert_eq!(fault(1, 1, ""), "line 1, column 1: no");
        assert_eq!(fault(0, 0, "as.provider"), "as.provider: no");
    }

    #[test]
    fn a_draft_that_lacks_approvals_is_sent_to_reviewers_and_a_document_to_drafts() {
        let said = |code: &str| told(&json!({ "code": code, "detail": "no" }));
        assert!(said("needs_approvals").contains("draft save FILE"));
        let draft = said(DRAFT_NEEDS_APPROVALS);
        assert!(draft.contains("draft approve N") && !draft.contains("save"));
    }
}
