//! `hopwise lab list`.

use std::process::ExitCode;

use clap::Args;
use hopwise_lab::{Lab, LabError, LabName, LabsDirectory, MemberKind};
use serde::Serialize;

use crate::failure::{Output, print, report};

/// Show all labs and their members.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// The document `hopwise/labs/v1`.
#[derive(Debug, Serialize)]
struct Labs {
    schema: &'static str,
    labs: Vec<OneLab>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OneLab {
    name: String,
    /// `up`, `building` or `dead`.
    state: &'static str,
    members: Vec<OneMember>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OneMember {
    name: String,
    kind: MemberKind,
    pid: u32,
    netns: String,
    enter: Vec<String>,
}

impl List {
    pub(crate) fn run(&self) -> ExitCode {
        match labs() {
            Ok(labs) if self.output == Output::Json => {
                print(&serde_json::to_string_pretty(&labs).expect("only string keys"));
                ExitCode::SUCCESS
            }
            Ok(labs) => {
                print(&text(&labs));
                ExitCode::SUCCESS
            }
            Err(error) => report(&error, self.output),
        }
    }
}

fn labs() -> Result<Labs, LabError> {
    let directory = LabsDirectory::of_this_user()?;
    let mut labs = Vec::new();
    for name in directory.names()? {
        labs.extend(one_lab(&directory, &name)?);
    }
    Ok(Labs { schema: "hopwise/labs/v1", labs })
}

fn one_lab(directory: &LabsDirectory, name: &LabName) -> Result<Option<OneLab>, LabError> {
    let bare = |state| OneLab { name: name.to_string(), state, members: Vec::new() };
    let lab = match Lab::open_in(directory, name) {
        Ok(lab) => lab,
        Err(LabError::Dead { .. }) => return Ok(Some(bare("dead"))),
        Err(LabError::NotReady { .. }) => return Ok(Some(bare("building"))),
        // Removed meanwhile.
        Err(LabError::NoSuchLab { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let member = |it: &hopwise_lab::Member| OneMember {
        name: it.name.clone(),
        kind: it.kind,
        pid: it.pid,
        netns: it.net_namespace_path().display().to_string(),
        enter: lab.enter_words(it),
    };
    Ok(Some(OneLab { members: lab.members().iter().map(member).collect(), ..bare("up") }))
}

fn text(labs: &Labs) -> String {
    if labs.labs.is_empty() {
        return "no labs; make one with `hopwise lab up`".to_owned();
    }
    let mut lines = Vec::new();
    for lab in &labs.labs {
        lines.push(format!("{} ({})", lab.name, lab.state));
        lines.extend(lab.members.iter().map(|it| format!("  {:<34} pid {}", it.name, it.pid)));
    }
    lines.join("\n")
}
