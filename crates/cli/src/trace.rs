//! `hopwise trace`.

use std::process::ExitCode;

use clap::Args;
use hopwise_dataplane::{Check, Network, State, contract, resolve, trace};
use hopwise_diagnose::Verdict;
use hopwise_report::{Asked, Query, Traced, document::TraceDocument, text};

use crate::{
    failure::Failure,
    output::{Shown, complain},
    program::Program,
    progress::Step,
    source::{Probing, Source},
    verdict::Ending,
};

/// Follow one flow through the model, hop by hop, forward and reply.
///
/// Without a port the flow is ICMP echo; to a Service with one port it is that port.
#[derive(Debug, Args)]
pub(crate) struct TraceCommand {
    /// Who sends: pod/NS/NAME or node/NAME
    from: String,
    /// To whom: pod/NS/NAME, node/NAME, svc/NS/NAME, ip/ADDRESS or a DNS name, then :PORT and /tcp, /udp or /icmp
    to: String,
    /// Take the IPv6 addresses where there are both
    #[arg(short = '6', long)]
    ipv6: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    probing: Probing,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    shown: Shown,
}

impl TraceCommand {
    pub(crate) fn run(&self, _program: Program) -> ExitCode {
        self.answer().unwrap_or_else(|it| it.report(self.shown.output))
    }

    fn answer(&self) -> Result<ExitCode, Failure> {
        let read = self.source.read_and_probe(self.probing)?;
        let snapshot = &read.snapshot;
        complain(&read.to_string());
        let asked = Asked { from: self.from.clone(), to: self.to.clone() };
        let query = Query::new(snapshot, &contract(snapshot), asked, self.ipv6)?;
        let promise = query.one()?;
        let ends = (promise.from.to_string(), promise.to.clone());
        let step = Step::new("following the flow");
        let network = Network::new(snapshot);
        let traced = match &promise.check {
            Check::Flow { flow, expectation } => {
                Traced::flow(snapshot, ends, trace(&network, flow), expectation)
            }
            // Nothing that can be named on a command line is one.
            Check::Duty(_) => return Err(Failure::NotTraced),
            Check::Name { name } => {
                Traced::name(snapshot, ends, resolve(&network, snapshot, &promise.from, name))
            }
        };
        drop(step);
        self.shown.print(|| TraceDocument::new(&traced), |layout| text::trace(&traced, layout));
        let verdict = match traced.state {
            State::Kept => Verdict::Healthy,
            State::Broken => Verdict::Broken,
            State::Unknown => Verdict::Incomplete,
        };
        Ok(self.ending.code(verdict, verdict == Verdict::Broken))
    }
}
