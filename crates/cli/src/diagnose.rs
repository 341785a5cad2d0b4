//! `hopwise diagnose`.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use hopwise_diagnose::diagnose;

use crate::{
    failure::{Output, complain, print, report},
    source::{Source, size},
};

/// Find out what is broken, and prove it.
#[derive(Debug, Args)]
pub(crate) struct Diagnose {
    #[command(flatten)]
    source: Source,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Diagnose {
    pub(crate) fn run(&self) -> ExitCode {
        let start = Instant::now();
        let snapshot = match self.source.read(&|_| {}) {
            Ok(snapshot) => snapshot,
            Err(error) => return report(&error, self.output),
        };
        let (n_nodes, n_pods, n_services) = size(&snapshot);
        let read = start.elapsed();
        let found = diagnose(&snapshot);
        complain(&format!(
            "read {n_nodes} nodes, {n_pods} pods, {n_services} services in {:.2} s; diagnosed {:.3} s; {} of {} broken; {:?}",
            read.as_secs_f64(),
            (start.elapsed() - read).as_secs_f64(),
            found.n_broken,
            found.n_promised,
            found.verdict(),
        ));
        for finding in &found.findings {
            print(&format!(
                "{} {} {} {}",
                finding.cause.code,
                finding.cause.name,
                finding.kind.word(),
                finding.n_flows
            ));
            print(&format!("   {}", finding.summary));
            for element in &finding.elements {
                print(&format!("   at {element}"));
            }
            for it in &finding.evidence {
                print(&format!("   {} {} / {} {}", it.element, it.observed, it.expected, it.source));
            }
            print(&format!("   since {:?} later {:?}", finding.since, finding.later));
            print(&format!("   repair {:?} {}", finding.repair.risk(), finding.repair.summary()));
            print(&format!("   proof {:?}", finding.proof));
        }
        for it in &found.unknown {
            print(&format!(
                "unknown {} {} {} flows; {}",
                it.assumption.element, it.assumption.reason, it.n_flows, it.settled_by
            ));
        }
        for it in &found.violations {
            let blockers: Vec<_> =
                it.blockers.iter().map(|it| format!("{} {}", it.element, it.note())).collect();
            print(&format!(
                "violation {} {} {} {} {}: {}",
                it.n_flows,
                it.promise.word(),
                it.from,
                it.to,
                it.protocol,
                blockers.join("; ")
            ));
        }
        ExitCode::SUCCESS
    }
}
