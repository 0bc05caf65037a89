//! One line per item: `ok`, `NOTE` for what will need somebody soon, or `FAULT` with what to do.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::cli::person::Output;

/// Prints as it goes, and counts; for programs it keeps everything until the end.
pub(super) struct Report {
    faults: usize,
    kept: Option<Vec<Value>>,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        let kept = (output == Output::Json).then(Vec::new);
        Self { faults: 0, kept }
    }

    /// This item is in order.
    pub(super) fn ok(&mut self, item: &str) {
        self.item(item, Ok(String::new()));
    }

    /// This item is at fault.
    pub(super) fn fault(&mut self, item: &str, why: &str) {
        self.item(item, Err(why.to_owned()));
    }

    /// An item with what there is to say of it.
    pub(super) fn item(&mut self, item: &str, outcome: Result<String, String>) {
        let (style, word, text) = match outcome {
            Ok(text) => (AnsiColor::Green.on_default(), "ok", text),
            Err(text) => {
                self.faults += 1;
                (AnsiColor::Red.on_default().bold(), "FAULT", text)
            }
        };
        self.say(style, word, item, &text);
    }

    /// Something that is in order now and will not stay so; no fault.
    pub(super) fn note(&mut self, item: &str, text: &str) {
        self.say(AnsiColor::Yellow.on_default(), "NOTE", item, text);
    }

    fn say(&mut self, style: Style, word: &str, item: &str, text: &str) {
        match &mut self.kept {
            Some(kept) => {
                let outcome = word.to_ascii_lowercase();
                kept.push(json!({ "item": item, "outcome": outcome, "message": text }));
            }
            None => print(style, word, item, text),
        }
    }

    /// The exit code for all of it.
    pub(super) fn end(self) -> ExitCode {
        if let Some(items) = self.kept {
            anstream::println!("{:#}", json!({ "faults": self.faults, "items": items }));
            return match self.faults {
                0 => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            };
        }
        match self.faults {
            0 => return ExitCode::SUCCESS,
            1 => anstream::eprintln!("1 fault"),
            faults => anstream::eprintln!("{faults} faults"),
        }
        ExitCode::FAILURE
    }
}

fn print(style: Style, word: &str, item: &str, text: &str) {
    let colon = if text.is_empty() { "" } else { ": " };
    anstream::println!("{style}{word:<5}{style:#}  {item}{colon}{text}");
}
