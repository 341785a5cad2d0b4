//! The elements of sets and maps, found by key.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{
    expression::{Constant, Datum, Expression, Operator},
    statement::Verdict,
};

/// The elements of a set or map.
#[derive(Clone, Debug, Default)]
pub struct Elements {
    list: Vec<Element>,
    /// Elements that stand for one value, by that value.
    exact: HashMap<Vec<Datum>, usize>,
    /// Elements of one part that stand for ranges, by their first value.
    ranges: Vec<(u128, u128, usize)>,
    /// Elements that have to be looked at one by one.
    others: Vec<usize>,
    /// The element that stands for everything else.
    everything: Option<usize>,
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

/// An element.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// What it stands for.
    pub key: Expression,
    /// What a map says for it.
    pub data: Option<Data>,
    /// Seconds that it lives.
    pub timeout: Option<u64>,
    /// Seconds left when it was listed.
    pub expires: Option<u64>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its counters, limits and the like, as nft describes them.
    pub state: Vec<(String, Json)>,
}

impl Element {
    /// An element with nothing but a key.
    pub fn of(key: Expression) -> Self {
        Self { key, data: None, timeout: None, expires: None, comment: None, state: Vec::new() }
    }
}

/// What a map says.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// What becomes of the packet.
    Verdict(Verdict),
    /// A value, or the name of an object.
    Value(Expression),
}

/// What one part of a key stands for.
#[derive(Clone, Debug, PartialEq)]
enum Pattern<'e> {
    Exactly(&'e Datum),
    Range(u128, u128),
    Beginning(&'e str),
    Everything,
    NotUnderstood,
}

/// Whether a set holds a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Found<'e> {
    No,
    Yes(&'e Element),
    /// There may be an element, and this is why nobody knows.
    Unknown(&'static str),
}

impl Elements {
    /// The elements in the order in which they were listed.
    pub fn iter(&self) -> std::slice::Iter<'_, Element> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds an element.
    pub fn push(&mut self, element: Element) {
        self.add(element);
        self.ranges.sort_unstable();
    }

    /// Adds an element and leaves the ranges unsorted.
    fn add(&mut self, element: Element) {
        let at = self.list.len();
        let patterns = patterns(&element.key);
        match patterns.as_slice() {
            [Pattern::Everything] => self.everything = Some(at),
            [Pattern::Range(low, high)] => self.ranges.push((*low, *high, at)),
            all => {
                let exact: Option<Vec<Datum>> = all
                    .iter()
                    .map(|it| match it {
                        Pattern::Exactly(datum) => Some((*datum).clone()),
                        _ => None,
                    })
                    .collect();
                match exact {
                    Some(key) => {
                        self.exact.entry(key).or_insert(at);
                    }
                    None => self.others.push(at),
                }
            }
        }
        self.list.push(element);
    }

    /// Keeps the elements that `keep` says.
    pub fn retain(&mut self, keep: impl FnMut(&Element) -> bool) {
        let mut list = std::mem::take(&mut self.list);
        list.retain(keep);
        *self = list.into_iter().collect();
    }

    /// The element that holds a value, part by part; a part that is none is not known.
    pub(crate) fn find(&self, key: &[Option<Datum>]) -> Found<'_> {
        let Some(known) = key.iter().cloned().collect::<Option<Vec<Datum>>>() else {
            return self.find_partly(key);
        };
        if let Some(&at) = self.exact.get(&known) {
            return Found::Yes(&self.list[at]);
        }
        if let [Datum::Number(number)] = known.as_slice() {
            let end = self.ranges.partition_point(|(low, ..)| low <= number);
            // Ranges of a set do not overlap, so that only the last to begin can hold it.
            if let Some((_, high, at)) = end.checked_sub(1).map(|it| self.ranges[it])
                && *number <= high
            {
                return Found::Yes(&self.list[at]);
            }
        }
        let mut is_unknown = false;
        for &at in &self.others {
            match holds(&patterns(&self.list[at].key), key) {
                Some(true) => return Found::Yes(&self.list[at]),
                Some(false) => {}
                None => is_unknown = true,
            }
        }
        match self.everything {
            _ if is_unknown => Found::Unknown("an element of a set is not understood"),
            Some(at) => Found::Yes(&self.list[at]),
            None => Found::No,
        }
    }

    /// Whether any element can hold a value of which not all is known.
    fn find_partly(&self, key: &[Option<Datum>]) -> Found<'_> {
        let may_hold = |element: &Element| holds(&patterns(&element.key), key) != Some(false);
        if self.list.iter().any(may_hold) {
            Found::Unknown("a part of a key that a set is asked for is not known")
        } else {
            Found::No
        }
    }
}

impl FromIterator<Element> for Elements {
    fn from_iter<I: IntoIterator<Item = Element>>(elements: I) -> Self {
        let mut all = Self::default();
        for element in elements {
            all.add(element);
        }
        all.ranges.sort_unstable();
        all
    }
}

impl<'a> IntoIterator for &'a Elements {
    type Item = &'a Element;
    type IntoIter = std::slice::Iter<'a, Element>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Whether an element's patterns hold a value; none where a pattern or a part of the value is not known.
fn holds(patterns: &[Pattern<'_>], key: &[Option<Datum>]) -> Option<bool> {
    if patterns == [Pattern::Everything] {
        return Some(true);
    }
    if patterns.len() != key.len() {
        return if patterns.contains(&Pattern::NotUnderstood) { None } else { Some(false) };
    }
    let mut is_unknown = false;
    for (pattern, datum) in patterns.iter().zip(key) {
        let is_held = match (pattern, datum) {
            (Pattern::Everything, _) => true,
            (Pattern::NotUnderstood, _) | (_, None) => {
                is_unknown = true;
                continue;
            }
            (Pattern::Exactly(own), Some(other)) => *own == other,
            (Pattern::Range(low, high), Some(Datum::Number(number))) => low <= number && number <= high,
            (Pattern::Beginning(beginning), Some(Datum::Text(text))) => text.starts_with(beginning),
            (Pattern::Range(..), Some(Datum::Text(_))) | (Pattern::Beginning(_), Some(Datum::Number(_))) => {
                false
            }
        };
        if !is_held {
            return Some(false);
        }
    }
    if is_unknown { None } else { Some(true) }
}

/// What each part of an element's key stands for.
fn patterns(key: &Expression) -> Vec<Pattern<'_>> {
    match key {
        Expression::Concat(parts) => parts.iter().map(pattern).collect(),
        other => vec![pattern(other)],
    }
}

fn pattern(part: &Expression) -> Pattern<'_> {
    match part {
        Expression::Constant(constant) => match beginning(constant) {
            Some(beginning) => Pattern::Beginning(beginning),
            None => Pattern::Exactly(&constant.datum),
        },
        Expression::Everything => Pattern::Everything,
        other => match bounds(other) {
            Some((low, high)) => Pattern::Range(low, high),
            None => Pattern::NotUnderstood,
        },
    }
}

/// The beginning that a name with a `*` at its end stands for.
pub(crate) fn beginning(constant: &Constant) -> Option<&str> {
    match &constant.datum {
        Datum::Text(text) => text.strip_suffix('*').filter(|it| !it.ends_with('\\')),
        Datum::Number(_) => None,
    }
}

/// The first and last number that an expression stands for.
pub(crate) fn bounds(expression: &Expression) -> Option<(u128, u128)> {
    match expression {
        Expression::Constant(Constant { datum: Datum::Number(number), .. }) => Some((*number, *number)),
        Expression::Range(low, high) => {
            let ((low, _), (high, _)) = (bounds(low)?, bounds(high)?);
            Some((low, high))
        }
        Expression::Prefix(address, length) => {
            let Expression::Constant(Constant { datum: Datum::Number(number), value_type, .. }) = &**address
            else {
                return None;
            };
            let super::types::Type::One(_, bits) = value_type else { return None };
            let rest = bits.checked_sub(*length)?;
            let mask = if rest >= 128 { u128::MAX } else { (1u128 << rest) - 1 };
            Some((number & !mask, number | mask))
        }
        // Flags that are written together are one value.
        Expression::List(all) | Expression::Binary(Operator::Or, all) => {
            let value = all.iter().try_fold(0, |value, it| {
                let (low, high) = bounds(it)?;
                (low == high).then_some(value | low)
            })?;
            Some((value, value))
        }
        _ => None,
    }
}
