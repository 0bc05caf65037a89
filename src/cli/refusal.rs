//! What an edge refuses, as text for people.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::cli::client::Refusal;
use crate::cli::person::fault::Fault;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The code of a draft that may not be applied yet.
pub(super) const DRAFT_NEEDS_APPROVALS: &str = "draft_needs_approvals";

/// The member of a problem that says which file its faults are in; we write it ourselves.
const FILE: &str = "document";

/// A refusal that is about a document, with the name of its file.
pub(super) fn of_file(mut refusal: Refusal, file: &Path) -> Refusal {
    if refusal.problem["faults"].is_array() && file != Path::new("-") {
        refusal.problem[FILE] = file.display().to_string().into();
    }
    refusal
}

/// A fault of a document or question in a line: where, what, why.
pub(super) fn fault_line(fault: &Value, file: Option<&str>) -> String {
    let number = |name: &str| fault[name].as_u64().filter(|number| *number > 0);
    let mut said = match (file, number("line"), number("column")) {
        (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
        (Some(file), Some(line), None) => format!("{file}:{line}: "),
        (Some(file), None, _) => format!("{file}: "),
        (None, Some(line), Some(column)) => format!("line {line}, column {column}: "),
        (None, Some(line), None) => format!("line {line}: "),
        (None, None, _) => String::new(),
    };
    let key = text(fault, "key");
    if !key.is_empty() {
        let _fits = write!(said, "{key}: ");
    }
    said + text(fault, "message")
}

/// A refusal as a fault: what it is about, and what can be done.
pub(super) fn fault(refusal: Refusal) -> Fault {
    let Refusal { status, problem } = refusal;
    let mut message = text(&problem, "detail").to_owned();
    let file = problem[FILE].as_str();
    for fault in problem["faults"].as_array().into_iter().flatten() {
        let _fits = write!(message, "\n  {}", fault_line(fault, file));
    }
    if text(&problem, "code") == "conflict"
        && let Some(line) = problem.get("current").filter(|current| current.is_object())
    {
        let _fits = write!(message, ": {}", one_line(line));
    }
    let fault = match status.as_u16() {
        401 | 403 => Fault::denied(message),
        _ => Fault::failed(message),
    };
    let fault = match next(text(&problem, "code")) {
        Some(next) => fault.next(next),
        None => fault,
    };
    fault.of_problem(problem)
}

/// What can be done about a refusal with this code.
fn next(code: &str) -> Option<&'static str> {
    let next = match code {
        "conflict" => {
            "look at it with `wayleave policy diff`, bring your document up to date (`wayleave policy export`), and plan again"
        }
        "follows_a_file" => {
            "change that file; or take policy.file out of the configuration, restart, and change the policy from here"
        }
        "needs_approvals" => {
            "leave it for review: `wayleave policy draft save FILE -m WHY`, then `wayleave policy draft submit N`"
        }
        // Told apart by whoever asked for a draft to be applied.
        DRAFT_NEEDS_APPROVALS => {
            "others have to approve of this version: they look at it with `wayleave policy draft show N`, and agree with `wayleave policy draft approve N -m WHY`; \
             one that is still open is submitted first, with `wayleave policy draft submit N`"
        }
        "draft_behind" => {
            "bring it up to date with `wayleave policy draft rebase N`, and look at it again"
        }
        "draft_conflicts" => {
            "change your document by hand (`wayleave policy export`), and save it with `--draft N --parent REVISION`"
        }
        "draft_overtaken" => "look at it again with `wayleave policy draft show N`",
        "no_such_draft" => "see `wayleave policy draft list`",
        "unknown_person" => "describe them with --provider and --group instead",
        "unknown_decision" => {
            "it takes about a second until a decision is recorded, and it is kept for `audit.keep_decisions`; of requests that were let through only the first of several alike has its own"
        }
        "no_such_revision" => "see `wayleave policy history`",
        _ => return None,
    };
    Some(next)
}

/// A revision in a line.
pub(super) fn one_line(record: &Value) -> String {
    let at = text(record, "created_at");
    let at = at.get(..19).unwrap_or(at).replace('T', " ");
    let from = match record["draft"].as_i64() {
        Some(draft) => format!(" (draft {draft})"),
        None => String::new(),
    };
    let back = match record["restores"].as_i64() {
        Some(restored) => format!(" (back to revision {restored})"),
        None => String::new(),
    };
    let mark = if record["emergency"] == true {
        "EMERGENCY: "
    } else {
        ""
    };
    format!(
        "revision {} of {at} UTC by {}: {mark}{}{back}{from}",
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
            let fault = json!({ "line": line, "column": column, "key": key, "message": "no" });
            (fault_line(&fault, None), fault_line(&fault, Some("p.yaml")))
        };
        let said = |plain: &str, of_file: &str| (plain.to_owned(), of_file.to_owned());
        assert_eq!(
            fault(3, 5, "rules[0]"),
            said("line 3, column 5: rules[0]: no", "p.yaml:3:5: rules[0]: no")
        );
        assert_eq!(
            fault(1, 1, ""),
            said("line 1, column 1: no", "p.yaml:1:1: no")
        );
        assert_eq!(
            fault(0, 0, "as.provider"),
            said("as.provider: no", "p.yaml: as.provider: no")
        );
    }

    #[test]
    fn a_draft_that_lacks_approvals_is_sent_to_reviewers_and_a_document_to_drafts() {
        let said = |code: &str| next(code).unwrap();
        assert!(said("needs_approvals").contains("draft save FILE"));
        let draft = said(DRAFT_NEEDS_APPROVALS);
        assert!(draft.contains("draft approve N") && !draft.contains("save"));
    }
}
