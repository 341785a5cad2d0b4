//! Matches on bytes: `string`, `u32`.
//!
//! Kernel: net/netfilter/xt_string.c, xt_u32.c.

use super::{Span, Test};
use crate::{
    bytes::{Bytes, Field},
    iptables::words::{Words, number},
    put,
    remark::Problem,
    scene::Scene,
    ternary::Ternary,
};

/// `-m string`: does the packet hold this text? Payload is not modelled, so that only packets too short for
/// it are settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringMatch {
    /// The text, as bytes.
    pub pattern: Test<Vec<u8>>,
    /// `--algo`: how the kernel searches.
    pub algorithm: String,
    /// `--from`: where the search begins, from the network header on.
    pub from: u16,
    /// `--to`: where a match may begin at the latest.
    pub to: u16,
    /// `--icase`.
    pub ignore_case: bool,
}

impl StringMatch {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut pattern = None;
        let mut all = Self {
            pattern: Test::is(Vec::new()),
            algorithm: String::new(),
            from: 0,
            to: u16::MAX,
            ignore_case: false,
        };
        while let Some((not, option)) = words.option() {
            match (option, not) {
                ("--string", _) => {
                    pattern = Some(Test { not, value: words.argument("a text")?.as_bytes().to_vec() });
                }
                ("--hex-string", _) => {
                    pattern = Some(Test { not, value: words.parse("text with |hex| in it", hex)? });
                }
                ("--algo", false) => words.argument("`bm` or `kmp`")?.clone_into(&mut all.algorithm),
                ("--from", false) => all.from = words.number("an offset")?,
                ("--to", false) => all.to = words.number("an offset")?,
                ("--icase", false) => all.ignore_case = true,
                _ => return Err(words.unexpected("an option of `-m string`")),
            }
        }
        all.pattern = pattern.ok_or_else(|| words.unexpected("`--string` or `--hex-string`"))?;
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        let not = if self.pattern.not { " !" } else { "" };
        let text = std::str::from_utf8(&self.pattern.value).ok();
        if let Some(text) = text.filter(|it| it.bytes().all(|it| (0x20..0x7f).contains(&it))) {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            put!(out, " -m string{not} --string \"{escaped}\"");
        } else {
            put!(out, " -m string{not} --hex-string \"|");
            for byte in &self.pattern.value {
                put!(out, "{byte:02x}");
            }
            out.push_str("|\"");
        }
        put!(out, " --algo {}", self.algorithm);
        if self.from != 0 {
            put!(out, " --from {}", self.from);
        }
        if self.to != u16::MAX {
            put!(out, " --to {}", self.to);
        }
        if self.ignore_case {
            out.push_str(" --icase");
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let length = Bytes::network(scene.view).map_or(usize::MAX, |it| it.length());
        if usize::from(self.from).saturating_add(self.pattern.value.len()) > length {
            return self.pattern.check(false);
        }
        Ternary::unknown("the payload of a packet is not modelled")
    }
}

/// Text in which `|…|` holds bytes in hexadecimal (`parse_hex_string`, extensions/libxt_string.c).
fn hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (at, part) in text.split('|').enumerate() {
        if at % 2 == 0 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|it| *it != b' ').collect();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        for pair in digits.chunks(2) {
            let pair = std::str::from_utf8(pair).ok()?;
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
        }
    }
    text.matches('|').count().is_multiple_of(2).then_some(bytes)
}

/// `-m u32`: numbers taken from the packet lie in ranges, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct U32(pub Test<Vec<U32Test>>);

/// One number and where it must lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct U32Test {
    /// How to find it.
    pub location: U32Location,
    /// Where it must lie: in any of these.
    pub ranges: Vec<Span<u32>>,
}

/// How to find a number: the four bytes at an offset from the network header, and what to do with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct U32Location {
    /// The offset in bytes.
    pub offset: u32,
    /// What to do, in order.
    pub steps: Vec<U32Step>,
}

/// What to do with a number taken from a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum U32Step {
    /// `&`: keep these bits.
    And(u32),
    /// `<<`: shift to the left.
    Left(u32),
    /// `>>`: shift to the right.
    Right(u32),
    /// `@`: move on by the number, and take four bytes at this offset.
    At(u32),
}

impl U32 {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        super::quantity::read_one(words, "--u32", |words| words.parse("OFFSET[&MASK…]=RANGE&&…", tests))
            .map(Self)
    }

    pub(super) fn write(&self, out: &mut String) {
        put!(out, " -m u32{} --u32 \"", if self.0.not { " !" } else { "" });
        for (at, test) in self.0.value.iter().enumerate() {
            put!(out, "{}{:#x}", if at > 0 { "&&" } else { "" }, test.location.offset);
            for step in &test.location.steps {
                match step {
                    U32Step::And(mask) => put!(out, "&{mask:#x}"),
                    U32Step::Left(bits) => put!(out, "<<{bits:#x}"),
                    U32Step::Right(bits) => put!(out, ">>{bits:#x}"),
                    U32Step::At(offset) => put!(out, "@{offset:#x}"),
                }
            }
            out.push('=');
            for (at, Span { low, high }) in test.ranges.iter().enumerate() {
                put!(out, "{}{low:#x}", if at > 0 { "," } else { "" });
                if low != high {
                    put!(out, ":{high:#x}");
                }
            }
        }
        out.push('"');
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Some(bytes) = Bytes::network(scene.view) else {
            return Ternary::unknown("the network header is not modelled");
        };
        let mut all = Ternary::Yes;
        for test in &self.0.value {
            all = all.and(|| match test.location.find(&bytes) {
                Some(Number { value, known: u32::MAX }) => {
                    test.ranges.iter().any(|it| it.contains(value)).into()
                }
                Some(_) => Ternary::unknown("bytes that `u32` looks at are not known"),
                // A number past the end of the packet fails the whole.
                None => Ternary::No,
            });
            if all == Ternary::No {
                break;
            }
        }
        all.not_if(self.0.not)
    }
}

/// A number taken from a packet, of which these bits are known.
#[derive(Clone, Copy)]
struct Number {
    value: u32,
    known: u32,
}

impl U32Location {
    /// The number; none where the packet ends before.
    fn find(&self, bytes: &Bytes) -> Option<Number> {
        let take = |at: u64| match bytes.get(usize::try_from(at).ok()?.saturating_mul(8), 32) {
            Field::Bits { value, known } => Some(Number { value: low32(value), known: low32(known) }),
            Field::Unknown => Some(Number { value: 0, known: 0 }),
            Field::Absent => None,
        };
        let mut base = 0u64;
        let mut number = take(u64::from(self.offset))?;
        for step in &self.steps {
            let Number { value, known } = number;
            number = match *step {
                U32Step::And(mask) => Number { value: value & mask, known: known | !mask },
                U32Step::Left(bits) => Number {
                    value: value.checked_shl(bits).unwrap_or(0),
                    known: !(!known).checked_shl(bits).unwrap_or(0),
                },
                U32Step::Right(bits) => Number {
                    value: value.checked_shr(bits).unwrap_or(0),
                    known: !(!known).checked_shr(bits).unwrap_or(0),
                },
                U32Step::At(_) if known != u32::MAX => return Some(Number { value: 0, known: 0 }),
                U32Step::At(offset) => {
                    base += u64::from(value);
                    take(base + u64::from(offset))?
                }
            };
        }
        Some(number)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the caller asked for 32 bits")]
fn low32(value: u128) -> u32 {
    value as u32
}

/// Reads `LOCATION=RANGE[,RANGE]&&…` (`u32_parse`, extensions/libxt_u32.c).
fn tests(text: &str) -> Option<Vec<U32Test>> {
    text.split("&&").map(one_test).collect()
}

fn one_test(text: &str) -> Option<U32Test> {
    let text: String = text.chars().filter(|it| !it.is_whitespace()).collect();
    let (location, ranges) = text.split_once('=')?;
    let narrow = |text: &str| u32::try_from(number(text)?).ok();
    let end = |text: &str| text.find(['&', '<', '>', '@']).unwrap_or(text.len());
    let first = end(location);
    let offset = narrow(&location[..first])?;
    let mut steps = Vec::new();
    let mut rest = &location[first..];
    while !rest.is_empty() {
        let length = if rest.starts_with("<<") || rest.starts_with(">>") { 2 } else { 1 };
        let (operator, tail) = rest.split_at(length);
        let stop = end(tail);
        let value = narrow(&tail[..stop])?;
        steps.push(match operator {
            "&" => U32Step::And(value),
            "<<" => U32Step::Left(value),
            ">>" => U32Step::Right(value),
            "@" => U32Step::At(value),
            _ => return None,
        });
        rest = &tail[stop..];
    }
    let ranges = ranges.split(',').map(|it| crate::iptables::words::span(it, ':'));
    Some(U32Test { location: U32Location { offset, steps }, ranges: ranges.collect::<Option<_>>()? })
}
