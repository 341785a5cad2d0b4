//! What translations of nft come to.
//!
//! Kernel: net/netfilter/nft_nat.c, nft_masq.c, nft_redir.c.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ip, value};
use crate::{
    NatAction, NatKind, Side, Verdict,
    nft::{
        elements::{Data, bounds},
        expression::Expression,
        statement::Nat,
        worth::{Stop, Worth, draw, look_up, written},
    },
    run::{Flow, Stage},
    xt::{AddressMask, map_address},
};

impl Nat {
    pub(super) fn apply<'r>(&'r self, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
        let wanted = match self.family.as_deref() {
            Some("ip") => Some(false),
            Some("ip6") => Some(true),
            _ => None,
        };
        let own = stage.view.header().map(|it| (it.source, it.destination));
        if wanted.is_some_and(|is_v6| own.is_none_or(|(source, _)| source.is_ipv6() != is_v6)) {
            return Flow::Break;
        }
        match self.action(stage) {
            Ok(action) => Flow::End(Verdict::Nat(action)),
            Err(Stop::Break) => Flow::Break,
            Err(Stop::Unknown(why)) => {
                stage.ask_unknown(&format!("where a translation leads: {why}"));
                Flow::Break
            }
        }
    }

    fn action(&self, stage: &mut Stage<'_, '_, '_>) -> Result<NatAction, Stop> {
        let side = match self.kind {
            NatKind::Snat | NatKind::Masquerade => Side::Source,
            NatKind::Dnat | NatKind::Redirect | NatKind::Netmap => Side::Destination,
        };
        let mut action = NatAction {
            kind: self.kind,
            side,
            addresses: None,
            ports: None,
            port_base: None,
            random: self.flags.has("random") || self.flags.has("fully-random"),
            persistent: self.flags.has("persistent"),
        };
        if let Some(port) = &self.port {
            let (low, high) = range(port, stage)?;
            action.ports = u16::try_from(low).ok().zip(u16::try_from(high).ok());
        }
        let Some(address) = &self.address else { return Ok(action) };
        let is_netmap = self.flags.has("netmap") || matches!(address, Expression::Prefix(..));
        let (low, high) = if let Expression::Map { key, data } = address {
            let (address, port) = mapped(key, data, stage)?;
            if let Some((low, high)) = port {
                action.ports = u16::try_from(low).ok().zip(u16::try_from(high).ok());
            }
            address
        } else {
            range(address, stage)?
        };
        let not_known = || Stop::Unknown("an address of a translation is not of the packet's family".into());
        let low = ip(low, stage).ok_or_else(not_known)?;
        let high = ip(high, stage).ok_or_else(not_known)?;
        action.addresses = Some((low, high));
        if is_netmap || self.type_flags.has("prefix") {
            let own = stage.view.header().map(|it| match side {
                Side::Source => it.source,
                Side::Destination => it.destination,
            });
            let mapped =
                own.and_then(|own| map_address(own, AddressMask { address: low, mask: mask(low, high) }));
            action.kind = NatKind::Netmap;
            action.addresses = mapped.map(|it| (it, it));
        }
        Ok(action)
    }
}

/// The bits that the first and last address of a network have in common (`nft_nat_setup_netmap`).
fn mask(low: IpAddr, high: IpAddr) -> IpAddr {
    match (low, high) {
        (IpAddr::V4(low), IpAddr::V4(high)) => Ipv4Addr::from_bits(!(low.to_bits() ^ high.to_bits())).into(),
        (IpAddr::V6(low), IpAddr::V6(high)) => Ipv6Addr::from_bits(!(low.to_bits() ^ high.to_bits())).into(),
        (low, _) => low,
    }
}

/// The first and last number of what is written, or of what it comes to.
fn range(expression: &Expression, stage: &mut Stage<'_, '_, '_>) -> Result<(u128, u128), Stop> {
    if let Some(bounds) = bounds(expression) {
        return Ok(bounds);
    }
    let number = value(expression, stage)?.number();
    number.map(|it| (it, it)).ok_or_else(|| Stop::Unknown("a number of a translation is not known".into()))
}

type Bounds = (u128, u128);

/// What a map says of a translation: addresses, and ports where its values have two parts.
fn mapped(
    key: &Expression,
    data: &Expression,
    stage: &mut Stage<'_, '_, '_>,
) -> Result<(Bounds, Option<Bounds>), Stop> {
    let worth = key.worth(&stage.scene())?;
    let table = stage.table;
    let elements = written(data, table).ok_or_else(|| Stop::Unknown("a map is not known".into()))?;
    let found = match worth {
        Worth::Spread { low, count } => {
            let outcomes = draw(elements, low, count);
            let weights: Vec<f64> = outcomes.iter().map(|(weight, _)| *weight).collect();
            let chosen = if weights.len() == 1 { 0 } else { stage.choose(&weights) };
            outcomes.get(chosen).and_then(|(_, data)| *data).ok_or(Stop::Break)?
        }
        worth => look_up(elements, &worth)?
            .ok_or_else(|| Stop::Unknown("a map has no value for an element".into()))?,
    };
    let not_known = || Stop::Unknown("a value of a map is not an address".into());
    match found {
        Data::Value(Expression::Concat(parts)) => match parts.as_slice() {
            [address, port] => {
                let address = bounds(address).ok_or_else(not_known)?;
                Ok((address, Some(bounds(port).ok_or_else(not_known)?)))
            }
            _ => Err(not_known()),
        },
        Data::Value(value) => Ok((bounds(value).ok_or_else(not_known)?, None)),
        Data::Verdict(_) => Err(not_known()),
    }
}
