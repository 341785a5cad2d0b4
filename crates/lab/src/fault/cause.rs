//! Causes of the catalogue, as steps in a lab.

use hopwise_snapshot::{Cluster, Place, PodName};

use super::{Action, FaultError};
use crate::{
    LabError,
    layout::{App, Layout, NodeLayout, PodLayout, member_name},
    network::{Batch, UNDERLAY_MTU, Wanted, batch},
};

/// A cause of the catalogue that a lab can inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The node does not forward IPv4.
    NodeIpForwardOff,
    /// The pods' bridge of the node does not forward IPv4.
    NodeIfaceForwardingOff,
    /// Frames that the node bridges pass its packet filters by.
    NodeBridgeNfCallOff,
    /// A file that is read late says that the node does not forward: it will not after its next boot.
    NodeSysctlDrift,
    /// The node drops what it forwards, and flannel's exceptions are gone.
    FwForwardPolicyDrop,
    /// The pods' bridge of the node is down.
    BridgeDown,
    /// A pod's cable is plugged into no bridge.
    VethDetached,
    /// The route to another node's pods is gone.
    NodeRouteMissing,
    /// Another node's tunnel end is looked for at an address where it is not.
    OverlayFdbStale,
    /// The node's tunnel has another network identifier than those of the others.
    OverlayVniMismatch,
    /// The node's packet filter drops VXLAN.
    OverlayUdpBlocked,
    /// The rules of the table `nat` are gone.
    FwKubeRulesFlushed,
    /// A pod has no default route.
    PodDefaultRouteMissing,
    /// The node's pods send larger packets than fit into the tunnel.
    MtuPodTooLarge,
    /// The node's resolver configuration is empty, and CoreDNS on it has started since.
    NodeResolvconfEmpty,
}

/// A step of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something is done in a member.
    Act {
        /// The member.
        member: String,
        /// What is done.
        action: Action,
    },
    /// Lines for `ip -batch`, then lines for `bridge -batch`, in a node; flannel puts it right when it starts.
    Flannel {
        /// The node.
        node: String,
        /// For `ip`.
        ip: String,
        /// For `bridge`.
        bridge: String,
    },
    /// A pod is ended and started anew.
    Restart(PodName),
}

impl Cause {
    /// All of them, in the order of the catalogue.
    pub const ALL: [Self; 15] = [
        Self::NodeIpForwardOff,
        Self::NodeIfaceForwardingOff,
        Self::NodeBridgeNfCallOff,
        Self::NodeSysctlDrift,
        Self::FwForwardPolicyDrop,
        Self::FwKubeRulesFlushed,
        Self::BridgeDown,
        Self::VethDetached,
        Self::PodDefaultRouteMissing,
        Self::NodeRouteMissing,
        Self::OverlayUdpBlocked,
        Self::OverlayVniMismatch,
        Self::OverlayFdbStale,
        Self::MtuPodTooLarge,
        Self::NodeResolvconfEmpty,
    ];

    /// Its name in the catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeIpForwardOff => "node-ip-forward-off",
            Self::NodeIfaceForwardingOff => "node-iface-forwarding-off",
            Self::NodeBridgeNfCallOff => "node-bridge-nf-call-off",
            Self::NodeSysctlDrift => "node-sysctl-drift",
            Self::FwForwardPolicyDrop => "fw-forward-policy-drop",
            Self::FwKubeRulesFlushed => "fw-kube-rules-flushed",
            Self::BridgeDown => "bridge-down",
            Self::VethDetached => "veth-detached",
            Self::PodDefaultRouteMissing => "pod-default-route-missing",
            Self::NodeRouteMissing => "node-route-missing",
            Self::OverlayUdpBlocked => "overlay-udp-blocked",
            Self::OverlayVniMismatch => "overlay-vni-mismatch",
            Self::OverlayFdbStale => "overlay-fdb-stale",
            Self::MtuPodTooLarge => "mtu-pod-too-large",
            Self::NodeResolvconfEmpty => "node-resolvconf-empty",
        }
    }

    /// Does it break no promise by itself, but later?
    pub fn is_latent(self) -> bool {
        self == Self::NodeSysctlDrift
    }

    /// What is to be done for it.
    pub(super) fn steps(
        self,
        layout: &Layout,
        cluster: &Cluster,
        node: Option<&str>,
    ) -> Result<Vec<Step>, LabError> {
        let node = chosen_node(layout, node)?;
        let scene = Scene { cause: self, layout, cluster, node };
        Ok(match self {
            Self::NodeIpForwardOff => vec![scene.sysctl("net.ipv4.ip_forward", "0")],
            Self::NodeIfaceForwardingOff => vec![scene.sysctl("net.ipv4.conf.cni0.forwarding", "0")],
            Self::NodeBridgeNfCallOff => vec![
                scene.sysctl("net.bridge.bridge-nf-call-iptables", "0"),
                scene.sysctl("net.bridge.bridge-nf-call-ip6tables", "0"),
            ],
            Self::NodeSysctlDrift => vec![scene.act(Action::Write {
                path: "/etc/sysctl.d/zz-hardening.conf".to_owned(),
                text: "# Hosts are not routers.\nnet.ipv4.ip_forward = 0\n".to_owned(),
            })],
            Self::FwForwardPolicyDrop => {
                scene.filters(&["-F FLANNEL-FWD", "-P FORWARD DROP"], Tables::OfFlannel)
            }
            Self::FwKubeRulesFlushed => scene.filters(&["-t nat -F"], Tables::Both),
            Self::OverlayUdpBlocked => {
                scene.filters(&["-I INPUT -p udp --dport 8472 -j DROP"], Tables::OfFlannel)
            }
            Self::BridgeDown => vec![scene.command("ip link set cni0 down")],
            Self::VethDetached => vec![scene.command(&format!("ip link set {} nomaster", scene.pod()?.veth))],
            Self::PodDefaultRouteMissing => scene.without_default_route()?,
            Self::NodeRouteMissing => scene.without_route_to_other()?,
            Self::OverlayVniMismatch => scene.other_vni()?,
            Self::OverlayFdbStale => scene.stale_fdb()?,
            Self::MtuPodTooLarge => scene.large_mtu(),
            Self::NodeResolvconfEmpty => scene.empty_resolv_conf(),
        })
    }
}

fn chosen_node<'a>(layout: &'a Layout, node: Option<&str>) -> Result<&'a NodeLayout, LabError> {
    let nodes = || layout.nodes.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ");
    match node {
        Some(name) => layout
            .node(name)
            .ok_or_else(|| FaultError::NoSuchNode { node: name.to_owned(), nodes: nodes() }.into()),
        None => layout
            .node("w2")
            .or(layout.nodes.last())
            .ok_or_else(|| FaultError::NoSuchNode { node: "w2".to_owned(), nodes: nodes() }.into()),
    }
}

/// Which families' tables a rule goes into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// Both: kube-proxy keeps both in every cluster.
    Both,
    /// Those of the cluster's own families.
    OfFlannel,
}

/// Where a cause is injected.
struct Scene<'a> {
    cause: Cause,
    layout: &'a Layout,
    cluster: &'a Cluster,
    node: &'a NodeLayout,
}

impl Scene<'_> {
    fn act(&self, action: Action) -> Step {
        Step::Act { member: self.node.name.clone(), action }
    }

    fn sysctl(&self, key: &str, value: &str) -> Step {
        self.act(Action::Sysctl { key: key.to_owned(), value: value.to_owned() })
    }

    fn command(&self, words: &str) -> Step {
        command(&self.node.name, words)
    }

    fn filters(&self, rules: &[&str], tables: Tables) -> Vec<Step> {
        let mut programs = vec!["iptables"];
        if tables == Tables::Both || self.layout.base.has_ipv6() {
            programs.push("ip6tables");
        }
        let all =
            programs.into_iter().flat_map(|program| rules.iter().map(move |it| format!("{program} {it}")));
        all.map(|it| self.command(&it)).collect()
    }

    fn not_here(&self, needs: &'static str) -> LabError {
        FaultError::NotHere { cause: self.cause.name(), needs }.into()
    }

    /// A pod of the node that is an endpoint of Services.
    fn pod(&self) -> Result<&PodLayout, LabError> {
        self.node.pods.iter().find(|it| it.app == App::Echo).ok_or_else(|| self.not_here("a pod of `echo`"))
    }

    /// The first other worker, or any other node.
    fn other(&self) -> Result<&NodeLayout, LabError> {
        let others = || self.layout.nodes.iter().filter(|it| it.name != self.node.name);
        let other = others().find(|it| !it.is_control_plane()).or_else(|| others().next());
        other.ok_or_else(|| self.not_here("a second node"))
    }

    fn wanted(&self) -> Result<Wanted<'_>, LabError> {
        Wanted::of_node(self.cluster, self.node)
    }

    fn without_default_route(&self) -> Result<Vec<Step>, LabError> {
        let client = self.node.pods.iter().find(|it| it.app == App::Client);
        let client = client.ok_or_else(|| self.not_here("a pod of `client`"))?;
        let member = member_name(&Place::Pod(client.name.clone()));
        let families = if self.layout.base.has_ipv6() { &["-4", "-6"][..] } else { &["-4"] };
        Ok(families.iter().map(|it| command(&member, &format!("ip {it} route del default"))).collect())
    }

    fn without_route_to_other(&self) -> Result<Vec<Step>, LabError> {
        let other = self.other()?;
        Ok(other.pod_ranges.iter().map(|it| self.command(&format!("ip route del {it}"))).collect())
    }

    /// As after another node was given a new address, and this one was not told.
    fn stale_fdb(&self) -> Result<Vec<Step>, LabError> {
        let other = self.other()?;
        let wanted = self.wanted()?;
        let entries = wanted.flannel.fdb.iter().filter(|it| other.addresses.contains(&it.remote));
        let lines = entries.map(|it| {
            let nowhere = if it.remote.is_ipv6() { "fd00:50::99" } else { "192.168.50.99" };
            format!("fdb replace {} dev {} dst {nowhere} self permanent\n", it.mac, it.device)
        });
        let bridge = lines.collect();
        Ok(vec![Step::Flannel { node: self.node.name.clone(), ip: String::new(), bridge }])
    }

    /// The same devices with another identifier, everything else as flannel makes it.
    fn other_vni(&self) -> Result<Vec<Step>, LabError> {
        let mut wanted = self.wanted()?;
        let names: Vec<String> = wanted.flannel.devices.iter().map(|it| it.name.clone()).collect();
        for device in &mut wanted.flannel.devices {
            device.vni += 1;
        }
        let text = |batch: &Batch| String::from_utf8_lossy(batch.as_bytes()).into_owned();
        let ip = text(&batch::deletions(&names)) + &text(&batch::flannel(&wanted, |_| false));
        let bridge = text(&batch::flannel_fdb(&wanted));
        Ok(vec![Step::Flannel { node: self.node.name.clone(), ip, bridge }])
    }

    fn large_mtu(&self) -> Vec<Step> {
        let mut steps = vec![self.command(&format!("ip link set cni0 mtu {UNDERLAY_MTU}"))];
        for pod in &self.node.pods {
            let member = member_name(&Place::Pod(pod.name.clone()));
            steps.push(self.command(&format!("ip link set {} mtu {UNDERLAY_MTU}", pod.veth)));
            steps.push(command(&member, &format!("ip link set eth0 mtu {UNDERLAY_MTU}")));
        }
        steps
    }

    fn empty_resolv_conf(&self) -> Vec<Step> {
        let path = "/etc/resolv.conf".to_owned();
        let mut steps = vec![self.act(Action::Write { path, text: String::new() })];
        let dns = self.node.pods.iter().filter(|it| it.app == App::CoreDns);
        steps.extend(dns.map(|it| Step::Restart(it.name.clone())));
        steps
    }
}

fn command(member: &str, words: &str) -> Step {
    let words = words.split(' ').map(str::to_owned).collect();
    Step::Act { member: member.to_owned(), action: Action::Command(words) }
}
