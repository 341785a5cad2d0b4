//! What differs between two snapshots, or between two nodes of one.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_snapshot::{
    Element, NodeName, Place, Snapshot,
    facts::{self, Fact, FactKind},
};
use similar::{Algorithm, DiffOp, TextDiff, capture_diff_slices};

/// One side of a comparison.
#[derive(Clone, Debug)]
pub struct Side<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The node, where two nodes are compared.
    pub node: Option<NodeName>,
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What: the element, without its node where two nodes are compared.
    pub element: String,
    /// What it was; none where it was not there.
    pub before: Option<String>,
    /// What it is; none where it is no longer there.
    pub after: Option<String>,
    /// For a text of several lines, what changed in it, as a unified diff.
    pub diff: Option<String>,
}

/// What differs between two sides.
#[derive(Clone, Debug)]
pub struct Differences<'a> {
    /// What was before.
    pub before: Side<'a>,
    /// What was after.
    pub after: Side<'a>,
    /// What differs, sorted by element.
    pub list: Vec<Difference>,
    /// What could not be compared, because one side or both were not read there.
    pub not_compared: Vec<String>,
    /// How many differences of what changes by itself are left out.
    pub n_left_out: usize,
}

/// What differs between two snapshots. What changes by itself counts only `with_passing`.
pub fn differences<'a>(before: &'a Snapshot, after: &'a Snapshot, with_passing: bool) -> Differences<'a> {
    let side = |snapshot| Side { snapshot, node: None };
    compare(side(before), side(after), with_passing)
}

/// What differs between two nodes of a snapshot, their own state alone.
pub fn differences_of_nodes<'a>(
    snapshot: &'a Snapshot,
    (before, after): (&NodeName, &NodeName),
    with_passing: bool,
) -> Differences<'a> {
    let side = |node: &NodeName| Side { snapshot, node: Some(node.clone()) };
    compare(side(before), side(after), with_passing)
}

fn compare<'a>(before: Side<'a>, after: Side<'a>, with_passing: bool) -> Differences<'a> {
    let (mut old, mut new) = (before.facts(), after.facts());
    let unread = without_unread(&mut old, &mut new);
    let mut comparison = Comparison { with_passing, n_left_out: 0, list: Vec::new() };
    comparison.chains(&mut old, &mut new, &before, &after);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        comparison.single(name, old.get(name), new.get(name), (&before, &after));
    }
    comparison.list.sort();
    Differences {
        before,
        after,
        list: comparison.list,
        not_compared: unread.into_iter().collect(),
        n_left_out: comparison.n_left_out,
    }
}

/// The facts of one side by their names.
type Named = BTreeMap<String, (Element, Fact)>;

impl Side<'_> {
    fn facts(&self) -> Named {
        let all = facts::facts(self.snapshot).into_iter();
        let own = all.filter_map(|(element, fact)| Some((self.name(&element)?, (element, fact))));
        own.collect()
    }

    /// What an element is called in the comparison; none for one that is of no interest.
    fn name(&self, element: &Element) -> Option<String> {
        let Some(node) = &self.node else { return Some(element.to_string()) };
        let prefix = Element::place(&Place::Node(node.clone())).to_string();
        let rest = element.as_str().strip_prefix(&prefix)?;
        match rest.strip_prefix('/') {
            Some(rest) => Some(rest.to_owned()),
            None if rest.is_empty() => Some("node".to_owned()),
            None => None,
        }
    }
}

/// Takes away what one side did not read, on both, and returns its names.
fn without_unread(old: &mut Named, new: &mut Named) -> BTreeSet<String> {
    let unread = |side: &Named| -> Vec<(String, Element)> {
        let all = side.iter().filter(|(_, (_, fact))| fact.kind == FactKind::NotCollected);
        all.map(|(name, (element, _))| (name.clone(), element.clone())).collect()
    };
    let mut names = BTreeSet::new();
    let (of_old, of_new) = (unread(old), unread(new));
    for (own, other) in [(of_old, &mut *new), (of_new, &mut *old)] {
        for (name, element) in own {
            let place = |it: &Element| it.of_place();
            other.retain(|_, (it, fact)| {
                // Two nodes are compared by the same kinds of state at different places.
                let at_home = rehomed(it, place(&element).as_ref());
                fact.kind == FactKind::NotCollected || !facts::hides(&element, &at_home)
            });
            names.insert(name);
        }
    }
    for side in [old, new] {
        side.retain(|_, (_, fact)| fact.kind != FactKind::NotCollected);
    }
    names
}

/// The element as it would be called at another place.
fn rehomed(element: &Element, place: Option<&Place>) -> Element {
    match (element.of_place(), place) {
        (Some(Place::Node(_)), Some(place @ Place::Node(_))) => {
            Element::new(&hopwise_snapshot::Scope::Place(place.clone()), element.parts())
        }
        _ => element.clone(),
    }
}

struct Comparison {
    with_passing: bool,
    n_left_out: usize,
    list: Vec<Difference>,
}

impl Comparison {
    fn single(
        &mut self,
        name: &str,
        before: Option<&(Element, Fact)>,
        after: Option<&(Element, Fact)>,
        (old, new): (&Side<'_>, &Side<'_>),
    ) {
        let text = |it: Option<&(Element, Fact)>| it.map(|(_, fact)| fact.text.clone());
        if text(before) == text(after) {
            return;
        }
        let kinds = [before, after].into_iter().flatten().map(|(_, fact)| fact.kind);
        if !self.with_passing && kinds.max() == Some(FactKind::Passing) {
            self.n_left_out += 1;
            return;
        }
        let long = |side: &Side<'_>, it: Option<&(Element, Fact)>| match it {
            Some((element, _)) => facts::text(side.snapshot, element).map(std::borrow::Cow::into_owned),
            None => None,
        };
        let diff = match (long(old, before), long(new, after)) {
            (None, None) => None,
            (before, after) => {
                let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
                (before != after).then(|| TextDiff::from_lines(&before, &after).unified_diff().to_string())
            }
        };
        self.list.push(Difference {
            element: name.to_owned(),
            before: text(before),
            after: text(after),
            diff,
        });
    }

    /// Compares the rules of each chain as lists, and takes them out of what is compared one by one: a rule that is
    /// added in front moves all others, and changes none.
    fn chains(&mut self, old: &mut Named, new: &mut Named, before: &Side<'_>, after: &Side<'_>) {
        let chains = |side: &Side<'_>| -> BTreeMap<String, Vec<(Element, String)>> {
            let all = facts::chains(side.snapshot).into_iter();
            all.filter_map(|(chain, rules)| Some((side.name(&chain)?, rules))).collect()
        };
        let (old_chains, new_chains) = (chains(before), chains(after));
        let names: BTreeSet<&String> = old_chains.keys().chain(new_chains.keys()).collect();
        for name in names {
            let (old_rules, new_rules) = (old_chains.get(name), new_chains.get(name));
            // A chain that one side did not read is gone from both.
            let is_read = |named: &Named, side: &Side<'_>, rules: Option<&Vec<(Element, String)>>| {
                let mut rules = rules.into_iter().flatten().filter_map(|(it, _)| side.name(it));
                rules.all(|it| named.contains_key(&it))
            };
            if is_read(old, before, old_rules) && is_read(new, after, new_rules) {
                let empty = Vec::new();
                self.rules((old_rules.unwrap_or(&empty), before), (new_rules.unwrap_or(&empty), after));
            }
            for (named, side, rules) in [(&mut *old, before, old_rules), (&mut *new, after, new_rules)] {
                for (rule, _) in rules.into_iter().flatten() {
                    side.name(rule).map(|it| named.remove(&it));
                }
            }
        }
    }

    fn rules(
        &mut self,
        (old, before): (&[(Element, String)], &Side<'_>),
        (new, after): (&[(Element, String)], &Side<'_>),
    ) {
        let texts = |rules: &[(Element, String)]| -> Vec<String> {
            rules.iter().map(|(_, text)| text.clone()).collect()
        };
        for change in capture_diff_slices(Algorithm::Myers, &texts(old), &texts(new)) {
            if matches!(change, DiffOp::Equal { .. }) {
                continue;
            }
            for (rule, text) in &old[change.old_range()] {
                let element = before.name(rule).unwrap_or_default();
                self.list.push(Difference { element, before: Some(text.clone()), after: None, diff: None });
            }
            for (rule, text) in &new[change.new_range()] {
                let element = after.name(rule).unwrap_or_default();
                self.list.push(Difference { element, before: None, after: Some(text.clone()), diff: None });
            }
        }
    }
}
