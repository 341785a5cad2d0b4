//! What can go wrong between a question and the kernel's answer.

use std::{fmt, io, time::Duration};

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The kernel has no such protocol (`EPROTONOSUPPORT`), or sockets have run out.
    #[error("no netlink socket of protocol {protocol} could be opened")]
    Open {
        /// `NETLINK_*` of `include/uapi/linux/netlink.h`.
        protocol: isize,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel answered with an error number.
    #[error("the kernel refused the request")]
    Refused {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The socket failed in itself.
    #[error("the netlink socket failed")]
    Socket {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The answer did not come, or did not end, in time.
    #[error("no complete answer within {} s", timeout.as_secs_f32())]
    TimedOut {
        /// The limit.
        timeout: Duration,
    },
    /// The table changed during every reading, so no reading shows a state that ever was.
    #[error("the table changed during each of {attempts} readings")]
    Interrupted {
        /// How often it was read.
        attempts: u32,
    },
    /// The answer is larger than the caller allows.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is not what this program knows of the kernel's interface.
    #[error("the answer was not understood: {what}")]
    Malformed {
        /// What was found.
        what: String,
    },
}

impl NetlinkError {
    /// An answer that was not understood.
    pub fn malformed(what: impl fmt::Display) -> Self {
        Self::Malformed { what: what.to_string() }
    }

    /// The error number that the kernel answered with, where it did.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open { source, .. } | Self::Refused { source } | Self::Socket { source } => {
                source.raw_os_error()
            }
            _ => None,
        }
    }
}
