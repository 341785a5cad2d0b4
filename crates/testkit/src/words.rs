//! The words that a case breaks things with, and the changes that they mean.

use std::{net::IpAddr, str::FromStr};

use hopwise_change::Change;
use hopwise_snapshot::{
    Mac, NetNs, NodeName, Observed, Place, PodName, Snapshot, SysctlKey, XfrmPolicy, tables,
};
use ipnet::IpNet;

use crate::{names, object_words, route_words, rule_words};

/// A word of the vocabulary.
pub struct WordSpec {
    /// The word.
    pub name: &'static str,
    /// What follows it.
    pub usage: &'static str,
    read: fn(&Scene<'_>, &[&str]) -> Result<Vec<Change>, String>,
}

/// Where something is done, and the facts that it is done to.
pub(crate) struct Scene<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) place: Place,
    pub(crate) net: &'a NetNs,
}

const fn word(
    name: &'static str,
    usage: &'static str,
    read: fn(&Scene<'_>, &[&str]) -> Result<Vec<Change>, String>,
) -> WordSpec {
    WordSpec { name, usage, read }
}

/// The vocabulary. `LINK` is an interface's name, or `pod/NS/NAME` for the node's end of a pod's veth pair.
pub static WORDS: &[WordSpec] = &[
    word("sysctl", "KEY=VALUE", sysctl),
    word("write", "PATH 'TEXT', in which \\n is a line feed", write),
    word("rm", "PATH", rm),
    word("link", "LINK up|down", link),
    word("link-del", "LINK", link_del),
    word("nomaster", "LINK", nomaster),
    word("arp", "LINK on|off", arp),
    word("mtu", "LINK BYTES", mtu),
    word("mac", "LINK MAC", mac),
    word("bridge-port", "LINK ATTRIBUTE VALUE", bridge_port),
    word("vxlan", "DEVICE vni|port|local VALUE", vxlan),
    word("address-add", "LINK ADDRESS/LENGTH", address_add),
    word("address-del", "LINK ADDRESS/LENGTH", address_del),
    word("route-add", "[KIND] DESTINATION [via IP] [dev LINK] [table T] [metric N]", route_words::add),
    word("route-del", "DESTINATION [table T]", route_words::del),
    word(
        "rule-add",
        "[-6] pref N [not] [from NET] [to NET] [fwmark V/M] lookup T|blackhole|unreachable|prohibit",
        route_words::rule_add,
    ),
    word("rule-del", "[-6] pref N", route_words::rule_del),
    word("neigh-set", "LINK IP MAC", neigh_set),
    word("neigh-del", "LINK IP", neigh_del),
    word("fdb-set", "DEVICE NODE IP", fdb_set),
    word("fdb-del", "DEVICE NODE", fdb_del),
    word("station-set", "LINK MAC", station_set),
    word("iptables-policy", "TABLE CHAIN ACCEPT|DROP", rule_words::policy),
    word("iptables-flush", "TABLE", rule_words::flush),
    word("iptables-flush-chain", "TABLE CHAIN", rule_words::flush_chain),
    word("iptables-delete", "TABLE CHAIN POSITION", rule_words::delete),
    word("iptables-append", "TABLE CHAIN RULE", rule_words::append),
    word("iptables-insert", "TABLE CHAIN POSITION RULE", rule_words::insert),
    word("ip6tables-policy", "TABLE CHAIN ACCEPT|DROP", rule_words::policy_6),
    word("ip6tables-flush", "TABLE", rule_words::flush_6),
    word("ip6tables-flush-chain", "TABLE CHAIN", rule_words::flush_chain_6),
    word("ip6tables-delete", "TABLE CHAIN POSITION", rule_words::delete_6),
    word("ip6tables-append", "TABLE CHAIN RULE", rule_words::append_6),
    word("ip6tables-insert", "TABLE CHAIN POSITION RULE", rule_words::insert_6),
    word("nft-chain", "FAMILY TABLE CHAIN TYPE HOOK PRIORITY [DEVICE]", rule_words::nft_chain),
    word(
        "nft-rule",
        "FAMILY TABLE CHAIN [ip saddr|daddr NET] [tcp|udp dport PORT] drop|accept|reject",
        rule_words::nft_rule,
    ),
    word("qdisc", "LINK tbf RATE-BYTES BURST-BYTES LIMIT-BYTES", qdisc),
    word("tc-drop", "LINK ingress|egress PRIORITY dst NET", tc_drop),
    word("tc-bpf", "LINK ingress|egress PRIORITY", tc_bpf),
    word("xdp", "LINK PROGRAM-NUMBER", xdp),
    word("xfrm-block", "in|out|fwd SOURCE-NET DESTINATION-NET", xfrm_block),
    word("socket-close", "tcp|udp PORT", socket_close),
    word("process", "PROGRAM stopped|gone", process),
    word("reserve", "NETWORK RANGE", reserve),
];

/// The words for objects of the API server, which stand behind the place `api`.
pub static OBJECT_WORDS: &[&str] = &[
    "service NAMESPACE/NAME selector KEY=VALUE[,KEY=VALUE]",
    "service NAMESPACE/NAME target-port PORT/tcp|udp NAME|NUMBER",
    "pod NAMESPACE/NAME unready|pending",
    "configmap NAMESPACE/NAME KEY replace OLD NEW",
    "node NAME no-pod-cidr",
    "node NAME internal-ip IP",
    "log APP NODE LINE",
    "networkpolicy NAMESPACE deny-ingress",
];

/// A base after changes in the words of a case, one after the other.
///
/// # Errors
/// What is wrong with a line, or why its change cannot be made.
pub fn after(base: &Snapshot, lines: &[&str]) -> Result<Snapshot, String> {
    let mut snapshot = base.clone();
    for line in lines {
        make(&mut snapshot, line)?;
    }
    Ok(snapshot)
}

/// Does what one line means, and says by which changes.
pub(crate) fn make(snapshot: &mut Snapshot, line: &str) -> Result<Vec<Change>, String> {
    if let Some(words) = line.strip_prefix("api: ")
        && let Some(edited) = object_words::edit(snapshot, words)
    {
        return edited.map(|()| Vec::new());
    }
    let changes = changes(snapshot, line)?;
    for change in &changes {
        change.apply(snapshot).map_err(|it| format!("`{line}` cannot be done: {it}"))?;
    }
    Ok(changes)
}

/// The changes that `PLACE: WORDS` means for a snapshot; what is wrong, if it means none.
pub(crate) fn changes(snapshot: &Snapshot, text: &str) -> Result<Vec<Change>, String> {
    let Some((place, words)) = text.split_once(": ") else {
        return Err(format!("expected `PLACE: WORDS`, found `{text}`"));
    };
    if place == "api" {
        return object_words::changes(snapshot, words);
    }
    let place = if place.starts_with("pod/") { place.parse()? } else { Place::Node(NodeName::from(place)) };
    let net = snapshot.net(&place).ok_or_else(|| format!("{place} is not in this base"))?;
    let all = shlex::split(words).ok_or_else(|| format!("`{words}` has a quote without its end"))?;
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let Some((name, rest)) = all.split_first() else {
        return Err(format!("expected words after `{place}:`"));
    };
    let Some(word) = WORDS.iter().find(|it| it.name == *name) else {
        let names: Vec<&str> = WORDS.iter().map(|it| it.name).collect();
        return Err(format!("`{name}` is no word of a case; expected one of {}", names.join(", ")));
    };
    let scene = Scene { snapshot, place, net };
    (word.read)(&scene, rest).map_err(|what| {
        let found = rest.join(" ");
        if what.is_empty() {
            format!("`{name}`: expected {name} {}, found `{name} {found}`", word.usage)
        } else {
            format!("`{name} {found}`: {what}")
        }
    })
}

/// What a reader says when words do not fit its usage.
pub(crate) fn unfit<T>() -> Result<T, String> {
    Err(String::new())
}

pub(crate) fn parsed<T: FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("expected {what}, found `{word}`"))
}

impl Scene<'_> {
    /// The name of an interface that is there.
    pub(crate) fn link(&self, word: &str) -> Result<String, String> {
        let name = match word.strip_prefix("pod/") {
            Some(pod) => names::veth(self.snapshot, &PodName::from_str(pod)?)?.name.clone(),
            None => word.to_owned(),
        };
        if self.net.links.known().is_some() && self.net.link(&name).is_none() {
            return Err(format!("{} has no interface {name}", self.place));
        }
        Ok(name)
    }
}

fn sysctl(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [word] = words else { return unfit() };
    let Some((key, value)) = word.split_once('=') else { return unfit() };
    let key = SysctlKey::from_dotted(key);
    let known = scene.net.sysctls.known().is_some_and(|it| it.values.contains_key(&key));
    if !known {
        return Err(format!("{} has no switch {key}", scene.place));
    }
    Ok(vec![Change::Sysctl { place: scene.place.clone(), key, value: value.to_owned() }])
}

fn process(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [program, state @ ("stopped" | "gone")] = words else { return unfit() };
    let place = scene.place.clone();
    let node = place.as_node().and_then(|it| scene.snapshot.nodes.get(it)?.known());
    let processes = node.and_then(|it| it.processes.known()).into_iter().flatten();
    if !processes.into_iter().any(|it| it.program == *program) {
        return Err(format!("{place} runs no {program}"));
    }
    Ok(vec![Change::ProcessHalted { place, program: (*program).to_owned(), is_gone: *state == "gone" }])
}

/// The files that host-local keeps of addresses that are taken: all of a range but its first and last two.
fn reserve(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [network, range] = words else { return unfit() };
    let range: ipnet::Ipv4Net = parsed(range, "an IPv4 range")?;
    let path = |it: std::net::Ipv4Addr| format!("/var/lib/cni/networks/{network}/{it}");
    let taken = range.hosts().skip(1).map(|it| Change::FileWritten {
        place: scene.place.clone(),
        path: path(it),
        content: String::new(),
    });
    Ok(taken.collect())
}

fn write(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [path, text] = words else { return unfit() };
    if !path.starts_with('/') {
        return Err(format!("expected an absolute path, found `{path}`"));
    }
    let content = text.replace("\\n", "\n");
    Ok(vec![Change::FileWritten { place: scene.place.clone(), path: (*path).to_owned(), content }])
}

fn rm(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [path] = words else { return unfit() };
    let file = scene.snapshot.files(&scene.place).and_then(|it| it.get(*path));
    // Of some directories only the names are read.
    let node = scene.place.as_node().and_then(|it| scene.snapshot.nodes.get(it)?.known());
    let is_listed = path.rsplit_once('/').is_some_and(|(directory, name)| {
        let names = node.and_then(|it| it.directories.get(directory)?.known());
        names.into_iter().flatten().any(|it| it == name)
    });
    if !matches!(file, Some(Observed::Known(_))) && !is_listed {
        return Err(format!("{} has no file {path}", scene.place));
    }
    Ok(vec![Change::FileRemoved { place: scene.place.clone(), path: (*path).to_owned() }])
}

fn link(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, state @ ("up" | "down")] = words else { return unfit() };
    let link = scene.link(link)?;
    Ok(vec![Change::LinkUp { place: scene.place.clone(), link, up: *state == "up" }])
}

fn link_del(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link] = words else { return unfit() };
    Ok(vec![Change::LinkRemoved { place: scene.place.clone(), link: scene.link(link)? }])
}

fn nomaster(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link] = words else { return unfit() };
    Ok(vec![Change::LinkMaster { place: scene.place.clone(), link: scene.link(link)?, master: None }])
}

fn arp(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, state @ ("on" | "off")] = words else { return unfit() };
    Ok(vec![Change::LinkArp { place: scene.place.clone(), link: scene.link(link)?, on: *state == "on" }])
}

fn mtu(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, bytes] = words else { return unfit() };
    let mtu = parsed(bytes, "a number of bytes")?;
    Ok(vec![Change::LinkMtu { place: scene.place.clone(), link: scene.link(link)?, mtu }])
}

fn mac(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, mac] = words else { return unfit() };
    let mac = parsed::<Mac>(mac, "an Ethernet address")?;
    Ok(vec![Change::LinkMac { place: scene.place.clone(), link: scene.link(link)?, mac }])
}

fn bridge_port(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [port, attribute, value] = words else { return unfit() };
    Ok(vec![Change::BridgePort {
        place: scene.place.clone(),
        port: scene.link(port)?,
        attribute: (*attribute).to_owned(),
        value: (*value).to_owned(),
    }])
}

fn vxlan(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, attribute @ ("vni" | "port" | "local"), value] = words else { return unfit() };
    Ok(vec![Change::Vxlan {
        place: scene.place.clone(),
        link: scene.link(link)?,
        attribute: (*attribute).to_owned(),
        value: (*value).to_owned(),
    }])
}

fn address_add(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, address] = words else { return unfit() };
    let address = parsed(address, "an address with its prefix length")?;
    Ok(vec![Change::AddressAdded { place: scene.place.clone(), link: scene.link(link)?, address }])
}

fn address_del(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [name, address] = words else { return unfit() };
    let address: IpNet = parsed(address, "an address with its prefix length")?;
    let link = scene.link(name)?;
    let index = scene.net.link(&link).map(|it| it.index);
    let mut held = scene.net.addresses.known().into_iter().flatten();
    if !held.any(|it| Some(it.link) == index && it.address == address) {
        return Err(format!("{link} of {} does not hold {address}", scene.place));
    }
    Ok(vec![Change::AddressRemoved { place: scene.place.clone(), link, address }])
}

fn neigh_set(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, address, mac] = words else { return unfit() };
    Ok(vec![Change::NeighbourReplaced {
        place: scene.place.clone(),
        link: scene.link(link)?,
        address: parsed(address, "an address")?,
        mac: parsed(mac, "an Ethernet address")?,
    }])
}

fn neigh_del(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, address] = words else { return unfit() };
    let address: IpAddr = parsed(address, "an address")?;
    Ok(vec![Change::NeighbourRemoved { place: scene.place.clone(), link: scene.link(link)?, address }])
}

fn fdb_set(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, node, remote] = words else { return unfit() };
    Ok(vec![Change::FdbReplaced {
        place: scene.place.clone(),
        link: scene.link(link)?,
        mac: names::vtep(scene.snapshot, node)?,
        remote: Some(parsed(remote, "an address")?),
    }])
}

fn fdb_del(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, node] = words else { return unfit() };
    let mac = names::vtep(scene.snapshot, node)?;
    Ok(vec![Change::FdbRemoved { place: scene.place.clone(), link: scene.link(link)?, mac }])
}

fn station_set(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, mac] = words else { return unfit() };
    let mac = parsed(mac, "an Ethernet address")?;
    Ok(vec![Change::FdbReplaced { place: scene.place.clone(), link: scene.link(link)?, mac, remote: None }])
}

fn qdisc(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, "tbf", rate, burst, limit] = words else { return unfit() };
    let token_bucket = hopwise_snapshot::TokenBucket {
        rate: parsed(rate, "bytes per second")?,
        burst: parsed(burst, "bytes")?,
        limit: parsed(limit, "bytes")?,
    };
    Ok(vec![Change::TokenBucketAdded { place: scene.place.clone(), link: scene.link(link)?, token_bucket }])
}

fn tc_drop(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, direction @ ("ingress" | "egress"), priority, "dst", net] = words else { return unfit() };
    Ok(vec![Change::TcDropAdded {
        place: scene.place.clone(),
        link: scene.link(link)?,
        direction: (*direction).to_owned(),
        priority: parsed(priority, "a priority")?,
        destination: parsed(net, "an IPv4 network")?,
    }])
}

fn tc_bpf(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, direction @ ("ingress" | "egress"), priority] = words else { return unfit() };
    Ok(vec![Change::TcProgramAdded {
        place: scene.place.clone(),
        link: scene.link(link)?,
        direction: (*direction).to_owned(),
        priority: parsed(priority, "a priority")?,
    }])
}

fn xdp(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [link, program] = words else { return unfit() };
    let program = parsed(program, "the number of a program")?;
    Ok(vec![Change::XdpAttached { place: scene.place.clone(), link: scene.link(link)?, program }])
}

fn xfrm_block(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [direction @ ("in" | "out" | "fwd"), source, destination] = words else { return unfit() };
    // The kernel wants the direction in an index' last bits (`xfrm_policy_id2dir`, net/xfrm/xfrm_user.c).
    let own = ["in", "out", "fwd"].iter().position(|it| it == direction).unwrap_or(0);
    let held = scene.net.xfrm_policies.known().into_iter().flatten();
    let policy = XfrmPolicy {
        index: 8 * (held.map(|it| it.index / 8).max().unwrap_or(0) + 1) + u32::try_from(own).unwrap_or(0),
        direction: (*direction).to_owned(),
        priority: 0,
        blocks: true,
        source: parsed(source, "a network")?,
        destination: parsed(destination, "a network")?,
        protocol: 0,
        n_templates: 0,
        not_modelled: Vec::new(),
    };
    Ok(vec![Change::XfrmPolicyAdded { place: scene.place.clone(), policy }])
}

fn socket_close(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let [protocol @ ("tcp" | "udp"), port] = words else { return unfit() };
    Ok(vec![Change::SocketClosed {
        place: scene.place.clone(),
        protocol: (*protocol).to_owned(),
        port: parsed(port, "a port")?,
    }])
}

/// The number of a table by its name.
pub(crate) fn table(word: &str) -> Result<u32, String> {
    match word {
        "main" => Ok(tables::MAIN),
        "local" => Ok(tables::LOCAL),
        "default" => Ok(tables::DEFAULT),
        other => parsed(other, "main, local, default or the number of a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base;

    fn said(text: &str) -> String {
        changes(&base("vxlan").unwrap(), text).unwrap_err()
    }

    #[test]
    fn what_is_wrong_with_words_is_named_with_what_was_expected() {
        for (text, expected) in [
            ("sysctl a=1", "expected `PLACE: WORDS`, found `sysctl a=1`"),
            ("w9: rm /x", "node/w9 is not in this base"),
            ("pod/a: rm /x", "expected NAMESPACE/NAME, found `a`"),
            ("w1: write /x 'y", "`write /x 'y` has a quote without its end"),
            ("w1: link cni0", "`link`: expected link LINK up|down, found `link cni0`"),
            ("w1: link cni7 up", "`link cni7 up`: node/w1 has no interface cni7"),
            ("w1: mtu cni0 big", "`mtu cni0 big`: expected a number of bytes, found `big`"),
            ("w1: sysctl net.x=1", "`sysctl net.x=1`: node/w1 has no switch net.x"),
            ("w1: rm /x", "`rm /x`: node/w1 has no file /x"),
            (
                "w1: address-del cni0 10.0.0.1/8",
                "`address-del cni0 10.0.0.1/8`: cni0 of node/w1 does not hold 10.0.0.1/8",
            ),
            (
                "w1: route-del 10.9.0.0/16",
                "`route-del 10.9.0.0/16`: node/w1 has no route 10.9.0.0/16 in table main",
            ),
            (
                "w1: iptables-delete nat X 1",
                "`iptables-delete nat X 1`: iptables-nft of node/w1 has no rule 1 in nat X",
            ),
        ] {
            assert_eq!(said(text), expected);
        }
        assert!(
            said("w1: reboot").starts_with("`reboot` is no word of a case; expected one of sysctl, write, ")
        );
    }

    #[test]
    fn no_word_is_there_twice() {
        let mut names: Vec<&str> = WORDS.iter().map(|it| it.name).collect();
        names.sort_unstable();
        let n_all = names.len();
        names.dedup();
        assert_eq!(names.len(), n_all);
    }
}
