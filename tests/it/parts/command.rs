//! Commands of the binary that end by themselves.

use serde_json::Value;

use crate::parts::program::Program;
use crate::parts::served::Parties;

/// What a command came to.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{} {}", self.out, self.err))
    }

    /// It did what was asked.
    pub(crate) fn expect_done(self) -> Self {
        assert_eq!(self.code, Some(0), "{} {}", self.out, self.err);
        self
    }
}

/// Runs the binary to its end.
pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut program = Program::start_with(arguments, environment);
    let code = program.ended().await.code();
    Said {
        code,
        out: program.out(),
        err: program.err(),
    }
}

/// Runs a command against the edge of these parties, as whoever has its configuration.
pub(crate) async fn command(parties: &Parties, name: &str, arguments: &[&str]) -> Said {
    let file = parties.stage.configuration_file();
    let mut all = vec![name, "--config", file.to_str().unwrap()];
    all.extend(arguments);
    run(&all, &[]).await
}
