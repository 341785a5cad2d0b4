//! `hopwise lab truth`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Args;
use hopwise_lab::{
    Lab, LabError, LabName,
    truth::{Pair, Truth, truth},
};

use crate::failure::{Output, print, report};

/// Measure who reaches whom, by packets alone.
#[derive(Debug, Args)]
pub(crate) struct TruthCommand {
    /// The lab.
    #[arg(required_unless_present = "lab")]
    name: Option<LabName>,
    /// The same, as other commands have it.
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    lab: Option<LabName>,
    /// Only probes of this protocol (`tcp`, `udp`, `icmp`, `dns`), or whose source or target begins so
    /// (`pod/default/client-w1`, `svc/`). Any of several is enough.
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    only: Vec<String>,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl TruthCommand {
    /// Ends with success when the truth could be told, whatever it is.
    pub(crate) fn run(&self) -> ExitCode {
        match self.measure() {
            Ok(truth) => {
                print(&match self.output {
                    Output::Json => serde_json::to_string_pretty(&truth).expect("only string keys"),
                    Output::Text => text(&truth),
                });
                ExitCode::SUCCESS
            }
            Err(error) => report(&error, self.output),
        }
    }

    fn measure(&self) -> Result<Truth, LabError> {
        let name = self.name.as_ref().or(self.lab.as_ref());
        let Some(name) = name else { unreachable!("the parser asks for one") };
        let lab = Lab::open(name)?;
        lab.enter_user_namespace()?;
        truth(&lab, &self.only)
    }
}

/// What does not work, by source, and how much works.
fn text(truth: &Truth) -> String {
    let lost: Vec<&Pair> = truth.pairs.iter().filter(|it| !it.reached).collect();
    let mut lines =
        vec![format!("{} of {} probes answered", truth.pairs.len() - lost.len(), truth.pairs.len())];
    let mut by_source: BTreeMap<&str, Vec<&Pair>> = BTreeMap::new();
    for pair in lost {
        by_source.entry(&pair.from).or_default().push(pair);
    }
    for (source, pairs) in by_source {
        lines.push(format!("{source} does not reach"));
        lines.extend(pairs.into_iter().map(|it| format!("  {}", target(it))));
    }
    lines.join("\n")
}

fn target(pair: &Pair) -> String {
    let error = pair.error.map(|it| format!("{it:?}").to_lowercase()).unwrap_or_default();
    let size = pair.size.map(|it| format!(", {it} bytes")).unwrap_or_default();
    let n_attempts = pair.attempts.len();
    let attempts = if n_attempts > 1 {
        let n_lost = pair.attempts.iter().filter(|it| !it.reached).count();
        format!(", {n_lost} of {n_attempts} attempts")
    } else {
        String::new()
    };
    format!("{:<40} {} IPv{}{size}: {error}{attempts}", pair.to, pair.proto, pair.family)
}
