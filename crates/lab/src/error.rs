//! Why something with a lab could not be done.

use std::{fmt, io, path::PathBuf};

use hopwise_sys::namespace::UserNamespaceError;

use crate::{fault::FaultError, name::LabNameError, programs::MissingProgram};

/// Why something with a lab could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A text is not the name of a lab.
    #[error(transparent)]
    Name(#[from] LabNameError),

    /// There is no lab of this name.
    #[error("there is no lab called `{name}` in {}", directory.display())]
    NoSuchLab {
        /// The name.
        name: String,
        /// Where labs of this user are.
        directory: PathBuf,
    },

    /// What is left of a lab whose keeper is gone.
    #[error("the lab `{name}` is dead: its keeper was killed; remove it with `hopwise lab down {name}`")]
    Dead {
        /// The name.
        name: String,
    },

    /// A lab that is being built or removed.
    #[error("the lab `{name}` is being built or removed")]
    NotReady {
        /// The name.
        name: String,
    },

    /// A controller that no node has.
    #[error("`{name}` is no controller: expected kube-proxy, flannel or kubelet, then @ and a node")]
    NoSuchController {
        /// What was asked for.
        name: String,
    },

    /// A program that a member does not have.
    #[error("cannot run `{program}` in {member}")]
    NoSuchProgram {
        /// The program.
        program: String,
        /// The member.
        member: String,
        /// What the kernel answered.
        source: io::Error,
    },

    /// A lab of this name exists, or is being built or removed.
    #[error("there is a lab called `{name}` already; remove it with `hopwise lab down {name}`")]
    Exists {
        /// The name.
        name: String,
    },

    /// More labs than the machine's shared tables can bear.
    #[error("{n_labs} labs are up already, and they share the machine's neighbour table; remove one first")]
    TooMany {
        /// How many there are.
        n_labs: usize,
    },

    /// A lab has no member of this name.
    #[error("lab `{lab}` has no member `{member}`; its members are {members}")]
    NoSuchMember {
        /// The lab.
        lab: String,
        /// What was asked for.
        member: String,
        /// What there is.
        members: String,
    },

    /// A directory that others could have prepared.
    #[error("{} is not a directory that belongs to this user alone", path.display())]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
    },

    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },

    /// A file or directory could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },

    /// A file of the lab is not what the lab wrote.
    #[error("{} is not what a lab writes there", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What was expected, and where.
        source: serde_json::Error,
    },

    /// A file of objects holds no list.
    #[error("{} is not a List of Kubernetes objects", path.display())]
    NotAList {
        /// Which.
        path: PathBuf,
    },

    /// The kernel gave no random bytes.
    #[error("no random bytes")]
    Random {
        /// What the kernel answered.
        source: io::Error,
    },

    /// No user namespace could be made, and this process may not do without.
    #[error("cannot build a lab as this user: {}", hint)]
    NoUserNamespace {
        /// The switch that forbids it, as far as it can be told.
        hint: String,
        /// What was tried, and what the kernel answered.
        source: UserNamespaceError,
    },

    /// Programs that a lab needs are not installed.
    #[error("{}", MissingPrograms(.0))]
    MissingPrograms(Vec<MissingProgram>),

    /// A program that builds the network failed.
    #[error("`{program}` failed in {member}: {message}")]
    Program {
        /// The program with its arguments.
        program: String,
        /// Where it ran.
        member: String,
        /// What it said.
        message: String,
    },

    /// A system call that a lab is made of failed.
    #[error("cannot {step} of {member}")]
    Kernel {
        /// What was tried, with the thing: `enter the network namespace`.
        step: &'static str,
        /// For whom.
        member: String,
        /// What the kernel answered.
        source: io::Error,
    },

    /// A member did not come up in time.
    #[error("{member} did not {what} within {seconds} s")]
    TooSlow {
        /// Who.
        member: String,
        /// What it should have done.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },

    /// The process that asked for the lab went away while it was built.
    #[error("whoever asked for the lab went away")]
    Abandoned,

    /// The keeper could not be asked.
    #[error("cannot talk to the keeper of lab `{lab}`")]
    Control {
        /// The lab.
        lab: String,
        /// What failed.
        source: io::Error,
    },

    /// The keeper refused, or failed.
    #[error("{0}")]
    Keeper(String),

    /// The cluster's objects do not give what a controller needs.
    #[error("{controller} cannot write its state: {message}")]
    Controller {
        /// Which controller.
        controller: &'static str,
        /// What is missing.
        message: String,
    },

    /// A fault that cannot be injected.
    #[error(transparent)]
    Fault(#[from] FaultError),
}

/// The error and all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

struct MissingPrograms<'a>(&'a [MissingProgram]);

impl fmt::Display for MissingPrograms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a lab needs programs that are not installed:")?;
        for it in self.0 {
            write!(f, " {} (Debian package {})", it.program, it.package)?;
        }
        f.write_str("; they are looked for in PATH, /usr/sbin and /sbin")
    }
}
