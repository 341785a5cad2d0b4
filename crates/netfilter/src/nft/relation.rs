//! Whether conditions of nft hold.
//!
//! Kernel: net/netfilter/nft_cmp.c, nft_range.c, nft_lookup.c, nft_bitwise.c. How nft turns what it prints
//! into these: src/netlink_linearize.c (`netlink_gen_relational`, `netlink_gen_flagcmp`).

use super::{
    elements::{Elements, Found, beginning, bounds},
    expression::{Comparison, Constant, Datum, Expression, Relation, Scalar},
    select::fib_device,
    worth::{Stop, Worth, ones, share, written},
};
use crate::{run::Answer, scene::Scene, ternary::Ternary};

impl Relation {
    /// Whether the condition holds, or with which probability.
    pub(crate) fn answer(&self, scene: &Scene<'_>) -> Answer {
        if let (
            Expression::Fib { result, flags },
            Expression::Constant(Constant { printed: Scalar::Bool(wanted), .. }),
        ) = (&self.left, &self.right)
            && result != "type"
        {
            // Only whether the lookup succeeds is asked.
            return Answer::Settled(match fib_device(flags, scene) {
                Ok(found) => {
                    (found.is_some() == (*wanted != (self.comparison == Comparison::Unequal))).into()
                }
                Err(stop) => stopped(stop),
            });
        }
        match self.left.worth(scene) {
            Err(stop) => Answer::Settled(stopped(stop)),
            Ok(worth) => self.compare(worth, scene),
        }
    }

    fn compare(&self, worth: Worth, scene: &Scene<'_>) -> Answer {
        match worth {
            Worth::Spread { low, count } => match self.chance(low, count, scene) {
                Some(chance) => certain_or(chance),
                None => Answer::Settled(Ternary::unknown("what chance decides is not compared with this")),
            },
            Worth::Lottery(outcomes) => {
                let mut chance = 0.0;
                for (weight, outcome) in outcomes {
                    match outcome.map(|it| self.settled(&it, scene)) {
                        Some(Ternary::Yes) => chance += weight,
                        Some(unknown @ Ternary::Unknown(_)) => return Answer::Settled(unknown),
                        Some(Ternary::No) | None => {}
                    }
                }
                certain_or(chance)
            }
            worth => Answer::Settled(self.settled(&worth, scene)),
        }
    }

    /// Whether the condition holds for a value that chance has no part in.
    fn settled(&self, worth: &Worth, scene: &Scene<'_>) -> Ternary {
        let is_negated = self.comparison == Comparison::Unequal;
        match &self.right {
            Expression::Set(_) | Expression::Reference(_) => match written(&self.right, scene.table) {
                Some(elements) => is_among(elements, worth).not_if(is_negated),
                None => Ternary::unknown("a set is not known"),
            },
            Expression::List(_) => flags(worth, &self.right, self.comparison),
            Expression::Constant(constant)
                if constant.value_type.is_bitmask()
                    && matches!(self.comparison, Comparison::Implicit | Comparison::Lacks) =>
            {
                flags(worth, &self.right, self.comparison)
            }
            Expression::Concat(parts) => {
                let Worth::Concat(values) = worth else {
                    return Ternary::unknown("one value is compared with several");
                };
                let mut all = Ternary::from(parts.len() == values.len());
                for (part, value) in parts.iter().zip(values) {
                    all = all.and(|| one(value, Comparison::Equal, part, scene));
                }
                all.not_if(is_negated)
            }
            right => one(worth, self.comparison, right, scene),
        }
    }

    /// The probability that it holds for a random number.
    fn chance(&self, low: u64, count: u64, scene: &Scene<'_>) -> Option<f64> {
        let inside = match &self.right {
            Expression::Set(_) | Expression::Reference(_) => written(&self.right, scene.table)?
                .iter()
                .map(|it| bounds(&it.key).map(|(from, to)| share(low, count, from, to)))
                .sum::<Option<f64>>()?,
            right => {
                let (from, to) = bounds(right)?;
                match self.comparison {
                    Comparison::Less => return Some(share(low, count, 0, from.checked_sub(1)?)),
                    Comparison::LessOrEqual => return Some(share(low, count, 0, to)),
                    Comparison::Greater => return Some(share(low, count, to.saturating_add(1), u128::MAX)),
                    Comparison::GreaterOrEqual => return Some(share(low, count, from, u128::MAX)),
                    Comparison::Lacks => return None,
                    Comparison::Equal | Comparison::Unequal | Comparison::Implicit => {
                        share(low, count, from, to)
                    }
                }
            }
        };
        Some(if self.comparison == Comparison::Unequal { 1.0 - inside } else { inside })
    }
}

fn certain_or(chance: f64) -> Answer {
    if chance <= 1e-9 {
        Answer::Settled(Ternary::No)
    } else if chance >= 1.0 - 1e-9 {
        Answer::Settled(Ternary::Yes)
    } else {
        Answer::Chance(chance)
    }
}

fn stopped(stop: Stop) -> Ternary {
    match stop {
        Stop::Break => Ternary::No,
        Stop::Unknown(why) => Ternary::Unknown(why),
    }
}

/// Does a set hold the value?
fn is_among(elements: &Elements, worth: &Worth) -> Ternary {
    let mut answer = Ternary::No;
    for key in worth.keys() {
        answer = answer.or(|| match elements.find(&key) {
            Found::No => Ternary::No,
            Found::Yes(_) => Ternary::Yes,
            Found::Unknown(why) => Ternary::unknown(why),
        });
    }
    answer
}

/// Are any of the flags set, or with `!` none?
fn flags(worth: &Worth, right: &Expression, comparison: Comparison) -> Ternary {
    let (Worth::Bits { value, known, .. }, Some((flags, _))) = (worth, bounds(right)) else {
        return Ternary::unknown("flags of something that is not a number");
    };
    let any = if value & flags != 0 {
        Ternary::Yes
    } else if flags & !known == 0 {
        Ternary::No
    } else {
        Ternary::unknown("not all of the flags are known")
    };
    any.not_if(comparison == Comparison::Lacks)
}

/// Compares a value with a constant, a prefix or a range.
fn one(worth: &Worth, comparison: Comparison, right: &Expression, scene: &Scene<'_>) -> Ternary {
    let is_negated = comparison == Comparison::Unequal;
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::Unequal | Comparison::Implicit);
    match (worth, right) {
        (_, Expression::Everything) => Ternary::Yes,
        (Worth::Text(text), Expression::Constant(constant)) if is_equality => {
            let holds = match (beginning(constant), &constant.datum) {
                (Some(beginning), _) => text.starts_with(beginning),
                (None, Datum::Text(other)) => text == &other.replace("\\*", "*"),
                (None, Datum::Number(_)) => false,
            };
            Ternary::from(holds).not_if(is_negated)
        }
        (Worth::Device { name, index }, Expression::Constant(constant)) if is_equality => {
            match (&constant.datum, index) {
                (Datum::Text(other), _) => Ternary::from(name == other),
                (Datum::Number(other), Some(index)) => Ternary::from(*other == u128::from(*index)),
                (Datum::Number(_), None) => Ternary::unknown("the index of a device is not known"),
            }
            .not_if(is_negated)
        }
        (Worth::Bits { .. }, _) => match bounds(right).or_else(|| folded(right, scene)) {
            Some((low, high)) => number(worth, comparison, low, high),
            None => Ternary::unknown("a number is compared with what is not one"),
        },
        _ => Ternary::unknown("values of different kinds are compared"),
    }
}

/// The value of what is written on the right, where it has to be worked out.
fn folded(right: &Expression, scene: &Scene<'_>) -> Option<(u128, u128)> {
    let number = right.worth(scene).ok()?.number()?;
    Some((number, number))
}

fn number(worth: &Worth, comparison: Comparison, low: u128, high: u128) -> Ternary {
    let Worth::Bits { value, known, width } = *worth else { return Ternary::No };
    let full = ones(width);
    // Bits that are not known may be anything: between all clear and all set.
    let (least, most) = (value, value | full & !known);
    let is_inside = if most < low || least > high {
        Ternary::No
    } else if low <= least && most <= high {
        Ternary::Yes
    } else if low == high && (value ^ low) & known != 0 {
        Ternary::No
    } else {
        Ternary::unknown("bits of the packet that are compared are not known")
    };
    let ordered = |holds_least: bool, holds_most: bool| {
        if holds_least == holds_most {
            Ternary::from(holds_least)
        } else {
            Ternary::unknown("bits of the packet that are compared are not known")
        }
    };
    match comparison {
        Comparison::Equal | Comparison::Implicit => is_inside,
        Comparison::Unequal => is_inside.not_if(true),
        Comparison::Less => ordered(least < low, most < low),
        Comparison::LessOrEqual => ordered(least <= high, most <= high),
        Comparison::Greater => ordered(least > high, most > high),
        Comparison::GreaterOrEqual => ordered(least >= low, most >= low),
        Comparison::Lacks => Ternary::unknown("`!` is for flags"),
    }
}
