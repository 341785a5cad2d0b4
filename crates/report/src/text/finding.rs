//! One finding: what, where, what it breaks, since when, what to do, how we know, what it is not, where to read on.

use std::fmt::Write as _;

use hopwise_diagnose::{Evidence, Finding, Kind, Proof};
use hopwise_snapshot::Element;

use super::{
    Guide, Layout,
    page::{BAD, FAINT, OPEN, Page, STRONG},
    path, plan,
};
use crate::{
    Report,
    plural::{count, verb},
};

/// Where labels begin.
const AT: usize = 2;
/// Where their texts begin.
const TEXT: usize = 11;
/// Where what belongs to a text begins.
const DETAIL: usize = 13;
/// Where the first line ends.
pub(super) const RIGHT: usize = 83;
/// How many elements, violations, commands and ruled-out causes are shown.
const N_SHOWN: usize = 3;

pub(super) fn finding(
    page: &mut Page,
    report: &Report<'_>,
    finding: &Finding,
    (guide, layout): (&Guide, &Layout),
) {
    let title = format!("{} {}", finding.cause.code, finding.cause.name);
    let style = match finding.kind {
        Kind::Proven => BAD,
        Kind::Located | Kind::Suspected => OPEN,
        Kind::Latent => FAINT,
    };
    page.edges((&title, STRONG), (finding.kind.word(), style), RIGHT);
    page.line(AT, &finding.summary);
    elements(page, finding, layout);
    breaks(page, report, finding, layout);
    page.field(AT, "since", TEXT, finding.since.as_deref().unwrap_or("not known"));
    repair(page, finding, layout);
    plan::plan(page, &finding.repair, layout.n_shown(finding.repair.actions.len(), N_SHOWN));
    page.field(AT, "proof", TEXT, &proof(finding));
    ruled_out(page, finding, layout);
    page.field(AT, "explain", TEXT, &format!("{} explain {}", guide.program, finding.cause.code));
}

/// A list below a label, cut where it is long.
fn list(page: &mut Page, label: &str, lines: &[String], layout: &Layout) {
    let n_shown = layout.n_shown(lines.len(), N_SHOWN);
    for (at, line) in lines.iter().take(n_shown).enumerate() {
        page.field(AT, if at == 0 { label } else { "" }, TEXT, line);
    }
    if lines.len() > n_shown {
        page.line(TEXT, &format!("and {} more", lines.len() - n_shown));
    }
}

fn elements(page: &mut Page, finding: &Finding, layout: &Layout) {
    let of = |element: &Element| {
        let evidence = finding.evidence.iter().find(|it| it.element == *element);
        evidence.map_or_else(|| element.to_string(), observation)
    };
    let lines: Vec<String> = finding.elements.iter().map(of).collect();
    list(page, "at", &lines, layout);
    let other = finding.evidence.iter().filter(|it| !finding.elements.contains(&it.element));
    let other: Vec<String> = other.map(observation).collect();
    list(page, "seen", &other, layout);
}

/// What is, with what should be: `ELEMENT = 0        cp 1, w1 1`.
fn observation(evidence: &Evidence) -> String {
    let Evidence { element, observed, expected, .. } = evidence;
    // What other nodes have says what should be.
    let twins = expected.split_once(" (").and_then(|(_, it)| it.strip_suffix(')'));
    match twins {
        Some(twins) => format!("{element} = {observed}        {twins}"),
        None => format!("{element} = {observed}        expected: {expected}"),
    }
}

fn breaks(page: &mut Page, report: &Report<'_>, finding: &Finding, layout: &Layout) {
    if finding.kind == Kind::Latent {
        let later = finding.later.as_ref().map(|it| format!("; {it}")).unwrap_or_default();
        return page.field(AT, "breaks", TEXT, &format!("nothing now{later}"));
    }
    let violations = finding.violations.iter().filter_map(|it| report.diagnosis.violations.get(*it));
    let mut violations: Vec<_> = violations.collect();
    // One that nothing else breaks shows best what this does.
    violations.sort_by_key(|it| it.blockers.iter().filter(|it| !is_at(finding, &it.element)).count());
    if finding.n_flows == 0 {
        let text = "no flow by itself: what it stops, something else stops as well";
        return page.field(AT, "breaks", TEXT, text);
    }
    let n_flows = count(finding.n_flows, "flow");
    let Some(first) = violations.first() else {
        return page.field(AT, "breaks", TEXT, &format!("{n_flows}, as far as is known"));
    };
    page.field(AT, "breaks", TEXT, &format!("{n_flows}, as {}", path::flow(first)));
    page.line(DETAIL, &path::path(first, |it| is_at(finding, it)));
    let packets = finding.packets;
    if packets.n_sent > 0 {
        let lost = packets.n_sent - packets.n_answered.min(packets.n_sent);
        let how = if packets.n_refused >= lost && lost > 0 { "refused" } else { "lost" };
        page.line(
            DETAIL,
            &format!("seen by packets too: {lost} of {} {how}", count(packets.n_sent as usize, "packet")),
        );
    }
    if layout.is_verbose {
        for violation in &violations[1..] {
            page.line(TEXT, &format!("and {}", path::flow(violation)));
            page.line(DETAIL, &path::path(violation, |it| is_at(finding, it)));
        }
    }
}

fn is_at(finding: &Finding, element: &Element) -> bool {
    finding.elements.iter().any(|it| it.covers(element) || element.covers(it))
}

fn repair(page: &mut Page, finding: &Finding, layout: &Layout) {
    let steps = steps(finding);
    if steps.is_empty() {
        return page.field(AT, "repair", TEXT, "none is known that the model can try");
    }
    let n_shown = layout.n_shown(steps.len(), N_SHOWN);
    let mut text = format!("risk {}   {}", finding.repair.risk().class(), steps[..n_shown].join("; "));
    if steps.len() > n_shown {
        let _ = write!(text, "; and {} more", steps.len() - n_shown);
    }
    page.field(AT, "repair", TEXT, &text);
}

/// What is done, each once: the commands, then the files that make them last.
fn steps(finding: &Finding) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for action in &finding.repair.actions {
        let files = action.persist.iter().map(|it| format!("write {}", it.path));
        for step in action.run.iter().cloned().chain(files) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    steps
}

fn proof(finding: &Finding) -> String {
    let Proof { n_healed, n_newly_broken, n_opened, not_tried } = &finding.proof;
    if finding.kind == Kind::Latent {
        return "nothing breaks now, so that there is nothing to try the repair on".to_owned();
    }
    if let (Some(reason), Kind::Located) = (not_tried, finding.kind) {
        return reason.clone();
    }
    if let Some(reason) = not_tried {
        return format!("not proven on the model: {reason}");
    }
    let arrive = match n_healed {
        0 => "no flow more arrives".to_owned(),
        1 if finding.n_flows == 1 => "it arrives".to_owned(),
        _ if *n_healed == finding.n_flows => format!("all {n_healed} arrive"),
        _ => format!("{n_healed} of {} {}", finding.n_flows, verb(*n_healed, "arrive")),
    };
    let mut harm = Vec::new();
    if *n_newly_broken > 0 {
        harm.push(format!("{} that works would break", count(*n_newly_broken, "promised flow")));
    }
    if *n_opened > 0 {
        harm.push(format!("{} would open", count(*n_opened, "forbidden flow")));
    }
    let rest = if harm.is_empty() { "nothing else changes".to_owned() } else { harm.join(", ") };
    format!("with the repair in the model {arrive}, {rest}")
}

fn ruled_out(page: &mut Page, finding: &Finding, layout: &Layout) {
    if finding.ruled_out.is_empty() {
        return;
    }
    // What has the same reason stands together.
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for it in &finding.ruled_out {
        match by_reason.iter_mut().find(|(reason, _)| *reason == it.because) {
            Some((_, names)) => names.push(it.cause.name),
            None => by_reason.push((&it.because, vec![it.cause.name])),
        }
    }
    let all: Vec<String> =
        by_reason.into_iter().map(|(reason, names)| format!("{}: {reason}", names.join(", "))).collect();
    let n_shown = layout.n_shown(all.len(), N_SHOWN);
    let mut text = all[..n_shown].join(" · ");
    if all.len() > n_shown {
        let _ = write!(text, " · and {} more", all.len() - n_shown);
    }
    page.field(AT, "not", TEXT, &text);
}
