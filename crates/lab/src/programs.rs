//! The programs of the machine that a lab is built with.

use std::{env, path::PathBuf, process::Command};

use crate::LabError;

/// A program that is not installed, and where Debian has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingProgram {
    /// The program.
    pub program: &'static str,
    /// The package.
    pub package: &'static str,
}

const NEEDED: &[MissingProgram] = &[
    MissingProgram { program: "ip", package: "iproute2" },
    MissingProgram { program: "bridge", package: "iproute2" },
    MissingProgram { program: "nft", package: "nftables" },
    MissingProgram { program: "iptables-nft-save", package: "iptables" },
    MissingProgram { program: "iptables-nft-restore", package: "iptables" },
    MissingProgram { program: "ip6tables-nft-save", package: "iptables" },
    MissingProgram { program: "ip6tables-nft-restore", package: "iptables" },
];

/// Fails with the names of all needed programs that are not there.
pub(crate) fn check() -> Result<(), LabError> {
    let missing: Vec<_> = NEEDED.iter().filter(|it| find(it.program).is_none()).cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(LabError::MissingPrograms(missing)) }
}

/// A command for a program, which is looked for where administrators have it too: other users' PATH often
/// lacks `/usr/sbin`.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| PathBuf::from(program)));
    command.env("PATH", search_path());
    // The texts of these programs are read, not shown.
    command.env("LC_ALL", "C");
    command
}

/// `PATH` with the directories of system programs.
pub(crate) fn search_path() -> std::ffi::OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push("/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|it| it.join(program)).find(|it| it.is_file())
}
