//! What expressions come to for a packet.

use std::borrow::Cow;

use super::{
    elements::{Data, Found, bounds},
    expression::{Datum, Expression, Operator},
    types::Type,
};
use crate::{Table, nft::elements::Elements, scene::Scene};

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Worth {
    /// A number of so many bits, of which these are known. The others are 0 here.
    Bits { value: u128, known: u128, width: u32 },
    /// A text.
    Text(String),
    /// A device, by name and where it is known by index. No device is the empty name and index 0.
    Device { name: String, index: Option<u32> },
    /// Any of so many numbers from the first on, all alike likely.
    Spread { low: u64, count: u64 },
    /// One of these, with its probability; none where there is no value.
    Lottery(Vec<(f64, Option<Worth>)>),
    /// Several values, one after another.
    Concat(Vec<Worth>),
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stop {
    /// The packet has no such thing: the rule does not match.
    Break,
    /// Nobody knows, and why.
    Unknown(Cow<'static, str>),
}

pub(crate) type Taken = Result<Worth, Stop>;

/// The most outcomes of chance that are told apart.
const MOST_OUTCOMES: u64 = 1024;

/// A number with all its bits known.
#[expect(clippy::unnecessary_wraps, reason = "an answer beside those that may fail")]
pub(crate) fn known(value: impl Into<u128>, width: u32) -> Taken {
    Ok(Worth::Bits { value: value.into(), known: ones(width), width })
}

/// Why there is no value: it is not known.
pub(crate) fn unknown(why: impl Into<Cow<'static, str>>) -> Taken {
    Err(Stop::Unknown(why.into()))
}

/// So many bits, all set.
pub(crate) fn ones(width: u32) -> u128 {
    if width >= 128 { u128::MAX } else { (1u128 << width) - 1 }
}

impl Worth {
    /// The number, where all of it is known.
    pub(crate) fn number(&self) -> Option<u128> {
        match self {
            Self::Bits { value, known, width } if *known == ones(*width) => Some(*value),
            Self::Device { index, .. } => index.map(u128::from),
            _ => None,
        }
    }

    /// What to look for in a set, most likely first, part by part; none for a part that is not known.
    pub(crate) fn keys(&self) -> Vec<Vec<Option<Datum>>> {
        let parts = match self {
            Self::Concat(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut keys = vec![Vec::with_capacity(parts.len())];
        for part in parts {
            let options = match part {
                Self::Bits { .. } => vec![part.number().map(Datum::Number)],
                Self::Text(text) => vec![Some(Datum::Text(text.clone()))],
                Self::Device { name, index } => {
                    let index = index.map(|it| Some(Datum::Number(it.into())));
                    std::iter::once(Some(Datum::Text(name.clone()))).chain(index).collect()
                }
                Self::Spread { .. } | Self::Lottery(_) | Self::Concat(_) => vec![None],
            };
            let longer = |option: &Option<Datum>| {
                let longer = keys.iter().map(|key| key.iter().cloned().chain([option.clone()]).collect());
                longer.collect::<Vec<Vec<_>>>()
            };
            keys = options.iter().flat_map(longer).collect();
        }
        keys
    }

    /// The outcomes that chance can have.
    pub(crate) fn outcomes(self) -> Result<Vec<(f64, Option<Worth>)>, Self> {
        match self {
            Self::Lottery(outcomes) => Ok(outcomes),
            Self::Spread { low, count } if count <= MOST_OUTCOMES => {
                let share = 1.0 / as_float(count);
                let one = |at| {
                    let value = u128::from(low) + u128::from(at);
                    (share, Some(Self::Bits { value, known: ones(32), width: 32 }))
                };
                Ok((0..count).map(one).collect())
            }
            other => Err(other),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares of chance need no more than 53 bits")]
pub(crate) fn as_float(number: u64) -> f64 {
    number as f64
}

/// The share of a spread that lies between two numbers.
pub(crate) fn share(low: u64, count: u64, from: u128, to: u128) -> f64 {
    let last = u128::from(low) + u128::from(count) - 1;
    let (from, to) = (from.max(low.into()), to.min(last));
    if from > to {
        return 0.0;
    }
    as_float(u64::try_from(to - from + 1).unwrap_or(u64::MAX)) / as_float(count)
}

impl Expression {
    /// What the expression comes to.
    pub(crate) fn worth(&self, scene: &Scene<'_>) -> Taken {
        match self {
            Self::Constant(constant) => match &constant.datum {
                Datum::Number(value) => {
                    let width = match constant.value_type {
                        Type::One(_, bits) if bits > 0 => bits,
                        _ => 128,
                    };
                    known(*value, width)
                }
                Datum::Text(text) => Ok(Worth::Text(text.clone())),
            },
            Self::Numgen { modulus, offset, .. } => spread(*offset, *modulus),
            Self::Hash { of, modulus, offset, .. } => {
                // What is hashed need not be known, but must be there.
                if let Some(Err(Stop::Break)) = of.as_ref().map(|it| it.worth(scene)) {
                    return Err(Stop::Break);
                }
                spread(offset.unwrap_or(0), *modulus)
            }
            Self::Binary(operator, operands) => binary(*operator, operands, scene),
            Self::List(all) => binary(Operator::Or, all, scene),
            Self::Concat(parts) => {
                let parts: Vec<Worth> = parts.iter().map(|it| it.worth(scene)).collect::<Result<_, _>>()?;
                if parts.iter().any(|it| matches!(it, Worth::Spread { .. } | Worth::Lottery(_))) {
                    return unknown("chance as a part of a key is not modelled");
                }
                Ok(Worth::Concat(parts))
            }
            Self::Map { key, data } => map(key, data, scene),
            Self::NotUnderstood(_) => unknown("an expression is not understood"),
            Self::Prefix(..) | Self::Range(..) | Self::Set(_) | Self::Reference(_) | Self::Everything => {
                unknown("a set of values stands where one value belongs")
            }
            selector => selector.select(scene),
        }
    }
}

fn spread(low: u64, count: u64) -> Taken {
    match count {
        0 => unknown("a choice among none"),
        1 => known(low, 32),
        _ => Ok(Worth::Spread { low, count }),
    }
}

fn binary(operator: Operator, operands: &[Expression], scene: &Scene<'_>) -> Taken {
    let mut operands = operands.iter();
    let Some(first) = operands.next() else { return unknown("no operand") };
    let mut all = first.worth(scene)?;
    for operand in operands {
        all = combine(operator, all, &operand.worth(scene)?)?;
    }
    Ok(all)
}

fn combine(operator: Operator, left: Worth, right: &Worth) -> Taken {
    if let (Worth::Spread { low: 0, count }, Operator::And, Some(mask)) = (&left, operator, right.number()) {
        // The lower bits of a random number are a random number.
        let (mask, count) = (u64::try_from(mask).unwrap_or(u64::MAX), *count);
        if count.is_power_of_two() && mask.wrapping_add(1).is_power_of_two() {
            return spread(0, count.min(mask.saturating_add(1)));
        }
    }
    if matches!(left, Worth::Spread { .. } | Worth::Lottery(_)) {
        let Ok(outcomes) = left.outcomes() else { return unknown("too many outcomes of chance") };
        let outcomes = outcomes.into_iter().map(|(weight, it)| {
            let combined = it.and_then(|it| combine(operator, it, right).ok());
            (weight, combined)
        });
        return Ok(Worth::Lottery(merge(outcomes)));
    }
    let (
        Worth::Bits { value, known, width },
        Worth::Bits { value: other, known: other_known, width: other_width },
    ) = (left, right)
    else {
        return unknown("bits of something that is not a number");
    };
    let full = ones(width);
    // Bits beyond the shorter operand are zero, and known to be.
    let other_known = other_known | !ones(*other_width);
    let (value, known) = match operator {
        Operator::And => (value & other, known & other_known | known & !value | other_known & !other),
        Operator::Or => (value | other, known & other_known | known & value | other_known & other),
        Operator::Xor => (value ^ other, known & other_known),
        Operator::Left | Operator::Right if other_known & 0xff != 0xff => {
            return unknown("how far to shift is not known");
        }
        Operator::Left => {
            let bits = u32::try_from(*other).unwrap_or(u32::MAX);
            let shift = |it: u128| it.checked_shl(bits).unwrap_or(0);
            (shift(value), !shift(!known))
        }
        Operator::Right => {
            let bits = u32::try_from(*other).unwrap_or(u32::MAX);
            let shift = |it: u128| it.checked_shr(bits).unwrap_or(0);
            (shift(value), !shift(!known & full))
        }
    };
    let known = known & full;
    Ok(Worth::Bits { value: value & known, known, width })
}

/// Outcomes with those of equal value taken together.
pub(crate) fn merge<T: PartialEq>(outcomes: impl Iterator<Item = (f64, T)>) -> Vec<(f64, T)> {
    let mut merged: Vec<(f64, T)> = Vec::new();
    for (weight, outcome) in outcomes {
        match merged.iter_mut().find(|(_, it)| *it == outcome) {
            Some((sum, _)) => *sum += weight,
            None => merged.push((weight, outcome)),
        }
    }
    merged
}

/// The elements of a set or map that is written down, or referred to by name.
pub(crate) fn written<'e>(data: &'e Expression, table: &'e Table) -> Option<&'e Elements> {
    match data {
        Expression::Set(elements) => Some(elements),
        Expression::Reference(name) => table.sets.get(name).map(|it| &it.elements),
        _ => None,
    }
}

/// What a map says of a value; none where a set has no data.
pub(crate) fn look_up<'e>(elements: &'e Elements, worth: &Worth) -> Result<Option<&'e Data>, Stop> {
    for key in worth.keys() {
        match elements.find(&key) {
            Found::No => {}
            Found::Yes(element) => return Ok(element.data.as_ref()),
            Found::Unknown(why) => return Err(Stop::Unknown(why.into())),
        }
    }
    Err(Stop::Break)
}

/// What a map of a random number comes to: outcomes with their probability.
pub(crate) fn draw<'e>(elements: &'e Elements, low: u64, count: u64) -> Vec<(f64, Option<&'e Data>)> {
    let mut rest = 1.0;
    let mut outcomes: Vec<(f64, Option<&'e Data>)> = Vec::new();
    let mut otherwise = None;
    for element in elements {
        if element.key == Expression::Everything {
            otherwise = element.data.as_ref();
        }
        let Some((from, to)) = bounds(&element.key) else { continue };
        let weight = share(low, count, from, to);
        if weight > 0.0 {
            rest -= weight;
            outcomes.push((weight, element.data.as_ref()));
        }
    }
    // What rounding leaves over is nobody's.
    if rest > 1e-9 {
        outcomes.push((rest, otherwise));
    }
    merge(outcomes.into_iter())
}

fn map(key: &Expression, data: &Expression, scene: &Scene<'_>) -> Taken {
    let Some(elements) = written(data, scene.table) else { return unknown("a map is not known") };
    let value = |data: Option<&Data>| match data {
        Some(Data::Value(value)) => value.worth(scene),
        _ => unknown("a map has no value for an element"),
    };
    match key.worth(scene)? {
        Worth::Spread { low, count } => {
            let outcomes = draw(elements, low, count)
                .into_iter()
                .map(|(weight, data)| (weight, data.and_then(|it| value(Some(it)).ok())));
            Ok(Worth::Lottery(merge(outcomes)))
        }
        worth => value(look_up(elements, &worth)?),
    }
}
