//! Nodes against each other, files against kernels, and the next boot.

use hopwise_diagnose::{
    Diagnosis, Finding, Kind, Verdict,
    drift::{Drift, Odd, Predicted},
};

use super::{
    Guide, Layout,
    page::{BAD, FAINT, GOOD, OPEN, Page, STRONG},
};
use crate::plural::count;

/// Where texts begin.
const TEXT: usize = 12;
/// How many lines of a kind are shown for one node.
const N_SHOWN: usize = 12;

/// A comparison for a person. `now` is the diagnosis of the same snapshot.
pub fn drift(drift: &Drift, now: &Diagnosis, guide: &Guide, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    let heading = match (drift.odd.len(), drift.next_boot.len()) {
        (0, 0) => format!("{} are alike, and the next boot changes nothing", count(drift.n_nodes, "node")),
        (n_odd, n_changed) => format!(
            "{} between {}; the next boot changes {}",
            count(n_odd, "difference"),
            count(drift.n_nodes, "node"),
            count(n_changed, "kernel switch"),
        ),
    };
    page.styled(0, &heading, STRONG);
    let mut last = None;
    let n_shown = layout.n_shown(drift.odd.len(), N_SHOWN * drift.n_nodes.max(1));
    for it in drift.odd.iter().take(n_shown) {
        if last != Some(&it.node) {
            page.gap();
            page.styled(0, &format!("node {}", it.node), STRONG);
            last = Some(&it.node);
        }
        odd(&mut page, it);
    }
    if drift.odd.len() > n_shown {
        page.line(2, &format!("and {} more; -v shows them", drift.odd.len() - n_shown));
    }
    changes(&mut page, "next boot", &drift.next_boot, layout);
    changes(&mut page, "sysctl --system", &drift.reload, layout);
    left_alone(&mut page, drift);
    after(&mut page, drift, now);
    for next in &guide.next {
        page.field(0, "next", TEXT, next);
    }
    page.done()
}

fn odd(page: &mut Page, it: &Odd) {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let by = |line: &Option<String>| line.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
    page.field(2, "odd", TEXT, &format!("{}: {}{}", it.what, value(&it.found), by(&it.line)));
    for other in &it.others {
        let nodes: Vec<&str> = other.nodes.iter().map(hopwise_snapshot::NodeName::as_str).collect();
        page.field(
            2,
            "",
            TEXT,
            &format!("  {}: {}{}", nodes.join(", "), value(&other.value), by(&other.line)),
        );
    }
}

fn changes(page: &mut Page, when: &str, changes: &[Predicted], layout: &Layout) {
    if changes.is_empty() {
        return;
    }
    page.gap();
    page.styled(0, when, STRONG);
    let n_shown = layout.n_shown(changes.len(), N_SHOWN);
    for it in changes.iter().take(n_shown) {
        let by = it.line.as_deref().unwrap_or("no file sets it: the kernel's default comes back");
        page.line(2, &format!("{}: {} → {} ({by})", it.element, it.now, it.then));
    }
    if changes.len() > n_shown {
        page.line(2, &format!("and {} more; -v shows them", changes.len() - n_shown));
    }
}

fn left_alone(page: &mut Page, drift: &Drift) {
    if !drift.not_understood.is_empty() || !drift.not_predicted.is_empty() {
        page.gap();
    }
    for (element, text) in &drift.not_understood {
        page.styled(0, &format!("not understood: {element}: {text}"), FAINT);
    }
    for element in &drift.not_predicted {
        page.styled(0, &format!("not predicted: {element}: its files were not read"), FAINT);
    }
}

fn after(page: &mut Page, drift: &Drift, now: &Diagnosis) {
    page.gap();
    let after = &drift.after;
    match after.verdict() {
        Verdict::Healthy => {
            page.styled(
                0,
                "after the next boot of every node all that is promised is kept, by the model",
                GOOD,
            );
        }
        Verdict::Broken => {
            let text = format!(
                "after the next boot of every node {} of {} are broken, by the model; now {} are",
                after.n_broken,
                count(after.n_promised, "promised flow"),
                now.n_broken,
            );
            page.styled(0, &text, BAD);
        }
        Verdict::Incomplete => {
            page.styled(0, "after the next boot of every node nothing is broken for certain", OPEN);
        }
    }
    let is_latent = |it: &&Finding| it.kind == Kind::Latent;
    for it in after.findings.iter().filter(|it| !is_latent(it)) {
        page.field(0, "then", TEXT, &short(it));
    }
    for it in now.findings.iter().filter(is_latent) {
        page.field(0, "latent", TEXT, &short(it));
    }
}

fn short(it: &Finding) -> String {
    format!("{} {}: {}", it.cause.code, it.cause.name, it.summary)
}
