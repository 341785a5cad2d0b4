//! Matches on marks and numbers, and those that draw lots: `mark`, `tcpmss`, `statistic`.
//!
//! Kernel: net/netfilter/xt_mark.c, xt_tcpmss.c, xt_statistic.c.

use super::{Masked, Span, Test, ports::FRAGMENT};
use crate::{
    iptables::words::{Words, masked},
    packet::Transport,
    put,
    remark::Problem,
    scene::Scene,
    ternary::Ternary,
};

/// `-m mark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub Test<Masked>);

impl Mark {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        read_one(words, "--mark", |words| {
            words.parse("VALUE[/MASK]", |text| {
                let (value, mask) = masked(text)?;
                Some(Masked { value, mask: mask.unwrap_or(u32::MAX) })
            })
        })
        .map(Self)
    }

    pub(super) fn write(&self, out: &mut String, module: &str) {
        put!(out, " -m {module}");
        let Masked { value, mask } = self.0.value;
        if mask == u32::MAX {
            self.0.write_option(out, "--mark", format_args!("{value:#x}"));
        } else {
            self.0.write_option(out, "--mark", format_args!("{value:#x}/{mask:#x}"));
        }
    }

    pub(super) fn holds(&self, mark: u32) -> Ternary {
        self.0.check(mark & self.0.value.mask == self.0.value.value)
    }
}

/// `-m statistic`.
#[derive(Clone, Debug, PartialEq)]
pub enum Statistic {
    /// By lot.
    Random {
        /// Does it hold for those that are not drawn?
        not: bool,
        /// The chance, in units of 2⁻³¹ as the kernel keeps it.
        probability: u32,
    },
    /// By count.
    Nth {
        /// Does it hold for all others?
        not: bool,
        /// One of so many packets.
        every: u32,
        /// Which one, from 0.
        packet: u32,
    },
}

/// The chance of what is certain, in the kernel's units (`xt_statistic_info.u.random.probability`).
const CERTAIN: f64 = 2_147_483_648.0;

impl Statistic {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut mode = "";
        let (mut chance, mut every, mut packet) = (None, None, 0);
        while let Some((not, option)) = words.option() {
            match option {
                "--mode" if !not => mode = words.argument("`random` or `nth`")?,
                "--probability" => {
                    let value = words.parse("a probability from 0 to 1", |text| {
                        text.parse::<f64>().ok().filter(|it| (0.0..=1.0).contains(it))
                    })?;
                    chance = Some((not, to_units(value)));
                }
                "--every" => {
                    let value = words.parse("a number above 0", |it| it.parse().ok().filter(|it| *it > 0))?;
                    every = Some((not, value));
                }
                "--packet" if !not => packet = words.number("a packet's number")?,
                _ => return Err(words.unexpected("an option of `-m statistic`")),
            }
        }
        match (mode, chance, every) {
            ("random", Some((not, probability)), None) => Ok(Self::Random { not, probability }),
            ("nth", None, Some((not, every))) => Ok(Self::Nth { not, every, packet }),
            _ => Err(words.unexpected("`--mode random --probability P` or `--mode nth --every N`")),
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Random { not, probability } => {
                let not = if *not { " !" } else { "" };
                let chance = f64::from(*probability) / CERTAIN;
                put!(out, " -m statistic --mode random{not} --probability {chance:.11}");
            }
            Self::Nth { not, every, packet } => {
                let not = if *not { " !" } else { "" };
                put!(out, " -m statistic --mode nth{not} --every {every} --packet {packet}");
            }
        }
    }

    /// The probability that it holds; none where it is certain.
    pub(super) fn probability(&self) -> Option<f64> {
        let (not, chance) = match self {
            Self::Random { not, probability } => (not, f64::from(*probability) / CERTAIN),
            Self::Nth { not, every, .. } => (not, 1.0 / f64::from(*every)),
        };
        let chance = if *not { 1.0 - chance } else { chance };
        (chance > 0.0 && chance < 1.0).then_some(chance)
    }

    /// Whether it holds as far as chance is not asked: yes where it may.
    pub(super) fn certainty(&self) -> Ternary {
        match self {
            Self::Random { not, probability: 0 } => (*not).into(),
            Self::Random { not, probability } if f64::from(*probability) >= CERTAIN => (!*not).into(),
            Self::Nth { not, every: 1, .. } => (!*not).into(),
            Self::Random { .. } | Self::Nth { .. } => Ternary::Yes,
        }
    }
}

/// A chance in the kernel's units, rounded as iptables does (`lround`, extensions/libxt_statistic.c).
fn to_units(chance: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 2³¹, as the chance is from 0 to 1"
    )]
    let units = (chance * CERTAIN).round() as u32;
    units
}

/// `-m tcpmss`. A segment without the option holds only for the negation. Of a later fragment the module
/// takes the bytes for a header.
pub(super) fn mss_holds(test: Test<Span<u16>>, scene: &Scene<'_>) -> Ternary {
    match scene.view.transport {
        Transport::Tcp(tcp) => test.check(tcp.mss.is_some_and(|it| test.value.contains(it))),
        _ => Ternary::unknown(FRAGMENT),
    }
}

/// The one option of a module that has no other.
pub(super) fn read_one<'w, 't, T>(
    words: &mut Words<'w, 't>,
    option: &str,
    read: impl FnOnce(&mut Words<'w, 't>) -> Result<T, Problem>,
) -> Result<Test<T>, Problem> {
    match words.option() {
        Some((not, found)) if found == option => Ok(Test { not, value: read(words)? }),
        Some(_) => Err(words.unexpected(&format!("`{option}`"))),
        None => Err(match words.argument(&format!("`{option}`")) {
            Ok(_) => words.unexpected(&format!("`{option}`")),
            Err(problem) => problem,
        }),
    }
}

/// The one option of a module that takes a text and cannot be negated.
pub(super) fn read_text(words: &mut Words<'_, '_>, option: &str, what: &str) -> Result<String, Problem> {
    let test = read_one(words, option, |words| words.argument(what).map(str::to_owned))?;
    if test.not { Err(words.unexpected(&format!("`{option}` without `!`"))) } else { Ok(test.value) }
}
