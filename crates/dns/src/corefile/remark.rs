//! What CoreDNS makes of a Corefile besides what is written there.

use std::fmt;

use super::lexer::Word;

/// Something in a Corefile that CoreDNS refuses, ignores or understands differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorefileRemark {
    /// The file, by its place in [`crate::Corefile::files`]; 0 is the Corefile itself.
    pub file: usize,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub kind: CorefileRemarkKind,
}

/// How bad a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot be told here: an environment variable, an imported file or a plugin is not known.
    Unknown,
    /// CoreDNS takes it, and does something else than it seems.
    Warning,
    /// CoreDNS 1.12 refuses the file: it does not start with it, and a running one keeps the configuration before.
    Error,
}

/// What CoreDNS refuses, ignores or understands differently.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorefileRemarkKind {
    /// The file holds bytes that are not UTF-8.
    NotUtf8,
    /// Another word was expected.
    Expected {
        /// What was expected.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The file ends inside of something.
    UnexpectedEnd,
    /// The server block has no closing brace of its own; CoreDNS takes the one of its last plugin for it.
    NotClosed,
    /// A plugin's block must begin on the plugin's line.
    BraceOnNewLine,
    /// A snippet has the name of one before.
    SnippetTwice(String),
    /// The value of this environment variable is not known.
    Environment(String),
    /// What is imported is neither a snippet nor among the files that were read.
    ImportNotRead(String),
    /// No file has the name that is imported.
    ImportNotFound(String),
    /// Imports go round.
    ImportLoop(String),
    /// No plugin of CoreDNS 1.12 has this name: only an image with such a plugin starts.
    UnknownPlugin(String),
    /// CoreDNS has no longer this plugin.
    RemovedPlugin {
        /// The plugin.
        plugin: String,
        /// The first version without it.
        since: &'static str,
        /// What does its work now.
        instead: &'static str,
    },
    /// The plugin has no longer this option.
    RemovedOption {
        /// The plugin.
        plugin: &'static str,
        /// The option.
        option: String,
        /// The first version without it.
        since: &'static str,
    },
    /// The plugin has no such option.
    UnknownOption {
        /// The plugin.
        plugin: &'static str,
        /// The option.
        option: String,
    },
    /// The plugin or option has too few or too many arguments.
    ArgumentCount(String),
    /// A value is not what the plugin takes.
    Value {
        /// The plugin or option.
        of: String,
        /// What it takes.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A line was probably meant otherwise.
    ProbablyMeant(String),
    /// The upstream is neither an address nor a file.
    NotAnUpstream(String),
    /// The plugin may stand only once in a server block.
    PluginTwice(String),
    /// The name is not a zone.
    NotAZone(String),
    /// Two server blocks serve the same zone at the same port.
    ZoneTwice(String),
}

impl fmt::Display for CorefileRemarkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("the file holds bytes that are not UTF-8"),
            Self::Expected { expected, found } => write!(f, "expected {expected}, found `{found}`"),
            Self::UnexpectedEnd => f.write_str("the file ends before a block is closed"),
            Self::NotClosed => f.write_str("the server block is not closed"),
            Self::BraceOnNewLine => f.write_str("`{` must stand on the line of its plugin"),
            Self::SnippetTwice(name) => write!(f, "snippet `{name}` was declared before"),
            Self::Environment(name) => write!(f, "the environment variable `{name}` is not known"),
            Self::ImportNotRead(path) => write!(f, "the imported `{path}` was not read"),
            Self::ImportNotFound(path) => write!(f, "there is no file `{path}` to import"),
            Self::ImportLoop(path) => write!(f, "`{path}` imports itself"),
            Self::UnknownPlugin(name) => write!(f, "CoreDNS 1.12 has no plugin `{name}`"),
            Self::RemovedPlugin { plugin, since, instead } => {
                write!(f, "plugin `{plugin}` is gone since CoreDNS {since}; use `{instead}`")
            }
            Self::RemovedOption { plugin, option, since } => {
                write!(f, "option `{option}` of `{plugin}` is gone since CoreDNS {since}")
            }
            Self::UnknownOption { plugin, option } => write!(f, "`{plugin}` has no option `{option}`"),
            Self::ArgumentCount(of) => write!(f, "`{of}` has too few or too many arguments"),
            Self::Value { of, expected, found } => {
                write!(f, "`{of}`: expected {expected}, found `{found}`")
            }
            Self::ProbablyMeant(text) => write!(f, "probably `{text}` was meant"),
            Self::NotAnUpstream(text) => write!(f, "`{text}` is neither an address nor a file"),
            Self::PluginTwice(name) => write!(f, "`{name}` may stand only once in a server block"),
            Self::NotAZone(text) => write!(f, "`{text}` is not a zone"),
            Self::ZoneTwice(text) => write!(f, "`{text}` is served by a block before"),
        }
    }
}

impl fmt::Display for CorefileRemark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.kind)
    }
}

/// Remarks under collection.
#[derive(Clone, Debug, Default)]
pub(super) struct Remarks(pub(super) Vec<CorefileRemark>);

impl Remarks {
    pub(super) fn add(&mut self, at: &Word, severity: Severity, kind: CorefileRemarkKind) {
        self.0.push(CorefileRemark { file: at.file, line: at.line, column: at.column, severity, kind });
    }

    pub(super) fn error(&mut self, at: &Word, kind: CorefileRemarkKind) {
        self.add(at, Severity::Error, kind);
    }
}
