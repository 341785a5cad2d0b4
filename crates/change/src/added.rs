//! What somebody puts in the way of packets: chains and rules of nftables, traffic control, programs, IPsec policies.
//!
//! No repair does these; a hypothetical fault does.

use hopwise_snapshot::{
    NetNs, Netfilter, Observed, Qdisc, SocketProtocol, SocketState, TcAction, TcFilter, U32Key, Xdp,
    XfrmPolicy,
};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{Change, command::quoted, ruleset::edit_nft};

/// What a root queueing discipline hangs from (`TC_H_ROOT`).
const ROOT: u32 = 0xffff_ffff;
/// What `clsact` hangs from (`TC_H_CLSACT`).
const CLSACT: u32 = 0xffff_fff1;
const ETH_P_ALL: u16 = 3;
const ETH_P_IP: u16 = 0x0800;

/// Applies such a change to a namespace; `None` if there is nothing to apply it to.
pub(crate) fn apply(change: &Change, net: &mut NetNs) -> Option<()> {
    match change {
        Change::NftChainAdded { .. } | Change::NftRuleAdded { .. } => add_nft(change, &mut net.netfilter)?,
        Change::TokenBucketAdded { link, token_bucket, .. } => {
            let index = net.link(link)?.index;
            let qdiscs = net.qdiscs.known_mut()?;
            qdiscs.retain(|it| it.link != index || !it.is_root());
            let mut qdisc = qdisc(index, "tbf", ROOT);
            qdisc.token_bucket = Some(*token_bucket);
            qdiscs.push(qdisc);
            let links = net.links.known_mut()?;
            "tbf".clone_into(&mut links.iter_mut().find(|it| it.index == index)?.qdisc);
        }
        Change::TcDropAdded { link, direction, priority, destination, .. } => {
            let IpNet::V4(destination) = destination else { return None };
            let key = U32Key {
                mask: u32::from(destination.netmask()),
                value: u32::from(destination.network()),
                offset: 16,
            };
            let mut filter = filter(net, link, direction, *priority, "u32")?;
            filter.protocol = ETH_P_IP;
            filter.keys = vec![key];
            filter.actions = vec![TcAction::Drop];
            add_filter(net, filter)?;
        }
        Change::TcProgramAdded { link, direction, priority, .. } => {
            let mut filter = filter(net, link, direction, *priority, "bpf")?;
            filter.not_modelled = vec!["bpf program".to_owned()];
            add_filter(net, filter)?;
        }
        Change::XdpAttached { link, program, .. } => {
            let links = net.links.known_mut()?;
            let link = links.iter_mut().find(|it| it.name == *link)?;
            link.xdp = Some(Xdp { mode: "generic".to_owned(), program: *program });
        }
        Change::XfrmPolicyAdded { policy, .. } => {
            net.xfrm_policies.known_mut()?.push(policy.clone());
        }
        Change::SocketClosed { protocol, port, .. } => {
            let protocol = match protocol.as_str() {
                "tcp" => SocketProtocol::Tcp,
                "udp" => SocketProtocol::Udp,
                _ => return None,
            };
            let sockets = net.sockets.known_mut()?;
            let n_before = sockets.len();
            sockets.retain(|it| {
                it.protocol != protocol || it.port != *port || it.state == SocketState::Connected
            });
            return (sockets.len() < n_before).then_some(());
        }
        _ => return None,
    }
    Some(())
}

fn qdisc(link: hopwise_snapshot::IfIndex, kind: &str, parent: u32) -> Qdisc {
    Qdisc {
        link,
        kind: kind.to_owned(),
        handle: if parent == CLSACT { 0xffff_0000 } else { 0x8001_0000 },
        parent,
        token_bucket: None,
        limit: None,
        drops: 0,
    }
}

fn filter(net: &NetNs, link: &str, direction: &str, priority: u32, kind: &str) -> Option<TcFilter> {
    Some(TcFilter {
        link: net.link(link)?.index,
        direction: direction.to_owned(),
        priority,
        protocol: ETH_P_ALL,
        kind: kind.to_owned(),
        handle: if kind == "u32" { 0x8000_0800 } else { 1 },
        keys: Vec::new(),
        actions: Vec::new(),
        not_modelled: Vec::new(),
    })
}

/// Filters of `ingress` and `egress` belong to a `clsact`, which is made for them.
fn add_filter(net: &mut NetNs, filter: TcFilter) -> Option<()> {
    let qdiscs = net.qdiscs.known_mut()?;
    if !qdiscs.iter().any(|it| it.link == filter.link && it.is_ingress()) {
        qdiscs.push(qdisc(filter.link, "clsact", CLSACT));
    }
    let filters = net.tc_filters.known_mut()?;
    filters.retain(|it| {
        (it.link, &it.direction, it.priority) != (filter.link, &filter.direction, filter.priority)
    });
    filters.push(filter);
    Some(())
}

/// A table gives its chains and rules one row of numbers (`nf_tables_alloc_handle`, net/netfilter/nf_tables_api.c).
fn next_handle(all: &[Value], family: &str, table: &str) -> u64 {
    let inner = all.iter().filter_map(|it| it.as_object()?.values().next());
    let own = inner.filter(|it| it["family"] == family && it["table"] == table);
    own.filter_map(|it| it["handle"].as_u64()).max().unwrap_or(0) + 1
}

fn add_nft(change: &Change, facts: &mut Netfilter) -> Option<()> {
    if facts.nft == Observed::Absent && matches!(change, Change::NftChainAdded { .. }) {
        facts.nft = Observed::Known(json!({"nftables": []}).to_string());
    }
    edit_nft(facts, |all| match change {
        Change::NftChainAdded { family, table, chain, kind, hook, priority, device, .. } => {
            let has_table = all
                .iter()
                .any(|it| it.get("table").is_some_and(|it| it["family"] == *family && it["name"] == *table));
            if !has_table {
                let tables = all.iter().filter_map(|it| it["table"]["handle"].as_u64());
                let handle = tables.max().unwrap_or(0) + 1;
                all.push(json!({"table": {"family": family, "name": table, "handle": handle}}));
            }
            let mut added = json!({"chain": {
                "family": family, "table": table, "name": chain, "handle": next_handle(all, family, table),
                "type": kind, "hook": hook, "prio": priority, "policy": "accept",
            }});
            if let Some(device) = device {
                added["chain"]["dev"] = json!(device);
            }
            all.push(added);
            Some(())
        }
        Change::NftRuleAdded { family, table, chain, statements, .. } => {
            let is_chain = |it: &Value| {
                let Some(it) = it.get("chain") else { return false };
                it["family"] == *family && it["table"] == *table && it["name"] == *chain
            };
            all.iter().position(is_chain)?;
            let handle = next_handle(all, family, table);
            let expr: Value = serde_json::from_str(statements).ok()?;
            all.push(json!({"rule": {
                "family": family, "table": table, "chain": chain, "handle": handle, "expr": expr,
            }}));
            Some(())
        }
        _ => None,
    })
}

/// The commands that do such a change.
pub(crate) fn commands(change: &Change) -> Vec<Vec<String>> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    match change {
        Change::NftChainAdded { family, table, chain, kind, hook, priority, device, .. } => {
            let device = device.as_ref().map_or_else(String::new, |it| format!("device {it} "));
            vec![
                words(format!("nft add table {family} {table}")),
                words(format!(
                    "nft add chain {family} {table} {chain} {{ type {kind} hook {hook} {device}priority {priority}; policy accept; }}"
                )),
            ]
        }
        Change::NftRuleAdded { family, table, chain, statements, .. } => {
            let expr: Value = serde_json::from_str(statements).unwrap_or_default();
            let rule = json!({"family": family, "table": table, "chain": chain, "expr": expr});
            let text = json!({"nftables": [{"add": {"rule": rule}}]}).to_string();
            let script = format!("printf %s {} | nft -j -f -", quoted(&text));
            vec![vec!["sh".to_owned(), "-c".to_owned(), script]]
        }
        Change::TokenBucketAdded { link, token_bucket: it, .. } => vec![words(format!(
            "tc qdisc replace dev {link} root tbf rate {}bps burst {} limit {}",
            it.rate, it.burst, it.limit
        ))],
        Change::TcDropAdded { link, direction, priority, destination, .. } => vec![
            words(format!("tc qdisc replace dev {link} clsact")),
            words(format!(
                "tc filter add dev {link} {direction} pref {priority} protocol ip u32 match ip dst {destination} action drop"
            )),
        ],
        // The program returns -1: it matches all, and no action follows.
        Change::TcProgramAdded { link, direction, priority, .. } => {
            let mut filter = words(format!(
                "tc filter add dev {link} {direction} pref {priority} protocol all bpf bytecode"
            ));
            filter.push("1,6 0 0 4294967295".to_owned());
            vec![words(format!("tc qdisc replace dev {link} clsact")), filter]
        }
        Change::XfrmPolicyAdded { policy, .. } => vec![xfrm_words(policy)],
        // Which program is attached, or listens no longer, is no command of ours.
        _ => Vec::new(),
    }
}

fn xfrm_words(policy: &XfrmPolicy) -> Vec<String> {
    let XfrmPolicy { source, destination, direction, index, priority, .. } = policy;
    let action = if policy.blocks { "block" } else { "allow" };
    let text = format!(
        "ip xfrm policy add src {source} dst {destination} dir {direction} index {index} action {action} priority {priority}"
    );
    text.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::{IfIndex, Place, Socket, TokenBucket};

    use super::*;
    use crate::resync::new_link;

    fn place() -> Place {
        Place::node("w1")
    }

    fn net() -> NetNs {
        let mut net = NetNs {
            links: Observed::Known(Vec::new()),
            qdiscs: Observed::Known(Vec::new()),
            tc_filters: Observed::Known(Vec::new()),
            xfrm_policies: Observed::Known(Vec::new()),
            sockets: Observed::Known(Vec::new()),
            ..NetNs::default()
        };
        net.netfilter.nft = Observed::Known(r#"{"nftables": []}"#.to_owned());
        let mut link = new_link(&net, "eth0");
        link.index = IfIndex(2);
        net.links = Observed::Known(vec![link]);
        net
    }

    fn lines(change: &Change) -> Vec<String> {
        change.commands().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_table_numbers_its_chains_and_rules_in_one_row() {
        let mut net = net();
        let chain = Change::NftChainAdded {
            place: place(),
            family: "inet".to_owned(),
            table: "zz".to_owned(),
            chain: "in".to_owned(),
            kind: "filter".to_owned(),
            hook: "input".to_owned(),
            priority: -5,
            device: None,
        };
        let rule = Change::NftRuleAdded {
            place: place(),
            family: "inet".to_owned(),
            table: "zz".to_owned(),
            chain: "in".to_owned(),
            statements: r#"[{"drop":null}]"#.to_owned(),
        };
        assert_eq!(rule.apply_to(&mut net), None, "there is no such chain yet");
        for it in [&chain, &rule, &rule] {
            it.apply_to(&mut net).unwrap();
        }
        let listing: Value = serde_json::from_str(net.netfilter.nft.known().unwrap()).unwrap();
        let handles: Vec<&Value> = listing["nftables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it.as_object().unwrap().values().next().unwrap()["handle"])
            .collect();
        assert_eq!(handles, [1, 1, 2, 3]);
        assert_eq!(
            lines(&chain),
            [
                "nft add table inet zz",
                "nft add chain inet zz in '{' type filter hook input priority '-5;' policy 'accept;' '}'"
            ]
        );
        assert_eq!(
            rule.commands()[0].arguments[2],
            r#"printf %s '{"nftables":[{"add":{"rule":{"chain":"in","expr":[{"drop":null}],"family":"inet","table":"zz"}}}]}' | nft -j -f -"#
        );
    }

    #[test]
    fn a_token_bucket_takes_the_place_of_the_root() {
        let mut net = net();
        let token_bucket = TokenBucket { rate: 100, burst: 1000, limit: 2000 };
        let change = Change::TokenBucketAdded { place: place(), link: "eth0".to_owned(), token_bucket };
        change.apply_to(&mut net).unwrap();
        change.apply_to(&mut net).unwrap();
        let qdiscs = net.qdiscs.known().unwrap();
        assert_eq!((qdiscs.len(), qdiscs[0].token_bucket), (1, Some(token_bucket)));
        assert_eq!(lines(&change), ["tc qdisc replace dev eth0 root tbf rate 100bps burst 1000 limit 2000"]);
    }

    #[test]
    fn filters_bring_their_clsact_and_go_again() {
        let mut net = net();
        let drop = Change::TcDropAdded {
            place: place(),
            link: "eth0".to_owned(),
            direction: "ingress".to_owned(),
            priority: 7,
            destination: "10.1.0.0/16".parse().unwrap(),
        };
        let program = Change::TcProgramAdded {
            place: place(),
            link: "eth0".to_owned(),
            direction: "egress".to_owned(),
            priority: 8,
        };
        drop.apply_to(&mut net).unwrap();
        program.apply_to(&mut net).unwrap();
        let filters = net.tc_filters.known().unwrap();
        assert_eq!(filters[0].keys, [U32Key { mask: 0xffff_0000, value: 0x0a01_0000, offset: 16 }]);
        assert_eq!(filters[1].kind, "bpf");
        assert_eq!(net.qdiscs.known().unwrap().len(), 1);
        assert_eq!(
            lines(&drop)[1],
            "tc filter add dev eth0 ingress pref 7 protocol ip u32 match ip dst 10.1.0.0/16 action drop"
        );
        drop.inverse_in(&net).unwrap().apply_to(&mut net).unwrap();
        assert_eq!(net.tc_filters.known().unwrap().len(), 1);
    }

    #[test]
    fn a_program_and_a_policy_come_and_go() {
        let mut net = net();
        let before = net.clone();
        let policy = XfrmPolicy {
            index: 9,
            direction: "out".to_owned(),
            priority: 0,
            blocks: true,
            source: "0.0.0.0/0".parse().unwrap(),
            destination: "10.1.0.0/16".parse().unwrap(),
            protocol: 0,
            n_templates: 0,
            not_modelled: Vec::new(),
        };
        let all = [
            Change::XdpAttached { place: place(), link: "eth0".to_owned(), program: 3 },
            Change::XfrmPolicyAdded { place: place(), policy },
        ];
        for change in &all {
            change.apply_to(&mut net).unwrap();
        }
        assert_ne!(net, before);
        assert_eq!(
            lines(&all[1]),
            ["ip xfrm policy add src 0.0.0.0/0 dst 10.1.0.0/16 dir out index 9 action block priority 0"]
        );
        for change in &all {
            change.inverse_in(&before).unwrap().apply_to(&mut net).unwrap();
        }
        assert_eq!(net, before);
    }

    #[test]
    fn a_socket_that_is_not_there_cannot_be_closed() {
        let mut net = net();
        let change = Change::SocketClosed { place: place(), protocol: "tcp".to_owned(), port: 80 };
        assert_eq!(change.apply_to(&mut net), None);
        let open = change.inverse_in(&net).unwrap();
        open.apply_to(&mut net).unwrap();
        let held: Vec<Socket> = net.sockets.known().unwrap().clone();
        assert_eq!(held.len(), 1);
        change.apply_to(&mut net).unwrap();
        assert_eq!(net.sockets, Observed::Known(Vec::new()));
    }
}
