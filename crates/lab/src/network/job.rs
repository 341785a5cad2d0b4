//! Programs of the machine that are run in a member's network namespace.

use std::{
    io::Write,
    path::Path,
    process::{Child, Stdio},
};

use hopwise_sys::{
    namespace::{Namespace, NamespaceKind, NamespaceSet},
    process::enter_before_exec,
};

use super::Batch;
use crate::{LabError, programs};

/// How many programs run at the same time.
const N_AT_ONCE: usize = 8;

/// A program to run in the network namespace of a process.
#[derive(Debug)]
pub(crate) struct Job {
    /// For messages.
    pub(crate) member: String,
    /// The process, as `/proc` counts.
    pub(crate) pid: u32,
    pub(crate) program: &'static str,
    pub(crate) arguments: Vec<&'static str>,
    pub(crate) input: Vec<u8>,
}

impl Job {
    /// `ip -batch` with these lines.
    pub(crate) fn ip(member: &str, pid: u32, batch: &Batch) -> Self {
        Self::batch("ip", member, pid, batch)
    }

    /// `bridge -batch` with these lines.
    pub(crate) fn bridge(member: &str, pid: u32, batch: &Batch) -> Self {
        Self::batch("bridge", member, pid, batch)
    }

    fn batch(program: &'static str, member: &str, pid: u32, batch: &Batch) -> Self {
        Self {
            member: member.to_owned(),
            pid,
            program,
            arguments: vec!["-batch", "-"],
            input: batch.as_bytes().to_vec(),
        }
    }

    fn name(&self) -> String {
        [&[self.program], self.arguments.as_slice()].concat().join(" ")
    }

    fn start(&self) -> Result<Child, LabError> {
        let mut command = programs::command(self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |step| move |source| LabError::Kernel { step, member: self.member.clone(), source };
        let net = NamespaceSet::of_process(Path::new("/proc"), self.pid, &[NamespaceKind::Net])
            .map_err(failed("open the network namespace"))?;
        enter_before_exec(&mut command, net);
        let mut child = command.spawn().map_err(failed("run a program in the network namespace"))?;
        // The pipe holds 64 KiB, more than any text here; a program that ends early is told by its status.
        drop(child.stdin.take().map(|mut it| it.write_all(&self.input)));
        Ok(child)
    }

    fn finish(&self, child: Child) -> Result<Vec<u8>, LabError> {
        let ended = child.wait_with_output();
        let failed =
            |message| LabError::Program { program: self.name(), member: self.member.clone(), message };
        let output = ended.map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(failed(if message.is_empty() { output.status.to_string() } else { message }))
    }
}

/// Runs all jobs, several at a time. Fails with the first that failed, after all have ended.
pub(crate) fn run_all(jobs: &[Job]) -> Result<(), LabError> {
    let mut first_failure = Ok(());
    for some in jobs.chunks(N_AT_ONCE) {
        let started: Vec<_> = some.iter().map(|job| (job, job.start())).collect();
        for (job, child) in started {
            let done = child.and_then(|it| job.finish(it));
            first_failure = first_failure.and(done.map(drop));
        }
    }
    first_failure
}

/// Runs one job and returns what it printed.
pub(crate) fn output_in(job: &Job) -> Result<String, LabError> {
    let output = job.start().and_then(|it| job.finish(it))?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// Does `work` in the network namespace of the process `pid`, with the calling thread.
///
/// The thread must be allowed to return to its own network namespace.
pub(crate) fn inside<T>(
    member: &str,
    pid: u32,
    work: impl FnOnce() -> Result<T, LabError>,
) -> Result<T, LabError> {
    let failed = |step| move |source| LabError::Kernel { step, member: member.to_owned(), source };
    let own = Namespace::of_this_thread(NamespaceKind::Net).map_err(failed("leave the network namespace"))?;
    let net = Namespace::of_process(Path::new("/proc"), pid, NamespaceKind::Net)
        .map_err(failed("open the network namespace"))?;
    net.enter().map_err(failed("enter the network namespace"))?;
    let done = work();
    own.enter().map_err(failed("leave the network namespace"))?;
    done
}
