//! Expressions and statements as `nft -j` prints them (libnftables-json(5), nft 1.0.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::Family;

/// The destination address of a packet.
pub(super) fn daddr(family: Family) -> Value {
    address(family, "daddr")
}

/// The source address of a packet.
pub(super) fn saddr(family: Family) -> Value {
    address(family, "saddr")
}

fn address(family: Family, field: &str) -> Value {
    let protocol = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    json!({"payload": {"protocol": protocol, "field": field}})
}

/// The transport protocol of a packet.
pub(super) fn l4proto() -> Value {
    json!({"meta": {"key": "l4proto"}})
}

/// What routing takes an address of the packet for: `local`, `unicast`, …
pub(super) fn address_type(field: &str) -> Value {
    json!({"fib": {"result": "type", "flags": [field]}})
}

/// Several values as one key.
pub(super) fn concat(parts: impl IntoIterator<Item = Value>) -> Value {
    json!({"concat": parts.into_iter().collect::<Vec<_>>()})
}

/// The condition that `left` is `right`.
pub(super) fn matches(left: &Value, right: &Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

/// The condition that `left` is not `right`.
pub(super) fn differs(left: &Value, right: &Value) -> Value {
    json!({"match": {"op": "!=", "left": left, "right": right}})
}

/// A verdict without a target.
pub(super) fn verdict(word: &str) -> Value {
    json!({word: null})
}

/// On to a chain, and back at its end.
pub(super) fn jump(chain: &str) -> Value {
    json!({"jump": {"target": chain}})
}

/// On to a chain.
pub(super) fn goto(chain: &str) -> Value {
    json!({"goto": {"target": chain}})
}

/// The verdict that a map has for a key.
pub(super) fn vmap(key: &Value, data: &Value) -> Value {
    json!({"vmap": {"key": key, "data": data}})
}

/// A range of addresses; one of a single address is that address.
pub(super) fn range(net: IpNet) -> Value {
    if net.prefix_len() == net.max_prefix_len() {
        return json!(net.addr().to_string());
    }
    json!({"prefix": {"addr": net.network().to_string(), "len": net.prefix_len()}})
}

/// A set of ranges, none of which overlap or touch: nft merges those that do, and takes a set of one element for the
/// element (measured with nft 1.0.6). None where there are no ranges.
pub(super) fn one_of(ranges: impl IntoIterator<Item = IpNet>) -> Option<Value> {
    let all: Vec<IpNet> = ranges.into_iter().collect();
    if let [only] = all.as_slice() {
        return Some(range(*only));
    }
    let is_v4 = all.first()?.addr().is_ipv4();
    let bounds = |it: &IpNet| (number(it.network()), number(it.broadcast()));
    let mut spans: Vec<(u128, u128)> =
        all.iter().filter(|it| it.addr().is_ipv4() == is_v4).map(bounds).collect();
    spans.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(spans.len());
    for (first, last) in spans {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    let elements: Vec<Value> = merged.into_iter().map(|it| span(it, is_v4)).collect();
    Some(json!({"set": elements}))
}

/// The addresses from the first to the last: as a range with a prefix where they are one.
fn span((first, last): (u128, u128), is_v4: bool) -> Value {
    let bits = if is_v4 { 32 } else { 128 };
    let (low, high) = (address_of(first, is_v4), address_of(last, is_v4));
    let differing = 128 - (first ^ last).leading_zeros();
    let prefix = u8::try_from(bits - differing).ok().and_then(|it| IpNet::new(low, it).ok());
    match prefix.filter(|it| it.network() == low && it.broadcast() == high) {
        Some(net) => range(net),
        None => json!({"range": [low.to_string(), high.to_string()]}),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => u128::from(it.to_bits()),
        IpAddr::V6(it) => it.to_bits(),
    }
}

fn address_of(number: u128, is_v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(bits) if is_v4 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> String {
        one_of(texts.iter().map(|it| it.parse().unwrap())).unwrap().to_string()
    }

    #[test]
    fn ranges_are_merged_as_nft_merges_them() {
        assert_eq!(set(&["192.168.50.12/32"]), r#""192.168.50.12""#);
        assert_eq!(
            set(&["192.168.50.12/32", "192.168.50.13/32"]),
            r#"{"set":[{"prefix":{"addr":"192.168.50.12","len":31}}]}"#
        );
        assert_eq!(
            set(&["192.168.50.0/24", "192.168.50.0/28", "1.1.1.1/32", "1.1.1.2/31"]),
            r#"{"set":[{"range":["1.1.1.1","1.1.1.3"]},{"prefix":{"addr":"192.168.50.0","len":24}}]}"#
        );
        assert_eq!(
            set(&["fd00::5/128", "2001:db8:1::/48"]),
            r#"{"set":[{"prefix":{"addr":"2001:db8:1::","len":48}},"fd00::5"]}"#
        );
        assert_eq!(set(&["::/1", "8000::/1"]), r#"{"set":[{"prefix":{"addr":"::","len":0}}]}"#);
        assert_eq!(one_of([]), None);
    }

    proptest! {
        #[test]
        fn no_ranges_panic(nets in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..6)) {
            let nets = nets.into_iter().map(|(bits, length)| {
                IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(bits)), length).unwrap()
            });
            let _ = one_of(nets);
        }
    }
}
