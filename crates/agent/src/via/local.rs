//! This machine: the agent is a child.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{Line, NodesVia, OpenError};
use crate::Target;

/// The way to this machine's own agent.
#[derive(Clone, Debug)]
pub struct Local {
    /// The program `hopwise`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Local {
    /// This program itself is the agent.
    pub fn new(program: PathBuf) -> Self {
        Self { program, arguments: vec!["on-node".into()] }
    }
}

impl NodesVia for Local {
    fn open(&self, _: &Target) -> Result<Line, OpenError> {
        let start = |source| OpenError::Start { program: self.program.display().to_string(), source };
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Line::of_child(command.spawn().map_err(start)?)
    }
}
