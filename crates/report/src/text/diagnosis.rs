//! The report of a diagnosis.

use hopwise_diagnose::{Kind, UnknownFact, Verdict};

use super::{
    Guide, Layout,
    finding::finding,
    page::{GOOD, OPEN, Page, STRONG, width},
};
use crate::{
    Report,
    plural::{count, verb},
};

/// Where texts of the last lines begin.
const TEXT: usize = 11;
/// Where the next step is named, if it fits.
const NEXT: usize = 52;
/// How many facts that are not known are shown.
const N_SHOWN: usize = 5;

/// A diagnosis for a person.
pub fn diagnosis(report: &Report<'_>, guide: &Guide, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    headline(&mut page, report);
    for it in report.findings() {
        page.gap();
        finding(&mut page, report, it, (guide, layout));
    }
    page.gap();
    unknown(&mut page, "unknown", &report.diagnosis.unknown, layout);
    ignored(&mut page, report);
    last_line(&mut page, report, &guide.next, layout);
    page.done()
}

fn headline(page: &mut Page, report: &Report<'_>) {
    let n_promised = report.diagnosis.n_promised;
    let promised = count(n_promised, "promised flow");
    let n_causes = report.findings().filter(|it| it.kind != Kind::Latent).count();
    let n_latent = report.findings().count() - n_causes;
    match report.verdict() {
        Verdict::Broken => {
            let causes = count(n_causes, "cause");
            let (breaks, n_broken) = (verb(n_causes, "break"), report.n_broken());
            page.styled(0, &format!("{causes} {breaks} {n_broken} of {promised}"), STRONG);
        }
        Verdict::Healthy if report.ignored().iter().any(|it| it.n_flows > 0) => {
            let text = format!("nothing is broken but what is ignored: the rest of {promised} arrives");
            page.styled(0, &text, GOOD.bold());
        }
        Verdict::Healthy => {
            let kept = match n_promised {
                0 => "nothing is promised here, and nothing is broken".to_owned(),
                1 => "nothing is broken: the one promised flow arrives".to_owned(),
                _ => format!("nothing is broken: all {promised} arrive"),
            };
            page.styled(0, &kept, GOOD.bold());
        }
        Verdict::Incomplete => {
            let text =
                format!("nothing is broken for certain, and for some of {promised} the answer is not known");
            page.styled(0, &text, OPEN.bold());
        }
    }
    if n_latent > 0 {
        let (causes, breaks) = (count(n_latent, "cause"), verb(n_latent, "break"));
        page.line(0, &format!("{causes} {breaks} nothing now, and will later"));
    }
}

/// Facts that are not known, each with what would settle it.
fn unknown(page: &mut Page, label: &str, facts: &[UnknownFact], layout: &Layout) {
    if facts.is_empty() {
        return;
    }
    let n_shown = layout.n_shown(facts.len(), N_SHOWN);
    for (at, fact) in facts.iter().take(n_shown).enumerate() {
        let depend = match fact.n_flows {
            0 => String::new(),
            n => format!("; {} {} on it", count(n, "flow"), verb(n, "depend")),
        };
        let text = format!("{}: {}{depend}", fact.assumption.element, fact.assumption.reason);
        page.field(0, if at == 0 { label } else { "" }, TEXT, &text);
        page.line(TEXT + 2, &format!("settled by: {}", fact.settled_by));
    }
    if facts.len() > n_shown {
        page.line(TEXT, &format!("and {} more", facts.len() - n_shown));
    }
}

fn ignored(page: &mut Page, report: &Report<'_>) {
    let ignored = report.ignored();
    for (at, it) in ignored.iter().enumerate() {
        let label = if at == 0 { "ignored" } else { "" };
        let name = format!("{} {}", it.cause.code, it.cause.name);
        let text = if it.n_findings == 0 {
            format!("{name}: nothing was found that it hides; it need not be ignored")
        } else {
            format!("{name}: {} with {}", count(it.n_findings, "finding"), count(it.n_flows, "broken flow"))
        };
        page.field(0, label, TEXT, &text);
    }
}

/// What could not be read, and what to do next.
fn last_line(page: &mut Page, report: &Report<'_>, next: &[String], layout: &Layout) {
    let next = next.join(" · ");
    let facts = &report.diagnosis.not_seen;
    if !facts.is_empty() {
        unknown(page, "not seen", facts, layout);
        if !next.is_empty() {
            page.field(0, "next", TEXT, &next);
        }
        return;
    }
    let nothing = "nothing";
    let both = NEXT + width("next   ") + width(&next);
    if !next.is_empty() && page.columns(both) == both {
        let padding = " ".repeat(NEXT - TEXT - width(nothing));
        page.field(0, "not seen", TEXT, &format!("{nothing}{padding}next   {next}"));
        return;
    }
    page.field(0, "not seen", TEXT, nothing);
    if !next.is_empty() {
        page.field(0, "next", TEXT, &next);
    }
}
