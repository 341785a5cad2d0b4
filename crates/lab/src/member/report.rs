//! What members tell the keeper.

use std::{io, os::unix::net::UnixDatagram};

use serde::{Deserialize, Serialize};

/// Something that happened in a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Event {
    /// Its namespaces are there.
    Up {
        /// The number of its first process, as whoever made the lab counts.
        pid: u32,
        /// What the kernel did not allow.
        lacks: Vec<String>,
    },
    /// One of its programs waits for packets on all its ports.
    Listening {
        /// The program's name.
        program: String,
    },
    /// One of a node's programs has ended. Nobody starts it again by himself.
    Gone {
        /// The program's name.
        program: String,
    },
    /// A pod's container has ended and will be started again.
    Ended {
        /// The code it ended with.
        exit_code: i32,
        /// How often it has been started again so far, this one included.
        n_restarts: u32,
        /// How long until then, in seconds.
        back_off: u64,
    },
    /// A pod's first process has ended, and all of the pod with it.
    SandboxEnded,
    /// It cannot be.
    Failed {
        /// Why.
        message: String,
    },
}

/// An event with its member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The member's name.
    pub(crate) member: String,
    /// What happened.
    pub(crate) event: Event,
}

/// The member's end of the line to the keeper.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) member: String,
    pub(crate) line: UnixDatagram,
}

impl Reporter {
    /// Tells the keeper. A keeper that is gone takes this process with it, so that is no error to handle.
    pub(crate) fn tell(&self, event: Event) {
        let report = Report { member: self.member.clone(), event };
        let text = serde_json::to_vec(&report).expect("a report has only string keys");
        drop(self.line.send(&text));
    }

    /// The same line in the name of another member.
    pub(crate) fn of(&self, member: String) -> io::Result<Self> {
        Ok(Self { member, line: self.line.try_clone()? })
    }
}

/// The keeper's end.
#[derive(Debug)]
pub(crate) struct Reports {
    pub(crate) line: UnixDatagram,
}

impl Reports {
    /// The two ends of a new line.
    pub(crate) fn pair() -> io::Result<(Self, UnixDatagram)> {
        let (here, there) = UnixDatagram::pair()?;
        here.set_nonblocking(true)?;
        Ok((Self { line: here }, there))
    }

    /// The next report, if there is one.
    pub(crate) fn next(&self) -> io::Result<Option<Report>> {
        let mut buffer = vec![0; 64 << 10];
        match self.line.recv(&mut buffer) {
            Ok(length) => {
                let report = serde_json::from_slice(&buffer[..length]);
                report.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
