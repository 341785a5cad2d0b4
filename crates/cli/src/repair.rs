//! `hopwise repair` and `hopwise undo`.

mod act;
mod run;
mod undo;

use std::{
    collections::BTreeSet,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use hopwise_change::{Change, differing, settings};
use hopwise_diagnose::{
    Diagnosis, Finding, Kind, diagnose,
    plan::{Plan, Selector, plan, questions, samples},
};
use hopwise_repair::{
    Entry, Persist, PlannedFinding, boot,
    journal::{BEFORE, FORMAT, after},
    places,
};
use hopwise_report::{
    Repaired, Report, Undone,
    document::{RepairDocument, UndoDocument},
    text::{self, Guide},
};
use hopwise_snapshot::{Element, Message, Observation, Observed, Place, Probe, Question, Snapshot};

pub(crate) use act::ActError;
pub(crate) use run::RunError;

use crate::{
    diagnose::cause,
    failure::Failure,
    output::{Shown, complain},
    program::Program,
    progress::{Step, proved},
    repair::{
        run::{Run, Runs, point},
        undo::{TakenBack, take_back},
    },
    source::{Live, Probing, Read, Source, SourceFailure},
};

/// How long what was started anew may take until everything holds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Not everything is healed, or not everything is as it was.
const NOT_WHOLE: u8 = 1;

/// Show what would heal the findings, or do it.
///
/// Without --apply nothing is done. With it each step is written down before it is done, and what does not heal is taken
/// back. The answer ends with 0 where nothing is broken any more, and with 1 where something is.
#[derive(Debug, Args)]
pub(crate) struct RepairCommand {
    /// Which findings: CODE or CODE@ELEMENT-PREFIX, as HW1001@node/w2; all where none is named
    #[arg(value_name = "FINDING")]
    findings: Vec<String>,
    /// Do it: everything of a risk up to 3
    #[arg(long)]
    apply: bool,
    /// Do also what cuts something for a while (risk 4)
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    probing: Probing,
    #[command(flatten)]
    shown: Shown,
}

/// Take a repair back: everything that it changed is as it was before.
///
/// Also one that was killed in the middle. What somebody changed since is named and left, unless --yes is given. The
/// answer ends with 0 where all is as it was, and with 1 where something is not.
#[derive(Debug, Args)]
pub(crate) struct UndoCommand {
    /// The number of the repair; the last one that was not taken back where none is named
    run: Option<u32>,
    /// Overwrite also what somebody changed since
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    shown: Shown,
}

/// Why a repair stopped.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    /// Something is not as it was when the repair was planned.
    #[error("{element} was {was} when this was planned and is {is} now")]
    Changed { element: Element, was: String, is: String },
    /// A step failed.
    #[error(transparent)]
    Act(#[from] ActError),
    /// A step was done, and what it sets is something else.
    #[error("{element} is {found} after it was set to {wanted}")]
    NotTaken { element: Element, found: String, wanted: String },
    /// What was to be healed is not.
    #[error("{0} is still there")]
    StillThere(String),
    /// As many promises are broken as without, or more.
    #[error("{now} promised flows are broken, {expected} were expected")]
    StillBroken { now: usize, expected: usize },
    /// The next boot will set it otherwise.
    #[error("the next boot would not keep {element}: {by} decides it")]
    NotLasting { element: Element, by: String },
    /// Packets do not arrive.
    #[error("{lost} of {asked} flows that should be healed are not answered; the first is {first}")]
    Silent { lost: usize, asked: usize, first: String },
    /// The state could not be read, or nothing be written down.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl RepairCommand {
    pub(crate) fn run(&self, program: Program) -> ExitCode {
        self.answer(program).unwrap_or_else(|it| it.report(self.shown.output))
    }

    fn answer(&self, program: Program) -> Result<ExitCode, Failure> {
        let selected = self.findings.iter().map(|it| selector(it)).collect::<Result<Vec<_>, _>>()?;
        // Who applies holds the runs from the first reading on, so that nobody else repairs meanwhile.
        let live = if self.apply {
            let live = self.source.live()?;
            Some((live, Runs::of(live)?))
        } else {
            None
        };
        let read = self.source.read_and_probe(self.probing)?;
        let snapshot = &read.snapshot;
        let start = Instant::now();
        let step = Step::new("proving what is promised");
        let found = diagnose(snapshot);
        step.says("planning");
        let plan = plan(snapshot, &found, &selected, self.yes);
        drop(step);
        complain(&format!("{read}; {}", proved(found.n_promised, start.elapsed())));
        if let Some(unmet) = selected.iter().position(|it| !found.findings.iter().any(|own| it.matches(own)))
        {
            return Err(Failure::NoSuchFinding {
                written: self.findings[unmet].clone(),
                found: found.findings.iter().map(name).collect::<Vec<_>>().join(", "),
            });
        }
        let mut repaired =
            Repaired { plan: &plan, run: None, is_healed: None, why: None, n_asked: 0, left: Vec::new() };
        if let Some((live, runs)) = &live
            && !plan.steps.is_empty()
        {
            self.apply(snapshot, &found, (*live, runs), &mut repaired)?;
        }
        let report = Report::new(snapshot, &found);
        let guide = self.guide(program, &repaired);
        self.shown.print(
            || RepairDocument::new(&report, &repaired),
            |layout| text::repair(&report, &repaired, &guide, layout),
        );
        let breaks = |at: &usize| found.findings[*at].kind != Kind::Latent;
        let is_whole = match repaired.is_healed {
            Some(is_healed) => is_healed && !plan.refused.iter().any(|(at, _)| breaks(at)),
            None => found.n_broken == 0,
        };
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) })
    }

    /// Does what was planned, and takes it back where it does not heal.
    fn apply(
        &self,
        snapshot: &Snapshot,
        found: &Diagnosis,
        (live, runs): (Live<'_>, &Runs),
        repaired: &mut Repaired<'_>,
    ) -> Result<(), Failure> {
        let plan = repaired.plan;
        point();
        let now = self.source.read()?.snapshot;
        if let Err(changed) = unchanged(snapshot, &now, plan) {
            (repaired.is_healed, repaired.why) = (Some(false), Some(changed.to_string()));
            return Ok(());
        }
        let run = runs.begin()?;
        repaired.run = Some(run.number);
        run.keep(BEFORE, &now)?;
        let planned = |at: &usize| planned(&found.findings[*at]);
        run.write(&Entry::Planned {
            format: FORMAT,
            at: jiff::Timestamp::now(),
            source: now.source.clone(),
            findings: plan.repaired.iter().map(planned).collect(),
            steps: plan.planned(),
        })?;
        let done = self.steps(&run, live, plan).and_then(|()| self.verify(found, plan, repaired));
        match done {
            Ok(()) => {
                run.write(&Entry::Healed)?;
                repaired.is_healed = Some(true);
            }
            Err(stopped) => {
                let why = stopped.to_string();
                complain(&format!("{why}; taking everything back"));
                run.write(&Entry::Failed { why: why.clone() })?;
                (repaired.is_healed, repaired.why) = (Some(false), Some(why));
                let TakenBack { conflicts, left, .. } = take_back(&self.source, live, &run, false)?;
                repaired.left = left;
                repaired.left.extend(conflicts.iter().map(text::conflict));
            }
        }
        Ok(())
    }

    fn steps(&self, run: &Run, live: Live<'_>, plan: &Plan) -> Result<(), Stopped> {
        for (step, planned) in plan.planned().iter().enumerate() {
            run.write(&Entry::Begun { step }).map_err(Failure::from)?;
            for change in &planned.acts {
                act::act(live, change)?;
                point();
            }
            let read = self.source.read().map_err(Failure::from)?.snapshot;
            for change in &planned.acts {
                was_taken(change, &read)?;
            }
            run.keep(&after(step), &read).map_err(Failure::from)?;
            run.write(&Entry::Done { step }).map_err(Failure::from)?;
        }
        Ok(())
    }

    /// Does it hold, by what is read and by packets? What was started anew may take a while.
    fn verify(&self, before: &Diagnosis, plan: &Plan, repaired: &mut Repaired<'_>) -> Result<(), Stopped> {
        let _step = Step::new("looking whether it holds");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.holds(before, plan, repaired);
            if result.is_ok() || Instant::now() > deadline {
                return result;
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn holds(&self, before: &Diagnosis, plan: &Plan, repaired: &mut Repaired<'_>) -> Result<(), Stopped> {
        let mut read = self.source.read_and_probe(self.probing).map_err(Failure::from)?;
        let now = diagnose(&read.snapshot);
        let key = |it: &Finding| (it.cause.code, it.elements.first().cloned());
        for at in &plan.repaired {
            let healed = &before.findings[*at];
            if now.findings.iter().any(|it| key(it) == key(healed)) {
                return Err(Stopped::StillThere(name(healed)));
            }
        }
        let expected = before.n_broken.saturating_sub(plan.proof.n_healed);
        if now.n_broken > expected {
            return Err(Stopped::StillBroken { now: now.n_broken, expected });
        }
        lasts(plan, &read.snapshot)?;
        if self.probing.is_none() {
            return Ok(());
        }
        let mut asked = questions(&read.snapshot, before, &plan.repaired);
        repaired.n_asked = asked.len();
        // And what was not broken there works as before.
        let nodes = plan.planned().iter().flat_map(|it| places(it, &read.snapshot)).collect::<BTreeSet<_>>();
        let nodes = nodes.iter().filter_map(Place::as_node).cloned().collect();
        asked.extend(samples(&read.snapshot, &nodes));
        asked.sort();
        asked.dedup();
        ask(&mut read, &asked)
    }

    fn guide(&self, program: Program, repaired: &Repaired<'_>) -> Guide {
        let (program, source) = (program.words(), self.source.words());
        let next = match (repaired.run, repaired.is_healed) {
            (Some(run), Some(true)) => Some(format!("{program} undo {run} {source}").trim_end().to_owned()),
            (_, Some(_)) => Some(format!("{program} diagnose {source}").trim_end().to_owned()),
            _ if !repaired.plan.steps.is_empty() && self.source.live().is_ok() => {
                let named: String = self.findings.iter().flat_map(|it| [it.as_str(), " "]).collect();
                let yes = if self.yes { " --yes" } else { "" };
                Some(format!("{program} repair {named}{source} --apply{yes}"))
            }
            _ => None,
        };
        Guide { program, next: next.into_iter().collect() }
    }
}

impl UndoCommand {
    pub(crate) fn run(&self, program: Program) -> ExitCode {
        self.answer(program).unwrap_or_else(|it| it.report(self.shown.output))
    }

    fn answer(&self, program: Program) -> Result<ExitCode, Failure> {
        let live = self.source.live()?;
        let runs = Runs::of(live)?;
        let run = runs.find(self.run)?;
        let TakenBack { elements, conflicts, left } = take_back(&self.source, live, &run, self.yes)?;
        let journal = run.journal()?;
        let undone = Undone { run: run.number, journal: &journal, elements, conflicts, left };
        let again = format!("{} undo {} {} --yes", program.words(), run.number, self.source.words());
        self.shown.print(|| UndoDocument::new(&undone), |layout| text::undo(&undone, &again, layout));
        Ok(if undone.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) })
    }
}

/// Will the next boot set what was made to last as it was set now?
fn lasts(plan: &Plan, now: &Snapshot) -> Result<(), Stopped> {
    let writes = |line: &str| {
        let mut files = plan.steps.iter().filter_map(|it| it.persist.as_ref());
        files.any(|it| line.rsplit_once(':').is_some_and(|(path, _)| it.path == path))
    };
    // A line of somebody else that is left alone was named in the plan.
    let is_left = |it: &Persist| it.overruled_by.as_ref().is_some_and(|line| !writes(line));
    for action in plan.steps.iter().filter(|it| it.persist.as_ref().is_some_and(|it| !is_left(it))) {
        for change in &action.changes {
            let Change::Sysctl { place, key, value } = change else { continue };
            let node = place.as_node().and_then(|it| now.nodes.get(it)?.known());
            let Some(Observed::Known(boot)) = node.map(boot::boot) else { continue };
            let line = boot.decides(key);
            if line.is_none_or(|it| it.value != *value) {
                let by = line.map_or_else(|| "no file".to_owned(), |it| format!("{}:{}", it.path, it.line));
                return Err(Stopped::NotLasting { element: Element::sysctl(place, key), by });
            }
        }
    }
    Ok(())
}

/// Is every packet of every question answered?
fn ask(read: &mut Read, questions: &[Question]) -> Result<(), Stopped> {
    if questions.is_empty() {
        return Ok(());
    }
    let probes: Vec<Probe> = questions.iter().cloned().map(Probe::Ask).collect();
    let seen = read.send(&probes);
    let is_answered = |asked: &Question| {
        seen.iter().any(|it| match it {
            Observation::Asked { question, answers } if question == asked && answers.n_sent > 0 => {
                // Whoever says that there is no such name outside was reached, and answers.
                let is_outside =
                    matches!(&question.message, Message::Name { name, .. } if !name.contains(".svc."));
                let n_answered = answers.n_answered + if is_outside { answers.n_refused } else { 0 };
                n_answered >= answers.n_sent
            }
            Observation::Asked { .. } => false,
            Observation::Crossed { .. } => false,
        })
    };
    let lost: Vec<&Question> = questions.iter().filter(|it| !is_answered(it)).collect();
    match lost.first() {
        None => Ok(()),
        Some(first) => Err(Stopped::Silent {
            lost: lost.len(),
            asked: questions.len(),
            first: format!("{} → {}", first.from, first.to),
        }),
    }
}

/// `CODE[@ELEMENT-PREFIX]`.
fn selector(written: &str) -> Result<Selector, Failure> {
    let (code, prefix) = match written.split_once('@') {
        Some((code, prefix)) => (code, Some(prefix.to_owned())),
        None => (written, None),
    };
    Ok(Selector { cause: cause(code)?, prefix })
}

/// A finding as it is named on a command line.
fn name(finding: &Finding) -> String {
    match finding.elements.first() {
        Some(element) => format!("{}@{element}", finding.cause.code),
        None => finding.cause.code.to_string(),
    }
}

fn planned(finding: &Finding) -> PlannedFinding {
    PlannedFinding {
        code: finding.cause.code.to_string(),
        name: finding.cause.name.to_owned(),
        element: finding.elements.first().map(ToString::to_string).unwrap_or_default(),
    }
}

/// Is what the plan changes still as it was when it was planned?
fn unchanged(planned: &Snapshot, now: &Snapshot, plan: &Plan) -> Result<(), Stopped> {
    let mut after = planned.clone();
    for change in plan.planned().iter().flat_map(|it| &it.changes) {
        // The plan was tried on the model.
        drop(change.apply(&mut after));
    }
    let (was, after, is) = (settings(planned), settings(&after), settings(now));
    let text = |it: Option<&String>| it.map_or_else(|| "absent".to_owned(), Clone::clone);
    let changed = differing(&was, &after).into_iter().find(|it| was.get(it) != is.get(it));
    match changed {
        None => Ok(()),
        Some(element) => {
            Err(Stopped::Changed { was: text(was.get(&element)), is: text(is.get(&element)), element })
        }
    }
}

/// Is what a change sets directly what it was set to?
fn was_taken(change: &Change, now: &Snapshot) -> Result<(), Stopped> {
    let (element, found, wanted) = match change {
        Change::Sysctl { place, key, value } => {
            let found = now.net(place).and_then(|it| it.sysctls.known()?.values.get(key).cloned());
            (Element::sysctl(place, key), found, value)
        }
        Change::FileWritten { place, path, content } => {
            let file = now.files(place).and_then(|it| it.get(path)?.known());
            let found = file.map(|it| String::from_utf8_lossy(it.content.bytes()).into_owned());
            (Element::file(place, path), found, content)
        }
        _ => return Ok(()),
    };
    // The kernel separates the values of a switch by tabs.
    let words = |it: &str| it.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let is_switch = matches!(change, Change::Sysctl { .. });
    let is_wanted = |it: &String| it == wanted || is_switch && words(it) == words(wanted);
    if found.as_ref().is_some_and(is_wanted) {
        return Ok(());
    }
    let found = found.unwrap_or_else(|| "absent".to_owned());
    Err(Stopped::NotTaken { element, found, wanted: wanted.clone() })
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<SourceFailure> for Stopped {
    fn from(error: SourceFailure) -> Self {
        Self::Failure(error.into())
    }
}
