//! `hopwise completion`.

use std::{ffi::OsString, process::ExitCode};

use clap::Args;
use clap_complete::Shell;
use hopwise_diagnose::causes;

use crate::output::print;

/// Write a shell's completion of this command to standard output.
///
/// For bash: source <(hopwise completion bash). kubectl completes by itself where this program is installed also as
/// `kubectl_complete-hopwise`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self, mut command: clap::Command) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "hopwise", &mut script);
        print(String::from_utf8_lossy(&script).trim_end());
        ExitCode::SUCCESS
    }
}

/// What kubectl asks a plugin for: each word that can stand in place of the last one, with what it is, and in the last
/// line how to go on (`ShellCompDirective` of cobra: 4 is no file names, 0 is file names where nothing else fits).
pub(crate) fn complete(mut command: clap::Command, words: &[OsString]) -> ExitCode {
    command.build();
    let words: Vec<&str> = words.iter().map(|it| it.to_str().unwrap_or_default()).collect();
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (*last, before));
    let mut at = &command;
    for word in before {
        at = at.find_subcommand(word).unwrap_or(at);
    }
    let candidates = candidates(at, before.last().copied().unwrap_or_default(), last);
    let fitting: Vec<&(String, String)> =
        candidates.iter().filter(|(word, _)| word.starts_with(last)).collect();
    for (word, about) in &fitting {
        print(&if about.is_empty() { word.clone() } else { format!("{word}\t{about}") });
    }
    print(if fitting.is_empty() { ":0" } else { ":4" });
    ExitCode::SUCCESS
}

/// The words that can stand behind `previous`, with what they are.
fn candidates(command: &clap::Command, previous: &str, last: &str) -> Vec<(String, String)> {
    let about = |it: Option<&clap::builder::StyledStr>| it.map(ToString::to_string).unwrap_or_default();
    let is_option = |it: &&clap::Arg| {
        let (long, short) = (it.get_long(), it.get_short());
        previous.strip_prefix("--").is_some_and(|word| long == Some(word))
            || previous.strip_prefix('-').is_some_and(|word| word.chars().eq(short))
    };
    if let Some(option) = command.get_arguments().find(is_option).filter(|it| it.get_action().takes_values())
    {
        let values = option.get_possible_values();
        return values.iter().map(|it| (it.get_name().to_owned(), about(it.get_help()))).collect();
    }
    if last.starts_with('-') {
        let options = command.get_arguments().filter(|it| !it.is_hide_set());
        return options
            .filter_map(|it| Some((format!("--{}", it.get_long()?), about(it.get_help()))))
            .collect();
    }
    if command.get_name() == "explain" {
        return causes::all().map(|it| (it.name.to_owned(), it.summary.to_owned())).collect();
    }
    let commands = command.get_subcommands().filter(|it| !it.is_hide_set());
    commands.map(|it| (it.get_name().to_owned(), about(it.get_about()))).collect()
}
