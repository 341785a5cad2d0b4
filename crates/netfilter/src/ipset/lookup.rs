//! What a set says of a packet (`ip_set_test`, net/netfilter/ipset/ip_set_core.c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Entry, IpSet, Part, Storage, Value};
use crate::{names, packet::Transport, scene::Scene, ternary::Ternary, xt::SetDirection};

/// What a set says of a packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Membership<'s> {
    /// Nothing.
    Out,
    /// An entry holds it.
    In(&'s Entry),
    /// An entry with `nomatch` holds it.
    Excepted(&'s Entry),
    /// Nobody knows, and why.
    Unknown(String),
}

impl IpSet {
    /// Whether the set holds the packet, looking at its source or destination for each part.
    pub(crate) fn holds<'s>(&'s self, directions: &[SetDirection], scene: &Scene<'s>) -> Membership<'s> {
        let is_v6 = scene.view.header().is_some_and(|it| it.source.is_ipv6());
        let n_parts = if self.storage == Storage::List { 1 } else { self.parts.len() };
        if directions.len() < n_parts || self.is_v6.is_some_and(|it| it != is_v6) {
            return Membership::Out;
        }
        if self.storage == Storage::List {
            return self.asks_members(directions, scene);
        }
        let mut key = Vec::with_capacity(self.parts.len());
        for (part, direction) in self.parts.iter().zip(directions) {
            match self.value(*part, *direction, scene) {
                Ok(Some(value)) => key.push(value),
                Ok(None) => return Membership::Out,
                Err(why) => return Membership::Unknown(why.to_owned()),
            }
        }
        self.find(&mut key, 0)
    }

    /// The first member of a list that holds the packet. Lists do not hold lists.
    fn asks_members<'s>(&'s self, directions: &[SetDirection], scene: &Scene<'s>) -> Membership<'s> {
        let mut unknown = None;
        for entry in self.entries() {
            let [Value::Set(name)] = entry.key.as_slice() else { continue };
            let Some(set) = scene.ruleset.ipsets.get(name).filter(|it| it.storage != Storage::List) else {
                unknown.get_or_insert_with(|| format!("set `{name}` is not known"));
                continue;
            };
            match set.holds(directions, scene) {
                Membership::In(_) => return Membership::In(entry),
                Membership::Unknown(why) => unknown = Some(why),
                Membership::Out | Membership::Excepted(_) => {}
            }
        }
        unknown.map_or(Membership::Out, Membership::Unknown)
    }

    /// The packet's value for one part; none where it has none.
    fn value(
        &self,
        part: Part,
        direction: SetDirection,
        scene: &Scene<'_>,
    ) -> Result<Option<Value>, &'static str> {
        let view = scene.view;
        let is_source = direction == SetDirection::Source;
        let address = view.header().map(|it| if is_source { it.source } else { it.destination });
        Ok(match part {
            Part::Ip => address.map(|it| Value::Ip(masked(it, self.mask))).filter(|it| {
                // The kernel keeps no entry for it, and looks none up.
                *it != Value::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
                    && *it != Value::Ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
            }),
            Part::Net => address.map(|it| Value::Net(IpNet::from(it))),
            Part::Port => self.port(is_source, scene),
            Part::Mac => {
                view.ether.map(|ether| Value::Mac(if is_source { ether.source } else { ether.destination }))
            }
            Part::Iface => {
                let device = if is_source { &view.input } else { &view.output };
                device.as_ref().map(|it| Value::Iface(it.name.to_owned(), false))
            }
            Part::Mark => Some(Value::Mark(view.mark & self.mark_mask)),
            Part::Set => return Err("a set within a key is not known"),
        })
    }

    /// The packet's protocol and port (`ip_set_get_ip4_port`, net/netfilter/ipset/ip_set_getport.c).
    fn port(&self, is_source: bool, scene: &Scene<'_>) -> Option<Value> {
        let header = scene.view.header()?;
        let protocol = Some(header.protocol).filter(|_| self.storage != Storage::Bitmap);
        if let Some((source, destination)) = scene.view.ports() {
            let is_counted = match self.storage {
                Storage::Bitmap => matches!(header.protocol, names::TCP | names::UDP),
                Storage::Hash | Storage::List => header.protocol != names::DCCP,
            };
            let port = if is_source { source } else { destination };
            return if is_counted { Some(Value::Port(protocol, port)) } else { self.portless(protocol) };
        }
        match scene.view.transport {
            Transport::Icmp { kind, code, .. } if self.storage != Storage::Bitmap => {
                Some(Value::Port(protocol, u16::from(kind) << 8 | u16::from(code)))
            }
            // Later fragments of protocols that have ports do not show them.
            _ if header.is_later_fragment() && has_ports(header.protocol) => None,
            _ => self.portless(protocol),
        }
    }

    fn portless(&self, protocol: Option<u8>) -> Option<Value> {
        (self.storage != Storage::Bitmap).then_some(Value::Port(protocol, 0))
    }

    /// Looks a key up, trying the prefix lengths of each network from the longest on.
    fn find(&self, key: &mut Vec<Value>, from: usize) -> Membership<'_> {
        let Some(at) = (from..key.len()).find(|&at| matches!(key[at], Value::Net(_))) else {
            return self.find_exactly(key);
        };
        let Value::Net(full) = key[at] else { return Membership::Out };
        for &length in self.lengths[at].iter().rev() {
            let Ok(net) = IpNet::new(full.addr(), length) else { continue };
            key[at] = Value::Net(net.trunc());
            let is_there = self.is_by_device() && self.index.contains_key(&self.index_key(key));
            match self.find(key, at + 1) {
                // With devices the longest network that is there at all decides
                // (`mtype_test_cidrs` with IP_SET_HASH_WITH_MULTI).
                Membership::Out if !is_there => {}
                found => {
                    key[at] = Value::Net(full);
                    return found;
                }
            }
        }
        key[at] = Value::Net(full);
        Membership::Out
    }

    fn find_exactly(&self, key: &[Value]) -> Membership<'_> {
        let index_key = self.index_key(key);
        let Some(&first) = self.index.get(&index_key) else { return Membership::Out };
        let found = if self.is_by_device() {
            self.entries[first..]
                .iter()
                .filter(|it| self.index_key(&it.key) == index_key)
                .find(|it| device_of(&it.key).is_some_and(|own| it.takes_device(own, device_of(key))))
        } else {
            Some(&self.entries[first]).filter(|it| it.takes_station(key))
        };
        match found {
            None => Membership::Out,
            Some(entry) if entry.nomatch => Membership::Excepted(entry),
            Some(entry) => Membership::In(entry),
        }
    }
}

impl Entry {
    /// Is the packet's device the entry's? One that is meant as a bridge port is asked only by rules that
    /// iptables cannot write.
    fn takes_device(&self, own: (&str, bool), other: Option<(&str, bool)>) -> bool {
        match (own, other) {
            ((_, true), _) | (_, None) => false,
            ((own, false), Some((name, _))) if self.wildcard => name.starts_with(own),
            ((own, false), Some((name, _))) => name == own,
        }
    }

    /// Is the packet's station the entry's? An entry without one takes any.
    fn takes_station(&self, key: &[Value]) -> bool {
        self.key.iter().zip(key).all(|(own, other)| match (own, other) {
            (Value::Mac(own), Value::Mac(other)) => own == other,
            _ => true,
        })
    }
}

fn device_of(key: &[Value]) -> Option<(&str, bool)> {
    key.iter().find_map(|it| match it {
        Value::Iface(name, is_physical) => Some((name.as_str(), *is_physical)),
        _ => None,
    })
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, names::TCP | names::UDP | names::SCTP | names::UDPLITE | names::ICMP | names::ICMP6)
}

fn masked(address: IpAddr, mask: Option<IpAddr>) -> IpAddr {
    match (address, mask) {
        (IpAddr::V4(own), Some(IpAddr::V4(mask))) => {
            Ipv4Addr::from_bits(own.to_bits() & mask.to_bits()).into()
        }
        (IpAddr::V6(own), Some(IpAddr::V6(mask))) => {
            Ipv6Addr::from_bits(own.to_bits() & mask.to_bits()).into()
        }
        _ => address,
    }
}

impl Membership<'_> {
    /// Whether the packet is in the set. With `returns_nomatch` entries that except are what is asked for
    /// (`--return-nomatch`).
    pub(crate) fn is_in(&self, returns_nomatch: bool) -> Ternary {
        match self {
            Self::Out => Ternary::No,
            Self::In(_) => (!returns_nomatch).into(),
            Self::Excepted(_) => returns_nomatch.into(),
            Self::Unknown(why) => Ternary::unknown(why.clone()),
        }
    }
}
