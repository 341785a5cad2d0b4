//! A repair, planned or done, and a repair taken back.

use hopwise_diagnose::{Finding, plan::Plan};
use hopwise_repair::{Conflict, Repair};

use super::{
    Guide, Layout,
    finding::RIGHT,
    page::{BAD, FAINT, GOOD, OPEN, Page, STRONG},
    plan,
};
use crate::{Repaired, Report, Undone, plural::count};

/// Where texts begin.
const TEXT: usize = 11;
/// How many steps and elements are shown.
const N_SHOWN: usize = 12;

/// A repair for a person: what is repaired, how, what is not, and what became of it.
pub fn repair(report: &Report<'_>, repaired: &Repaired<'_>, guide: &Guide, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    let plan = repaired.plan;
    heading(&mut page, report, plan);
    page.gap();
    let findings = &report.diagnosis.findings;
    for finding in plan.repaired.iter().filter_map(|it| findings.get(*it)) {
        title(&mut page, finding, ("repaired", GOOD));
    }
    if !plan.steps.is_empty() {
        let repair = Repair { actions: plan.steps.clone() };
        plan::plan(&mut page, &repair, layout.n_shown(plan.steps.len(), N_SHOWN));
        page.field(2, "proof", TEXT, &proof(plan));
    }
    for (at, refusal) in &plan.refused {
        if let Some(finding) = findings.get(*at) {
            page.gap();
            title(&mut page, finding, ("not repaired", OPEN));
            page.field(2, "because", TEXT, &refusal.to_string());
        }
    }
    page.gap();
    outcome(&mut page, repaired);
    for next in &guide.next {
        page.field(0, "next", TEXT, next);
    }
    page.done()
}

fn heading(page: &mut Page, report: &Report<'_>, plan: &Plan) {
    let n_findings = plan.repaired.len() + plan.refused.len();
    let text = match (n_findings, plan.repaired.len()) {
        (0, _) => "nothing is broken, and there is nothing to repair".to_owned(),
        (all, repaired) => format!(
            "{repaired} of {} can be repaired; {} of {} are broken",
            count(all, "finding"),
            report.diagnosis.n_broken,
            count(report.diagnosis.n_promised, "promised flow"),
        ),
    };
    page.styled(0, &text, STRONG);
}

fn title(page: &mut Page, finding: &Finding, (word, style): (&str, anstyle::Style)) {
    let title = format!("{} {}", finding.cause.code, finding.cause.name);
    page.edges((&title, STRONG), (word, style), RIGHT);
    for element in finding.elements.iter().take(1) {
        page.field(2, "at", TEXT, element.as_str());
    }
}

fn proof(plan: &Plan) -> String {
    match plan.proof.n_healed {
        0 => "in the model nothing that is promised breaks, nothing forbidden opens".to_owned(),
        n => format!(
            "in the model {} with all of this, nothing else breaks, nothing forbidden opens",
            if n == 1 { "1 flow more arrives".to_owned() } else { format!("{n} flows more arrive") }
        ),
    }
}

fn outcome(page: &mut Page, repaired: &Repaired<'_>) {
    let run = repaired.run.map(|it| format!(" (run {it})")).unwrap_or_default();
    match (repaired.is_healed, &repaired.why) {
        (Some(true), _) => {
            page.styled(0, &format!("done{run}: it holds"), GOOD);
            let packets = match repaired.n_asked {
                0 => "what was broken is kept by what was read again; no packets were sent for it".to_owned(),
                n => format!("read again, and asked with packets: {} answered", of_asked(n)),
            };
            page.field(0, "seen", TEXT, &packets);
        }
        (Some(false), why) => {
            let why = why.as_deref().unwrap_or("it did not hold");
            let done = if repaired.run.is_some() {
                format!("not healed{run}: {why}")
            } else {
                format!("nothing was done: {why}")
            };
            page.styled(0, &done, BAD);
            match (repaired.run, repaired.left.as_slice()) {
                (None, _) => {}
                (Some(_), []) => page.line(0, "everything is as it was before"),
                (Some(_), left) => {
                    for it in left {
                        page.field(0, "left", TEXT, it);
                    }
                }
            }
        }
        (None, _) => page.styled(0, "nothing was done", FAINT),
    }
}

fn of_asked(n: usize) -> String {
    if n == 1 {
        "the flow that was broken is".to_owned()
    } else {
        format!("all {n} flows that were broken are")
    }
}

/// What somebody changed since a repair, as a sentence.
pub fn conflict(conflict: &Conflict) -> String {
    let text = |it: &Option<String>| it.clone().unwrap_or_else(|| "not there".to_owned());
    format!(
        "{} was {}, the repair made it {}, and it is {} now",
        conflict.element,
        text(&conflict.before),
        text(&conflict.repaired),
        text(&conflict.now)
    )
}

/// A repair that was taken back, for a person. `again` is the command that overwrites what somebody changed since.
pub fn undo(undone: &Undone<'_>, again: &str, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    let findings = undone.journal.findings.iter().map(|it| format!("{} {}", it.code, it.element));
    let findings = findings.collect::<Vec<_>>().join(", ");
    if !undone.conflicts.is_empty() {
        page.styled(0, &format!("run {} ({findings}) was not taken back", undone.run), BAD);
        page.line(0, "somebody changed since what it had changed:");
        for it in &undone.conflicts {
            page.line(2, &conflict(it));
        }
        page.field(0, "next", TEXT, again);
        return page.done();
    }
    if undone.left.is_empty() {
        page.styled(
            0,
            &format!("run {} ({findings}) is taken back: all is as it was before", undone.run),
            GOOD,
        );
    } else {
        page.styled(0, &format!("run {} ({findings}) is taken back, but not everything", undone.run), BAD);
        for it in &undone.left {
            page.field(0, "left", TEXT, it);
        }
    }
    let n_shown = layout.n_shown(undone.elements.len(), N_SHOWN);
    for (at, element) in undone.elements.iter().take(n_shown).enumerate() {
        page.field(0, if at == 0 { "set back" } else { "" }, TEXT, element.as_str());
    }
    if undone.elements.len() > n_shown {
        page.line(TEXT, &format!("and {} more", undone.elements.len() - n_shown));
    }
    page.done()
}
