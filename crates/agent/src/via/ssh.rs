//! Over ssh: the user's own program, with its configuration, its agent and its jump hosts.
//!
//! All goes over one connection. A script on the node (`on_arrival.sh`) says what the machine is; where it has not the
//! very same program, the program is sent, put into a directory of its own, and removed as soon as it runs.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{
    Far, Line, NodesVia, OpenError,
    complaint::{machine, of_places, of_ssh},
};
use crate::Target;

/// What the node does first.
const SCRIPT: &str = include_str!("on_arrival.sh");
/// How long it may take until the agent runs, the sending of the program included.
const ARRIVAL: Duration = Duration::from_mins(2);
/// How much a login shell may say before.
const MOST_NOISE: u64 = 64 << 10;

/// The way over ssh.
#[derive(Clone, Debug)]
pub struct Ssh {
    /// The program `ssh`.
    pub ssh: PathBuf,
    /// More arguments for it, before the host.
    pub options: Vec<OsString>,
    /// What is sent.
    pub program: SshProgram,
}

/// The program that is to run on nodes.
#[derive(Clone)]
pub struct SshProgram {
    bytes: std::sync::Arc<[u8]>,
    sum: String,
}

impl std::fmt::Debug for SshProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshProgram").field("sum", &self.sum).finish_non_exhaustive()
    }
}

impl SshProgram {
    /// A program by its bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        let sum = Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
            // Writing to memory does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self { bytes: bytes.into(), sum }
    }
}

impl Ssh {
    /// The ssh of this machine, which sends a program.
    pub fn new(program: SshProgram) -> Self {
        Self { ssh: "ssh".into(), options: Vec::new(), program }
    }

    fn command(&self, host: &str) -> Command {
        let mut command = Command::new(&self.ssh);
        // Nobody is there to answer questions, and what the user forwards is not for this.
        command.args([
            "-T",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
            "-o",
            "ClearAllForwardings=yes",
        ]);
        command.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6"]);
        command.args(&self.options).args(["--", host]).arg(format!("exec sh -c '{SCRIPT}'"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn open_host(&self, host: &str) -> Result<Line, OpenError> {
        let start = |source| OpenError::Start { program: self.ssh.display().to_string(), source };
        let mut child = self.command(host).spawn().map_err(start)?;
        let (Some(reads), Some(mut writes)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(OpenError::Other("a child without an input or output".to_owned()));
        };
        let mut far = Far::new(child);
        // Whoever hangs is ended, and then what it says ends too.
        let (arrived, waits) = mpsc::channel::<()>();
        let kill = far.killer();
        let watchdog = thread::spawn(move || {
            let is_late = waits.recv_timeout(ARRIVAL) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                kill();
            }
            is_late
        });
        let mut reads = BufReader::new(reads);
        let opened = self.arrive(host, &mut reads, &mut writes);
        drop(arrived);
        let is_late = watchdog.join().unwrap_or(false);
        match opened {
            Ok(()) => Ok(Line { reads: Box::new(reads), writes: Box::new(writes), far: Some(far) }),
            Err(trouble) => {
                drop(writes);
                let said = far.complaint();
                far.hang_up();
                Err(match trouble {
                    Some(error) => error,
                    None if is_late => {
                        let said = format!("it did not begin within {} s", ARRIVAL.as_secs());
                        OpenError::NoAnswer { host: host.to_owned(), said }
                    }
                    None => of_ssh(host, &said),
                })
            }
        }
    }

    /// Speaks with the script until it becomes the agent. Without an error of its own, what ssh says counts.
    fn arrive(
        &self,
        host: &str,
        reads: &mut impl BufRead,
        writes: &mut impl Write,
    ) -> Result<(), Option<OpenError>> {
        let mut reads = reads.take(MOST_NOISE);
        loop {
            match said(&mut reads, host)? {
                Said::Here { system, machine: found, sum } => {
                    self.check(host, &system, &found)?;
                    let word = if sum == self.program.sum { "use" } else { "push" };
                    let answer = format!("{word} {} {}\n", self.program.bytes.len(), self.program.sum);
                    give(writes, answer.as_bytes())?;
                }
                Said::Send => give(writes, &self.program.bytes)?,
                Said::Start => return Ok(()),
            }
        }
    }

    fn check(&self, host: &str, system: &str, found: &str) -> Result<(), OpenError> {
        let own = machine(&self.program.bytes);
        let fits = own.is_none_or(|own| own == found || (own == "armv7l" && found.starts_with("armv")));
        if system == "Linux" && fits {
            return Ok(());
        }
        Err(OpenError::OtherMachine {
            host: host.to_owned(),
            found: format!("{system} on {found}"),
            own: format!("Linux on {}", own.unwrap_or("any machine")),
        })
    }
}

impl NodesVia for Ssh {
    fn open(&self, node: &Target) -> Result<Line, OpenError> {
        for host in &node.hosts {
            match self.open_host(host) {
                Err(OpenError::UnknownHost { .. }) => {}
                other => return other,
            }
        }
        Err(OpenError::UnknownHost { hosts: node.hosts.clone() })
    }
}

/// What the script says.
enum Said {
    Here { system: String, machine: String, sum: String },
    Send,
    Start,
}

/// The next thing that the script says, behind whatever a login shell says.
fn said(reads: &mut impl BufRead, host: &str) -> Result<Said, Option<OpenError>> {
    loop {
        let mut line = Vec::new();
        if !matches!(reads.read_until(b'\n', &mut line), Ok(1..)) {
            return Err(None);
        }
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split_ascii_whitespace();
        let mut rest = || words.next().unwrap_or_default().to_owned();
        match rest().as_str() {
            "hopwise-here" => return Ok(Said::Here { system: rest(), machine: rest(), sum: rest() }),
            "hopwise-send" => return Ok(Said::Send),
            "hopwise-start" => return Ok(Said::Start),
            "hopwise-cannot" => {
                let (what, host) = (rest(), host.to_owned());
                let why = words.collect::<Vec<_>>().join(" ");
                return Err(Some(match what.as_str() {
                    "sudo" => OpenError::Sudo { host, said: why },
                    "place" => OpenError::NoPlace { host, why: of_places(&why) },
                    _ => OpenError::Other(format!("{host}: {why}")),
                }));
            }
            _ => {}
        }
    }
}

/// Writes to the script. That it reads no more is no failure of its own: it says why.
fn give(writes: &mut impl Write, bytes: &[u8]) -> Result<(), Option<OpenError>> {
    match writes.write_all(bytes).and_then(|()| writes.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Some(OpenError::Other(error.to_string())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_can_travel_between_single_quotes() {
        // All of it but its own comments is a shell's.
        assert!(!SCRIPT.contains('\''));
    }

    #[test]
    fn what_a_login_shell_says_is_passed_over() {
        let text = "Welcome!\nhopwise-here Linux x86_64 -\n";
        assert!(matches!(said(&mut text.as_bytes(), "w1"), Ok(Said::Here { sum, .. }) if sum == "-"));
        assert!(matches!(said(&mut "bye\n".as_bytes(), "w1"), Err(None)));
    }

    #[test]
    fn a_sum_is_what_sha256sum_prints() {
        let sum = SshProgram::new(b"abc".to_vec()).sum;
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
