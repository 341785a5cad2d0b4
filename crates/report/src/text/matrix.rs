//! Who reaches whom as a table: a row for each source, a column for each target, one sign a cell.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Layout,
    page::{Page, STRONG, printable, width},
};
use crate::{
    Matrix,
    document::{MatrixDocument, PairEntry},
    plural::{count, verb},
};

/// The signs with what they say, in the order of the legend.
const SIGNS: [(char, &str, &str); 6] = [
    ('·', "delivered", "arrives"),
    ('✗', "dropped", "is lost"),
    ('!', "rejected", "is refused"),
    ('≠', "misdelivered", "reaches somebody else"),
    ('@', "looping", "goes in circles"),
    ('?', "unknown", "cannot be told"),
];
/// The sign of a cell whose flows end in different ways.
const MIXED: char = '~';
/// How many flows that do not arrive are listed below the table.
const N_SHOWN: usize = 10;

/// A cell: how the flows between two ends end.
type Cells<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<&'static str>>;

/// A matrix for a person.
pub fn matrix(matrix: &Matrix<'_>, layout: &Layout) -> String {
    let document = MatrixDocument::new(matrix);
    let pairs = &document.pairs;
    let mut page = Page::new(layout);
    let n_delivered = pairs.iter().filter(|it| it.model == "delivered").count();
    let (promised, arrive) = (count(pairs.len(), "promised flow"), verb(n_delivered, "arrive"));
    page.styled(
        0,
        &format!("{n_delivered} of {promised} {arrive} by the model; no packets were sent"),
        STRONG,
    );
    page.gap();
    table(&mut page, pairs);
    page.gap();
    lost(&mut page, pairs, layout);
    page.done()
}

fn table(page: &mut Page, pairs: &[PairEntry]) {
    let mut cells: Cells<'_> = BTreeMap::new();
    for pair in pairs {
        cells.entry((&pair.from, end(&pair.to))).or_default().insert(pair.model);
    }
    let sources: BTreeSet<&str> = cells.keys().map(|(from, _)| *from).collect();
    let targets: BTreeSet<&str> = cells.keys().map(|(_, to)| *to).collect();
    let names: Vec<String> = sources.iter().map(|it| printable(it)).collect();
    let left = names.iter().map(|it| width(it)).max().unwrap_or_default().max(4);
    let heads: Vec<String> = (1..=targets.len()).map(|number| format!("{number:>3}")).collect();
    page.verbatim(0, &format!("{:left$} {}", "from", heads.concat()));
    for source in &sources {
        let signs = targets.iter().flat_map(|to| [' ', ' ', sign(cells.get(&(source, to)))]);
        let signs: String = signs.collect();
        page.verbatim(0, &format!("{:left$} {signs}", printable(source)));
    }
    page.gap();
    for (number, target) in (1..).zip(&targets) {
        page.line(0, &format!("{number:>3} {target}"));
    }
    page.gap();
    legend(page, &cells);
}

/// A target without port and protocol.
fn end(to: &str) -> &str {
    let to = ["/tcp", "/udp"].iter().find_map(|it| to.strip_suffix(it)).unwrap_or(to);
    let port = to.rsplit_once(':').filter(|(_, port)| port.bytes().all(|it| it.is_ascii_digit()));
    match port {
        // An IPv6 address has its port behind a bracket.
        Some((end, _)) if !end.contains(':') || end.ends_with(']') => end,
        _ => to,
    }
}

fn sign(ends: Option<&BTreeSet<&'static str>>) -> char {
    let Some(ends) = ends else { return ' ' };
    let mut all = ends.iter();
    match (all.next(), all.next()) {
        (Some(one), None) => SIGNS.iter().find(|(_, word, _)| word == one).map_or('?', |it| it.0),
        _ => MIXED,
    }
}

/// What the signs that occur mean.
fn legend(page: &mut Page, cells: &Cells<'_>) {
    let used: BTreeSet<char> = cells.values().map(|it| sign(Some(it))).collect();
    let mut words: Vec<String> = SIGNS
        .iter()
        .filter(|(sign, ..)| used.contains(sign))
        .map(|(sign, _, means)| format!("{sign} {means}"))
        .collect();
    if used.contains(&MIXED) {
        words.push(format!("{MIXED} some flows arrive, others do not"));
    }
    words.push("blank: nothing is promised".to_owned());
    page.line(0, &words.join("   "));
}

/// The flows that do not arrive, one by one.
fn lost(page: &mut Page, pairs: &[PairEntry], layout: &Layout) {
    let lost: Vec<&PairEntry> = pairs.iter().filter(|it| it.model != "delivered").collect();
    let n_shown = layout.n_shown(lost.len(), N_SHOWN);
    for pair in lost.iter().take(n_shown) {
        let protocol = if pair.proto == "icmp" { "/icmp" } else { "" };
        let size = pair.size.map(|it| format!(" of {it} bytes")).unwrap_or_default();
        page.line(0, &format!("{:<12} {} → {}{protocol}{size}", pair.model, pair.from, pair.to));
    }
    if lost.len() > n_shown {
        page.line(0, &format!("and {} more", lost.len() - n_shown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_known_without_its_port() {
        let all = [
            "pod/default/b:8080/tcp",
            "pod/default/b",
            "svc/shop/cart:80/tcp",
            "ip/203.0.113.10:8080/udp",
            "ip/[2001:db8::1]:53/tcp",
            "ip/2001:db8::1",
            "www.example.test",
        ];
        let ends: Vec<&str> = all.iter().map(|it| end(it)).collect();
        assert_eq!(
            ends,
            [
                "pod/default/b",
                "pod/default/b",
                "svc/shop/cart",
                "ip/203.0.113.10",
                "ip/[2001:db8::1]",
                "ip/2001:db8::1",
                "www.example.test",
            ]
        );
    }

    #[test]
    fn a_cell_says_how_all_its_flows_end() {
        assert_eq!(sign(None), ' ');
        assert_eq!(sign(Some(&BTreeSet::from(["delivered"]))), '·');
        assert_eq!(sign(Some(&BTreeSet::from(["dropped"]))), '✗');
        assert_eq!(sign(Some(&BTreeSet::from(["delivered", "dropped"]))), '~');
    }

    #[test]
    fn every_disposition_has_a_sign() {
        for word in ["delivered", "dropped", "rejected", "misdelivered", "looping", "unknown"] {
            assert!(SIGNS.iter().any(|(_, it, _)| *it == word), "{word}");
        }
    }
}
