//! How results are shown.

use std::io::{IsTerminal, Write, stdout};

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};
use hopwise_report::{
    document::{self, Document, ErrorDocument},
    text::Layout,
};

/// The form of a command's results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// The same document as YAML.
    Yaml,
}

/// The options that say how results are shown. They are the same on every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Shown {
    /// The form of the result
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// The options that say how texts look.
#[derive(Clone, Debug, Args)]
pub(crate) struct Look {
    /// Show lists and plans whole
    // kubectl gives a number with it.
    #[arg(short, long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    verbose: Option<u8>,
    /// Show no colours; NO_COLOR=1 says the same, and only a terminal gets any
    #[arg(long)]
    no_color: bool,
}

impl Shown {
    /// Prints a result in the form asked for.
    pub(crate) fn print<D: Document>(
        &self,
        document: impl FnOnce() -> D,
        text: impl FnOnce(&Layout) -> String,
    ) {
        match self.output {
            Format::Text => self.look.print_text(&text(&self.look.layout())),
            Format::Json => print(&document::json(&document())),
            Format::Yaml => print(&document::yaml(&document())),
        }
    }
}

impl Look {
    /// How a text is laid out.
    pub(crate) fn layout(&self) -> Layout {
        let width = terminal_size::terminal_size_of(stdout()).map(|(width, _)| usize::from(width.0));
        let is_verbose = self.verbose.is_some_and(|it| it > 0);
        Layout { width: width.filter(|_| stdout().is_terminal()), is_verbose }
    }

    /// Prints a text, with its styles where they are wanted.
    pub(crate) fn print_text(&self, text: &str) {
        let choice = if self.no_color { ColorChoice::Never } else { AutoStream::choice(&stdout()) };
        drop(writeln!(AutoStream::new(stdout(), choice), "{text}"));
    }
}

/// Says why a command failed, in the form asked for.
pub(crate) fn print_error(error: &ErrorDocument, format: Format) {
    match format {
        Format::Text => {
            complain(&format!("error: {}", error.line()));
            if let Some(next) = &error.next {
                complain(&format!("next: {next}"));
            }
        }
        Format::Json => print(&document::json(error)),
        Format::Yaml => print(&document::yaml(error)),
    }
}

/// Prints a result with a line feed. A reader that has gone away wants no more of it.
pub(crate) fn print(text: &str) {
    drop(writeln!(stdout(), "{text}"));
}

/// Prints a message for the person at the terminal.
pub(crate) fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
