//! The devices, routes and table entries of flannel on one node.

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_snapshot::{
    Cluster, IfIndex, Mac, NextHop, NodeName, NodeObject, Observed, Route, RouteKind, SysctlKey, tables,
};
use ipnet::IpNet;

use super::{
    config::{Backend, FlannelConfig, VxlanBackend},
    lease::{FlannelError, Lease, PREFIX, backend_type, lease, stored_mac, subnet},
    subnet_env::SubnetEnv,
};
use crate::Family;

/// What flannel takes VXLAN to cost in bytes, whichever the family of the outer packets.
const OVERHEAD: u32 = 50;
/// What VXLAN over IPv6 costs.
const OVERHEAD_V6: u32 = 70;

/// The node's interface to the other nodes. By default flannel takes that of the default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses with their prefixes; the first of a family counts.
    pub addresses: Vec<IpNet>,
}

impl Uplink {
    fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().find(|it| Family::of_net(it) == family).map(IpNet::addr)
    }

    /// Is an address reached without a gateway?
    fn is_on_link(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|it| it.contains(&address))
    }
}

/// What flannel makes on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNetwork {
    /// Its VXLAN devices, one a family; none with host-gw.
    pub devices: Vec<VxlanDevice>,
    /// Its routes to the other nodes' pods.
    pub routes: Vec<DeviceRoute>,
    /// Its permanent neighbour entries.
    pub neighbours: Vec<DeviceNeighbour>,
    /// Its forwarding database entries.
    pub fdb: Vec<DeviceFdb>,
    /// What it tells the CNI plugin.
    pub subnet_env: SubnetEnv,
    /// The other nodes that it reaches, by family.
    pub leases: Vec<Lease>,
    /// The other nodes that it leaves out, and why.
    pub left_out: Vec<FlannelError>,
}

/// A VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanDevice {
    /// `flannel.VNI` for IPv4, `flannel-v6.VNI` for IPv6.
    pub name: String,
    /// Its family: that of the inner and of the outer packets.
    pub family: Family,
    /// The network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The source of outer packets.
    pub local: IpAddr,
    /// The interface that outer packets leave by.
    pub lower: String,
    /// Does it learn addresses?
    pub learning: bool,
    /// Does it carry group policy marks?
    pub gbp: bool,
    /// Its Ethernet address where the node's annotation has one; else flannel makes one up and writes the annotation.
    pub mac: Option<Mac>,
    /// The MTU in bytes that flannel asks for.
    pub requested_mtu: u32,
    /// The MTU in bytes that the kernel gives: not more than fits into the lower interface
    /// (`vxlan_config_apply`, Linux `drivers/net/vxlan/vxlan_core.c`; measured on 6.18).
    pub mtu: u32,
    /// Its address: the first of the node's range, without a network around it.
    pub address: IpNet,
    /// Kernel switches that are set with it.
    pub sysctls: Vec<(SysctlKey, &'static str)>,
}

/// A route by the name of its interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceRoute {
    /// The interface.
    pub device: String,
    /// The destination.
    pub destination: IpNet,
    /// The gateway; none means on the link.
    pub via: Option<IpAddr>,
    /// Is the gateway taken to be on the link?
    pub onlink: bool,
}

impl DeviceRoute {
    /// The route as the kernel reports it, in table `main` with protocol `boot`, for the index of its interface.
    pub fn resolved(&self, link: IfIndex) -> Route {
        Route {
            table: tables::MAIN,
            kind: RouteKind::Unicast,
            destination: self.destination,
            source: None,
            tos: 0,
            metric: if Family::of_net(&self.destination) == Family::V6 { 1024 } else { 0 },
            protocol: 3,
            scope: 0,
            preferred_source: None,
            next_hops: vec![NextHop {
                link: Some(link),
                via: self.via,
                weight: 1,
                onlink: self.onlink,
                ..NextHop::default()
            }],
            next_hop_object: None,
            mtu: None,
            mtu_locked: false,
            encapsulation: None,
        }
    }
}

/// A permanent neighbour entry by the name of its interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNeighbour {
    /// The interface.
    pub device: String,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// An entry of a VXLAN device's own forwarding database: permanent, `self`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceFdb {
    /// The VXLAN device.
    pub device: String,
    /// The station.
    pub mac: Mac,
    /// The tunnel end behind which it is.
    pub remote: IpAddr,
}

/// What flannel makes on a node (flannel 0.28 `pkg/backend/vxlan`, `pkg/backend/hostgw`), with `--ip-masq` as its
/// manifest has it.
///
/// Not collected where nodes were not listed.
///
/// # Errors
/// flannel would not start: what it refuses.
pub fn network(
    cluster: &Cluster,
    node: &NodeName,
    config: &FlannelConfig,
    uplink: &Uplink,
) -> Observed<Result<NodeNetwork, FlannelError>> {
    cluster.nodes.as_ref().map(|nodes| {
        let own = nodes.iter().find(|it| it.metadata.name == node.0);
        own_network(own.ok_or_else(|| FlannelError::NoSuchNode(node.clone()))?, nodes, config, uplink)
    })
}

/// The annotations that flannel writes on its node once its devices exist (`AcquireLease`).
///
/// `mac` is the Ethernet address of the VXLAN device of a family.
///
/// # Errors
/// The interface has no address of an enabled family, or the backend is not modelled.
pub fn node_annotations(
    node: &NodeName,
    config: &FlannelConfig,
    uplink: &Uplink,
    mac: impl Fn(Family) -> Option<Mac>,
) -> Result<BTreeMap<String, String>, FlannelError> {
    let mut annotations = BTreeMap::new();
    let mut write = |name: &str, value: String| annotations.insert(format!("{PREFIX}{name}"), value);
    write("kube-subnet-manager", "true".to_owned());
    write("backend-type", backend_type(&config.backend)?.to_owned());
    for family in Family::ALL.into_iter().filter(|it| config.is_enabled(*it)) {
        let address =
            uplink.address(family).ok_or_else(|| FlannelError::NoAddress { node: node.clone(), family })?;
        let data = match (&config.backend, mac(family)) {
            (Backend::Vxlan(vxlan), Some(mac)) => format!(r#"{{"VNI":{},"VtepMAC":"{mac}"}}"#, vxlan.vni),
            _ => "null".to_owned(),
        };
        let (data_name, ip_name) = match family {
            Family::V4 => ("backend-data", "public-ip"),
            Family::V6 => ("backend-v6-data", "public-ipv6"),
        };
        write(data_name, data);
        write(ip_name, address.to_string());
    }
    Ok(annotations)
}

fn own_network(
    own: &NodeObject,
    nodes: &[NodeObject],
    config: &FlannelConfig,
    uplink: &Uplink,
) -> Result<NodeNetwork, FlannelError> {
    backend_type(&config.backend)?;
    let mut network = NodeNetwork {
        devices: Vec::new(),
        routes: Vec::new(),
        neighbours: Vec::new(),
        fdb: Vec::new(),
        subnet_env: SubnetEnv {
            network: None,
            subnet: None,
            ipv6_network: None,
            ipv6_subnet: None,
            mtu: pod_mtu(config, uplink),
            ipmasq: true,
        },
        leases: Vec::new(),
        left_out: Vec::new(),
    };
    let families: Vec<Family> = Family::ALL.into_iter().filter(|it| config.is_enabled(*it)).collect();
    let mut own_subnets = Vec::new();
    for family in &families {
        let subnet = own_subnet(own, config, *family)?;
        network.subnet_env.set(config, subnet);
        if let Backend::Vxlan(vxlan) = &config.backend {
            network.devices.push(device(own, vxlan, uplink, subnet)?);
        }
        own_subnets.push(subnet);
    }
    for other in nodes {
        // A node that cannot be read in one family is left out in both.
        let leases: Result<Vec<Lease>, _> = families.iter().map(|it| lease(other, config, *it)).collect();
        match leases {
            // flannel knows its own node by its ranges, so that a node with the same ranges is left out silently.
            Ok(leases) if leases.iter().map(|it| it.subnet).eq(own_subnets.iter().copied()) => {}
            Ok(leases) => {
                for lease in leases {
                    network.reach(&lease, config, uplink);
                    network.leases.push(lease);
                }
            }
            Err(_) if other.metadata.name == own.metadata.name => {}
            Err(error) => network.left_out.push(error),
        }
    }
    network.routes.sort();
    network.neighbours.sort();
    network.fdb.sort();
    Ok(network)
}

/// The node's own range, which flannel checks against the network before it starts.
fn own_subnet(own: &NodeObject, config: &FlannelConfig, family: Family) -> Result<IpNet, FlannelError> {
    let pod_cidr = subnet(own, family)?;
    let network = config.network_of(family);
    if network.is_some_and(|it| it.contains(&pod_cidr)) {
        return Ok(pod_cidr);
    }
    Err(FlannelError::OutsideOfNetwork { node: own.name(), pod_cidr, network })
}

/// What pods get. flannel reckons with the overhead of IPv4 for both families.
fn pod_mtu(config: &FlannelConfig, uplink: &Uplink) -> u32 {
    match &config.backend {
        Backend::Vxlan(vxlan) => vxlan.mtu.unwrap_or(uplink.mtu).saturating_sub(OVERHEAD),
        _ => uplink.mtu,
    }
}

fn device(
    own: &NodeObject,
    vxlan: &VxlanBackend,
    uplink: &Uplink,
    subnet: IpNet,
) -> Result<VxlanDevice, FlannelError> {
    let family = Family::of_net(&subnet);
    let (prefix, overhead) = match family {
        Family::V4 => ("flannel", OVERHEAD),
        Family::V6 => ("flannel-v6", OVERHEAD_V6),
    };
    let local = uplink.address(family).ok_or_else(|| FlannelError::NoAddress { node: own.name(), family })?;
    let requested_mtu = vxlan.mtu.unwrap_or(uplink.mtu).saturating_sub(OVERHEAD);
    let name = format!("{prefix}.{}", vxlan.vni);
    Ok(VxlanDevice {
        sysctls: vec![(SysctlKey::of_link(true, &name, "accept_ra"), "0")],
        name,
        family,
        vni: vxlan.vni,
        port: vxlan.port.unwrap_or(VxlanBackend::KERNEL_PORT),
        local,
        lower: uplink.name.clone(),
        learning: vxlan.learning,
        gbp: vxlan.gbp,
        mac: stored_mac(own, family),
        requested_mtu,
        mtu: requested_mtu.min(uplink.mtu.saturating_sub(overhead)),
        address: IpNet::from(subnet.network()),
    })
}

impl NodeNetwork {
    /// Adds what leads to another node.
    fn reach(&mut self, lease: &Lease, config: &FlannelConfig, uplink: &Uplink) {
        let family = Family::of_net(&lease.subnet);
        let device = self.devices.iter().find(|it| it.family == family).map(|it| it.name.clone());
        let is_direct = match &config.backend {
            Backend::Vxlan(vxlan) => vxlan.direct_routing && uplink.is_on_link(lease.public_ip),
            _ => true,
        };
        let tunnel = device.zip(lease.mac).filter(|_| !is_direct);
        let Some((device, mac)) = tunnel else {
            self.routes.push(DeviceRoute {
                device: uplink.name.clone(),
                destination: lease.subnet,
                via: Some(lease.public_ip),
                onlink: false,
            });
            return;
        };
        let gateway = lease.subnet.network();
        self.neighbours.push(DeviceNeighbour { device: device.clone(), address: gateway, mac });
        self.fdb.push(DeviceFdb { device: device.clone(), mac, remote: lease.public_ip });
        self.routes.push(DeviceRoute { device, destination: lease.subnet, via: Some(gateway), onlink: true });
    }
}

impl SubnetEnv {
    /// Fills in a family: the network, and the first address of the node's own range.
    fn set(&mut self, config: &FlannelConfig, subnet: IpNet) {
        match subnet {
            IpNet::V4(net) => {
                let first = net.network().to_bits().wrapping_add(1).into();
                self.network = config.network;
                self.subnet = ipnet::Ipv4Net::new(first, net.prefix_len()).ok();
            }
            IpNet::V6(net) => {
                let first = net.network().to_bits().wrapping_add(1).into();
                self.ipv6_network = config.ipv6_network;
                self.ipv6_subnet = ipnet::Ipv6Net::new(first, net.prefix_len()).ok();
            }
        }
    }
}
