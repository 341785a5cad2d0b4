//! Table `kube-proxy` of nftables, written anew.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hopwise_controllers::{
    Family,
    kube_proxy::{Host, KubeProxy, KubeProxyConfig, TABLE, is_own_chain, is_own_set},
};
use hopwise_snapshot::{NetNs, Netfilter, NodeName, Observed, Place, Snapshot};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::{Value, json};

use crate::ruleset::edit_nft;

/// What kube-proxy in mode nftables finds on a node: the addresses of its object and those of its interfaces, and the
/// ranges of cluster addresses that `ranges` has (see [`service_ranges`]).
pub fn proxy_host(snapshot: &Snapshot, node: &NodeName, ranges: &[IpNet]) -> Host {
    let mut host = Host::of_node(snapshot.cluster.node(node));
    let net: Option<&NetNs> = snapshot.net(&Place::Node(node.clone()));
    let addresses = net.and_then(|it| it.addresses.known()).into_iter().flatten();
    host.addresses.extend(addresses.map(|it| it.address.addr()));
    host.service_ranges = ranges.to_vec();
    host
}

/// The ranges that cluster addresses of Services come from, of both families.
///
/// A snapshot has no objects `ServiceCIDR`. But each kube-proxy has written them into a rule of its table: what most
/// nodes have there counts. None where no node has any.
pub fn service_ranges(snapshot: &Snapshot) -> Vec<IpNet> {
    let mut votes: BTreeMap<&str, BTreeMap<Vec<IpNet>, usize>> = BTreeMap::new();
    for node in snapshot.nodes.values().filter_map(Observed::known) {
        let text = node.net.netfilter.nft.known();
        let Some(document) = text.and_then(|it| serde_json::from_str::<Value>(it).ok()) else { continue };
        for item in document["nftables"].as_array().into_iter().flatten() {
            let rule = &item["rule"];
            let family = match rule["family"].as_str() {
                Some("ip") => "ip",
                Some("ip6") => "ip6",
                _ => continue,
            };
            if rule["table"] == TABLE
                && rule["chain"] == "cluster-ips-check"
                && let Some(ranges) = dropped_ranges(&rule["expr"])
            {
                *votes.entry(family).or_default().entry(ranges).or_default() += 1;
            }
        }
    }
    let most = |of_family: BTreeMap<Vec<IpNet>, usize>| of_family.into_iter().max_by_key(|it| it.1);
    votes.into_values().filter_map(most).flat_map(|(ranges, _)| ranges).collect()
}

/// The destinations that a rule drops, where it does nothing else.
fn dropped_ranges(statements: &Value) -> Option<Vec<IpNet>> {
    let [condition, verdict] = statements.as_array()?.as_slice() else { return None };
    let condition = &condition["match"];
    let is_drop = verdict.as_object().is_some_and(|it| it.contains_key("drop"));
    if !is_drop || condition["op"] != "==" || condition["left"]["payload"]["field"] != "daddr" {
        return None;
    }
    match &condition["right"]["set"] {
        Value::Array(elements) => {
            elements.iter().map(ranges_of).collect::<Option<Vec<_>>>().map(|it| it.concat())
        }
        _ => ranges_of(&condition["right"]),
    }
}

/// An address, a range with a prefix, or one from an address to another, as nft prints it.
fn ranges_of(value: &Value) -> Option<Vec<IpNet>> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(address) = address(value) {
        return Some(vec![IpNet::from(address)]);
    }
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        return IpNet::new(address(&prefix["addr"])?, length).ok().map(|it| vec![it]);
    }
    let range = value.get("range")?;
    match (address(&range[0])?, address(&range[1])?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Some(subnets_v4(first, last)),
        (IpAddr::V6(first), IpAddr::V6(last)) => Some(subnets_v6(first, last)),
        _ => None,
    }
}

fn subnets_v4(first: Ipv4Addr, last: Ipv4Addr) -> Vec<IpNet> {
    Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
}

fn subnets_v6(first: Ipv6Addr, last: Ipv6Addr) -> Vec<IpNet> {
    Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
}

/// Writes the tables of both families anew.
pub(super) fn resync(
    snapshot: &mut Snapshot,
    node: &NodeName,
    config: &KubeProxyConfig,
) -> Result<(), String> {
    let cluster = snapshot.cluster.clone();
    let host = proxy_host(snapshot, node, &service_ranges(snapshot));
    let proxy = KubeProxy { host, ..KubeProxy::new(&cluster, node, config) };
    let net = snapshot.net_mut(&Place::Node(node.clone())).ok_or("the node was not read")?;
    for family in Family::ALL {
        match proxy.nftables(family) {
            Observed::Known(wanted) => write(&mut net.netfilter, family, wanted)?,
            Observed::Absent | Observed::NotCollected(_) => return Err("Services are not known".to_owned()),
        }
    }
    Ok(())
}

fn write(facts: &mut Netfilter, family: Family, wanted: Vec<Value>) -> Result<(), String> {
    match &facts.nft {
        Observed::Known(_) => {}
        Observed::Absent => facts.nft = Observed::Known(json!({"nftables": []}).to_string()),
        Observed::NotCollected(reason) => return Err(format!("nft: {reason}")),
    }
    let family = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    edit_nft(facts, |all| {
        replace(all, family, wanted);
        Some(())
    })
    .ok_or_else(|| "the listing of nft is not understood".to_owned())
}

/// Puts the wanted table into the place of the one that is there, or behind all others.
///
/// What kube-proxy does not know stays: chains and sets of other names in its table, and what endpoints remember of
/// their clients. What it writes gets handles that nothing of the table has had.
fn replace(all: &mut Vec<Value>, family: &str, wanted: Vec<Value>) {
    let at = all.iter().position(|it| is_of_table(it, family));
    let (old, mut others): (Vec<Value>, Vec<Value>) =
        std::mem::take(all).into_iter().partition(|it| is_of_table(it, family));
    let at = at.unwrap_or(others.len()).min(others.len());
    let highest = |items: &[Value], kinds: &dyn Fn(&str) -> bool| {
        let handles = items.iter().filter_map(kind_and_body).filter(|(kind, _)| kinds(kind));
        handles.filter_map(|(_, body)| body["handle"].as_u64()).max().unwrap_or(0)
    };
    let table_handle = old
        .iter()
        .find_map(|it| it.get("table")?["handle"].as_u64())
        .unwrap_or_else(|| highest(&others, &|kind| kind == "table").saturating_add(1));
    let mut next = highest(&old, &|kind| kind != "table");

    let mut remembered: BTreeMap<String, Value> = BTreeMap::new();
    let mut kept = Vec::new();
    for item in old {
        let Some((kind, body)) = kind_and_body(&item) else { continue };
        let name = body["name"].as_str().unwrap_or_default();
        let is_own = match kind {
            "table" => true,
            "chain" => is_own_chain(name),
            "rule" => is_own_chain(body["chain"].as_str().unwrap_or_default()),
            "set" | "map" => is_own_set(name),
            _ => false,
        };
        if !is_own {
            kept.push(item);
        } else if kind == "set" && name.starts_with("affinity-") && body.get("elem").is_some() {
            remembered.insert(name.to_owned(), body["elem"].clone());
        }
    }

    let mut items: Vec<Value> = wanted;
    for item in &mut items {
        let Some((kind, body)) = item.as_object_mut().and_then(|it| it.iter_mut().next()) else { continue };
        if kind == "table" {
            body["handle"] = json!(table_handle);
            continue;
        }
        next = next.saturating_add(1);
        body["handle"] = json!(next);
        if let Some(elements) = body["name"].as_str().and_then(|it| remembered.get(it)) {
            body["elem"] = elements.clone();
        }
    }
    items.extend(kept);
    items.sort_by_key(order);
    let behind = others.split_off(at);
    others.extend(items);
    others.extend(behind);
    *all = others;
}

/// Is an item of a listing the table `kube-proxy` of a family, or in it?
fn is_of_table(item: &Value, family: &str) -> bool {
    let Some((kind, body)) = kind_and_body(item) else { return false };
    let table = if kind == "table" { &body["name"] } else { &body["table"] };
    body["family"] == family && table == TABLE
}

fn kind_and_body(item: &Value) -> Option<(&str, &Value)> {
    let (kind, body) = item.as_object()?.iter().next()?;
    Some((kind, body))
}

/// The order in which nft lists what is in a table.
fn order(item: &Value) -> usize {
    match kind_and_body(item) {
        Some(("table", _)) => 0,
        Some(("chain", _)) => 2,
        Some(("rule", _)) => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use hopwise_snapshot::{Cluster, Node};
    use serde::{Deserialize, de::DeserializeOwned};

    use super::*;
    use crate::{Change, Controller};

    #[derive(Deserialize)]
    struct List<T> {
        items: Vec<T>,
    }

    fn sample(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/samples");
        fs::read_to_string(root.join("kubeadm-1.34-flannel-vxlan-nftables").join(path)).unwrap()
    }

    fn list<T: DeserializeOwned>(name: &str) -> Observed<Vec<T>> {
        Observed::Known(serde_json::from_str::<List<T>>(&sample(&format!("api/{name}.json"))).unwrap().items)
    }

    /// The sample, as far as kube-proxy asks for it.
    fn healthy() -> Snapshot {
        let mut snapshot = Snapshot::new("2026-11-21T11:05:00Z".parse().unwrap(), "test");
        snapshot.cluster = Cluster {
            nodes: list("nodes"),
            services: list("services"),
            endpoint_slices: list("endpointslices"),
            config_maps: list("configmaps-kube-system"),
            ..Cluster::default()
        };
        for name in ["n1", "n2", "n3"] {
            let mut node = Node::default();
            node.net.netfilter.nft = Observed::Known(sample(&format!("{name}/nft.json")));
            snapshot.nodes.insert(NodeName::from(name), Observed::Known(node));
        }
        snapshot
    }

    fn items(snapshot: &Snapshot) -> Vec<Value> {
        let net = snapshot.net(&Place::node("n2")).unwrap();
        let mut document: Value = serde_json::from_str(net.netfilter.nft.known().unwrap()).unwrap();
        serde_json::from_value(document["nftables"].take()).unwrap()
    }

    /// What a listing says without handles: each chain with its rules in order, sets with sorted elements.
    fn canonical(snapshot: &Snapshot) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for mut item in items(snapshot) {
            let (kind, body) = item.as_object_mut().unwrap().iter_mut().next().unwrap();
            let Some(body) = body.as_object_mut() else { continue };
            body.remove("handle");
            let mut elements: Vec<String> = match body.remove("elem") {
                Some(Value::Array(elements)) => elements.iter().map(Value::to_string).collect(),
                _ => Vec::new(),
            };
            elements.sort();
            let word = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = match kind.as_str() {
                "rule" => format!("chain {} {} {}", word("family"), word("table"), word("chain")),
                _ => format!("{kind} {} {} {}", word("family"), word("table"), word("name")),
            };
            let texts = all.entry(name).or_default();
            texts.push(Value::Object(body.clone()).to_string());
            texts.extend(elements);
        }
        all
    }

    fn resynced(mut snapshot: Snapshot) -> Snapshot {
        let change = Change::Resynced { node: "n2".into(), controller: Controller::KubeProxy };
        change.apply(&mut snapshot).unwrap();
        snapshot
    }

    /// The healthy sample after somebody edited the listing of n2.
    fn edited(edit: impl FnOnce(&mut Vec<Value>)) -> Snapshot {
        let mut snapshot = healthy();
        let netfilter = &mut snapshot.net_mut(&Place::node("n2")).unwrap().netfilter;
        edit_nft(netfilter, |all| {
            edit(all);
            Some(())
        })
        .unwrap();
        assert_ne!(canonical(&snapshot), canonical(&healthy()), "something was changed");
        snapshot
    }

    /// What somebody does to a listing.
    type Edit = Box<dyn Fn(&mut Vec<Value>)>;

    #[test]
    fn a_resync_of_a_healthy_node_changes_handles_alone() {
        assert_eq!(canonical(&resynced(healthy())), canonical(&healthy()));
    }

    #[test]
    fn a_resync_brings_back_whatever_is_missing() {
        let is_rule = |it: &Value, chain: &str| it["rule"]["table"] == TABLE && it["rule"]["chain"] == chain;
        let edits: [(&str, Edit); 6] = [
            ("a rule", Box::new(move |all| all.retain(|it| !is_rule(it, "nat-prerouting")))),
            (
                "rules of a Service",
                Box::new(move |all| {
                    all.retain(|it| !is_rule(it, "service-FY5PMXPG-kube-system/kube-dns/udp/dns"));
                }),
            ),
            (
                "an element",
                Box::new(|all| {
                    let map = all.iter_mut().find(|it| it["map"]["name"] == "service-ips").unwrap();
                    map["map"]["elem"].as_array_mut().unwrap().remove(0);
                }),
            ),
            (
                "a chain",
                Box::new(|all| {
                    let is_it = |name: &Value| name == "service-LAZWMU44-default/echo/tcp/";
                    all.retain(|it| !is_it(&it["chain"]["name"]) && !is_it(&it["rule"]["chain"]));
                }),
            ),
            ("a table", Box::new(|all| all.retain(|it| !is_of_table(it, "ip")))),
            (
                "what another wrote",
                Box::new(|all| {
                    all.push(json!({"chain": {"family": "ip", "table": TABLE, "name": "service-X-a/b/tcp/", "handle": 900}}));
                    all.push(
                        json!({"rule": {"family": "ip", "table": TABLE, "chain": "services", "handle": 901,
                    "expr": [{"accept": null}]}}),
                    );
                }),
            ),
        ];
        for (what, edit) in edits {
            assert_eq!(canonical(&resynced(edited(edit))), canonical(&healthy()), "{what}");
        }
    }

    #[test]
    fn handles_are_new_and_none_is_given_twice() {
        let old = items(&healthy());
        let new = items(&resynced(healthy()));
        let handles = |all: &[Value], kinds: &[&str]| -> Vec<u64> {
            let of_table = all.iter().filter(|it| is_of_table(it, "ip")).filter_map(kind_and_body);
            let wanted = of_table.filter(|(kind, _)| kinds.contains(kind));
            wanted.map(|(_, body)| body["handle"].as_u64().unwrap()).collect()
        };
        let kinds = ["chain", "rule", "set", "map"];
        let (before, mut after) = (handles(&old, &kinds), handles(&new, &kinds));
        assert_eq!(before.len(), after.len());
        assert!(after.iter().min() > before.iter().max());
        after.sort_unstable();
        after.dedup();
        assert_eq!(before.len(), after.len());
        assert_eq!(handles(&old, &["table"]), handles(&new, &["table"]));
    }

    #[test]
    fn what_kube_proxy_does_not_know_stays() {
        let snapshot = edited(|all| {
            all.push(json!({"chain": {"family": "ip", "table": TABLE, "name": "mine", "handle": 900}}));
            all.push(json!({"rule": {"family": "ip", "table": TABLE, "chain": "mine", "handle": 901,
                "expr": [{"accept": null}]}}));
            all.push(json!({"set": {"family": "ip", "table": TABLE, "name": "mine", "type": "ipv4_addr",
                "handle": 902}}));
        });
        assert_eq!(canonical(&resynced(snapshot.clone())), canonical(&snapshot));
    }

    #[test]
    fn the_ranges_of_services_are_what_most_nodes_dropped() {
        let expected: Vec<IpNet> = vec!["10.96.0.0/12".parse().unwrap()];
        assert_eq!(service_ranges(&healthy()), expected);
        let other = edited(|all| {
            let rule = all
                .iter_mut()
                .find(|it| it["rule"]["comment"] == "Drop traffic to unallocated ClusterIPs")
                .unwrap();
            rule["rule"]["expr"][0]["match"]["right"] = json!("10.0.0.1");
        });
        assert_eq!(service_ranges(&other), expected);
        assert_eq!(canonical(&resynced(other)), canonical(&healthy()));
        let range = json!({"range": ["10.0.0.1", "10.0.0.3"]});
        assert_eq!(ranges_of(&range).unwrap().len(), 2);
        assert_eq!(ranges_of(&json!({"range": ["10.0.0.1"]})), None);
        assert_eq!(ranges_of(&json!({"prefix": {"addr": "10.0.0.0", "len": 33}})), None);
    }

    #[test]
    fn a_node_whose_rules_nobody_read_is_not_written() {
        let mut snapshot = healthy();
        snapshot.net_mut(&Place::node("n2")).unwrap().netfilter.nft = Observed::default();
        let change = Change::Resynced { node: "n2".into(), controller: Controller::KubeProxy };
        let error = change.apply(&mut snapshot).unwrap_err();
        assert!(error.what.starts_with("nft: "), "{error}");
        let netfilter = &mut snapshot.net_mut(&Place::node("n2")).unwrap().netfilter;
        netfilter.nft = Observed::Known("{\"nftables\": {}}".to_owned());
        assert!(change.apply(&mut snapshot).is_err());
    }
}
