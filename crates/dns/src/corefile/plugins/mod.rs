//! The plugins that decide who is asked, as typed views of what is written.

mod answers;
mod forward;
mod kubernetes;
mod liveness;

use std::time::Duration;

pub use answers::{Cache, HostsPlugin};
pub use forward::{Forward, ForwardPolicy, Upstream};
pub use kubernetes::{Kubernetes, PodMode};
pub use liveness::{Health, Ready};

use super::{
    lexer::Word,
    remark::{CorefileRemarkKind as Kind, Remarks},
    tree::Directive,
    zone::zones,
};

/// Reads one plugin's words and collects what CoreDNS would refuse.
pub(super) struct Reader<'a> {
    directive: &'a Directive,
    /// The zones of the server block, for plugins that name none.
    zones: &'a [String],
    remarks: &'a mut Remarks,
}

impl<'a> Reader<'a> {
    pub(super) fn new(directive: &'a Directive, zones: &'a [String], remarks: &'a mut Remarks) -> Self {
        Self { directive, zones, remarks }
    }

    fn line(&self) -> usize {
        self.directive.name.line
    }

    fn count(&mut self, at: &Word) {
        self.remarks.error(at, Kind::ArgumentCount(at.text.clone()));
    }

    fn value(&mut self, of: &Word, expected: &'static str, found: &Word) {
        let kind = Kind::Value { of: of.text.clone(), expected, found: found.text.clone() };
        self.remarks.error(found, kind);
    }

    fn unknown_option(&mut self, plugin: &'static str, option: &Word) {
        self.remarks.error(option, Kind::UnknownOption { plugin, option: option.text.clone() });
    }

    /// The only argument of an option.
    fn single<'w>(&mut self, option: &'w Directive) -> Option<&'w Word> {
        let [only] = option.args.as_slice() else {
            self.count(&option.name);
            return None;
        };
        Some(only)
    }

    /// The first argument of an option, whatever follows.
    fn first<'w>(&mut self, option: &'w Directive) -> Option<&'w Word> {
        let first = option.args.first();
        if first.is_none() {
            self.count(&option.name);
        }
        first
    }

    fn flag(&mut self, option: &Directive) -> bool {
        if !option.args.is_empty() {
            self.count(&option.name);
        }
        true
    }

    fn number(
        &mut self,
        option: &Directive,
        word: &Word,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = word.text.parse().ok().filter(|it| range.contains(it));
        if number.is_none() {
            self.value(&option.name, "a number in its range", word);
        }
        number
    }

    fn duration(&mut self, option: &Directive, word: &Word) -> Option<Duration> {
        let duration = parse_duration(&word.text);
        if duration.is_none() {
            self.value(&option.name, "a duration as `5s`", word);
        }
        duration
    }

    /// Zones that are named, or those of the server block.
    fn zones_or_own(&mut self, words: &[Word]) -> Vec<String> {
        if words.is_empty() { self.zones.to_vec() } else { named_zones(words) }
    }
}

/// Zones that are named; what is no zone is left out silently, as CoreDNS does.
fn named_zones(words: &[Word]) -> Vec<String> {
    words.iter().filter_map(|it| zones(&it.text)).flatten().collect()
}

/// The zones of `fallthrough`: all where none is named.
fn fallthrough(words: &[Word]) -> Vec<String> {
    if words.is_empty() { vec![".".to_owned()] } else { named_zones(words) }
}

/// A duration as Go writes it: `1h30m`, `5s`, `100ms`; negative ones are none.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let units =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let behind = &rest[end..];
        let (unit, seconds) = units.iter().find(|(unit, _)| {
            behind.strip_prefix(unit).is_some_and(|it| {
                it.is_empty() || it.starts_with(|it: char| it.is_ascii_digit() || it == '.')
            })
        })?;
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = &behind[unit.len()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in
            [("5s", 5000), ("0", 0), ("1h30m", 5_400_000), ("1.5s", 1500), ("100ms", 100), (".5s", 500)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "-5s", "s", "5x", "5s5", "1e3s", "."] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
