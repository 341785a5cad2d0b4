//! Changes inside pods.

use hopwise_snapshot::{Element, Place, SysctlKey, tables};
use ipnet::IpNet;

use crate::fault::{Fault, Kind, Scene, addresses, routes};

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "a pod's interface is down", make: down },
    Kind { name: "a pod's interface is deleted", make: deleted },
    Kind { name: "a pod's interface takes only small packets", make: small },
    Kind { name: "a pod's interface is too large", make: large },
    Kind { name: "a pod resolves no addresses", make: no_arp },
    Kind { name: "a pod's address is deleted", make: address_deleted },
    Kind { name: "a pod has another prefix length", make: prefix },
    Kind { name: "a pod's route is deleted", make: route_deleted },
    Kind { name: "a pod's default route leads elsewhere", make: gateway },
    Kind { name: "a pod's route refuses", make: refuses },
    Kind { name: "a pod's rule refuses", make: rule },
    Kind { name: "a pod's neighbour is wrong", make: neighbour },
    Kind { name: "a pod ignores echo requests", make: no_echo },
    Kind { name: "a pod's packets live one hop", make: time_to_live },
    Kind { name: "a pod's own rule drops", make: drops },
    Kind { name: "a pod's own nft table drops", make: nft },
    Kind { name: "a pod's queue takes nothing", make: queue },
    Kind { name: "a pod checks reverse paths strictly", make: reverse_path },
];

fn down(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    Some(Fault::new(&place, "ip link set eth0 down", Element::link_aspect(&place, "eth0", "up")))
}

fn deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (pod, place, _) = scene.at_pod();
    let veth = scene.veth(&pod);
    let node = Place::Node(scene.node_of(&pod));
    let fault = Fault::new(&place, "ip link del eth0", Element::link(&place, "eth0"));
    Some(fault.or(Element::link(&node, &veth)))
}

fn small(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    let mtu = scene.dice.u32(600..1300);
    Some(Fault::new(
        &place,
        format!("ip link set eth0 mtu {mtu}"),
        Element::link_aspect(&place, "eth0", "mtu"),
    ))
}

fn large(scene: &mut Scene<'_>) -> Option<Fault> {
    // The bridge takes the size of its smallest port; the pod's packets then find the tunnel too narrow.
    let (_, place, _) = scene.at_pod();
    Some(Fault::new(&place, "ip link set eth0 mtu 1500", Element::link_aspect(&place, "eth0", "mtu")))
}

fn no_arp(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    let command = "ip link set eth0 arp off; ip neigh flush dev eth0";
    Some(Fault::new(&place, command, Element::link_aspect(&place, "eth0", "arp")))
}

fn address_deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_pod();
    let address = scene.one_of(&addresses(net, "eth0"))?.address;
    let element = Element::address(&place, "eth0", &address);
    Some(Fault::new(&place, format!("ip addr del {address} dev eth0"), element))
}

fn prefix(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_pod();
    let address = addresses(net, "eth0").into_iter().map(|it| it.address).find(|it| it.addr().is_ipv4())?;
    let length = scene.one_of(&[16, 30, 32])?;
    let other = IpNet::new(address.addr(), length).ok()?;
    let routes = "routes=$(ip route show dev eth0 | grep via); ";
    let command = format!(
        "{routes}ip addr del {address} dev eth0; ip addr add {other} dev eth0; \
         echo \"$routes\" | while read r; do ip route add $r dev eth0 onlink; done"
    );
    let fault = Fault::new(&place, command, Element::address(&place, "eth0", &address));
    Some(fault.or(Element::address(&place, "eth0", &other)))
}

fn route_deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_pod();
    let is_ipv6 = scene.is_ipv6();
    let all: Vec<_> =
        routes(net, is_ipv6).into_iter().filter(|it| !it.destination.addr().is_multicast()).collect();
    let route = scene.one_of(&all)?;
    let ip = if is_ipv6 { "ip -6" } else { "ip" };
    let element = Element::route(&place, tables::MAIN, &route.destination, route.metric);
    Some(Fault::new(&place, format!("{ip} route del {} metric {}", route.destination, route.metric), element))
}

fn gateway(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_pod();
    let own = addresses(net, "eth0").into_iter().map(|it| it.address).find(|it| it.addr().is_ipv4())?;
    let IpNet::V4(own) = own else { return None };
    let gateway = own.hosts().nth(scene.dice.usize(100..200))?;
    let default: IpNet = "0.0.0.0/0".parse().ok()?;
    let element = Element::route(&place, tables::MAIN, &default, 0);
    Some(Fault::new(&place, format!("ip route replace default via {gateway}"), element))
}

fn refuses(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    let node = scene.node();
    let range = scene.pods_of(&node);
    let is_ipv6 = range.addr().is_ipv6();
    let ip = if is_ipv6 { "ip -6" } else { "ip" };
    let kind = scene.one_of(&["blackhole", "unreachable", "prohibit"])?;
    let half = range.subnets(range.prefix_len() + 1).ok()?.next()?;
    let metric = if is_ipv6 { 1024 } else { 0 };
    let element = Element::route(&place, tables::MAIN, &half, metric);
    Some(Fault::new(&place, format!("{ip} route add {kind} {half}"), element))
}

fn rule(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    let node = scene.node();
    let range = scene.pods_of(&node);
    let is_ipv6 = range.addr().is_ipv6();
    let ip = if is_ipv6 { "ip -6" } else { "ip" };
    let priority = scene.dice.u32(100..30_000);
    let command = format!("{ip} rule add pref {priority} to {range} unreachable");
    Some(Fault::new(&place, command, Element::rule(&place, is_ipv6, priority)))
}

fn neighbour(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_pod();
    let all = net.routes.known()?.iter().filter(|it| it.table == tables::MAIN);
    let gateways: Vec<_> = all.flat_map(|it| it.next_hops.iter().filter_map(|it| it.via)).collect();
    let gateway = scene.one_of(&gateways)?;
    let command = format!("ip neigh replace {gateway} lladdr 02:de:ad:00:00:01 dev eth0 nud permanent");
    Some(Fault::new(&place, command, Element::neighbour(&place, "eth0", gateway)))
}

fn switch(scene: &mut Scene<'_>, key: &str, value: &str) -> Fault {
    let (_, place, _) = scene.at_pod();
    let key = SysctlKey::from_dotted(key);
    let command = format!("printf {value} > /proc/sys/{}", key.path());
    Fault::new(&place, command, Element::sysctl(&place, &key))
}

fn no_echo(scene: &mut Scene<'_>) -> Option<Fault> {
    Some(switch(scene, "net.ipv4.icmp_echo_ignore_all", "1"))
}

fn time_to_live(scene: &mut Scene<'_>) -> Option<Fault> {
    Some(switch(scene, "net.ipv4.ip_default_ttl", "1"))
}

fn reverse_path(scene: &mut Scene<'_>) -> Option<Fault> {
    Some(switch(scene, "net.ipv4.conf.eth0.rp_filter", "1"))
}

fn drops(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    let chain = scene.one_of(&["INPUT", "OUTPUT"])?;
    let words =
        scene.one_of(&["-p tcp", "-p udp", "-p icmp", "-p tcp --dport 8080", "-p udp --sport 8080", ""])?;
    let target = scene.one_of(&["DROP", "REJECT"])?;
    let element = Element::iptables_rule(&place, "iptables-nft", "filter", chain, 1);
    Some(Fault::new(&place, format!("iptables -A {chain} {words} -j {target}"), element))
}

fn nft(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    let hook = scene.one_of(&["input", "output"])?;
    let allowed = scene.one_of(&[
        "meta l4proto tcp accept",
        "meta l4proto icmp accept",
        "ct state established accept",
    ])?;
    let text = format!(
        "nft 'add table ip corp; add chain ip corp c {{ type filter hook {hook} priority 0 ; policy drop ; }}; \
         add rule ip corp c {allowed}'"
    );
    Some(Fault::new(&place, text, Element::nft_policy(&place, "ip", "corp", "c")))
}

fn queue(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    let command = "tc qdisc replace dev eth0 root blackhole";
    Some(Fault::new(&place, command, Element::qdisc(&place, "eth0", "root")))
}
