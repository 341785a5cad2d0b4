//! Rulesets of real clusters: kubeadm 1.34 with flannel, kube-proxy in iptables and in nftables mode.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::net::IpAddr;

use hopwise_netfilter::{
    Effect, Hook, IpHeader, Kind, Layer, NatKind, Origin, RuleRef, Ruleset, Source, Surroundings, Tcp,
    TcpFlags, Transport, Verdict, View, iptables, nft,
};
use hopwise_snapshot::{ConntrackTuple, Netfilter, Observed, Place, RouteKind, SaveTexts};
use serde_json::Value as Json;

/// The nodes whose state is below `data`.
const NODES: [&str; 6] =
    ["iptables-n1", "iptables-n2", "iptables-n3", "nftables-n1", "nftables-n2", "nftables-n3"];

fn read(node: &str, file: &str) -> String {
    let path = format!("{}/tests/samples/data/{node}/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn facts(node: &str) -> Netfilter {
    Netfilter {
        nft: Observed::Known(read(node, "nft.json")),
        iptables_nft: SaveTexts {
            ipv4: Observed::Known(read(node, "iptables-save.txt")),
            ipv6: Observed::Known(read(node, "ip6tables-save.txt")),
        },
        iptables_legacy: SaveTexts { ipv4: Observed::Absent, ipv6: Observed::Absent },
        arptables_legacy: Observed::Absent,
        ipsets: Observed::Absent,
    }
}

fn ruleset(node: &str) -> Ruleset {
    Ruleset::parse(&facts(node))
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|it| !it.starts_with('#')).flat_map(|it| [it, "\n"]).collect()
}

#[test]
fn iptables_is_understood_and_written_back_as_it_was() {
    for node in NODES {
        for (file, source) in
            [("iptables-save.txt", Source::IptablesNft), ("ip6tables-save.txt", Source::Ip6tablesNft)]
        {
            let text = read(node, file);
            let (tables, remarks) = iptables::parse(&text, source);
            assert_eq!(remarks, [], "{node} {file}");
            assert_eq!(iptables::emit(&tables), without_comments(&text), "{node} {file}");
        }
    }
}

/// The words of a tool may end anywhere: a full disk, a pipe that broke.
#[test]
fn a_text_that_was_cut_is_one_that_was_not_read() {
    for node in NODES {
        let whole = facts(node);
        let text = read(node, "iptables-save.txt");
        for end in (1..text.len()).step_by(text.len() / 40) {
            let legacy = Netfilter {
                iptables_legacy: SaveTexts {
                    ipv4: Observed::Known(text[..end].to_owned()),
                    ipv6: Observed::Absent,
                },
                ..Netfilter::default()
            };
            let ruleset = Ruleset::parse(&legacy);
            let is_missing = ruleset.missing.iter().any(|it| it.source == Source::IptablesLegacy);
            // Behind a table nothing tells that another one was to come.
            let is_between =
                text[..end].trim_end().lines().last().is_none_or(|it| it == "COMMIT" || it.starts_with('#'));
            assert!(
                is_missing != ruleset.tables.iter().any(|it| it.origin == Origin::IptablesLegacy)
                    || is_between
            );
            assert!(is_missing || is_between, "{node} {end}");

            let mut cut = whole.clone();
            cut.iptables_nft.ipv4 = Observed::Known(text[..end].to_owned());
            let ruleset = Ruleset::parse(&cut);
            let n_rules = |it: &Ruleset| -> usize {
                let chains = it.tables.iter().flat_map(|it| &it.chains);
                chains.filter(|it| it.base.is_some()).map(|it| it.rules.len()).sum()
            };
            // nft's listing stands for what is missing.
            assert_eq!(n_rules(&ruleset), n_rules(&Ruleset::parse(&whole)), "{node} {end}");
        }
    }
}

#[test]
fn a_chain_that_is_declared_twice_keeps_its_rules_and_is_named() {
    let text = "*filter\n:A - [0:0]\n-A A -j DROP\n:A - [0:0]\nCOMMIT\n";
    let (tables, remarks) = iptables::parse(text, Source::IptablesLegacy);
    assert_eq!(tables[0].chains.get("A").unwrap().rules.len(), 1);
    let told =
        "iptables-legacy:4:1: expected a chain that was not declared or used above, found `:A - [0:0]`";
    assert_eq!(remarks.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);

    let (tables, remarks) = iptables::parse_arp("*filter\n:A -\n-A A -j DROP\n:A -\n:B DROP\n");
    assert_eq!(tables[0].chains.get("A").unwrap().rules.len(), 1);
    assert_eq!(remarks.iter().map(|it| it.line).collect::<Vec<_>>(), [4, 5], "{remarks:?}");

    let (_, remarks) = iptables::parse_arp("*filter\n:INPUT ACCEPT\n-A INPT -j DROP\n");
    let told = "arptables-legacy:3:1: expected a chain that was declared above, found `-A INPT -j DROP`";
    assert_eq!(remarks.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
}

/// What a newer nft may print: every item that is not understood is named, and the listing counts as not read.
#[test]
fn a_listing_of_a_newer_schema_is_named_as_such() {
    let text = read("nftables-n2", "nft.json");
    for (from, to) in [
        ("\"rule\":", "\"rule2\":"),
        ("\"chain\": {", "\"link\": {"),
        ("\"type\": \"filter\"", "\"type\": \"sieve\""),
    ] {
        assert!(text.contains(from), "{from}");
        let newer = Netfilter { nft: Observed::Known(text.replace(from, to)), ..Netfilter::default() };
        let ruleset = Ruleset::parse(&newer);
        assert!(
            ruleset.remarks.iter().any(|it| it.path.starts_with("nftables[")),
            "{to}: {:?}",
            ruleset.remarks
        );
        assert!(ruleset.missing.iter().any(|it| it.source == Source::Nft), "{to}");
    }
    for text in ["", "{", "[]", "{}", "{\"nftables\": {}}", "null", "nft: command not found"] {
        let (tables, remarks) = nft::parse(text);
        assert_eq!(tables, [], "{text}");
        assert!(!remarks.is_empty(), "{text}");
    }
}

/// The items of a listing without what nft says of itself, in an order that does not depend on its version.
fn items(text: &str) -> Vec<String> {
    let json: Json = serde_json::from_str(text).unwrap();
    let items = json["nftables"].as_array().unwrap().iter().filter(|it| it.get("metainfo").is_none());
    let mut all: Vec<String> = items.map(Json::to_string).collect();
    all.sort_unstable();
    all
}

#[test]
fn nft_is_understood_and_written_back_as_it_was() {
    for node in NODES {
        let text = read(node, "nft.json");
        let (tables, remarks) = nft::parse(&text);
        assert_eq!(remarks, [], "{node}");
        let emitted = nft::emit(&tables);
        assert_eq!(items(&emitted), items(&text), "{node}");
        assert_eq!(nft::parse(&emitted).0, tables, "{node}");
    }
}

#[test]
fn a_whole_node_has_no_remark_and_nothing_missing() {
    for node in NODES {
        let ruleset = ruleset(node);
        assert_eq!(ruleset.remarks, [], "{node}");
        assert_eq!(ruleset.missing, [], "{node}");
        let n_chains: usize = ruleset.tables.iter().map(|it| it.chains.len()).sum();
        assert!(n_chains > 10, "{node}");
    }
}

#[test]
fn tables_of_iptables_keep_their_words_and_get_handles_and_hooks_of_nft() {
    let ruleset = ruleset("iptables-n2");
    let filter = ruleset.tables.iter().find(|it| it.tool() == "iptables-nft" && it.name == "filter").unwrap();
    assert_eq!(filter.origin, Origin::IptablesNft);
    let forward = filter.chains.get("FORWARD").unwrap();
    let rule = &forward.rules[4];
    assert_eq!(rule.text, "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD");
    assert_eq!((rule.handle, rule.comment.as_deref()), (Some(32), Some("flanneld forward")));
    let w1 = Place::node("w1");
    assert_eq!(filter.rule_element(forward, rule, &w1).as_str(), "node/w1/iptables-nft/filter/FORWARD/5");
    assert_eq!(filter.policy_element(forward, &w1).as_str(), "node/w1/iptables-nft/filter/FORWARD/policy");
    // The tool shows all built-in chains of mangle; the kernel has none of them.
    let mangle = ruleset.tables.iter().find(|it| it.tool() == "iptables-nft" && it.name == "mangle").unwrap();
    assert!(mangle.chains.iter().all(|it| it.base.is_none()));
}

#[test]
fn rules_of_nft_are_shown_in_the_words_of_nft() {
    let ruleset = ruleset("nftables-n2");
    let table = ruleset.tables.iter().find(|it| it.name == "kube-proxy").unwrap();
    let text = |chain: &str, at: usize| table.chains.get(chain).unwrap().rules[at].text.clone();
    assert_eq!(text("services", 1), "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports");
    assert_eq!(text("masquerading", 0), "meta mark & 0x00004000 == 0x00000000 return");
    assert_eq!(
        text("cluster-ips-check", 1),
        "ip daddr 10.96.0.0/12 drop comment \"Drop traffic to unallocated ClusterIPs\""
    );
    let chain = table.chains.get("masquerading").unwrap();
    let element = table.rule_element(chain, &chain.rules[0], &Place::node("w1"));
    assert_eq!(element.as_str(), "node/w1/nft/ip/kube-proxy/masquerading/handle/36");
}

/// A world of which nothing is asked that is not known, and in which chance takes one side.
struct World {
    local: Vec<IpAddr>,
    pick: usize,
    weights: Vec<Vec<f64>>,
}

impl Surroundings for World {
    fn address_kind(&self, address: IpAddr, _: Option<&str>) -> Observed<RouteKind> {
        let is_local = address.is_loopback() || self.local.contains(&address);
        Observed::Known(if is_local { RouteKind::Local } else { RouteKind::Unicast })
    }

    fn reverse_path(&self, _: &View<'_>, _: hopwise_netfilter::ReversePath) -> Observed<bool> {
        Observed::Known(true)
    }

    fn route_output(
        &self,
        _: &hopwise_netfilter::RouteQuery<'_>,
    ) -> Observed<hopwise_netfilter::RouteDevice> {
        Observed::Absent
    }

    fn choose(&mut self, weights: &[f64], _: RuleRef) -> usize {
        self.weights.push(weights.to_vec());
        self.pick
    }

    fn unknown(&mut self, rule: RuleRef, why: &str) -> bool {
        panic!("asked of {rule:?}: {why}");
    }
}

fn world(pick: usize) -> World {
    World { local: vec!["192.168.50.12".parse().unwrap()], pick, weights: Vec::new() }
}

/// A packet that begins a connection.
fn first_packet(from: &str, to: &str, protocol: u8, port: u16) -> View<'static> {
    let (source, destination): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let transport = match protocol {
        6 => Transport::Tcp(Tcp {
            source_port: 40000,
            destination_port: port,
            flags: TcpFlags::SYN,
            mss: Some(1410),
        }),
        17 => Transport::Udp { source_port: 40000, destination_port: port },
        _ => Transport::Icmp { kind: 8, code: 0, id: Some(1) },
    };
    let mut view = View::ip(IpHeader::new(source, destination, protocol), transport);
    let (source_port, destination_port) = (40000, port);
    let original = ConntrackTuple { source, destination, protocol, source_port, destination_port };
    let reply = ConntrackTuple {
        source: destination,
        destination: source,
        protocol,
        source_port: port,
        destination_port: 40000,
    };
    view.connection = Some(hopwise_netfilter::Connection {
        state: hopwise_netfilter::ConnectionState::New,
        direction: hopwise_netfilter::Direction::Original,
        status: hopwise_netfilter::ConnectionStatus::empty(),
        mark: 0,
        original,
        reply,
        zone: 0,
        helper: None,
    });
    view
}

/// Runs a packet through all base chains of a hook, up to the first that does not accept.
fn at_hook(ruleset: &Ruleset, hook: Hook, view: &mut View<'_>, world: &mut World) -> Verdict {
    let layer = if view.header().unwrap().source.is_ipv4() { Layer::Ip4 } else { Layer::Ip6 };
    let mut translation = Verdict::Accept;
    for entry in ruleset.hooks(layer, hook, None) {
        if entry.kind == Kind::Nat && translation != Verdict::Accept {
            continue;
        }
        let outcome = ruleset.run(&entry, view, world);
        assert!(outcome.is_certain());
        match outcome.verdict {
            Verdict::Accept => {}
            nat @ Verdict::Nat(_) => translation = nat,
            other => return other,
        }
    }
    translation
}

/// Where a packet to a Service is sent, by what chance takes.
fn endpoint(
    ruleset: &Ruleset,
    to: &str,
    protocol: u8,
    port: u16,
    pick: usize,
) -> (String, u32, Vec<Vec<f64>>) {
    let mut view = first_packet("10.244.2.9", to, protocol, port);
    let mut world = world(pick);
    let verdict = at_hook(ruleset, Hook::Prerouting, &mut view, &mut world);
    let to = match verdict {
        Verdict::Nat(action) => {
            assert_eq!(action.kind, NatKind::Dnat);
            format!("{}:{}", action.addresses.unwrap().0, action.ports.unwrap().0)
        }
        other => format!("{other:?}"),
    };
    (to, view.mark, world.weights)
}

#[test]
fn services_lead_to_their_endpoints_in_both_modes() {
    for node in ["iptables-n2", "nftables-n2"] {
        let ruleset = ruleset(node);
        let (first, mark, weights) = endpoint(&ruleset, "10.96.0.10", 17, 53, 0);
        assert_eq!((first.as_str(), mark), ("10.244.1.2:53", 0), "{node}");
        assert_eq!(weights, [[0.5, 0.5]], "{node}");
        assert_eq!(endpoint(&ruleset, "10.96.0.10", 17, 53, 1).0, "10.244.2.2:53", "{node}");
        let (api, _, weights) = endpoint(&ruleset, "10.96.0.1", 6, 443, 0);
        assert_eq!((api.as_str(), weights), ("192.168.50.11:6443", Vec::new()), "{node}");
        assert_eq!(endpoint(&ruleset, "10.244.1.7", 6, 8080, 0).0, "Accept", "{node}");
    }
}

#[test]
fn node_ports_are_masqueraded_in_both_modes() {
    for node in ["iptables-n2", "nftables-n2"] {
        let ruleset = ruleset(node);
        let mut view = first_packet("192.168.50.99", "192.168.50.12", 6, 30080);
        let mut world = world(0);
        let verdict = at_hook(&ruleset, Hook::Prerouting, &mut view, &mut world);
        let Verdict::Nat(action) = verdict else { panic!("{node}: {verdict:?}") };
        assert_eq!(action.addresses.unwrap().0.to_string(), "10.244.1.3", "{node}");
        assert_eq!(view.mark, 0x4000, "{node}");
        // After translation, on its way out: the mark is taken away and the source translated.
        let mut out = first_packet("192.168.50.99", "10.244.1.3", 6, 8080);
        out.mark = view.mark;
        let verdict = at_hook(&ruleset, Hook::Postrouting, &mut out, &mut world);
        assert!(
            matches!(&verdict, Verdict::Nat(it) if it.kind == NatKind::Masquerade && it.random),
            "{node}"
        );
        assert_eq!(out.mark, 0, "{node}");
    }
}

#[test]
fn pods_talk_without_translation_and_leave_with_it() {
    for node in NODES {
        let ruleset = ruleset(node);
        let own =
            ["10.244.0.9", "10.244.2.9", "10.244.1.9"][usize::from(node.as_bytes()[node.len() - 1] - b'1')];
        let after = |to: &str| {
            let mut view = first_packet(own, to, 17, 53);
            let mut world = world(0);
            assert_eq!(
                at_hook(&ruleset, Hook::Forward, &mut view, &mut world),
                Verdict::Accept,
                "{node} {to}"
            );
            at_hook(&ruleset, Hook::Postrouting, &mut view, &mut world)
        };
        assert_eq!(after("10.244.7.7"), Verdict::Accept, "{node}");
        assert!(matches!(after("8.8.8.8"), Verdict::Nat(it) if it.kind == NatKind::Masquerade), "{node}");
    }
}

#[test]
fn service_addresses_without_a_service_are_dropped_in_nftables_mode() {
    let ruleset = ruleset("nftables-n1");
    let mut view = first_packet("10.244.0.9", "10.96.77.77", 6, 80);
    assert_eq!(at_hook(&ruleset, Hook::Forward, &mut view, &mut world(0)), Verdict::Drop);
    let mut view = first_packet("10.244.0.9", "10.96.0.1", 6, 80);
    let verdict = at_hook(&ruleset, Hook::Forward, &mut view, &mut world(0));
    let reject = hopwise_netfilter::RejectWith::Icmp { kind: 3, code: 3 };
    assert_eq!(verdict, Verdict::Reject(reject));
}

/// Runs many packets through every hook of every node: nothing may be asked that is not known.
#[test]
fn nothing_in_the_samples_is_unknown() {
    let addresses = ["10.244.0.9", "10.244.2.2", "10.96.0.10", "192.168.50.12", "127.0.0.1", "8.8.8.8"];
    let hooks = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    let mut n_effects = 0;
    for node in NODES {
        let ruleset = ruleset(node);
        for from in addresses {
            for to in addresses {
                for (protocol, port) in [(6, 80), (6, 30080), (17, 53), (1, 0)] {
                    for hook in hooks {
                        for mark in [0, 0x4000] {
                            let mut view = first_packet(from, to, protocol, port);
                            view.mark = mark;
                            for entry in ruleset.hooks(Layer::Ip4, hook, None) {
                                let outcome = ruleset.run(&entry, &mut view, &mut world(0));
                                let marks = outcome.effects.iter();
                                n_effects +=
                                    marks.filter(|(_, it)| matches!(it, Effect::Mark { .. })).count();
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(n_effects > 100);
}
