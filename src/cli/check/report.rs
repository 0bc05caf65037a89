//! One line per item: `ok`, `NOTE` for what will need somebody soon, or `FAULT` with what to do.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

/// Prints as it goes, and counts.
#[derive(Default)]
pub(super) struct Report {
    faults: usize,
}

impl Report {
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
            Ok(text) => (AnsiColor::Green.on_default(), "ok   ", text),
            Err(text) => {
                self.faults += 1;
                (AnsiColor::Red.on_default().bold(), "FAULT", text)
            }
        };
        print(style, word, item, &text);
    }

    /// Something that is in order now and will not stay so; no fault.
    pub(super) fn note(&self, item: &str, text: &str) {
        print(AnsiColor::Yellow.on_default(), "NOTE ", item, text);
    }

    /// The exit code for all of it.
    pub(super) fn end(self) -> ExitCode {
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
    anstream::println!("{style}{word}{style:#}  {item}{colon}{text}");
}
