//! Why a command of somebody's did not do what was asked, and what they can do about it.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::client::complain;
use crate::cli::person::Output;

/// A fault: what it is, and what to do next.
#[derive(Debug)]
pub(in crate::cli) struct Fault {
    kind: Kind,
    message: String,
    next: Option<String>,
    /// What the edge said, if it was the edge.
    problem: Option<Value>,
}

/// What kind of fault it is; each has an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    /// Anything else.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Nobody is signed in, or not any more.
    NotSignedIn,
    /// The edge says no.
    Denied,
    /// The edge does not answer, or something else does.
    Unreachable,
}

impl Kind {
    /// As programs read it.
    const fn code(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotSignedIn => "not_signed_in",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
        }
    }

    const fn exit(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotSignedIn => 3,
            Self::Denied => 4,
            Self::Unreachable => 5,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Fault {
    fn of(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            next: None,
            problem: None,
        }
    }

    pub(in crate::cli) fn failed(message: impl Into<String>) -> Self {
        Self::of(Kind::Failed, message)
    }

    pub(in crate::cli) fn usage(message: impl Into<String>) -> Self {
        Self::of(Kind::Usage, message)
    }

    pub(in crate::cli) fn not_signed_in(message: impl Into<String>) -> Self {
        Self::of(Kind::NotSignedIn, message)
    }

    pub(in crate::cli) fn denied(message: impl Into<String>) -> Self {
        Self::of(Kind::Denied, message)
    }

    pub(in crate::cli) fn unreachable(message: impl Into<String>) -> Self {
        Self::of(Kind::Unreachable, message)
    }

    /// The same, with what can be done about it.
    pub(in crate::cli) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The same, with what the edge said, for programs.
    pub(in crate::cli) fn of_problem(mut self, problem: Value) -> Self {
        self.problem = Some(problem);
        self
    }

    /// Whether waiting may help.
    pub(in crate::cli) fn is_passing(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    #[cfg(test)]
    pub(in crate::cli) fn kind(&self) -> Kind {
        self.kind
    }

    /// Tells of it, and says how the process ends.
    pub(in crate::cli) fn tell(self, output: Output) -> ExitCode {
        match (output, &self.next) {
            (Output::Json, next) => {
                let mut said =
                    json!({ "error": self.kind.code(), "message": self.message, "next": next });
                if let Some(problem) = self.problem {
                    said["problem"] = problem;
                }
                anstream::eprintln!("{said}");
            }
            (Output::Text, Some(next)) => complain(&format!("{}\n  {next}", self.message)),
            (Output::Text, None) => complain(&self.message),
        }
        ExitCode::from(self.kind.exit())
    }
}
