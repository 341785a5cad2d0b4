//! `hopwise diagnose`.

use std::{collections::BTreeSet, process::ExitCode, time::Instant};

use clap::Args;
use hopwise_dataplane::contract;
use hopwise_diagnose::{Cause, Code, Diagnosis, Finding, Kind, causes, diagnose, diagnose_promises};
use hopwise_repair::Risk;
use hopwise_report::{Asked, Query, Report, document::DiagnosisDocument, text, text::Guide};
use hopwise_snapshot::{Element, Snapshot};

use crate::{
    failure::Failure,
    focus::Focus,
    output::{Shown, complain},
    program::Program,
    progress::{Step, proved},
    source::{Probing, Source},
    verdict::Ending,
};

/// How often a cluster is read again until two readings agree.
const MOST_SAMPLES: usize = 2;

/// Find out what is broken, and prove it.
///
/// With FROM and TO only what concerns that flow. The answer ends with 0 where all that is promised is kept, with 1
/// where something is broken, with 2 where nothing could be read, and with 3 where nothing was found and yet something
/// is not known.
#[derive(Debug, Args)]
pub(crate) struct Diagnose {
    /// Who sends: pod/NS/NAME or node/NAME
    #[arg(requires = "to")]
    from: Option<String>,
    /// To whom: pod/NS/NAME, node/NAME, svc/NS/NAME, ip/ADDRESS or a DNS name, then :PORT and /tcp, /udp or /icmp
    to: Option<String>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    probing: Probing,
    /// Hide a cause, by code or name, and say that it is hidden
    #[arg(long, value_name = "CAUSE", value_delimiter = ',')]
    ignore: Vec<String>,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    shown: Shown,
}

impl Diagnose {
    pub(crate) fn run(&self, program: Program) -> ExitCode {
        self.answer(program).unwrap_or_else(|it| it.report(self.shown.output))
    }

    fn answer(&self, program: Program) -> Result<ExitCode, Failure> {
        let ignored = self.ignore.iter().map(|it| cause(it)).collect::<Result<Vec<_>, _>>()?;
        let mut read = self.source.read_and_probe(self.probing)?;
        let start = Instant::now();
        let asked = self.from.clone().zip(self.to.clone()).map(|(from, to)| Asked { from, to });
        let focus = &self.source.focus;
        let mut found = diagnosis(&read.snapshot, asked.clone(), focus)?;
        let mut took = start.elapsed();
        // A snapshot of a cluster that lives is not of one moment: what is found is to be found twice.
        for _ in 0..MOST_SAMPLES {
            if found.n_broken == 0 || !self.source.is_live_cluster() {
                break;
            }
            let before = keys(&found);
            read = self.source.read_and_probe(self.probing)?;
            let start = Instant::now();
            found = diagnosis(&read.snapshot, asked.clone(), focus)?;
            took += start.elapsed();
            if keys(&found) == before {
                break;
            }
        }
        if asked.is_none() && !focus.is_narrow() && read.confirm(self.probing, &found) {
            // What packets did is a fact like others, and may say otherwise than the model.
            let start = Instant::now();
            found = diagnosis(&read.snapshot, None, focus)?;
            took += start.elapsed();
        }
        let snapshot = &read.snapshot;
        complain(&format!("{read}; {}", proved(found.n_promised, took)));
        let report = Report::new(snapshot, &found).about(asked).ignoring(ignored);
        let guide = guide(&report, &self.source.words(), program);
        self.shown
            .print(|| DiagnosisDocument::new(&report), |layout| text::diagnosis(&report, &guide, layout));
        Ok(self.ending.code(report.verdict(), report.is_proven()))
    }
}

/// What tells the findings of a diagnosis from those of another.
fn keys(found: &Diagnosis) -> BTreeSet<(Code, Option<Element>)> {
    found.findings.iter().map(|it| (it.cause.code, it.elements.first().cloned())).collect()
}

/// A diagnosis of every promise, of those in focus, or of what concerns one flow.
fn diagnosis(snapshot: &Snapshot, asked: Option<Asked>, focus: &Focus) -> Result<Diagnosis, Failure> {
    let Some(asked) = asked else {
        let _step = Step::new("proving what is promised");
        if focus.is_narrow() {
            let mut contract = contract(snapshot);
            focus.narrow(&snapshot.cluster, &mut contract);
            return Ok(diagnose_promises(snapshot, contract.promises));
        }
        return Ok(diagnose(snapshot));
    };
    let query = Query::new(snapshot, &contract(snapshot), asked, false)?;
    if !query.is_promised {
        complain("Kubernetes does not promise this flow; it is judged as if it did");
    }
    let _step = Step::new("proving what is promised");
    Ok(diagnose_promises(snapshot, query.promises))
}

/// The cause with this code or name.
pub(crate) fn cause(written: &str) -> Result<&'static Cause, Failure> {
    causes::find(written).ok_or_else(|| Failure::NoSuchCause { written: written.to_owned() })
}

/// What to do next.
pub(crate) fn guide(report: &Report<'_>, source: &str, program: Program) -> Guide {
    let program = program.words();
    let mut next = Vec::new();
    let can_be_done = |it: &Finding| {
        !it.repair.actions.is_empty() && it.repair.risk() < Risk::External && it.kind != Kind::Suspected
    };
    if report.findings().any(can_be_done) {
        next.push(format!("{program} repair {source}").trim_end().to_owned());
    }
    if let Some(first) = report.findings().next() {
        next.push(format!("{program} explain {}", first.cause.code));
        let violation = first.violations.first().and_then(|it| report.diagnosis.violations.get(*it));
        let trace =
            |from: &str, to: &str| format!("{program} trace {from} {to} {source}").trim_end().to_owned();
        next.extend(violation.map(|it| trace(&it.from.to_string(), &it.to)));
    }
    Guide { program, next }
}
