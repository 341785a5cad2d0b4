//! `hopwise matrix`.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use hopwise_dataplane::{Network, contract, verify};

use crate::{
    failure::{Output, complain, print, report},
    source::{Source, size},
};

/// Who can reach whom, by the model.
#[derive(Debug, Args)]
pub(crate) struct Matrix {
    #[command(flatten)]
    source: Source,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Matrix {
    pub(crate) fn run(&self) -> ExitCode {
        let start = Instant::now();
        let snapshot = match self.source.read(&|_| {}) {
            Ok(snapshot) => snapshot,
            Err(error) => return report(&error, self.output),
        };
        let (n_nodes, n_pods, n_services) = size(&snapshot);
        let read = start.elapsed();
        let network = Network::new(&snapshot);
        let built = start.elapsed();
        let contract = contract(&snapshot);
        let verification = verify(&network, &snapshot, &contract);
        complain(&format!(
            "read {n_nodes} nodes, {n_pods} pods, {n_services} services in {:.2} s; model {:.2} s; proved {} promised flows in {:.3} s",
            read.as_secs_f64(),
            (built - read).as_secs_f64(),
            contract.promises.len(),
            (start.elapsed() - built).as_secs_f64(),
        ));
        for (promise, result) in contract.promises.iter().zip(&verification.results) {
            let blockers: Vec<String> =
                result.blockers.iter().map(|it| format!("{} {}", it.element, it.note())).collect();
            print(&format!(
                "{:?} {} {} {} {} {} {}",
                result.state,
                result.disposition.word(),
                promise.from,
                promise.to,
                promise.protocol(),
                promise.kind.word(),
                blockers.join("; "),
            ));
            for assumption in &result.assumptions {
                print(&format!("    {} {}", assumption.element, assumption.reason));
            }
        }
        ExitCode::SUCCESS
    }
}
