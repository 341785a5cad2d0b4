//! kube-proxy's rules, held against what kube-proxy 1.34.4 wrote.
//!
//! `samples/kubeadm`: a kubeadm cluster with flannel, every node as its tools print it. `samples/services`: Services
//! of every kind, written by kube-proxy's own package `pkg/proxy/iptables` into a network namespace and read back
//! by iptables-nft-save 1.8.9 (`samples/README.md` says how). Mode nftables is in `nftables.rs`.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod nftables;

use std::{fs, path::PathBuf};

use hopwise_controllers::{
    Chain, Family, Ruleset,
    kube_proxy::{Client, KubeProxy, KubeProxyConfig, ServiceAnswer, iptables, service_endpoints},
    kubelet::kubelet_iptables,
};
use hopwise_snapshot::{Cluster, NodeName, Observed};
use serde::{Deserialize, de::DeserializeOwned};

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

fn sample(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list<T: DeserializeOwned>(path: &str) -> Observed<Vec<T>> {
    Observed::Known(serde_json::from_str::<List<T>>(&sample(path)).unwrap().items)
}

fn cluster(directory: &str) -> Cluster {
    Cluster {
        nodes: list(&format!("{directory}/nodes.json")),
        services: list(&format!("{directory}/services.json")),
        endpoint_slices: list(&format!("{directory}/endpointslices.json")),
        ..Cluster::default()
    }
}

/// The chains whose order among Services is that of a Go map in the real kube-proxy.
const UNORDERED: [(&str, &str); 6] = [
    ("nat", "KUBE-SERVICES"),
    ("nat", "KUBE-NODEPORTS"),
    ("filter", "KUBE-SERVICES"),
    ("filter", "KUBE-NODEPORTS"),
    ("filter", "KUBE-EXTERNAL-SERVICES"),
    ("filter", "KUBE-PROXY-FIREWALL"),
];

/// Compares two rule sets chain by chain; the order counts wherever the real kube-proxy's does.
#[track_caller]
fn assert_same(ours: &Ruleset, real: &Ruleset, what: &str) {
    let names = |rules: &Ruleset| -> Vec<(String, String)> {
        rules.chains().map(|(table, chain, _)| (table.to_owned(), chain.to_owned())).collect()
    };
    assert_eq!(names(ours), names(real), "{what}: chains");
    for (table, name, chain) in real.chains() {
        let mut pair = [ours.chain(table, name).unwrap().clone(), chain.clone()];
        if (table, name) == ("nat", "KUBE-SERVICES") {
            let [ours, real] = &pair;
            assert_eq!(node_port_jumps(ours), node_port_jumps(real), "{what}: end of {name}");
        }
        if UNORDERED.contains(&(table, name)) {
            for chain in &mut pair {
                chain.rules.sort();
            }
        }
        let [ours, real] = pair;
        assert_eq!(ours, real, "{what}: {table} {name}");
    }
}

/// The rules that must be the last, as a set: addresses come in arbitrary order too.
fn node_port_jumps(chain: &Chain) -> Vec<&String> {
    let is_jump = |it: &&String| it.ends_with("-j KUBE-NODEPORTS");
    let mut jumps: Vec<&String> = chain.rules.iter().rev().take_while(is_jump).collect();
    assert_eq!(jumps.len(), chain.rules.iter().filter(is_jump).count(), "they stand last");
    jumps.sort();
    jumps
}

fn file(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-save.txt",
        Family::V6 => "ip6tables-save.txt",
    }
}

#[track_caller]
fn check_services(name: &str) {
    let cluster = cluster("services");
    let node = NodeName::from(name.rsplit('-').next().unwrap());
    let config = KubeProxyConfig::parse(&sample(&format!("services/{name}/config.yaml"))).unwrap();
    assert_eq!(config.remarks, Vec::<String>::new());
    for family in Family::ALL {
        let real = Ruleset::parse(&sample(&format!("services/{name}/{}", file(family)))).unwrap();
        let ours = KubeProxy::new(&cluster, &node, &config).rules(family);
        assert_same(ours.known().unwrap(), &real, &format!("{name} {family}"));
    }
}

#[test]
fn every_kind_of_service_on_a_node_with_endpoints() {
    check_services("default-n1");
}

#[test]
fn every_kind_of_service_in_another_zone() {
    check_services("default-n2");
}

#[test]
fn masquerade_all_and_another_mark() {
    check_services("masquerade-all-n3");
}

#[test]
fn node_ports_on_some_addresses_only() {
    check_services("node-port-addresses-n2");
}

#[test]
fn no_node_ports_on_loopback_and_local_traffic_by_bridge() {
    check_services("no-localhost-n2");
}

#[test]
fn local_traffic_by_interface_prefix() {
    check_services("prefix-n2");
}

#[test]
fn no_detection_of_local_traffic() {
    check_services("no-detection-n2");
}

#[test]
fn a_kubeadm_node_after_kubelet_and_kube_proxy() {
    let mut cluster = cluster("kubeadm");
    cluster.config_maps = list("kubeadm/configmaps.json");
    let Observed::Known(Ok(config)) = KubeProxyConfig::of_cluster(&cluster) else {
        panic!("the ConfigMap is there and readable")
    };
    for node in ["n1", "n2", "n3"] {
        for family in Family::ALL {
            let mut real = Ruleset::parse(&sample(&format!("kubeadm/{node}/{}", file(family)))).unwrap();
            real.remove("nat", "FLANNEL-POSTRTG");
            real.remove("filter", "FLANNEL-FWD");
            for (table, chain) in [("nat", "POSTROUTING"), ("filter", "FORWARD")] {
                real.chain_mut(table, chain).rules.retain(|it| !it.contains("FLANNEL"));
            }
            let mut ours = kubelet_iptables(family);
            let proxy = KubeProxy::new(&cluster, &NodeName::from(node), &config);
            assert_eq!(proxy.sync(family, &mut ours), Observed::Known(()));
            assert_same(&ours, &real, &format!("{node} {family}"));
        }
    }
}

#[test]
fn loopback_addresses_are_routed_only_where_node_ports_are_offered_on_them() {
    let cluster = cluster("services");
    let node = NodeName::from("n2");
    for (name, expected) in
        [("default-n2", 1), ("no-localhost-n2", 0), ("node-port-addresses-n2", 1), ("prefix-n2", 0)]
    {
        let config = KubeProxyConfig::parse(&sample(&format!("services/{name}/config.yaml"))).unwrap();
        let sysctls = KubeProxy::new(&cluster, &node, &config).sysctls();
        assert_eq!(sysctls.len(), expected, "{name}: {sysctls:?}");
    }
}

#[test]
fn a_second_sync_changes_nothing() {
    let cluster = cluster("services");
    let config = KubeProxyConfig::default();
    let proxy = KubeProxy::new(&cluster, &NodeName::from("n1"), &config);
    let first = proxy.rules(Family::V4).known().cloned().unwrap();
    let mut second = first.clone();
    assert_eq!(proxy.sync(Family::V4, &mut second), Observed::Known(()));
    assert_eq!(second, first);
}

#[test]
fn a_sync_repairs_its_own_chains_and_leaves_others_alone() {
    let cluster = cluster("services");
    let config = KubeProxyConfig::default();
    let proxy = KubeProxy::new(&cluster, &NodeName::from("n1"), &config);
    let healthy = proxy.rules(Family::V4).known().cloned().unwrap();

    let mut broken = healthy.clone();
    broken.chain_mut("nat", "KUBE-SERVICES").rules.clear();
    broken.chain_mut("nat", "KUBE-SVC-AAAAAAAAAAAAAAAA").rules.push("-j ACCEPT".to_owned());
    broken.chain_mut("nat", "PREROUTING").rules.clear();
    broken.chain_mut("filter", "FORWARD").rules.insert(0, "-j DROP".to_owned());
    broken.chain_mut("filter", "FORWARD").policy = Some("DROP".to_owned());
    broken.chain_mut("filter", "MINE");
    assert_eq!(proxy.sync(Family::V4, &mut broken), Observed::Known(()));

    assert_eq!(broken.chain("nat", "KUBE-SERVICES"), healthy.chain("nat", "KUBE-SERVICES"));
    assert_eq!(broken.chain("nat", "PREROUTING"), healthy.chain("nat", "PREROUTING"));
    assert_eq!(broken.chain("nat", "KUBE-SVC-AAAAAAAAAAAAAAAA"), None);
    assert_eq!(broken.chain("filter", "FORWARD").unwrap().rules[0], "-j DROP");
    assert_eq!(broken.chain("filter", "FORWARD").unwrap().policy.as_deref(), Some("DROP"));
    assert!(broken.chain("filter", "MINE").is_some());
}

#[test]
fn nothing_is_written_before_services_and_endpoints_are_known() {
    let node = NodeName::from("n1");
    let config = KubeProxyConfig::default();
    let mut cluster = cluster("services");
    cluster.endpoint_slices = Observed::default();
    assert!(iptables(&cluster, &node, &config, Family::V4).is_not_collected());
    cluster.endpoint_slices = Observed::Absent;
    assert!(iptables(&cluster, &node, &config, Family::V4).known().is_some());
}

#[test]
fn services_of_another_proxy_and_headless_ones_get_no_rules() {
    let config = KubeProxyConfig::default();
    let node = NodeName::from("n1");
    for label in ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] {
        let mut cluster = cluster("services");
        let services = cluster.services.known_mut().unwrap();
        services.retain(|it| it.metadata.name == "plain");
        services[0].metadata.labels.insert(label.to_owned(), String::new());
        let rules = KubeProxy::new(&cluster, &node, &config).rules(Family::V4);
        assert!(!rules.known().unwrap().to_string().contains("shop/plain"), "{label}");
    }
}

#[test]
fn above_a_thousand_endpoints_their_rules_lose_their_comments() {
    let config = KubeProxyConfig::default();
    let node = NodeName::from("n1");
    let mut cluster = cluster("services");
    cluster.services.known_mut().unwrap().retain(|it| it.metadata.name == "plain");
    let slices = cluster.endpoint_slices.known_mut().unwrap();
    slices.retain(|it| it.metadata.name == "plain-ipv4");
    let template = slices[0].endpoints[0].clone();
    let endpoint = |index: usize| {
        let mut endpoint = template.clone();
        endpoint.addresses = vec![format!("10.244.{}.{}", index / 250, index % 250 + 1)];
        endpoint
    };
    slices[0].endpoints = (0..1000).map(endpoint).collect();
    let commented = iptables(&cluster, &node, &config, Family::V4).known().cloned().unwrap();
    assert_eq!(commented.matches("shop/plain:http ->").count(), 1000);

    cluster.endpoint_slices.known_mut().unwrap()[0].endpoints.push(endpoint(1000));
    let bare = iptables(&cluster, &node, &config, Family::V4).known().cloned().unwrap();
    assert_eq!(bare.matches("shop/plain:http ->").count(), 0);
    assert_eq!(bare.matches("--comment \"shop/plain:http\"").count(), 0);
    assert_eq!(bare.matches("--comment \"shop/plain:http cluster IP\"").count(), 1);
    assert_eq!(bare.matches("-j DNAT").count(), 1001);
}

/// The endpoints that a client on a node may use, as texts.
fn endpoints_for(service: &str, node: &str, client: Option<Client>) -> String {
    let cluster = cluster("services");
    let service = cluster.service("shop", service).unwrap();
    let node = NodeName::from(node);
    let used = service_endpoints(&cluster, service, &service.spec.ports[0], &node, Family::V4);
    let Observed::Known(used) = used else { return "not proxied".to_owned() };
    let answer = match client {
        None => used.for_cluster_ip(),
        Some(client) => used.for_external(client),
    };
    match answer {
        ServiceAnswer::Forward(endpoints) => {
            let texts: Vec<String> = endpoints.iter().map(|it| it.address.to_string()).collect();
            texts.join(" ")
        }
        ServiceAnswer::Reject => "reject".to_owned(),
        ServiceAnswer::Drop => "drop".to_owned(),
    }
}

#[test]
fn the_cluster_address_leads_to_ready_endpoints() {
    for (service, node, expected) in [
        ("plain", "n1", "10.244.1.10:8080 10.244.1.9:8080 10.244.2.3:8080 10.244.3.3:8080"),
        ("unready", "n1", "10.244.2.30:8080"),
        ("all-unready", "n1", "reject"),
        ("empty", "n1", "reject"),
        ("ending", "n2", "10.244.1.32:8080"),
        ("ending-and-ready", "n1", "10.244.2.33:8080"),
        ("internal-local", "n1", "10.244.1.11:8080 10.244.1.12:8080"),
        ("internal-local", "n2", "drop"),
        ("zones", "n1", "10.244.1.40:8080 10.244.3.40:8080"),
        ("zones", "n2", "10.244.2.40:8080 10.244.3.40:8080"),
        ("zones-incomplete", "n1", "10.244.1.41:8080 10.244.2.41:8080"),
        ("zones-elsewhere", "n1", "10.244.1.42:8080 10.244.2.42:8080"),
        ("node-hints", "n2", "10.244.2.46:8080"),
        ("node-hints-elsewhere", "n1", "10.244.3.47:8080"),
        ("headless", "n1", "not proxied"),
        ("name", "n1", "not proxied"),
        ("v6only", "n1", "not proxied"),
    ] {
        assert_eq!(endpoints_for(service, node, None), expected, "{service} on {node}");
    }
}

#[test]
fn the_external_policy_binds_only_clients_elsewhere() {
    use Client::{Elsewhere, OnNode};
    for (service, node, client, expected) in [
        ("nodeport", "n3", Elsewhere, "10.244.1.2:8080 10.244.2.2:8080"),
        ("nodeport-local", "n1", Elsewhere, "10.244.1.5:8080"),
        ("nodeport-local", "n3", Elsewhere, "drop"),
        ("nodeport-local", "n3", OnNode, "10.244.1.5:8080 10.244.2.5:8080 10.244.2.6:8080"),
        ("ending-local", "n1", Elsewhere, "10.244.1.34:8080"),
        ("empty-nodeport", "n1", OnNode, "reject"),
    ] {
        assert_eq!(endpoints_for(service, node, Some(client)), expected, "{service} on {node}");
    }
}
