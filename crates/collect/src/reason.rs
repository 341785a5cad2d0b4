//! From what went wrong to the reason that the snapshot gives.

use std::{error::Error, io};

use hopwise_snapshot::{Observed, Reason};
use hopwise_sys::{ProgramError, ReadError, netlink::NetlinkError};

/// `EPERM`, `EACCES`, `EOPNOTSUPP`, `EPROTONOSUPPORT`, `EAFNOSUPPORT` of the generic error numbers.
const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EPROTONOSUPPORT: i32 = 93;
const EOPNOTSUPP: i32 = 95;
const EAFNOSUPPORT: i32 = 97;

/// The reason for a table that netlink did not give. `what` names the table.
pub(crate) fn of_netlink(error: &NetlinkError, what: &str) -> Reason {
    match error {
        NetlinkError::TimedOut { .. } => Reason::TimedOut,
        NetlinkError::TooLarge { limit } => Reason::TooLarge { limit: *limit as u64 },
        _ => match error.errno() {
            Some(EPERM | EACCES) => Reason::NotPermitted("CAP_NET_ADMIN in the namespace".to_owned()),
            Some(EOPNOTSUPP | EPROTONOSUPPORT | EAFNOSUPPORT) => Reason::Unsupported(what.to_owned()),
            _ => Reason::Failed(format!("{what}: {}", chain(error))),
        },
    }
}

/// The reason for a file of this machine that could not be read. `right` names what reading it takes.
pub(crate) fn of_io(error: &io::Error, right: &str) -> Reason {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Reason::NotPermitted(right.to_owned()),
        io::ErrorKind::TimedOut => Reason::TimedOut,
        _ => Reason::Failed(format!("{right}: {error}")),
    }
}

/// What a file or directory below a root is, that was not read.
pub(crate) fn of_read<T>(error: &ReadError, path: &str) -> Observed<T> {
    Observed::NotCollected(match error {
        ReadError::NotFound => return Observed::Absent,
        ReadError::NotPermitted => Reason::NotPermitted(format!("reading {path}")),
        ReadError::TooLarge { limit } => Reason::TooLarge { limit: *limit },
        ReadError::NoOpenat2 => Reason::Unsupported("openat2 (Linux 5.6)".to_owned()),
        other => Reason::Failed(format!("{path} {}", chain(other))),
    })
}

/// The reason for what a program should have printed.
pub(crate) fn of_program(error: &ProgramError) -> Reason {
    match error {
        ProgramError::Missing { program } => Reason::ProgramMissing(program.clone()),
        ProgramError::TimedOut { .. } => Reason::TimedOut,
        ProgramError::TooLarge { limit, .. } => Reason::TooLarge { limit: *limit as u64 },
        other => Reason::Failed(chain(other)),
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
