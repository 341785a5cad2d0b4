//! The keeper's life once the lab is there: requests, reports, echo requests.

use std::{
    io::{self, BufReader},
    os::{fd::AsFd, unix::net::UnixStream},
    time::Duration,
};

use hopwise_snapshot::PodName;
use hopwise_sys::process::{poll, reap};

use super::{Keeper, log};
use crate::{
    LabError,
    control::{Request, Response, receive, send},
    error::chain,
    member::report::{Event, Report},
};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

impl Keeper {
    /// Serves until the lab is taken down. Its files are for whoever asked for that.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        loop {
            let mut files = vec![self.control.as_fd(), self.reports.line.as_fd(), self.children.as_fd()];
            files.extend(self.recorder.files());
            let ready = poll(&files, None)?;
            self.recorder.hear();
            if ready.contains(&2) {
                self.children.clear()?;
                while let Ok(Some((pid, end))) = reap(false) {
                    self.has_ended(pid, end);
                }
            }
            if ready.contains(&1) {
                self.take_reports();
            }
            if ready.contains(&0)
                && let Ok((client, _)) = self.control.accept()
            {
                match self.serve_client(&client) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error) => log(&format!("a client went away: {error}")),
                }
            }
        }
    }

    /// Serves one request. True where it was the last.
    fn serve_client(&mut self, mut client: &UnixStream) -> io::Result<bool> {
        client.set_nonblocking(false)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let Some(request) = receive(&mut BufReader::new(client))? else { return Ok(false) };
        let is_last = request == Request::Down;
        let response = self.execute(request).unwrap_or_else(|error| {
            log(&chain(&error));
            Response::Failed(chain(&error))
        });
        let answered = send(&mut client, &response);
        if is_last { Ok(true) } else { answered.map(|()| false) }
    }

    fn execute(&mut self, request: Request) -> Result<Response, LabError> {
        match request {
            Request::Down => super::end_members(),
            Request::BeginRun => return Ok(Response::Run(self.recorder.begin_run())),
            Request::Echoes { run } => return Ok(Response::Echoes(self.recorder.run(run))),
            Request::Sync { controller, node } => self.start_controller(controller, &node)?,
            Request::RestartPod(pod) => self.restart_pod(&pod)?,
            Request::StartPrograms { node } => self.start_programs(&node)?,
            Request::Rebuild { member } => self.rebuild(&member)?,
        }
        Ok(Response::Done)
    }

    fn has_ended(&mut self, pid: u32, end: hopwise_sys::process::End) {
        if let Some((name, _)) = self.members.iter().find(|(_, it)| it.own_pid == Some(pid)) {
            log(&format!("{name} ended: {end:?}"));
        }
    }

    /// Takes note of what members told.
    pub(super) fn take_reports(&mut self) {
        while let Ok(Some(report)) = self.reports.next() {
            if let Err(error) = self.take_report(report) {
                log(&chain(&error));
            }
        }
    }

    fn take_report(&mut self, report: Report) -> Result<(), LabError> {
        let Report { member, event } = report;
        let pod: Option<PodName> = member.strip_prefix("pod/").and_then(|it| it.parse().ok());
        match event {
            Event::Up { pid, lacks } => self.is_up(member, pid, lacks),
            Event::Failed { message } => log(&format!("{member} failed: {message}")),
            Event::SandboxEnded => {
                log(&format!("the sandbox of {member} ended"));
                self.listening.remove(&member);
                if let Some(pod) = pod {
                    // kubelet makes it anew at once.
                    self.restart_pod(&pod)?;
                }
            }
            Event::Gone { program } => {
                log(&format!("{program} of {member} ended"));
                self.listening.entry(member).or_default().retain(|it| *it != program);
            }
            Event::Listening { program } => {
                self.listening.entry(member).or_default().push(program);
                if let Some(pod) = pod {
                    self.container_runs(&pod)?;
                }
            }
            Event::Ended { exit_code, n_restarts, back_off } => {
                log(&format!("the container of {member} ended with {exit_code}; again in {back_off} s"));
                self.listening.remove(&member);
                if let Some(pod) = pod {
                    self.container_ended(&pod, exit_code, n_restarts, back_off)?;
                }
            }
        }
        Ok(())
    }
}
