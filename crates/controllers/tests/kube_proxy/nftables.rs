//! Mode nftables: the tables of a kubeadm cluster, and those that kube-proxy's own package `pkg/proxy/nftables` wrote for
//! Services of every kind, read back by nft 1.0.6.

use std::collections::BTreeMap;

use hopwise_controllers::{
    Family,
    kube_proxy::{KubeProxy, KubeProxyConfig, TABLE, is_own_chain, is_own_set},
};
use hopwise_snapshot::{Cluster, NodeName, Observed};
use serde_json::Value;

use crate::{cluster, list, sample};

/// A listing without handles and what passes: the definition of each object, then the rules of a chain in order, or the
/// elements of a set sorted.
type Canonical = BTreeMap<String, Vec<String>>;

fn canonical(items: &[Value], family: &str) -> Canonical {
    let mut all = Canonical::new();
    for item in items {
        let (kind, body) = item.as_object().unwrap().iter().next().unwrap();
        let table = if kind == "table" { &body["name"] } else { &body["table"] };
        if body["family"] != family || table != TABLE {
            continue;
        }
        let mut body = body.as_object().unwrap().clone();
        body.remove("handle");
        let elements = body.remove("elem");
        let (owner, name) = match kind.as_str() {
            "rule" => ("chain", &body["chain"]),
            "set" | "map" => ("set", &body["name"]),
            kind => (kind, &body["name"]),
        };
        let entry = all.entry(format!("{owner} {}", name.as_str().unwrap())).or_default();
        entry.push(Value::Object(body.clone()).to_string());
        if let Some(Value::Array(elements)) = elements {
            let mut texts: Vec<String> = elements.iter().map(Value::to_string).collect();
            texts.sort();
            entry.extend(texts);
        }
    }
    all
}

#[track_caller]
fn assert_same(proxy: &KubeProxy<'_>, listing: &str, what: &str) {
    let document: Value = serde_json::from_str(listing).unwrap();
    let real = document["nftables"].as_array().unwrap();
    for (family, word) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
        let real = canonical(real, word);
        let ours = canonical(proxy.nftables(family).known().unwrap(), word);
        let names = |it: &Canonical| it.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&real), "{what} {word}");
        for (name, real) in &real {
            assert_eq!(&ours[name], real, "{what} {word}: {name}");
        }
        for name in real.keys() {
            let is_own = match name.split_once(' ').unwrap() {
                ("chain", name) => is_own_chain(name),
                ("set", name) => is_own_set(name),
                (_, name) => name == TABLE,
            };
            assert!(is_own, "{name}");
        }
    }
}

fn check_services(name: &str, service_ranges: &[&str]) {
    let cluster = cluster("services");
    let node = NodeName::from(name.rsplit('-').next().unwrap());
    let config = KubeProxyConfig::parse(&sample(&format!("services-nftables/{name}/config.yaml"))).unwrap();
    assert_eq!(config.remarks, Vec::<String>::new());
    let mut proxy = KubeProxy::new(&cluster, &node, &config);
    proxy.host.service_ranges = service_ranges.iter().map(|it| it.parse().unwrap()).collect();
    assert_same(&proxy, &sample(&format!("services-nftables/{name}/nft.json")), name);
}

#[test]
fn every_kind_of_service_on_a_node_with_endpoints() {
    check_services("default-n1", &["10.96.0.0/16", "fd00:96::/112"]);
}

#[test]
fn every_kind_of_service_in_another_zone_and_ranges_of_two_objects() {
    check_services("default-n2", &["10.96.0.0/16", "10.98.0.0/16"]);
}

#[test]
fn masquerade_all_another_mark_and_node_ports_on_all_addresses() {
    check_services("masquerade-all-n3", &[]);
}

#[test]
fn node_ports_on_some_addresses_only() {
    check_services("node-port-addresses-n2", &[]);
}

#[test]
fn local_traffic_by_bridge() {
    check_services("bridge-n2", &[]);
}

#[test]
fn local_traffic_by_interface_prefix() {
    check_services("prefix-n2", &[]);
}

#[test]
fn no_detection_of_local_traffic() {
    check_services("no-detection-n2", &[]);
}

/// The sample of a cluster that other crates use as well.
const KUBEADM: &str = "../../../testkit/samples/kubeadm-1.34-flannel-vxlan-nftables";

#[test]
fn the_nodes_of_a_kubeadm_cluster() {
    let cluster = Cluster {
        nodes: list(&format!("{KUBEADM}/api/nodes.json")),
        services: list(&format!("{KUBEADM}/api/services.json")),
        endpoint_slices: list(&format!("{KUBEADM}/api/endpointslices.json")),
        config_maps: list(&format!("{KUBEADM}/api/configmaps-kube-system.json")),
        ..Cluster::default()
    };
    let Observed::Known(Ok(config)) = KubeProxyConfig::of_cluster(&cluster) else {
        panic!("the ConfigMap is there and readable")
    };
    for node in ["n1", "n2", "n3"] {
        let mut proxy = KubeProxy::new(&cluster, &NodeName::from(node), &config);
        // The API server was started with --service-cluster-ip-range=10.96.0.0/12.
        proxy.host.service_ranges = vec!["10.96.0.0/12".parse().unwrap()];
        assert_same(&proxy, &sample(&format!("{KUBEADM}/{node}/nft.json")), node);
    }
}

#[test]
fn nothing_is_written_before_services_and_endpoints_are_known() {
    let mut cluster = cluster("services");
    let config = KubeProxyConfig::default();
    let node = NodeName::from("n1");
    cluster.services = Observed::default();
    assert!(KubeProxy::new(&cluster, &node, &config).nftables(Family::V4).is_not_collected());
    cluster.services = list("services/services.json");
    assert!(KubeProxy::new(&cluster, &node, &config).nftables(Family::V4).known().is_some());
}
