//! The match `set` and the sides of a packet that sets are asked about.
//!
//! Kernel: net/netfilter/xt_set.c.

use super::{Comparison, Test};
use crate::{
    ipset::Membership,
    iptables::words::{Words, number},
    put,
    remark::Problem,
    scene::Scene,
    ternary::Ternary,
};

/// Which side of a packet a part of a set's entries is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetDirection {
    /// The source, or the input device.
    Source,
    /// The destination, or the output device.
    Destination,
}

/// `-m set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMatch {
    /// The set's name.
    pub set: Test<String>,
    /// What to compare with, part by part.
    pub directions: Vec<SetDirection>,
    /// `--return-nomatch`: asks for entries that are exceptions.
    pub returns_nomatch: bool,
    /// `! --update-counters`.
    pub keeps_counters: bool,
    /// `! --update-subcounters`.
    pub keeps_subcounters: bool,
    /// `--packets-eq`, `--packets-lt`, `--packets-gt`: what the entry has counted.
    pub packets: Option<(Comparison, u64)>,
    /// `--bytes-eq`, `--bytes-lt`, `--bytes-gt`.
    pub bytes: Option<(Comparison, u64)>,
}

/// Reads `src,dst,…`.
pub(super) fn directions(text: &str) -> Option<Vec<SetDirection>> {
    text.split(',')
        .map(|word| match word {
            "src" => Some(SetDirection::Source),
            "dst" => Some(SetDirection::Destination),
            _ => None,
        })
        .collect()
}

/// Writes `src,dst,…`.
pub(super) fn directions_text(directions: &[SetDirection]) -> String {
    let words: Vec<&str> = directions
        .iter()
        .map(|it| match it {
            SetDirection::Source => "src",
            SetDirection::Destination => "dst",
        })
        .collect();
    words.join(",")
}

impl SetMatch {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self {
            set: Test::is(String::new()),
            directions: Vec::new(),
            returns_nomatch: false,
            keeps_counters: false,
            keeps_subcounters: false,
            packets: None,
            bytes: None,
        };
        while let Some((not, option)) = words.option() {
            let comparison = match option.get(option.len().saturating_sub(3)..) {
                Some("-eq") if not => Comparison::Unequal,
                Some("-lt") => Comparison::Less,
                Some("-gt") => Comparison::Greater,
                _ => Comparison::Equal,
            };
            match (option, not) {
                ("--match-set", _) => {
                    all.set = Test { not, value: words.argument("a set's name")?.to_owned() };
                    all.directions = words.parse("`src` or `dst`, for each part", directions)?;
                }
                ("--return-nomatch", false) => all.returns_nomatch = true,
                ("--update-counters", true) => all.keeps_counters = true,
                ("--update-subcounters", true) => all.keeps_subcounters = true,
                ("--packets-eq", _) | ("--packets-lt" | "--packets-gt", false) => {
                    all.packets = Some((comparison, words.parse("packets", number)?));
                }
                ("--bytes-eq", _) | ("--bytes-lt" | "--bytes-gt", false) => {
                    all.bytes = Some((comparison, words.parse("bytes", number)?));
                }
                _ => return Err(words.unexpected("an option of `-m set`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m set");
        let directions = directions_text(&self.directions);
        self.set.write_option(out, "--match-set", format_args!("{} {directions}", self.set.value));
        if self.returns_nomatch {
            out.push_str(" --return-nomatch");
        }
        if self.keeps_counters {
            out.push_str(" ! --update-counters");
        }
        if self.keeps_subcounters {
            out.push_str(" ! --update-subcounters");
        }
        for (what, test) in [("packets", self.packets), ("bytes", self.bytes)] {
            match test {
                Some((Comparison::Equal, value)) => put!(out, " --{what}-eq {value}"),
                Some((Comparison::Unequal, value)) => put!(out, " ! --{what}-eq {value}"),
                Some((Comparison::Less, value)) => put!(out, " --{what}-lt {value}"),
                Some((Comparison::Greater, value)) => put!(out, " --{what}-gt {value}"),
                None => {}
            }
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Some(set) = scene.ruleset.ipsets.get(&self.set.value) else {
            return Ternary::unknown(format!("ipset `{}` is not known", self.set.value));
        };
        let membership = set.holds(&self.directions, scene);
        if matches!(membership, Membership::In(_)) && (self.packets.is_some() || self.bytes.is_some()) {
            // The entry counts the packet before it compares.
            return Ternary::unknown("the counters of a set's entry depend on the packets before");
        }
        membership.is_in(self.returns_nomatch).not_if(self.set.not)
    }
}
