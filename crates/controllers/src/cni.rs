//! What the CNI plugins make of flannel's file for a pod: `flannel`, which delegates to `bridge` with `host-local`
//! (containernetworking plugins 1.1).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hopwise_snapshot::SysctlKey;
use ipnet::IpNet;
use serde_json::Value;

use crate::{
    Family,
    flannel::{DeviceRoute, SubnetEnv},
    json::{self, Fields, JsonError},
};

/// The plugin `flannel` of a network configuration list, as far as it decides about a pod's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlannelDelegate {
    /// The bridge's name.
    pub bridge: String,
    /// May a packet leave by the bridge port that it came in by?
    pub hairpin: bool,
    /// Does the bridge see all frames? Excludes [`FlannelDelegate::hairpin`].
    pub promiscuous: bool,
    /// Is the bridge the pods' default gateway?
    pub is_default_gateway: bool,
    /// Has the bridge an address of the pods' range?
    pub is_gateway: bool,
    /// The MTU in bytes, where it is not flannel's.
    pub mtu: Option<u32>,
    /// Does the bridge plugin masquerade? Unless told otherwise it does where flannel does not.
    pub ip_masq: Option<bool>,
}

/// Why a network configuration list gives no bridge by flannel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CniConfigError {
    /// It cannot be read.
    #[error("failed to read the network configuration list")]
    Json(#[from] JsonError),
    /// Its plugins are others.
    #[error("no plugin of type `flannel`, only {0:?}")]
    NoFlannel(Vec<String>),
    /// flannel delegates to a plugin that is not modelled.
    #[error("flannel delegates to `{0}`, which is not modelled")]
    NotBridge(String),
    /// Values that exclude each other: the plugin fails every pod.
    #[error("hairpinMode and promiscMode exclude each other")]
    HairpinAndPromiscuous,
}

impl Default for FlannelDelegate {
    /// Without a `delegate`: a bridge `cni0` with an address, that is nobody's default gateway.
    fn default() -> Self {
        Self {
            bridge: "cni0".to_owned(),
            hairpin: false,
            promiscuous: false,
            is_default_gateway: false,
            is_gateway: true,
            mtu: None,
            ip_masq: None,
        }
    }
}

impl FlannelDelegate {
    /// Reads `/etc/cni/net.d/10-flannel.conflist`, which is the key `cni-conf.json` of flannel's ConfigMap.
    ///
    /// # Errors
    /// It cannot be read, has no plugin `flannel`, or asks for something that fails or is not modelled.
    pub fn parse(text: &str) -> Result<Self, CniConfigError> {
        let document = json::parse(text)?;
        let fields = Fields::of(&document, "network configuration list")?;
        let plugins = fields.find("plugins").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut types = Vec::new();
        for plugin in plugins {
            let plugin = Fields::of(plugin, "plugins")?;
            let kind = plugin.text("type")?.unwrap_or_default();
            if kind == "flannel" {
                return match plugin.find("delegate") {
                    None => Ok(Self::default()),
                    Some(delegate) => Self::of(&Fields::of(delegate, "delegate")?),
                };
            }
            types.push(kind.to_owned());
        }
        Err(CniConfigError::NoFlannel(types))
    }

    fn of(fields: &Fields<'_>) -> Result<Self, CniConfigError> {
        let default = Self::default();
        let kind = fields.text("type")?.unwrap_or("bridge");
        if kind != "bridge" {
            return Err(CniConfigError::NotBridge(kind.to_owned()));
        }
        let hairpin = fields.boolean("hairpinMode")?.unwrap_or(default.hairpin);
        let promiscuous = fields.boolean("promiscMode")?.unwrap_or(default.promiscuous);
        if hairpin && promiscuous {
            return Err(CniConfigError::HairpinAndPromiscuous);
        }
        let is_default_gateway = fields.boolean("isDefaultGateway")?.unwrap_or(default.is_default_gateway);
        Ok(Self {
            bridge: fields.text("bridge")?.map_or(default.bridge, str::to_owned),
            hairpin,
            promiscuous,
            is_default_gateway,
            is_gateway: is_default_gateway || fields.boolean("isGateway")?.unwrap_or(default.is_gateway),
            mtu: fields.number("mtu", 0xffff)?.filter(|it| *it != 0),
            ip_masq: fields.boolean("ipMasq")?,
        })
    }

    /// The bridge that the first pod of a node brings about.
    pub fn bridge_device(&self, env: &SubnetEnv) -> BridgeDevice {
        let ranges = Family::ALL.into_iter().filter_map(|it| env.pod_cidr(it));
        let addresses = ranges.filter(|_| self.is_gateway).filter_map(gateway);
        BridgeDevice {
            name: self.bridge.clone(),
            mtu: self.mtu(env),
            addresses: addresses.collect(),
            sysctls: vec![(SysctlKey::of_link(true, &self.bridge, "accept_ra"), "0")],
        }
    }

    /// The network of a pod with these addresses, one a family.
    pub fn pod_network(&self, env: &SubnetEnv, addresses: &[IpAddr]) -> PodNetwork {
        let mut network = PodNetwork {
            interface: "eth0".to_owned(),
            mtu: self.mtu(env),
            addresses: Vec::new(),
            routes: Vec::new(),
            bridge: self.bridge.clone(),
            hairpin: self.hairpin,
            ip_masq: self.ip_masq.unwrap_or(!env.ipmasq),
            pod_sysctls: vec![
                (SysctlKey::of_link(true, "eth0", "accept_dad"), "0"),
                (SysctlKey::of_link(false, "eth0", "arp_notify"), "1"),
            ],
            node_sysctls: Vec::new(),
        };
        for address in addresses {
            let family = Family::of(*address);
            let Some((range, gateway)) = env.pod_cidr(family).and_then(|it| Some((it, gateway(it)?))) else {
                continue;
            };
            network.addresses.extend(IpNet::new(*address, range.prefix_len()));
            // host-local names the gateway also where the bridge has no address.
            let via = |destination| DeviceRoute {
                device: "eth0".to_owned(),
                destination,
                via: Some(gateway.addr()),
                onlink: false,
            };
            network.routes.extend(env.network_of(family).map(via));
            if self.is_default_gateway {
                network.routes.push(via(any(family)));
            }
            if self.is_gateway {
                network.node_sysctls.push(match family {
                    Family::V4 => (SysctlKey::from_path("net/ipv4/ip_forward"), "1"),
                    Family::V6 => (SysctlKey::of_link(true, "all", "forwarding"), "1"),
                });
            }
        }
        network
    }

    fn mtu(&self, env: &SubnetEnv) -> u32 {
        self.mtu.unwrap_or(env.mtu)
    }
}

/// The bridge of a node's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeDevice {
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses: the first of each range, with the range's prefix.
    pub addresses: Vec<IpNet>,
    /// Kernel switches that are set with it.
    pub sysctls: Vec<(SysctlKey, &'static str)>,
}

/// The network of a pod, and what its making does to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// The pod's end of the veth pair.
    pub interface: String,
    /// The MTU in bytes of both ends.
    pub mtu: u32,
    /// The pod's addresses with the prefix of the node's range.
    pub addresses: Vec<IpNet>,
    /// The pod's routes besides those that its addresses bring.
    pub routes: Vec<DeviceRoute>,
    /// The bridge that the node's end is a port of.
    pub bridge: String,
    /// The hairpin setting of that port.
    pub hairpin: bool,
    /// Does the bridge plugin masquerade this pod's packets with chains of its own? flannel does it otherwise.
    pub ip_masq: bool,
    /// Kernel switches that are set in the pod.
    pub pod_sysctls: Vec<(SysctlKey, &'static str)>,
    /// Kernel switches that are set on the node each time a pod is made (`enableIPForward`): a node that lost them
    /// gets them back with its next pod.
    pub node_sysctls: Vec<(SysctlKey, &'static str)>,
}

/// The name of the node's end of a pod's veth pair, for four random bytes (`RandomVethName`).
pub fn host_veth_name(entropy: [u8; 4]) -> String {
    format!("veth{:08x}", u32::from_be_bytes(entropy))
}

/// The address that `host-local` gives to the next pod: the first free one behind the last that it gave, round the
/// range; never the gateway, nor with IPv4 the network's own and its broadcast address.
///
/// None where the range is used up or too small to give any.
pub fn next_address(range: IpNet, last: Option<IpAddr>, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let range = range.trunc();
    let family = Family::of_net(&range);
    if range.prefix_len() > family.host_prefix() - 2 {
        return None;
    }
    let first = number(range.network()).checked_add(1)?;
    let end = number(range.broadcast()).checked_sub(u128::from(family == Family::V4))?;
    let gateway = first;
    let start = last.map(number).filter(|it| (first..=end).contains(it)).map_or(first, |it| it + 1);
    let mut free = (start..=end).chain(first..start).map(|it| (it, address(it, family)));
    free.find(|(number, it)| *number != gateway && !taken.contains(it)).map(|(_, it)| it)
}

/// The first address of a range, with its prefix.
fn gateway(range: IpNet) -> Option<IpNet> {
    let first = number(range.network()).checked_add(1)?;
    IpNet::new(address(first, Family::of_net(&range)), range.prefix_len()).ok()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => u128::from(it.to_bits()),
        IpAddr::V6(it) => it.to_bits(),
    }
}

fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// The range of all addresses.
fn any(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFLIST: &str = include_str!("../tests/samples/kubeadm/n2/cni.txt");
    const ENV: &str = include_str!("../tests/samples/kubeadm/n2/subnet.env");

    fn conflist() -> &'static str {
        CONFLIST.split_once('\n').unwrap().1
    }

    #[test]
    fn the_bridge_and_a_pod_of_a_kubeadm_node() {
        let delegate = FlannelDelegate::parse(conflist()).unwrap();
        let env = SubnetEnv::parse(ENV).unwrap();
        let bridge = delegate.bridge_device(&env);
        assert_eq!((bridge.name.as_str(), bridge.mtu), ("cni0", 1450));
        assert_eq!(bridge.addresses, ["10.244.2.1/24".parse().unwrap()]);

        let pod = delegate.pod_network(&env, &["10.244.2.3".parse().unwrap()]);
        assert_eq!(pod.addresses, ["10.244.2.3/24".parse().unwrap()]);
        let routes: Vec<_> =
            pod.routes.iter().map(|it| format!("{} via {}", it.destination, it.via.unwrap())).collect();
        assert_eq!(routes, ["10.244.0.0/16 via 10.244.2.1", "0.0.0.0/0 via 10.244.2.1"]);
        assert!(pod.hairpin && !pod.ip_masq);
        assert_eq!(pod.node_sysctls, [(SysctlKey::from_dotted("net.ipv4.ip_forward"), "1")]);
    }

    #[test]
    fn a_dual_stack_pod_has_both_of_everything() {
        let delegate = FlannelDelegate::parse(conflist()).unwrap();
        let env = SubnetEnv {
            ipv6_network: Some("fd00:244::/48".parse().unwrap()),
            ipv6_subnet: Some("fd00:244:0:2::1/64".parse().unwrap()),
            ..SubnetEnv::parse(ENV).unwrap()
        };
        assert_eq!(delegate.bridge_device(&env).addresses[1].to_string(), "fd00:244:0:2::1/64");
        let pod =
            delegate.pod_network(&env, &["10.244.2.3".parse().unwrap(), "fd00:244:0:2::3".parse().unwrap()]);
        assert_eq!(pod.addresses[1].to_string(), "fd00:244:0:2::3/64");
        assert_eq!(pod.routes.len(), 4);
        assert_eq!(pod.routes[3].destination.to_string(), "::/0");
        assert_eq!(pod.node_sysctls.len(), 2);
    }

    #[test]
    fn what_the_plugins_refuse_is_refused() {
        let error = |text| FlannelDelegate::parse(text).unwrap_err();
        assert_eq!(
            error(r#"{"plugins":[{"type":"flannel","delegate":{"hairpinMode":true,"promiscMode":true}}]}"#),
            CniConfigError::HairpinAndPromiscuous
        );
        assert_eq!(
            error(r#"{"plugins":[{"type":"calico"},{"type":"portmap"}]}"#),
            CniConfigError::NoFlannel(vec!["calico".to_owned(), "portmap".to_owned()])
        );
        assert!(matches!(error("{"), CniConfigError::Json(_)));
        assert_eq!(
            error(r#"{"plugins":[{"type":"flannel","delegate":{"type":"macvlan"}}]}"#),
            CniConfigError::NotBridge("macvlan".to_owned())
        );
    }

    #[test]
    fn without_ip_masq_of_flannel_the_bridge_masquerades() {
        let delegate = FlannelDelegate::parse(r#"{"plugins":[{"type":"flannel"}]}"#).unwrap();
        let env = SubnetEnv { ipmasq: false, ..SubnetEnv::parse(ENV).unwrap() };
        let pod = delegate.pod_network(&env, &["10.244.2.3".parse().unwrap()]);
        assert!(pod.ip_masq && !pod.hairpin);
        assert_eq!(pod.routes.len(), 1, "no default route without isDefaultGateway");
    }

    #[test]
    fn veth_names_have_eight_digits() {
        assert_eq!(host_veth_name([0x5f, 0x22, 0x97, 0x5c]), "veth5f22975c");
        assert_eq!(host_veth_name([0, 0, 0, 1]), "veth00000001");
    }

    #[test]
    fn addresses_are_given_round_the_range() {
        let range: IpNet = "10.244.2.0/29".parse().unwrap();
        let mut taken = BTreeSet::new();
        let mut last = None;
        let mut given = Vec::new();
        while let Some(address) = next_address(range, last, &taken) {
            given.push(address.to_string());
            taken.insert(address);
            last = Some(address);
        }
        assert_eq!(given, ["10.244.2.2", "10.244.2.3", "10.244.2.4", "10.244.2.5", "10.244.2.6"]);
        taken.remove(&"10.244.2.3".parse().unwrap());
        assert_eq!(next_address(range, last, &taken).unwrap().to_string(), "10.244.2.3");
        assert_eq!(next_address("10.0.0.0/31".parse().unwrap(), None, &BTreeSet::new()), None);
        let v6 = next_address("fd00::/64".parse().unwrap(), None, &BTreeSet::new());
        assert_eq!(v6.unwrap().to_string(), "fd00::2");
    }

    proptest! {
        #[test]
        fn a_given_address_is_free_and_of_the_range(bits: u32, prefix in 8u8..=30, last: u32, taken: Vec<u32>) {
            let range = IpNet::new(IpAddr::V4(bits.into()), prefix).unwrap().trunc();
            let taken: BTreeSet<IpAddr> = taken.into_iter().map(|it| IpAddr::V4(it.into())).collect();
            let given = next_address(range, Some(IpAddr::V4(last.into())), &taken).unwrap();
            prop_assert!(range.contains(&given) && !taken.contains(&given));
            prop_assert!(given != range.network() && given != range.broadcast());
        }
    }
}
