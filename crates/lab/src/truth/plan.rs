//! What every pod and node is to ask.

use std::net::{IpAddr, SocketAddr};

use hopwise_snapshot::{Cluster, Place, Protocol, Service};

use crate::{
    lab::{Member, MemberKind},
    layout::{App, CLUSTER_DOMAIN, Layout, NODE_PORT, NodeLayout, OUTSIDE_NAME, RESPONDER_PORT},
};

/// How often a Service is asked: each time another endpoint may be chosen.
const N_SERVICE_ATTEMPTS: usize = 4;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) member: Member,
    /// Its number among the sources.
    pub(super) number: u32,
    /// Its `/etc/resolv.conf`.
    pub(super) resolv_conf: String,
}

/// How something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By an address that stands for others.
    Service,
    /// By its own address.
    Directly,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A TCP connection to something that says who it is.
    Tcp(SocketAddr, By),
    /// A datagram to something that says who it is.
    Udp(SocketAddr, By),
    /// A DNS query to a server that says who it is.
    DnsTcp(SocketAddr, By),
    /// The same in a datagram.
    DnsUdp(SocketAddr, By),
    /// An echo request; `is_full` makes it as large as the interface lets through, not to be split.
    Echo {
        /// Whom.
        to: IpAddr,
        /// As large as can be?
        is_full: bool,
    },
    /// The addresses of a name, by this resolv.conf.
    Name {
        /// The name.
        name: String,
        /// The text of the resolv.conf.
        resolv_conf: String,
    },
}

/// A question with its spelling in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) to: String,
    pub(super) proto: &'static str,
    pub(super) family: u8,
    pub(super) question: Question,
    pub(super) n_attempts: usize,
}

/// All that one source is to ask.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) source: Source,
    pub(super) probes: Vec<Probe>,
}

impl Plan {
    pub(super) fn new(layout: &Layout, cluster: &Cluster, source: Source, only: &[String]) -> Self {
        let from = source.member.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut probes = Vec::new();
        to_pods(layout, &mut probes);
        to_nodes(layout, &mut probes);
        let services = cluster.services.known().map_or(&[][..], Vec::as_slice);
        for service in services {
            to_service(service, &mut probes);
        }
        let node =
            source.member.place.as_ref().and_then(Place::as_node).and_then(|it| layout.node(it.as_str()));
        if let Some(node) = node {
            to_own_node_port(node, &mut probes);
        }
        to_outside(layout, &mut probes);
        to_names(layout, &source, &mut probes);
        let is_wanted = |it: &Probe| {
            only.is_empty()
                || only
                    .iter()
                    .any(|word| it.proto == word || it.to.starts_with(word) || from.starts_with(word))
        };
        probes.retain(is_wanted);
        // Not everybody asks the same at the same time.
        let n_first = usize::try_from(source.number).unwrap_or(0) * 7 % probes.len().max(1);
        probes.rotate_left(n_first);
        Self { source, probes }
    }

    /// All questions, a Service's as often as it is asked.
    pub(super) fn questions(&self) -> impl Iterator<Item = &Question> {
        self.probes.iter().flat_map(|it| std::iter::repeat_n(&it.question, it.n_attempts))
    }

    /// The number of a question among those of all sources.
    pub(super) fn probe_number(&self, index: usize) -> u32 {
        self.source.number << 16 | u32::try_from(index & 0xffff).unwrap_or(0)
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv6() { 6 } else { 4 }
}

fn echo(to: &str, address: IpAddr, is_full: bool) -> Probe {
    Probe {
        to: to.to_owned(),
        proto: "icmp",
        family: family(address),
        question: Question::Echo { to: address, is_full },
        n_attempts: 1,
    }
}

fn port(to: &str, by: By, at: SocketAddr, protocol: Protocol, is_dns: bool) -> Probe {
    let (proto, question) = match (protocol, is_dns) {
        (Protocol::Udp, false) => ("udp", Question::Udp(at, by)),
        (Protocol::Udp, true) => ("udp", Question::DnsUdp(at, by)),
        (_, false) => ("tcp", Question::Tcp(at, by)),
        (_, true) => ("tcp", Question::DnsTcp(at, by)),
    };
    Probe {
        to: format!("{to}:{}/{proto}", at.port()),
        proto,
        family: family(at.ip()),
        question,
        n_attempts: 1,
    }
}

fn to_pods(layout: &Layout, probes: &mut Vec<Probe>) {
    for (_, pod) in layout.pods() {
        let to = Place::Pod(pod.name.clone()).to_string();
        for address in &pod.addresses {
            for (_, number, protocol) in pod.app.ports() {
                let is_dns = pod.app == App::CoreDns && *number == 53;
                probes.push(port(&to, By::Directly, SocketAddr::new(*address, *number), *protocol, is_dns));
            }
            probes.push(echo(&to, *address, false));
            probes.push(echo(&to, *address, true));
        }
    }
}

fn to_nodes(layout: &Layout, probes: &mut Vec<Probe>) {
    for node in &layout.nodes {
        let to = Place::node(&node.name).to_string();
        for address in &node.addresses {
            probes.push(echo(&to, *address, false));
            probes.push(port(&to, By::Directly, SocketAddr::new(*address, 10250), Protocol::Tcp, false));
            if node.is_control_plane() {
                probes.push(port(&to, By::Directly, SocketAddr::new(*address, 6443), Protocol::Tcp, false));
            }
        }
    }
}

fn to_service(service: &Service, probes: &mut Vec<Probe>) {
    let to = format!("svc/{}", service.full_name());
    for address in service.cluster_ips() {
        for it in &service.spec.ports {
            let is_dns = it.port == 53;
            let probe = port(&to, By::Service, SocketAddr::new(address, it.port), it.protocol, is_dns);
            probes.push(Probe { n_attempts: N_SERVICE_ATTEMPTS, ..probe });
        }
    }
}

fn to_own_node_port(node: &NodeLayout, probes: &mut Vec<Probe>) {
    let to = Place::node(&node.name).to_string();
    for address in &node.addresses {
        let probe = port(&to, By::Service, SocketAddr::new(*address, NODE_PORT), Protocol::Tcp, false);
        probes.push(Probe { n_attempts: N_SERVICE_ATTEMPTS, ..probe });
    }
}

fn to_outside(layout: &Layout, probes: &mut Vec<Probe>) {
    for address in layout.web_addresses() {
        let to = if address.is_ipv6() { format!("ip/[{address}]") } else { format!("ip/{address}") };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            probes.push(port(&to, By::Directly, SocketAddr::new(address, RESPONDER_PORT), protocol, false));
        }
        probes.push(echo(&format!("ip/{address}"), address, false));
        probes.push(echo(&format!("ip/{address}"), address, true));
    }
}

/// The cluster's own names are for pods that ask the cluster; everybody asks for a name outside.
fn to_names(layout: &Layout, source: &Source, probes: &mut Vec<Probe>) {
    let mut names = vec![OUTSIDE_NAME.to_owned()];
    let app = match (&source.member.kind, &source.member.place) {
        (MemberKind::Pod, Some(Place::Pod(name))) => layout.pod(name).map(|(_, pod)| pod.app),
        _ => None,
    };
    if app.is_some_and(|it| it != App::CoreDns) {
        names.push(format!("kubernetes.default.svc.{CLUSTER_DOMAIN}"));
    }
    for name in names {
        let question = Question::Name { name: name.clone(), resolv_conf: source.resolv_conf.clone() };
        probes.push(Probe { to: name, proto: "dns", family: 4, question, n_attempts: 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Base, Shape};

    fn plan(place: &Place, only: &[&str]) -> Vec<String> {
        let layout = Layout::new(Shape { base: Base::DualStack, n_nodes: 1 }).unwrap();
        let objects = crate::objects::Maker::new(&layout, jiff::Timestamp::UNIX_EPOCH).all().unwrap();
        let services = serde_json::from_value(objects["services"].clone().into()).unwrap();
        let cluster = Cluster { services: hopwise_snapshot::Observed::Known(services), ..Cluster::default() };
        let kind = if place.as_node().is_some() { MemberKind::Node } else { MemberKind::Pod };
        let member =
            Member { name: String::new(), kind, place: Some(place.clone()), pid: 1, lacks: Vec::new() };
        let source = Source { member, number: 0, resolv_conf: String::new() };
        let only: Vec<String> = only.iter().map(|it| (*it).to_owned()).collect();
        let plan = Plan::new(&layout, &cluster, source, &only);
        plan.probes.iter().map(|it| format!("{} {}{}", it.to, it.proto, it.family)).collect()
    }

    #[test]
    fn a_node_asks_its_own_node_port_and_no_name_of_the_cluster() {
        let all = plan(&Place::node("cp"), &[]);
        assert!(all.contains(&"node/cp:30080/tcp tcp6".to_owned()));
        assert!(!all.iter().any(|it| it.contains("cluster.local")));
    }

    #[test]
    fn a_pod_asks_services_of_both_families_and_names() {
        let pod = Place::pod("default", "client-cp");
        assert_eq!(
            plan(&pod, &["svc/default/echo:80", "svc/default/kubernetes", "dns"]),
            [
                "svc/default/echo:80/tcp tcp4",
                "svc/default/echo:80/tcp tcp6",
                "svc/default/kubernetes:443/tcp tcp4",
                "www.example.test dns4",
                "kubernetes.default.svc.cluster.local dns4",
            ]
        );
        let to_dns: Vec<String> = plan(&pod, &["pod/kube-system/coredns-a"]);
        assert_eq!(to_dns.len(), 10, "{to_dns:?}");
    }
}
