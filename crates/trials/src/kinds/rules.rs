//! The cluster's own rules on nodes, and foreign ones among them.

use hopwise_snapshot::{Element, Place};

use crate::fault::{Fault, Kind, Scene};

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "one of the cluster's rules is deleted", make: deleted },
    Kind { name: "one of the cluster's chains is flushed", make: flushed },
    Kind { name: "the table nat is flushed", make: table_flushed },
    Kind { name: "a policy drops", make: policy },
    Kind { name: "a rule drops", make: drops },
    Kind { name: "a rule drops before routing", make: drops_early },
    Kind { name: "a rule drops in legacy tables", make: legacy },
    Kind { name: "a rule leaves one of the cluster's chains early", make: returns },
    Kind { name: "a rule redirects", make: redirects },
    Kind { name: "a rule gives another source", make: source },
    Kind { name: "a rule keeps from tracking", make: untracked },
    Kind { name: "a rule marks for another table", make: marks },
    Kind { name: "a rule shortens lives", make: time_to_live },
    Kind { name: "a rule drops by a set", make: by_set },
];

fn iptables(scene: &mut Scene<'_>) -> (&'static str, &'static str) {
    if scene.is_ipv6() { ("ip6tables", "ip6tables-nft") } else { ("iptables", "iptables-nft") }
}

/// A chain of the cluster's that has rules, with their number.
fn chain(scene: &mut Scene<'_>) -> Option<(Place, &'static str, &'static str, String, String, usize)> {
    let (_, place, net) = scene.at_node();
    let (command, tool) = iptables(scene);
    let saved = if command == "ip6tables" {
        &net.netfilter.iptables_nft.ipv6
    } else {
        &net.netfilter.iptables_nft.ipv4
    };
    let saved = saved.known()?;
    let mut table = "";
    let mut count: std::collections::BTreeMap<(String, String), usize> = std::collections::BTreeMap::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some((_, rule)) = line.split_once("-A ") {
            let chain = rule.split(' ').next().unwrap_or_default();
            *count.entry((table.to_owned(), chain.to_owned())).or_default() += 1;
        }
    }
    let all: Vec<_> = count.into_iter().collect();
    let ((table, chain), n_rules) = scene.one_of(&all)?;
    Some((place, command, tool, table, chain, n_rules))
}

fn deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, command, tool, table, chain, n_rules) = chain(scene)?;
    let position = scene.dice.usize(1..=n_rules);
    let element = Element::iptables_rule(&place, tool, &table, &chain, position);
    Some(Fault::new(&place, format!("{command} -t {table} -D {chain} {position}"), element))
}

fn flushed(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, command, tool, table, chain, _) = chain(scene)?;
    let element = Element::iptables_chain(&place, tool, &table, &chain);
    let fault = Fault::new(&place, format!("{command} -t {table} -F {chain}"), element);
    Some(fault.or(Element::iptables_table(&place, tool, &table)))
}

fn table_flushed(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let (command, tool) = iptables(scene);
    Some(Fault::new(&place, format!("{command} -t nat -F"), Element::iptables_table(&place, tool, "nat")))
}

fn policy(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let (command, tool) = iptables(scene);
    let (table, chain) = scene.one_of(&[
        ("filter", "FORWARD"),
        ("filter", "INPUT"),
        ("filter", "OUTPUT"),
        ("mangle", "FORWARD"),
    ])?;
    // Without the CNI's accepts; with them a policy breaks nothing.
    let open = if chain == "FORWARD" && table == "filter" {
        format!("{command} -F FLANNEL-FWD; ")
    } else {
        String::new()
    };
    let fault = Fault::new(
        &place,
        format!("{open}{command} -t {table} -P {chain} DROP"),
        Element::iptables_policy(&place, tool, table, chain),
    );
    Some(if open.is_empty() {
        fault
    } else {
        fault.or(Element::iptables_chain(&place, tool, table, "FLANNEL-FWD"))
    })
}

/// Matches that some packets of the cluster meet.
fn matches(scene: &mut Scene<'_>, is_ipv6: bool, chain: &str) -> Option<String> {
    let name = scene.node();
    let ranges = scene.snapshot.cluster.node(&name)?.pod_cidrs();
    let range = ranges.into_iter().find(|it| it.addr().is_ipv6() == is_ipv6)?;
    let node = scene.snapshot.cluster.node(&name)?.internal_ips().find(|it| it.is_ipv6() == is_ipv6)?;
    let icmp =
        if is_ipv6 { "-p icmpv6 --icmpv6-type echo-request" } else { "-p icmp --icmp-type echo-request" };
    let mut all = vec![
        String::new(),
        format!("-s {range}"),
        format!("-d {range}"),
        format!("-s {node}"),
        format!("! -s {range}"),
        "-p tcp --dport 8080".to_owned(),
        "-p udp --dport 8080".to_owned(),
        "-p udp -m multiport --dports 53,8080".to_owned(),
        "-p tcp --tcp-flags SYN,RST,ACK SYN".to_owned(),
        "-p tcp --sport 8080".to_owned(),
        "-m conntrack --ctstate NEW".to_owned(),
        "-m conntrack --ctstate ESTABLISHED".to_owned(),
        "-m conntrack --ctstate DNAT".to_owned(),
        "-m length --length 1000:65535".to_owned(),
        "-m ttl --ttl-lt 64".to_owned(),
        format!("-m iprange --src-range {}-{}", range.network(), range.broadcast()),
        icmp.to_owned(),
        "-m addrtype --dst-type LOCAL".to_owned(),
        "-m string --algo bm --string hopwise".to_owned(),
        "-m statistic --mode nth --every 1 --packet 0".to_owned(),
    ];
    if is_ipv6 {
        all.retain(|it| !it.contains("ttl"));
    }
    if chain != "OUTPUT" && chain != "POSTROUTING" {
        all.extend(["-i cni0".to_owned(), "-i eth0".to_owned(), "-i flannel+".to_owned()]);
    }
    if chain == "FORWARD" || chain == "OUTPUT" || chain == "POSTROUTING" {
        all.extend(["-o cni0".to_owned(), "-o eth0".to_owned(), "-o flannel.1".to_owned()]);
    }
    scene.one_of(&all)
}

fn inserted(scene: &mut Scene<'_>, table: &str, chain: &str, target: &str) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let (command, tool) = iptables(scene);
    let words = matches(scene, command == "ip6tables", chain)?;
    let element = Element::iptables_rule(&place, tool, table, chain, 1);
    Some(Fault::new(&place, format!("{command} -t {table} -I {chain} {words} -j {target}"), element))
}

fn drops(scene: &mut Scene<'_>) -> Option<Fault> {
    let chain = scene.one_of(&["INPUT", "FORWARD", "OUTPUT"])?;
    let target = scene.one_of(&["DROP", "REJECT"])?;
    inserted(scene, "filter", chain, target)
}

fn drops_early(scene: &mut Scene<'_>) -> Option<Fault> {
    let (table, chain) = scene.one_of(&[
        ("raw", "PREROUTING"),
        ("mangle", "PREROUTING"),
        ("mangle", "FORWARD"),
        ("mangle", "POSTROUTING"),
        ("raw", "OUTPUT"),
    ])?;
    inserted(scene, table, chain, "DROP")
}

fn legacy(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let chain = scene.one_of(&["INPUT", "FORWARD", "OUTPUT"])?;
    if scene.dice.bool() {
        let words = matches(scene, false, chain)?;
        let element = Element::iptables_rule(&place, "iptables-legacy", "filter", chain, 1);
        return Some(Fault::new(&place, format!("iptables-legacy -A {chain} {words} -j DROP"), element));
    }
    let element = Element::iptables_policy(&place, "iptables-legacy", "filter", chain);
    Some(Fault::new(&place, format!("iptables-legacy -P {chain} DROP"), element))
}

fn returns(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, command, tool, table, chain, _) = chain(scene)?;
    let target = scene.one_of(&["RETURN", "ACCEPT"])?;
    let element = Element::iptables_rule(&place, tool, &table, &chain, 1);
    Some(Fault::new(&place, format!("{command} -t {table} -I {chain} -j {target}"), element))
}

fn redirects(scene: &mut Scene<'_>) -> Option<Fault> {
    let (chain, target) = scene.one_of(&[
        ("PREROUTING", "REDIRECT --to-ports 10250"),
        ("PREROUTING", "REDIRECT --to-ports 9"),
        ("OUTPUT", "REDIRECT --to-ports 10250"),
        ("PREROUTING", "DNAT --to-destination :9"),
    ])?;
    let (_, place, _) = scene.at_node();
    let (command, tool) = iptables(scene);
    let matched =
        scene.one_of(&["-p tcp --dport 8080", "-p tcp --dport 80", "-p tcp -m conntrack --ctstate NEW"])?;
    let element = Element::iptables_rule(&place, tool, "nat", chain, 1);
    Some(Fault::new(&place, format!("{command} -t nat -I {chain} {matched} -j {target}"), element))
}

fn source(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let (command, tool) = iptables(scene);
    let is_ipv6 = command == "ip6tables";
    let words = matches(scene, is_ipv6, "POSTROUTING")?;
    let target = if scene.dice.bool() {
        "MASQUERADE".to_owned()
    } else {
        format!("SNAT --to-source {}", if is_ipv6 { "2001:db8::77" } else { "198.51.100.77" })
    };
    let element = Element::iptables_rule(&place, tool, "nat", "POSTROUTING", 1);
    Some(Fault::new(&place, format!("{command} -t nat -I POSTROUTING {words} -j {target}"), element))
}

fn untracked(scene: &mut Scene<'_>) -> Option<Fault> {
    let chain = scene.one_of(&["PREROUTING", "OUTPUT"])?;
    inserted(scene, "raw", chain, "NOTRACK")
}

fn marks(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let words = matches(scene, false, "PREROUTING")?;
    let command = format!(
        "iptables -t mangle -I PREROUTING {words} -j MARK --set-mark 0x77; ip rule add pref 90 fwmark 0x77 lookup 78; \
         ip route add blackhole default table 78"
    );
    let default: ipnet::IpNet = "0.0.0.0/0".parse().ok()?;
    let fault = Fault::new(
        &place,
        command,
        Element::iptables_rule(&place, "iptables-nft", "mangle", "PREROUTING", 1),
    );
    Some(fault.or(Element::rule(&place, false, 90)).or(Element::route(&place, 78, &default, 0)))
}

fn time_to_live(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let words = matches(scene, false, "PREROUTING")?;
    let command = format!("iptables -t mangle -I PREROUTING {words} -j TTL --ttl-set 1");
    let element = Element::iptables_rule(&place, "iptables-nft", "mangle", "PREROUTING", 1);
    Some(Fault::new(&place, command, element))
}

fn by_set(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let (pod, _, _) = scene.at_pod();
    let ips = scene.snapshot.cluster.pod(&pod)?.ips();
    let address = ips.into_iter().find(std::net::IpAddr::is_ipv4)?;
    let (chain, direction) = scene.one_of(&[("FORWARD", "src"), ("FORWARD", "dst"), ("INPUT", "src")])?;
    let command = format!(
        "ipset create blocked hash:ip; ipset add blocked {address}; \
         iptables -I {chain} -m set --match-set blocked {direction} -j DROP"
    );
    let fault =
        Fault::new(&place, command, Element::iptables_rule(&place, "iptables-nft", "filter", chain, 1));
    Some(fault.or(Element::ipset(&place, "blocked")))
}
