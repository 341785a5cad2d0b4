//! How a command says that it failed.

use std::{error::Error, ffi::OsString, process::ExitCode};

use clap::ValueEnum;
use hopwise_report::{QueryError, document::ErrorDocument, nearest};

use crate::{
    image::ImageError,
    output::{Format, print_error},
    repair::{ActError, RunError},
    source::SourceFailure,
};

pub(crate) use crate::output::{complain, print};

/// The form of the results of a command about labs.
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

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The state could not be read.
    #[error(transparent)]
    Source(#[from] SourceFailure),
    /// The flow that was asked for is none.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It is nothing that packets do.
    #[error("this is nothing that packets do")]
    NotTraced,
    /// The catalogue has no such cause.
    #[error("there is no cause `{written}`: expected a code like HW1001 or a name like node-ip-forward-off")]
    NoSuchCause {
        /// What was asked for.
        written: String,
    },
    /// The diagnosis has no such finding.
    #[error("there is no finding `{written}`{}", others(.found))]
    NoSuchFinding {
        /// What was asked for.
        written: String,
        /// The findings that there are.
        found: String,
    },
    /// A repair could not be written down or read.
    #[error(transparent)]
    Run(Box<RunError>),
    /// Something could not be done.
    #[error(transparent)]
    Act(Box<ActError>),
    /// There is no image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A snapshot has no such node.
    #[error("there is no node `{name}` in {source_name}: expected one of {nodes}")]
    NoSuchNode {
        /// What was asked for.
        name: String,
        /// The source of the snapshot.
        source_name: String,
        /// The nodes that there are.
        nodes: String,
    },
    /// A file could not be written.
    #[error("failed to write {path}")]
    Write {
        /// The file.
        path: String,
        /// What the kernel answered.
        source: std::io::Error,
    },
}

/// The findings that there are, behind one that is not there.
fn others(found: &str) -> String {
    if found.is_empty() { ": nothing was found".to_owned() } else { format!(": expected one of {found}") }
}

impl Failure {
    /// What to do about it, where that is known.
    fn next(&self) -> Option<String> {
        match self {
            Self::Source(it) => it.next(),
            Self::Query(it) => it.next(),
            Self::Image(it) => it.next(),
            Self::NoSuchCause { written } => Some(likely_causes(written)),
            Self::NoSuchFinding { .. }
            | Self::Run(_)
            | Self::Act(_)
            | Self::NotTraced
            | Self::NoSuchNode { .. }
            | Self::Write { .. } => None,
        }
    }

    /// Says why, in the form asked for, and returns the code to end with.
    pub(crate) fn report(&self, format: Format) -> ExitCode {
        let document = ErrorDocument { next: self.next(), ..ErrorDocument::new(self) };
        print_error(&document, format);
        ExitCode::from(WRONG)
    }
}

fn likely_causes(written: &str) -> String {
    let codes: Vec<String> = hopwise_diagnose::causes::all().map(|it| it.code.to_string()).collect();
    let names = hopwise_diagnose::causes::all().map(|it| it.name);
    // Codes differ in one digit from their neighbours, so that only names are worth a guess.
    let near = match written.to_ascii_uppercase().strip_prefix("HW") {
        Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => codes
            .iter()
            .map(String::as_str)
            .filter(|it| digits.len() >= 2 && it[2..].starts_with(&digits[..2]))
            .collect(),
        _ => nearest(written, names),
    };
    match near.as_slice() {
        [] => "`hopwise causes` lists all of them".to_owned(),
        near => format!("did you mean {}? `hopwise causes` lists all", near.join(" or ")),
    }
}

/// Says why a command about labs failed, in the form asked for, and returns the code to end with.
pub(crate) fn report(error: &dyn Error, output: Output) -> ExitCode {
    let format = match output {
        Output::Text => Format::Text,
        Output::Json => Format::Json,
    };
    print_error(&ErrorDocument::new(error), format);
    ExitCode::from(WRONG)
}

/// Says what is wrong with the command line, or shows the help that it asks for.
pub(crate) fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let format = asked_format(words);
    if error.use_stderr() && format != Format::Text {
        let text = error.to_string();
        let mut lines = text.lines();
        let message = lines.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
        let rest = lines.map(str::trim).filter(|it| !it.is_empty());
        let causes = rest.filter(|it| !it.starts_with("For more information")).map(str::to_owned).collect();
        let next = Some("--help shows what is expected".to_owned());
        print_error(&ErrorDocument { causes, next, ..ErrorDocument::message(message) }, format);
    } else {
        drop(error.print());
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The form of results that a command line asks for that is not understood otherwise.
fn asked_format(words: &[OsString]) -> Format {
    let words: Vec<&str> = words.iter().filter_map(|it| it.to_str()).take_while(|it| *it != "--").collect();
    let follows = |at: usize| words.get(at + 1).copied();
    let mut values = words.iter().enumerate().filter_map(|(at, word)| match *word {
        "-o" | "--output" => follows(at),
        word => {
            let value = word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o="));
            value.or_else(|| word.strip_prefix("-o"))
        }
    });
    values.find_map(|it| Format::from_str(it, false).ok()).unwrap_or_default()
}
