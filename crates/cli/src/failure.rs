//! How a command says that it failed.

use std::{error::Error, process::ExitCode};

use clap::ValueEnum;
use serde::Serialize;

/// The form of a command's results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// The code of a command that could not do what was asked: the command line or the input is wrong, or nothing could
/// be read.
pub(crate) const WRONG: u8 = 2;

/// The document `hopwise/error/v1`.
#[derive(Debug, Serialize)]
struct ErrorDocument {
    schema: &'static str,
    message: String,
    causes: Vec<String>,
}

/// Says why, in the form asked for, and returns the code to end with.
pub(crate) fn report(error: &dyn Error, output: Output) -> ExitCode {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if output == Output::Json {
        let document = ErrorDocument { schema: "hopwise/error/v1", message: error.to_string(), causes };
        print(&serde_json::to_string_pretty(&document).expect("only string keys"));
    } else {
        let all: Vec<String> = std::iter::once(error.to_string()).chain(causes).collect();
        complain(&format!("error: {}", all.join(": ")));
    }
    ExitCode::from(WRONG)
}

/// Prints a result with a line feed. A reader that has gone away wants no more of it.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a message for the person at the terminal.
pub(crate) fn complain(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stderr(), "{text}"));
}
