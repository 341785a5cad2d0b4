//! flannel's state, held against a kubeadm cluster with flannel 0.28.4 (`samples/kubeadm`).
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{fs, path::PathBuf};

use hopwise_controllers::{
    Family, Ruleset,
    flannel::{
        Backend, FlannelConfig, FlannelError, NodeNetwork, SubnetEnv, Uplink, VxlanBackend, network,
        node_annotations, sync_flannel_iptables,
    },
    kube_proxy::{KubeProxy, KubeProxyConfig},
    kubelet::kubelet_iptables,
};
use hopwise_snapshot::{Cluster, Mac, NodeName, NodeObject, Observed};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

fn sample(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/kubeadm").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list<T: DeserializeOwned>(path: &str) -> Observed<Vec<T>> {
    Observed::Known(serde_json::from_str::<List<T>>(&sample(path)).unwrap().items)
}

fn cluster() -> Cluster {
    Cluster {
        nodes: list("nodes.json"),
        services: list("services.json"),
        endpoint_slices: list("endpointslices.json"),
        config_maps: list("configmaps.json"),
        ..Cluster::default()
    }
}

fn config(cluster: &Cluster) -> FlannelConfig {
    FlannelConfig::of_cluster(cluster).known().unwrap().clone().unwrap()
}

fn uplink(node: &str) -> Uplink {
    let address = format!("192.168.50.1{}/24", &node[1..]);
    Uplink { name: "eth0".to_owned(), mtu: 1500, addresses: vec![address.parse().unwrap()] }
}

fn of_node(cluster: &Cluster, config: &FlannelConfig, node: &str, uplink: &Uplink) -> NodeNetwork {
    let made = network(cluster, &NodeName::from(node), config, uplink);
    made.known().unwrap().clone().unwrap()
}

/// The entries of a JSON list as `ip -j` and `bridge -j` print it.
fn entries(path: &str, keep: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut all: Vec<Value> = serde_json::from_str(&sample(path)).unwrap();
    all.retain(keep);
    all
}

const NODES: [&str; 3] = ["n1", "n2", "n3"];

#[test]
fn routes_neighbours_and_fdb_are_those_of_the_real_nodes() {
    let cluster = cluster();
    let config = config(&cluster);
    for node in NODES {
        let made = of_node(&cluster, &config, node, &uplink(node));
        assert_eq!(made.left_out, []);

        let texts = |entry: &Value, keys: &[&str]| -> Vec<String> {
            keys.iter().map(|it| entry[it].as_str().unwrap_or_default().to_owned()).collect()
        };
        let is_ours = |it: &Value| it["dev"] == "flannel.1" && it["protocol"] == "boot";
        let real: Vec<_> = entries(&format!("{node}/ip-route.json"), is_ours)
            .iter()
            .map(|it| {
                assert_eq!(it["flags"], serde_json::json!(["onlink"]));
                texts(it, &["dev", "dst", "gateway"])
            })
            .collect();
        let ours: Vec<_> = made
            .routes
            .iter()
            .map(|it| vec![it.device.clone(), it.destination.to_string(), it.via.unwrap().to_string()])
            .collect();
        assert_eq!(ours, real, "{node}");
        assert!(made.routes.iter().all(|it| it.onlink));

        let mut real: Vec<_> =
            entries(&format!("{node}/ip-neigh.json"), |it| it["state"] == serde_json::json!(["PERMANENT"]))
                .iter()
                .map(|it| texts(it, &["dev", "dst", "lladdr"]))
                .collect();
        real.sort();
        let ours: Vec<_> = made
            .neighbours
            .iter()
            .map(|it| vec![it.device.clone(), it.address.to_string(), it.mac.to_string()])
            .collect();
        assert_eq!(ours, real, "{node}");

        let mut real: Vec<_> = entries(&format!("{node}/bridge-fdb.json"), |it| {
            it["ifname"] == "flannel.1" && !it["dst"].is_null()
        })
        .iter()
        .map(|it| texts(it, &["ifname", "mac", "dst"]))
        .collect();
        real.sort();
        let ours: Vec<_> = made
            .fdb
            .iter()
            .map(|it| vec![it.device.clone(), it.mac.to_string(), it.remote.to_string()])
            .collect();
        assert_eq!(ours, real, "{node}");
    }
}

#[test]
fn the_device_is_that_of_the_real_nodes() {
    let cluster = cluster();
    let config = config(&cluster);
    for node in NODES {
        let made = of_node(&cluster, &config, node, &uplink(node));
        let [device] = made.devices.as_slice() else { panic!("one device") };
        let [real] = entries(&format!("{node}/ip-addr.json"), |it| it["ifname"] == device.name.as_str())
            .try_into()
            .unwrap_or_else(|it| panic!("one device, found {it:?}"));
        let data = &real["linkinfo"]["info_data"];
        assert_eq!(data["id"], device.vni);
        assert_eq!(data["port"], device.port);
        assert_eq!(data["local"], device.local.to_string());
        assert_eq!(data["link"], device.lower);
        assert_eq!(data["learning"], device.learning);
        assert_eq!(real["mtu"], device.mtu);
        assert_eq!(real["address"], device.mac.unwrap().to_string());
        let address = &real["addr_info"][0];
        assert_eq!(address["local"], device.address.addr().to_string());
        assert_eq!(address["prefixlen"], device.address.prefix_len());
    }
}

#[test]
fn the_file_for_the_plugin_is_that_of_the_real_nodes() {
    let cluster = cluster();
    let config = config(&cluster);
    for node in NODES {
        let made = of_node(&cluster, &config, node, &uplink(node));
        let real = sample(&format!("{node}/subnet.env"));
        assert_eq!(made.subnet_env.to_string(), real);
        assert_eq!(SubnetEnv::parse(&real), Ok(made.subnet_env));
    }
}

#[test]
fn the_annotations_are_those_of_the_real_nodes() {
    let cluster = cluster();
    let config = config(&cluster);
    for node in NODES {
        let name = NodeName::from(node);
        let made = of_node(&cluster, &config, node, &uplink(node));
        let ours = node_annotations(&name, &config, &uplink(node), |_| made.devices[0].mac).unwrap();
        let mut real = cluster.node(&name).unwrap().metadata.annotations.clone();
        real.retain(|key, _| key.starts_with("flannel.alpha.coreos.com/"));
        assert_eq!(ours, real);
    }
}

#[test]
fn the_rules_of_a_node_are_those_of_kubelet_kube_proxy_and_flannel() {
    let cluster = cluster();
    let config = config(&cluster);
    let proxy_config = KubeProxyConfig::of_cluster(&cluster).known().unwrap().clone().unwrap();
    for node in NODES {
        let name = NodeName::from(node);
        for (family, file) in [(Family::V4, "iptables-save.txt"), (Family::V6, "ip6tables-save.txt")] {
            let mut real = Ruleset::parse(&sample(&format!("{node}/{file}"))).unwrap();
            let mut ours = kubelet_iptables(family);
            let proxy = KubeProxy::new(&cluster, &name, &proxy_config);
            assert_eq!(proxy.sync(family, &mut ours), Observed::Known(()));
            let outcome = sync_flannel_iptables(&cluster, &name, &config, family, &mut ours);
            assert_eq!(outcome, Observed::Known(Ok(())));
            // kube-proxy's order of Services is that of a Go map.
            for rules in [&mut ours, &mut real] {
                rules.chain_mut("nat", "KUBE-SERVICES").rules.sort();
            }
            assert_eq!(ours, real, "{node} {family}");
        }
    }
}

#[test]
fn a_restart_moves_the_jumps_to_the_end() {
    let cluster = cluster();
    let config = config(&cluster);
    let name = NodeName::from("n1");
    let mut rules = Ruleset::default();
    let sync = |rules: &mut Ruleset| {
        let outcome = sync_flannel_iptables(&cluster, &name, &config, Family::V4, rules);
        assert_eq!(outcome, Observed::Known(Ok(())));
    };
    sync(&mut rules);
    rules.chain_mut("filter", "FORWARD").rules.push("-j DROP".to_owned());
    rules.chain_mut("nat", "FLANNEL-POSTRTG").rules.clear();
    sync(&mut rules);
    let forward = &rules.chain("filter", "FORWARD").unwrap().rules;
    assert_eq!(forward.len(), 2);
    assert_eq!(forward[0], "-j DROP");
    assert_eq!(rules.chain("nat", "FLANNEL-POSTRTG").unwrap().rules.len(), 6);
}

/// The same cluster with an IPv6 network as well.
fn dual_stack() -> (Cluster, FlannelConfig, Uplink) {
    let mut cluster = cluster();
    let config = FlannelConfig {
        enable_ipv6: true,
        ipv6_network: Some("fd00:244::/48".parse().unwrap()),
        ..config(&cluster)
    };
    for node in cluster.nodes.known_mut().unwrap() {
        let number = node.metadata.name[1..].to_owned();
        node.spec.pod_cidrs.push(format!("fd00:244:0:{number}::/64"));
        let uplink = dual_uplink(&node.metadata.name);
        let mac: Mac = format!("02:00:00:00:06:0{number}").parse().unwrap();
        let annotations = node_annotations(&node.name(), &config, &uplink, |_| Some(mac)).unwrap();
        node.metadata.annotations.extend(annotations);
    }
    (cluster, config, dual_uplink("n1"))
}

fn dual_uplink(node: &str) -> Uplink {
    let mut uplink = uplink(node);
    uplink.addresses.push(format!("fd00:50::1{}/64", &node[1..]).parse().unwrap());
    uplink
}

#[test]
fn dual_stack_makes_a_second_device_with_the_mtu_that_fits() {
    let (cluster, config, uplink) = dual_stack();
    let made = of_node(&cluster, &config, "n1", &uplink);
    let devices: Vec<_> = made
        .devices
        .iter()
        .map(|it| (it.name.as_str(), it.requested_mtu, it.mtu, it.address.to_string()))
        .collect();
    assert_eq!(
        devices,
        [
            ("flannel.1", 1450, 1450, "10.244.0.0/32".to_owned()),
            ("flannel-v6.1", 1450, 1430, "fd00:244:0:1::/128".to_owned())
        ]
    );
    assert_eq!(made.subnet_env.mtu, 1450);
    assert_eq!(
        made.subnet_env.to_string(),
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.0.1/24\nFLANNEL_IPV6_NETWORK=fd00:244::/48\n\
         FLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    );
    let route = made.routes.iter().find(|it| it.destination.to_string() == "fd00:244:0:2::/64").unwrap();
    assert_eq!(route.device, "flannel-v6.1");
    assert_eq!(route.via.unwrap().to_string(), "fd00:244:0:2::");
    assert_eq!(made.fdb.iter().filter(|it| it.remote.to_string() == "fd00:50::12").count(), 1);
}

#[test]
fn a_node_that_lacks_one_family_is_left_out_in_both() {
    let (mut cluster, config, uplink) = dual_stack();
    cluster.nodes.known_mut().unwrap()[1].metadata.annotations.remove("flannel.alpha.coreos.com/public-ipv6");
    let made = of_node(&cluster, &config, "n1", &uplink);
    assert_eq!(made.routes.len(), 2, "both to n3");
    assert_eq!(
        made.left_out[0].to_string(),
        "annotation `public-ipv6` of node n2: expected an address of the family, found ``"
    );
}

#[test]
fn direct_routing_needs_no_tunnel_in_the_same_subnet() {
    let cluster = cluster();
    let mut config = config(&cluster);
    config.backend = Backend::Vxlan(VxlanBackend { direct_routing: true, ..VxlanBackend::default() });
    let made = of_node(&cluster, &config, "n1", &uplink("n1"));
    assert_eq!(made.devices.len(), 1);
    assert!(made.fdb.is_empty() && made.neighbours.is_empty());
    assert!(made.routes.iter().all(|it| it.device == "eth0" && !it.onlink));

    let mut apart = uplink("n1");
    apart.addresses = vec!["192.168.50.11/32".parse().unwrap()];
    let made = of_node(&cluster, &config, "n1", &apart);
    assert_eq!((made.fdb.len(), made.routes[0].device.as_str()), (2, "flannel.1"));
}

#[test]
fn host_gw_makes_routes_and_keeps_the_mtu() {
    let mut cluster = cluster();
    let mut config = config(&cluster);
    config.backend = Backend::HostGw;
    for node in cluster.nodes.known_mut().unwrap() {
        let name = node.name();
        let annotations = node_annotations(&name, &config, &uplink(name.as_str()), |_| None).unwrap();
        assert_eq!(annotations["flannel.alpha.coreos.com/backend-data"], "null");
        node.metadata.annotations.extend(annotations);
    }
    let made = of_node(&cluster, &config, "n2", &uplink("n2"));
    assert!(made.devices.is_empty() && made.fdb.is_empty() && made.neighbours.is_empty());
    let routes: Vec<_> = made
        .routes
        .iter()
        .map(|it| format!("{} via {} dev {}", it.destination, it.via.unwrap(), it.device))
        .collect();
    assert_eq!(
        routes,
        ["10.244.0.0/24 via 192.168.50.11 dev eth0", "10.244.1.0/24 via 192.168.50.13 dev eth0"]
    );
    assert_eq!(made.subnet_env.mtu, 1500);
}

#[track_caller]
fn check_left_out(change: impl FnOnce(&mut NodeObject), expected: &str) {
    let mut cluster = cluster();
    let config = config(&cluster);
    change(&mut cluster.nodes.known_mut().unwrap()[2]);
    let made = of_node(&cluster, &config, "n1", &uplink("n1"));
    assert_eq!(made.routes.len(), 1);
    assert_eq!(made.left_out.iter().map(FlannelError::to_string).collect::<Vec<_>>(), [expected]);
}

#[test]
fn other_nodes_are_left_out_by_name() {
    check_left_out(
        |it| {
            it.metadata.annotations.clear();
        },
        "annotation `kube-subnet-manager` of node n3: expected true, found ``",
    );
    check_left_out(
        |it| {
            it.metadata.annotations.insert("flannel.alpha.coreos.com/backend-data".into(), "null".into());
        },
        "annotation `backend-data` of node n3: expected JSON with a VtepMAC, found `null`",
    );
    check_left_out(
        |it| {
            it.metadata.annotations.insert("flannel.alpha.coreos.com/backend-type".into(), "host-gw".into());
        },
        "node n3 has backend `host-gw`, this node has `vxlan`",
    );
    check_left_out(
        |it| {
            it.spec.pod_cidr = None;
            it.spec.pod_cidrs.clear();
        },
        "node n3 has no podCIDR of IPv4",
    );
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut Cluster, &mut FlannelConfig, &mut Uplink), expected: &str) {
    let mut cluster = cluster();
    let mut config = config(&cluster);
    let mut uplink = uplink("n1");
    change(&mut cluster, &mut config, &mut uplink);
    let made = network(&cluster, &NodeName::from("n1"), &config, &uplink);
    let Observed::Known(Err(error)) = made else { panic!("flannel must not start: {made:?}") };
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_keeps_flannel_from_starting_is_named() {
    check_refused(
        |_, config, _| config.network = Some("10.5.0.0/16".parse().unwrap()),
        "podCIDR 10.244.0.0/24 of node n1 lies outside of 10.5.0.0/16",
    );
    check_refused(
        |_, config, _| config.network = None,
        "podCIDR 10.244.0.0/24 of node n1 lies outside of an unset network",
    );
    check_refused(
        |cluster, _, _| {
            let node = &mut cluster.nodes.known_mut().unwrap()[0];
            node.spec.pod_cidr = None;
            node.spec.pod_cidrs.clear();
        },
        "node n1 has no podCIDR of IPv4",
    );
    check_refused(|_, _, uplink| uplink.addresses.clear(), "the interface of node n1 has no IPv4 address");
    check_refused(
        |_, config, _| config.backend = Backend::Other("udp".to_owned()),
        "the backend `udp` is not modelled",
    );
    check_refused(|cluster, _, _| cluster.nodes = Observed::Known(Vec::new()), "there is no node `n1`");
}

#[test]
fn nothing_is_known_of_a_network_whose_nodes_were_not_listed() {
    let mut cluster = cluster();
    let config = config(&cluster);
    cluster.nodes = Observed::default();
    assert!(network(&cluster, &NodeName::from("n1"), &config, &uplink("n1")).is_not_collected());
}
