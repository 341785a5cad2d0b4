//! A lab's node against nodes of a real cluster, with names and addresses replaced by what they stand for.
//!
//! The sample is of kubeadm 1.34 with flannel 0.28 (VXLAN, iptables) on the same kind of machine. What a node has
//! several of (pods, Services) becomes one: what is compared is which kinds of things there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::{Labs, plain_user};

/// What a node shows, by tool.
struct Node {
    name: &'static str,
    texts: BTreeMap<&'static str, String>,
}

/// The tools, and the files of the sample that hold what they print.
const TOOLS: &[(&str, &[&str], &str)] = &[
    ("addr", &["ip", "-j", "-d", "addr", "show"], "ip-addr.json"),
    (
        "route",
        &["sh", "-c", "ip -j -d -4 route show table all; ip -j -d -6 route show table all"],
        "ip-route.json",
    ),
    ("rule", &["ip", "-j", "rule"], "ip-rule.json"),
    ("neigh", &["ip", "-j", "neigh", "show"], "ip-neigh.json"),
    ("fdb", &["bridge", "-j", "fdb", "show"], "bridge-fdb.json"),
    ("link", &["bridge", "-j", "-d", "link", "show"], "bridge-link.json"),
    ("iptables", &["iptables-nft-save"], "iptables-save.txt"),
    ("ip6tables", &["ip6tables-nft-save"], "ip6tables-save.txt"),
    ("env", &["cat", "/run/flannel/subnet.env"], "subnet.env"),
];

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/samples/kubeadm-1.34-flannel-vxlan-iptables")
}

impl Node {
    fn of_sample(name: &'static str) -> Self {
        let directory = samples().join(name);
        let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
        Self { name, texts: TOOLS.iter().map(|(tool, _, file)| (*tool, read(file))).collect() }
    }

    fn of_lab(labs: &Labs, name: &'static str) -> Self {
        let run = |command: &[&str]| labs.exec("demo", name, command);
        Self { name, texts: TOOLS.iter().map(|(tool, command, _)| (*tool, run(command))).collect() }
    }

    /// The objects that a tool printed; several lists in a row are one.
    fn objects(&self, tool: &str) -> Vec<Value> {
        let lists = serde_json::Deserializer::from_str(&self.texts[tool]).into_iter::<Vec<Value>>();
        lists.flat_map(|it| it.unwrap_or_else(|error| panic!("{} {tool}: {error}", self.name))).collect()
    }
}

/// What names and addresses of a node stand for.
struct Symbols {
    links: BTreeMap<String, String>,
    words: BTreeMap<String, String>,
}

impl Symbols {
    fn of(node: &Node) -> Self {
        let mut symbols = Self { links: BTreeMap::new(), words: BTreeMap::new() };
        let links = node.objects("addr");
        for link in &links {
            let name = link["ifname"].as_str().unwrap();
            let symbol = if name.starts_with("veth") { "POD" } else { name };
            symbols.links.insert(name.to_owned(), symbol.to_owned());
            symbols.word(link["address"].as_str().unwrap_or_default(), &format!("MAC({symbol})"));
            for address in link["addr_info"].as_array().unwrap() {
                let local = address["local"].as_str().unwrap();
                if local.starts_with("fe80:") {
                    symbols.word(local, &format!("LINK_LOCAL({symbol})"));
                    let last = local.rsplit(':').next().unwrap();
                    symbols.words.insert(format!("solicited:{last}"), format!("SOLICITED({symbol})"));
                }
            }
        }
        let own = |name: &str| -> String {
            let link = links.iter().find(|it| it["ifname"] == name).unwrap();
            link["addr_info"][0]["local"].as_str().unwrap().to_owned()
        };
        let (uplink, net) = (own("eth0"), own("flannel.1"));
        symbols.word(&uplink, "NODE");
        for (host, symbol) in [("0", "POD_NET"), ("1", "POD_GATEWAY"), ("255", "POD_BROADCAST")] {
            symbols.word(&format!("{}{host}", net.strip_suffix('0').unwrap()), symbol);
        }
        symbols.word(&format!("{net}/24"), "POD_RANGE");
        symbols.word("192.168.50.1", "GATEWAY");
        symbols
    }

    fn word(&mut self, word: &str, symbol: &str) {
        self.words.insert(word.to_owned(), symbol.to_owned());
    }

    fn link(&self, name: &str) -> String {
        self.links.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// The symbol of an address, a range or a MAC; those of other nodes and of pods become one each.
    fn address(&self, word: &str) -> String {
        if let Some(symbol) = self.words.get(word) {
            return symbol.clone();
        }
        let bytes: Vec<&str> = word.split('.').collect();
        match bytes.as_slice() {
            ["192", "168", "50", _] => "OTHER_NODE".to_owned(),
            ["10", "244", _, "0/24"] => "OTHER_RANGE".to_owned(),
            ["10", "244", _, "0"] => "OTHER_NET".to_owned(),
            ["10", "244", _, host] if !host.contains('/') => "POD_IP".to_owned(),
            _ if word.starts_with("33:33:ff:") => "SOLICITED".to_owned(),
            _ if word.matches(':').count() == 5
                && !word.starts_with("33:33:")
                && !word.starts_with("01:00:5e:") =>
            {
                "OTHER_MAC".to_owned()
            }
            _ => word.to_owned(),
        }
    }
}

/// An object as a line: only these keys, with symbols for names and addresses.
fn line(symbols: &Symbols, object: &Value, leave_out: &[&str]) -> String {
    fn walk(symbols: &Symbols, value: &Value, leave_out: &[&str], out: &mut String) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter().filter(|(key, _)| !leave_out.contains(&key.as_str())) {
                    out.push_str(key);
                    out.push('=');
                    match (key.as_str(), value) {
                        ("ifname" | "dev" | "master" | "link" | "label", Value::String(name)) => {
                            out.push_str(&symbols.link(name));
                        }
                        _ => walk(symbols, value, leave_out, out),
                    }
                    out.push(' ');
                }
            }
            Value::Array(items) => items.iter().for_each(|it| {
                walk(symbols, it, leave_out, out);
                out.push(',');
            }),
            Value::String(text) => out.push_str(&symbols.address(text)),
            other => out.push_str(&other.to_string()),
        }
    }
    let mut text = String::new();
    walk(symbols, object, leave_out, &mut text);
    text.trim_end().to_owned()
}

/// What differs from interface to interface and from moment to moment.
const OF_THE_MOMENT: &[&str] = &[
    "ifindex",
    "link_index",
    "link_netnsid",
    "address",
    "addr_info",
    "num_tx_queues",
    "num_rx_queues",
    "bridge_id",
    "root_id",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "id",
    "no",
    "designated_port",
    "hold_timer",
    "message_age_timer",
    "forward_delay_timer",
    "gso_max_size",
    "gso_max_segs",
    "tso_max_size",
    "tso_max_segs",
    "gro_max_size",
    "gso_ipv4_max_size",
    "gro_ipv4_max_size",
];

fn links(node: &Node) -> BTreeSet<String> {
    let symbols = Symbols::of(node);
    let leave_out: Vec<&str> = OF_THE_MOMENT.iter().filter(|it| **it != "id").copied().collect();
    let link = |it: &Value| {
        // A VXLAN's identifier is one, a port's number is not.
        let leave_out =
            if it["linkinfo"]["info_kind"] == "vxlan" { leave_out.as_slice() } else { OF_THE_MOMENT };
        line(&symbols, it, leave_out)
    };
    node.objects("addr").iter().map(link).collect()
}

fn addresses(node: &Node) -> BTreeSet<String> {
    let symbols = Symbols::of(node);
    let mut all = BTreeSet::new();
    for link in node.objects("addr") {
        for address in link["addr_info"].as_array().unwrap() {
            // iproute2 prints a flag of an address as a key; `nodad` leaves one that says how it was made.
            let text = line(&symbols, address, &["nodad"]);
            all.insert(format!("{}: {text}", symbols.link(link["ifname"].as_str().unwrap())));
        }
    }
    all
}

fn routes(node: &Node) -> BTreeSet<String> {
    let symbols = Symbols::of(node);
    node.objects("route").iter().map(|it| line(&symbols, it, &[])).collect()
}

fn routing_rules(node: &Node) -> BTreeSet<String> {
    let symbols = Symbols::of(node);
    node.objects("rule").iter().map(|it| line(&symbols, it, &[])).collect()
}

/// Permanent neighbours: the others come and go with the traffic.
fn neighbours(node: &Node) -> BTreeSet<String> {
    let symbols = Symbols::of(node);
    let permanent = node.objects("neigh").into_iter().filter(|it| it["state"][0] == "PERMANENT");
    permanent.map(|it| line(&symbols, &it, &[])).collect()
}

/// Permanent entries: the others are learned from traffic.
fn fdb(node: &Node) -> BTreeSet<String> {
    let symbols = Symbols::of(node);
    let permanent = node.objects("fdb").into_iter().filter(|it| it["state"] == "permanent");
    permanent.map(|it| line(&symbols, &it, &[])).collect()
}

fn ports(node: &Node) -> BTreeSet<String> {
    let symbols = Symbols::of(node);
    node.objects("link").iter().map(|it| line(&symbols, it, &["ifindex", "link", "link_index"])).collect()
}

/// Rules with symbols: table, chain and rule, built-in chains with the places of their rules.
fn rules(node: &Node, tool: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut table = String::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for text in node.texts[tool].lines() {
        if let Some(name) = text.strip_prefix('*') {
            name.clone_into(&mut table);
            places.clear();
        } else if let Some(chain) = text.strip_prefix(':') {
            let mut words = chain.split(' ');
            let name = chain_symbol(words.next().unwrap());
            all.insert(format!("{table} :{name} {}", words.next().unwrap()));
        } else if let Some((_, rule)) = text.split_once("-A ") {
            let (chain, rule) = rule.split_once(' ').unwrap();
            let place = places.entry(chain.to_owned()).or_default();
            *place += 1;
            let place =
                if chain.starts_with("KUBE-S") || chain.starts_with("KUBE-NODEPORTS") { 0 } else { *place };
            all.insert(format!("{table} {} {place}: {}", chain_symbol(chain), rule_symbols(node, rule)));
        }
    }
    all
}

/// Chains of Services are named by a hash.
fn chain_symbol(name: &str) -> String {
    for prefix in ["KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-"] {
        if name.starts_with(prefix) {
            return format!("{prefix}HASH");
        }
    }
    name.to_owned()
}

fn rule_symbols(node: &Node, rule: &str) -> String {
    let symbols = Symbols::of(node);
    let is_service =
        |it: &str| it.matches('/').count() == 1 && it.starts_with(|it: char| it.is_ascii_lowercase());
    let word = |it: &str| -> String {
        let plain = it.trim_matches('"');
        let quote = if it.starts_with('"') { "\"" } else { "" };
        let end = if it.ends_with('"') && it.len() > 1 { "\"" } else { "" };
        let symbol = if plain.starts_with("KUBE-") {
            chain_symbol(plain)
        } else if is_service(plain) {
            "SERVICE".to_owned()
        } else if let Some((address, _)) =
            plain.split_once(':').filter(|(it, _)| it.matches('.').count() == 3)
        {
            format!("{}:PORT", plain_address(&symbols, address))
        } else if plain.starts_with("0.") {
            "PROBABILITY".to_owned()
        } else if !plain.is_empty() && plain.bytes().all(|it| it.is_ascii_digit()) {
            "NUMBER".to_owned()
        } else if matches!(plain, "tcp" | "udp") {
            "PROTOCOL".to_owned()
        } else {
            plain_address(&symbols, plain)
        };
        format!("{quote}{symbol}{end}")
    };
    // Older versions of iptables print two blanks before some names.
    rule.split(' ').filter(|it| !it.is_empty()).map(word).collect::<Vec<_>>().join(" ")
}

/// In rules, all endpoints and all addresses of Services are alike.
fn plain_address(symbols: &Symbols, text: &str) -> String {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    if length == "32" || length.is_empty() {
        let first: Vec<&str> = address.split('.').collect();
        if first.len() == 4 && first.iter().all(|it| it.parse::<u8>().is_ok()) {
            let is_service = first[0] == "10" && first[1] != "244";
            return format!("{}/{length}", if is_service { "CLUSTER_IP" } else { "ENDPOINT" });
        }
    }
    symbols.address(text)
}

fn assert_alike(what: &str, lab: &BTreeSet<String>, sample: &BTreeSet<String>) {
    let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        a.difference(b).cloned().collect::<Vec<_>>().join("\n  ")
    };
    assert!(
        lab == sample,
        "{what}\nonly in the lab:\n  {}\nonly in the sample:\n  {}",
        list(lab, sample),
        list(sample, lab)
    );
    assert!(!lab.is_empty(), "{what}: nothing was compared");
}

#[test]
fn a_lab_looks_as_a_cluster_that_kubeadm_and_flannel_made() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo"]);
    for (lab, sample) in [("cp", "n1"), ("w1", "n3"), ("w2", "n2")] {
        let (lab, sample) = (Node::of_lab(&labs, lab), Node::of_sample(sample));
        let what = |it: &str| format!("{it} of {} and {}", lab.name, sample.name);
        assert_alike(&what("links"), &links(&lab), &links(&sample));
        assert_alike(&what("addresses"), &addresses(&lab), &addresses(&sample));
        assert_alike(&what("routes"), &routes(&lab), &routes(&sample));
        assert_alike(&what("routing rules"), &routing_rules(&lab), &routing_rules(&sample));
        assert_alike(&what("neighbours"), &neighbours(&lab), &neighbours(&sample));
        assert_alike(&what("forwarding database"), &fdb(&lab), &fdb(&sample));
        assert_alike(&what("bridge ports"), &ports(&lab), &ports(&sample));
        assert_alike(&what("IPv4 rules"), &rules(&lab, "iptables"), &rules(&sample, "iptables"));
        assert_alike(&what("IPv6 rules"), &rules(&lab, "ip6tables"), &rules(&sample, "ip6tables"));
    }
    let env = |node: &Node| node.texts["env"].clone();
    assert_eq!(env(&Node::of_lab(&labs, "w2")), env(&Node::of_sample("n2")));
}

/// Switches that count, depend on memory, or name groups, of which a user namespace knows one.
fn is_of_the_machine(key: &str) -> bool {
    const PARTS: [&str; 8] = [
        "nf_conntrack_count",
        "nf_conntrack_buckets",
        "nf_conntrack_max",
        "nf_conntrack_expect_max",
        "_mem",
        "hash",
        "stable_secret",
        "ping_group_range",
    ];
    PARTS.iter().any(|it| key.contains(it))
}

fn switches(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(" = ").or_else(|| line.split_once(" =")) else { continue };
        if is_of_the_machine(key) {
            continue;
        }
        let parts = key.split('.').map(|it| if it.starts_with("veth") { "POD" } else { it });
        let key = parts.collect::<Vec<_>>().join(".");
        all.entry(key).or_default().insert(value.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    all
}

#[test]
fn the_kernel_switches_of_a_node_are_those_of_a_real_one() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo"]);
    let sample = fs::read_to_string(samples().join("n2/sysctl.txt")).unwrap();
    let compared = ["net.ipv4.", "net.ipv6.", "net.bridge.", "net.netfilter."];
    let is_compared = |it: &&str| compared.iter().any(|prefix| it.starts_with(prefix));
    let sample = switches(&sample.lines().filter(is_compared).collect::<Vec<_>>().join("\n"));
    for node in ["cp", "w1", "w2"] {
        let text = labs.exec("demo", node, &["sh", "-c", "sysctl -a 2>/dev/null"]);
        let lab = switches(&text);
        // Another kernel may have other switches; those that both have must have the same values.
        let both = sample.iter().filter_map(|(key, value)| Some((key, value, lab.get(key)?)));
        let differ: Vec<String> = both
            .clone()
            .filter(|(_, sample, lab)| sample != lab)
            .map(|(key, sample, lab)| format!("{key}: sample {sample:?}, lab {lab:?}"))
            .collect();
        assert!(both.count() > 700, "few switches in common");
        assert_eq!(differ, Vec::<String>::new(), "{node}");
    }
}
