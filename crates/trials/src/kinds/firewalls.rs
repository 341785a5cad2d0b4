//! Tables of nft that a firewall brings along.

use hopwise_snapshot::Element;

use crate::fault::{Fault, Kind, Scene};

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "an nft chain drops by policy", make: policy },
    Kind { name: "an nft rule drops", make: drops },
    Kind { name: "an nft set drops", make: by_set },
    Kind { name: "an nft map decides", make: by_map },
    Kind { name: "a bridge's rule drops", make: bridge },
    Kind { name: "ARP is dropped", make: arp },
    Kind { name: "a rule at a device drops", make: device },
    Kind { name: "an nft rule translates", make: translates },
    Kind { name: "IPsec blocks", make: ipsec },
];

/// A table with one chain at a hook, which holds these rules.
fn table(scene: &mut Scene<'_>, family: &str, hook: &str, priority: i32, rules: &[String]) -> Fault {
    let (_, place, _) = scene.at_node();
    let kind =
        if hook == "prerouting" && rules.iter().any(|it| it.contains("dnat")) { "nat" } else { "filter" };
    let chain = format!(
        "nft 'add table {family} corp; \
         add chain {family} corp c {{ type {kind} hook {hook} priority {priority} ; }}'"
    );
    let rules = rules.iter().map(|it| format!("nft 'add rule {family} corp c {it}'"));
    let text = [chain].into_iter().chain(rules).collect::<Vec<_>>().join("; ");
    Fault::new(&place, text, Element::nft_chain(&place, family, "corp", "c"))
}

fn hook(scene: &mut Scene<'_>) -> Option<&'static str> {
    scene.one_of(&["prerouting", "input", "forward", "output", "postrouting"])
}

fn policy(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let hook = scene.one_of(&["input", "forward", "output"])?;
    let family = scene.one_of(&["ip", "inet"])?;
    let allowed = scene.one_of(&[
        "ct state established,related accept",
        "meta l4proto icmp accept",
        "tcp dport 22 accept",
    ])?;
    let text = format!(
        "nft 'add table {family} corp; add chain {family} corp c {{ type filter hook {hook} priority 10 ; policy drop ; }}; \
         add rule {family} corp c {allowed}'"
    );
    Some(Fault::new(&place, text, Element::nft_policy(&place, family, "corp", "c")))
}

fn conditions(scene: &mut Scene<'_>) -> Option<String> {
    let name = scene.node();
    let ranges = scene.snapshot.cluster.node(&name)?.pod_cidrs();
    let range = ranges.into_iter().find(|it| it.addr().is_ipv4())?;
    let all = [
        format!("ip saddr {range}"),
        format!("ip daddr {range}"),
        "tcp dport 8080".to_owned(),
        "udp dport { 53, 8080 }".to_owned(),
        "th dport 8000-9000".to_owned(),
        "tcp flags syn / syn,ack".to_owned(),
        "meta l4proto udp".to_owned(),
        "ct state new".to_owned(),
        "ct state established ct direction reply".to_owned(),
        "ct status dnat".to_owned(),
        "meta length > 1000".to_owned(),
        "ip ttl < 64".to_owned(),
        "icmp type echo-request".to_owned(),
        "icmp type echo-reply".to_owned(),
        "meta mark and 0x4000 == 0x4000".to_owned(),
        "fib daddr type local".to_owned(),
        "ip dscp 0 tcp dport 53".to_owned(),
        "udp dport 8472".to_owned(),
        "meta pkttype host meta l4proto tcp".to_owned(),
        "limit rate over 1/hour burst 1 packets".to_owned(),
    ];
    scene.one_of(&all)
}

fn drops(scene: &mut Scene<'_>) -> Option<Fault> {
    let hook = hook(scene)?;
    let family = scene.one_of(&["ip", "inet"])?;
    let rule = conditions(scene)?;
    let verdict = if matches!(hook, "input" | "forward" | "output") {
        scene.one_of(&["drop", "reject"])?
    } else {
        "drop"
    };
    Some(table(scene, family, hook, 10, &[format!("{rule} counter {verdict}")]))
}

fn by_set(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let (pod, _, _) = scene.at_pod();
    let ips = scene.snapshot.cluster.pod(&pod)?.ips();
    let address = ips.into_iter().find(std::net::IpAddr::is_ipv4)?;
    let (hook, word) = scene.one_of(&[("forward", "saddr"), ("forward", "daddr"), ("input", "saddr")])?;
    let text = format!(
        "nft 'add table ip corp; add set ip corp s {{ type ipv4_addr ; flags interval ; }}; \
         add element ip corp s {{ {address}/31 }}; \
         add chain ip corp c {{ type filter hook {hook} priority 10 ; }}; add rule ip corp c ip {word} @s drop'"
    );
    let fault = Fault::new(&place, text, Element::nft_chain(&place, "ip", "corp", "c"));
    Some(fault.or(Element::nft_set(&place, "ip", "corp", "s")))
}

fn by_map(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let hook = scene.one_of(&["forward", "input", "prerouting"])?;
    let port = scene.one_of(&["53", "8080", "10250"])?;
    let text = format!(
        "nft 'add table inet corp; add chain inet corp c {{ type filter hook {hook} priority 10 ; }}; \
         add rule inet corp c meta l4proto . th dport vmap {{ tcp . {port} : drop, udp . {port} : drop }}'"
    );
    Some(Fault::new(&place, text, Element::nft_chain(&place, "inet", "corp", "c")))
}

fn bridge(scene: &mut Scene<'_>) -> Option<Fault> {
    let hook = scene.one_of(&["forward", "input", "prerouting"])?;
    let all = ["ip protocol icmp", "tcp dport 8080", "ether type arp", "udp dport 53", "ip protocol tcp"];
    let rule = scene.one_of(&all)?;
    Some(table(scene, "bridge", hook, 10, &[format!("{rule} drop")]))
}

fn arp(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let hook = scene.one_of(&["input", "output"])?;
    let operation = scene.one_of(&["", "arp operation request ", "arp operation reply "])?;
    // A host that asks teaches others where it is, whether or not it answers them: then nothing is lost for a while.
    let flush = if hook == "input" && operation.contains("request") { "" } else { "; ip neigh flush all" };
    let text = format!(
        "nft 'add table arp corp; add chain arp corp c {{ type filter hook {hook} priority 0 ; }}; \
         add rule arp corp c {operation}drop'{flush}"
    );
    Some(Fault::new(&place, text, Element::nft_chain(&place, "arp", "corp", "c")))
}

fn device(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    let hook = scene.one_of(&["ingress", "egress"])?;
    let rule =
        scene.one_of(&["udp dport 8472", "ip protocol icmp", "tcp dport 8080", "meta length > 1000"])?;
    let text = format!(
        "nft 'add table netdev corp; add chain netdev corp c {{ type filter hook {hook} device {link} priority 0 ; }}; \
         add rule netdev corp c {rule} drop'"
    );
    Some(Fault::new(&place, text, Element::nft_chain(&place, "netdev", "corp", "c")))
}

fn translates(scene: &mut Scene<'_>) -> Option<Fault> {
    let port = scene.one_of(&["8080", "80", "53"])?;
    Some(table(scene, "ip", "prerouting", -110, &[format!("tcp dport {port} dnat to :9")]))
}

fn ipsec(scene: &mut Scene<'_>) -> Option<Fault> {
    let (name, place, _) = scene.at_node();
    let other = scene.other_node(&name);
    let ranges = |scene: &Scene<'_>, it| {
        let all = scene.snapshot.cluster.node(it)?.pod_cidrs();
        all.into_iter().find(|it| it.addr().is_ipv4())
    };
    let (own, other) = (ranges(scene, &name)?, ranges(scene, &other)?);
    let (from, to) = if scene.dice.bool() { (own, other) } else { (other, own) };
    // What is forwarded is looked at twice: as what came, and as what is to leave.
    let direction = if scene.dice.bool() { "fwd" } else { "out" };
    let text = format!("ip xfrm policy add src {from} dst {to} dir {direction} action block");
    Some(Fault::new(&place, text, Element::ruleset(&place, "xfrm")))
}
