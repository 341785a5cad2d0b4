//! Kernel switches, traffic control, IPsec, connection tracking, sockets and counters.

use std::collections::BTreeMap;

use super::{Facts, at, links::link_name, yes_no};
use crate::{
    ConntrackEntry, ConntrackTuple, Element, NetNs, Observed, Place, Qdisc, Socket, SocketProtocol,
    SocketState, SysctlKey, TcAction, TcFilter, XfrmPolicy,
};

/// Switches that are counters.
const COUNTING: &[&str] = &["net/netfilter/nf_conntrack_count", "net/nf_conntrack_count"];
/// The first of the ports that the kernel gives out by itself (`ip_local_port_range` begins here by default).
const FIRST_EPHEMERAL: u16 = 32_768;

pub(super) fn of_namespace(facts: &mut Facts<'_>, place: &Place, net: &NetNs) {
    sysctls(facts, place, net);
    for qdisc in facts.items(|| at(place, ["qdisc"]), &net.qdiscs) {
        of_qdisc(facts, place, &link_name(net, qdisc.link), qdisc);
    }
    for filter in facts.items(|| at(place, ["tc"]), &net.tc_filters) {
        let link = link_name(net, filter.link);
        let element = Element::tc(place, &link, &filter.direction, filter.priority);
        facts.add(element, filter_text(net, filter));
    }
    for policy in facts.items(|| at(place, ["xfrm"]), &net.xfrm_policies) {
        facts.add(Element::xfrm_policy(place, policy.index), policy_text(policy));
    }
    conntrack(facts, place, net);
    for socket in facts.items(|| at(place, ["socket"]), &net.sockets) {
        of_socket(facts, place, net, socket);
    }
    match &net.counters {
        Observed::Known(counters) => counters_of(facts, place, counters),
        Observed::Absent => {}
        Observed::NotCollected(reason) => facts.not_collected(at(place, ["counter"]), reason),
    }
}

fn sysctls(facts: &mut Facts<'_>, place: &Place, net: &NetNs) {
    let sysctls = match &net.sysctls {
        Observed::Known(sysctls) => sysctls,
        Observed::Absent => return,
        Observed::NotCollected(reason) => return facts.not_collected(at(place, ["sysctl"]), reason),
    };
    for (key, value) in &sysctls.values {
        let element = Element::sysctl(place, key);
        // Lists are separated by tabs.
        let text = value.split_whitespace().collect::<Vec<_>>().join(" ");
        if COUNTING.contains(&SysctlKey::path(key)) {
            facts.add_passing(element, text);
        } else {
            facts.add(element, text);
        }
    }
    for (key, reason) in &sysctls.unreadable {
        facts.not_collected(Element::sysctl(place, key), reason);
    }
}

fn of_qdisc(facts: &mut Facts<'_>, place: &Place, link: &str, qdisc: &Qdisc) {
    let parent = if qdisc.is_root() {
        "root".to_owned()
    } else if qdisc.is_ingress() {
        "ingress".to_owned()
    } else {
        format!("{:x}:{:x}", qdisc.parent >> 16, qdisc.parent & 0xffff)
    };
    let mut words = vec![qdisc.kind.clone()];
    let bucket = qdisc.token_bucket;
    words.extend(bucket.map(|it| format!("rate {} B/s burst {} B limit {} B", it.rate, it.burst, it.limit)));
    words.extend(qdisc.limit.map(|it| format!("limit {it}")));
    facts.add(Element::qdisc(place, link, &parent), words.join(" "));
    facts.add_passing(at(place, ["qdisc", link, &parent, "drops"]), qdisc.drops.to_string());
}

fn filter_text(net: &NetNs, filter: &TcFilter) -> String {
    let mut words = vec![filter.kind.clone(), format!("protocol {:#06x}", filter.protocol)];
    for key in &filter.keys {
        words.push(format!("match {:#010x}/{:#010x} at {}", key.value, key.mask, key.offset));
    }
    words.extend(filter.not_modelled.iter().cloned());
    for action in &filter.actions {
        let to = |verb: &str, link, ingress| {
            format!("{verb} {} {}", if ingress { "ingress" } else { "egress" }, link_name(net, link))
        };
        words.push(match action {
            TcAction::Drop => "drop".to_owned(),
            TcAction::Pass => "pass".to_owned(),
            TcAction::Continue => "continue".to_owned(),
            TcAction::Redirect { link, ingress } => to("redirect", *link, *ingress),
            TcAction::Mirror { link, ingress } => to("mirror", *link, *ingress),
            TcAction::Other(name) => name.clone(),
        });
    }
    words.join(" ")
}

fn policy_text(policy: &XfrmPolicy) -> String {
    let verdict = if policy.blocks { "block" } else { "allow" };
    let mut words = vec![
        format!("dir {}", policy.direction),
        format!("priority {}", policy.priority),
        format!("src {} dst {}", policy.source, policy.destination),
        format!("proto {}", policy.protocol),
        format!("{verdict} with {} transforms", policy.n_templates),
    ];
    words.extend(policy.not_modelled.iter().cloned());
    words.join(" ")
}

fn conntrack(facts: &mut Facts<'_>, place: &Place, net: &NetNs) {
    let mut number = |name: &str, value: &Observed<u64>, is_passing: bool| {
        let element = at(place, ["conntrack", name]);
        match value {
            Observed::Known(value) if is_passing => facts.add_passing(element, value.to_string()),
            Observed::Known(value) => facts.add(element, value.to_string()),
            Observed::Absent => {}
            Observed::NotCollected(reason) => facts.not_collected(element, reason),
        }
    };
    number("count", &net.conntrack.count, true);
    number("max", &net.conntrack.max, false);
    number("buckets", &net.conntrack.buckets, false);
    match &net.conntrack.statistics {
        Observed::Known(statistics) => {
            for (name, value) in statistics {
                facts.add_passing(at(place, ["conntrack", "statistics", name]), value.to_string());
            }
        }
        Observed::Absent => {}
        Observed::NotCollected(reason) => {
            facts.not_collected(at(place, ["conntrack", "statistics"]), reason);
        }
    }
    for entry in facts.items(|| at(place, ["conntrack", "entry"]), &net.conntrack.entries) {
        let element = Element::conntrack_entry(place, &tuple_text(&entry.original));
        facts.add_passing(element, entry_text(entry));
    }
}

fn tuple_text(it: &ConntrackTuple) -> String {
    let (source, destination) = (it.source, it.destination);
    format!("{} {source}:{} → {destination}:{}", it.protocol, it.source_port, it.destination_port)
}

fn entry_text(entry: &ConntrackEntry) -> String {
    let replied = if entry.replied { "answered" } else { "not answered" };
    format!("answers as {}, {replied}, mark {:#x}", tuple_text(&entry.reply), entry.mark)
}

fn of_socket(facts: &mut Facts<'_>, place: &Place, net: &NetNs, socket: &Socket) {
    let protocol = match socket.protocol {
        SocketProtocol::Tcp => "tcp",
        SocketProtocol::Udp => "udp",
        SocketProtocol::Raw => "raw",
    };
    let state = match socket.state {
        SocketState::Listening => "listening",
        SocketState::Unconnected => "unconnected",
        SocketState::Connected => "connected",
    };
    let mut words = vec![format!("{} {state}", socket.address)];
    if socket.is_v6_only {
        words.push(format!("v6only {}", yes_no(true)));
    }
    words.extend(socket.link.map(|it| format!("dev {}", link_name(net, it))));
    words.extend(socket.program.iter().map(|it| format!("by {it}")));
    let element = Element::socket(place, protocol, socket.port);
    let is_client = socket.protocol == SocketProtocol::Udp && socket.port >= FIRST_EPHEMERAL;
    if is_client || socket.state == SocketState::Connected {
        facts.add_passing(element, words.join(" "));
    } else {
        facts.add(element, words.join(" "));
    }
    let queue = format!("{} wait of {}", socket.receive_queue, socket.backlog);
    let port = socket.port.to_string();
    facts.add_passing(at(place, ["socket", protocol, &port, "queue"]), queue);
}

fn counters_of(facts: &mut Facts<'_>, place: &Place, counters: &BTreeMap<String, u64>) {
    for (name, value) in counters {
        facts.add_passing(at(place, ["counter", name]), value.to_string());
    }
}
