//! Snapshots from bundles of command output.
//!
//! A bundle is a directory with `api/*.json` (what `kubectl get -o json` printed) and one directory a node,
//! called as the node:
//!
//! | file | command |
//! |---|---|
//! | `ip-addr.json` | `ip -d -j addr`, with `-s` for counters |
//! | `ip-route.json`, `ip6-route.json` | `ip -d -j route show table all`, with `-6` |
//! | `ip-rule.json`, `ip6-rule.json` | `ip -j rule`, with `-6` |
//! | `ip-neigh.json` | `ip -j neigh` |
//! | `bridge-link.json`, `bridge-fdb.json` | `bridge -d -j link`, `bridge -j fdb` |
//! | `iptables-save.txt`, `ip6tables-save.txt` | `iptables-save -c`; its first line tells the back end |
//! | `nft.json` | `nft -j list ruleset` |
//! | `sysctl.txt` | `sysctl -a` |
//! | `ss.txt` | `ss -lntup` |
//! | `conntrack.txt`, `conntrack-stat.txt` | `conntrack -L`, `conntrack -S` |
//! | `proc-net-snmp.txt`, `proc-net-netstat.txt`, `proc-net-snmp6.txt`, `nstat.txt` | the files of `/proc/net`; `nstat -az` |
//! | `resolv.conf`, `hosts`, `subnet.env`, `kubelet-config.yaml` | the files |
//! | `cni.txt` | the files of `/etc/cni/net.d`, each after a line `== PATH` |
//!
//! What a bundle lacks is not collected; what is in it becomes the same facts as from a live node.

pub mod bridge;
pub mod ip;
mod json;
pub mod text;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use hopwise_snapshot::{File, Link, Node, NodeName, Observed, Route, Snapshot};
use jiff::Timestamp;

use crate::{
    error::{Document, SourceError},
    kubectl, net_ns, redact,
};

/// A bundle as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What was observed.
    pub snapshot: Snapshot,
    /// Files and objects that are no part of a snapshot, one line each.
    pub not_understood: Vec<String>,
}

/// The largest file of a bundle, in bytes.
const LARGEST: u64 = 1 << 30;

/// Reads the bundle in `directory`. A bundle does not say when it was made; the caller may know.
pub fn read(directory: &Path, taken_at: Timestamp) -> Result<Bundle, SourceError> {
    let name = directory.file_name().map_or_else(|| directory.to_string_lossy(), |it| it.to_string_lossy());
    let mut snapshot = Snapshot::new(taken_at, format!("samples/{name}"));
    let mut not_understood = Vec::new();
    for path in entries(directory)? {
        let name = file_name(&path);
        if !path.is_dir() {
            not_understood.push(format!("{name}: not a directory of a node"));
        } else if name == "api" {
            let objects = api(&path, &mut not_understood)?;
            snapshot.cluster = objects;
        } else {
            let mut files = NodeFiles::read(&path)?;
            let node = files.node()?;
            not_understood.extend(files.rest());
            snapshot.nodes.insert(NodeName(name), Observed::Known(node));
        }
    }
    Ok(Bundle { snapshot, not_understood })
}

fn api(directory: &Path, not_understood: &mut Vec<String>) -> Result<hopwise_snapshot::Cluster, SourceError> {
    let is_json = |it: &PathBuf| it.extension().is_some_and(|it| it == "json");
    let (documents, others): (Vec<_>, Vec<_>) = entries(directory)?.into_iter().partition(is_json);
    not_understood.extend(others.iter().map(|it| format!("api/{}: not JSON", file_name(it))));
    let mut objects = kubectl::Objects::default();
    for path in documents {
        objects.add(&format!("api/{}", file_name(&path)), &read_file(&path)?)?;
    }
    not_understood.append(&mut objects.not_understood);
    Ok(objects.cluster)
}

/// The sorted entries of a directory.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let failed = |source| SourceError::Read { path: directory.to_owned(), source };
    let entries = fs::read_dir(directory).map_err(failed)?;
    let mut paths: Vec<_> =
        entries.map(|it| it.map(|it| it.path())).collect::<io::Result<_>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read_file(path: &Path) -> Result<Vec<u8>, SourceError> {
    let failed = |source| SourceError::Read { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > LARGEST {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {LARGEST} bytes"),
        )));
    }
    fs::read(path).map_err(failed)
}

/// The files of one node that nobody has taken yet.
struct NodeFiles {
    node: String,
    texts: BTreeMap<String, String>,
    directories: Vec<String>,
}

impl NodeFiles {
    fn read(directory: &Path) -> Result<Self, SourceError> {
        let node = file_name(directory);
        let mut texts = BTreeMap::new();
        let mut directories = Vec::new();
        for path in entries(directory)? {
            let name = file_name(&path);
            if path.is_dir() {
                directories.push(name);
                continue;
            }
            let bytes = read_file(&path)?;
            let text = Document::new(&format!("{node}/{name}"), &bytes)?.text.to_owned();
            texts.insert(name, text);
        }
        Ok(Self { node, texts, directories })
    }

    /// Takes a file and reads it; the fact is not collected where the file is missing.
    fn fact<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Document<'_>) -> Result<T, SourceError>,
    ) -> Result<Observed<T>, SourceError> {
        match self.texts.remove(name) {
            Some(text) => {
                let file = format!("{}/{name}", self.node);
                read(&Document { file: &file, text: &text }).map(Observed::Known)
            }
            None => Ok(Observed::default()),
        }
    }

    fn node(&mut self) -> Result<Node, SourceError> {
        let mut node = Node::default();
        let net = &mut node.net;
        self.links_and_addresses(net)?;
        let links = net.links.known().cloned().unwrap_or_default();
        net.routes = self.routes(&links)?;
        net.rules = self.rules()?;
        net.neighbours = self.fact("ip-neigh.json", |it| ip::neighbours(it.file, it.text, &links))?;
        net.fdb = self.fact("bridge-fdb.json", |it| bridge::fdb(it.file, it.text, &links))?;
        self.filters(&mut net.netfilter)?;
        net.netfilter.nft = present(self.fact("nft.json", |it| Ok(it.text.to_owned()))?);
        net.sysctls = self.fact("sysctl.txt", |it| text::sysctls(it.file, it.text))?;
        net.sockets = self.fact("ss.txt", |it| text::sockets(it.file, it.text, &links))?;
        net.conntrack = net_ns::conntrack_sizes(&net.sysctls);
        net.conntrack.statistics =
            self.fact("conntrack-stat.txt", |it| text::conntrack_statistics(it.file, it.text))?;
        net.conntrack.entries = self.fact("conntrack.txt", |it| text::connections(it.file, it.text))?;
        net.counters = self.counters()?;
        self.files(&mut node)?;
        Ok(node)
    }

    fn links_and_addresses(&mut self, net: &mut hopwise_snapshot::NetNs) -> Result<(), SourceError> {
        let both = self.fact("ip-addr.json", |it| {
            Ok((ip::links(it.file, it.text)?, ip::addresses(it.file, it.text)?))
        })?;
        if let Observed::Known((mut links, addresses)) = both {
            let ports = self.fact("bridge-link.json", |it| bridge::ports(it.file, it.text))?;
            for (index, port) in ports.known().into_iter().flatten() {
                if let Some(link) = links.iter_mut().find(|it| it.index == *index) {
                    link.port = Some(port.clone());
                }
            }
            net.links = Observed::Known(links);
            net.addresses = Observed::Known(addresses);
        }
        Ok(())
    }

    /// `ip route show table all` prints both families, so that a bundle may have IPv6 routes twice.
    fn routes(&mut self, links: &[Link]) -> Result<Observed<Vec<Route>>, SourceError> {
        let first = self.fact("ip-route.json", |it| ip::routes(it.file, it.text, links))?;
        let second = self.fact("ip6-route.json", |it| ip::routes(it.file, it.text, links))?;
        Ok(match (first, second) {
            (Observed::Known(mut first), Observed::Known(second)) => {
                first.retain(|it| it.destination.addr().is_ipv4());
                first.extend(second.into_iter().filter(|it| it.destination.addr().is_ipv6()));
                Observed::Known(first)
            }
            // One family alone is no list of routes unless it holds both.
            (Observed::Known(first), _) if first.iter().any(|it| it.destination.addr().is_ipv6()) => {
                Observed::Known(first)
            }
            _ => Observed::default(),
        })
    }

    /// `ip rule` prints IPv4. Where the rules of IPv6 are missing, one stands for them that nobody can
    /// decide: they are there, and unknown.
    fn rules(&mut self) -> Result<Observed<Vec<hopwise_snapshot::RoutingRule>>, SourceError> {
        let ipv4 = self.fact("ip-rule.json", |it| ip::rules(it.file, it.text, false))?;
        let ipv6 = self.fact("ip6-rule.json", |it| ip::rules(it.file, it.text, true))?;
        Ok(match (ipv4, ipv6) {
            (Observed::Known(ipv4), Observed::Known(ipv6)) => Observed::Known([ipv4, ipv6].concat()),
            (Observed::Known(ipv4), _) => {
                Observed::Known([ipv4, vec![ip::unknown_rule("ip -6 rule was not collected")]].concat())
            }
            _ => Observed::default(),
        })
    }

    /// iptables-save prints the rules of one back end, and says which in its first line.
    fn filters(&mut self, netfilter: &mut hopwise_snapshot::Netfilter) -> Result<(), SourceError> {
        let ipv4 = self.fact("iptables-save.txt", |it| Ok(it.text.to_owned()))?;
        let ipv6 = self.fact("ip6tables-save.txt", |it| Ok(it.text.to_owned()))?;
        let is_nft = |text: &Observed<String>| {
            text.known().and_then(|it| it.lines().next()).is_some_and(|it| it.contains("(nf_tables)"))
        };
        for (text, is_ipv6) in [(ipv4, false), (ipv6, true)] {
            let texts =
                if is_nft(&text) { &mut netfilter.iptables_nft } else { &mut netfilter.iptables_legacy };
            *(if is_ipv6 { &mut texts.ipv6 } else { &mut texts.ipv4 }) = present(text);
        }
        Ok(())
    }

    fn counters(&mut self) -> Result<Observed<hopwise_snapshot::Counters>, SourceError> {
        let mut counters = hopwise_snapshot::Counters::new();
        let mut is_known = false;
        for (name, add) in [
            ("nstat.txt", text::add_nstat as text::Add),
            ("proc-net-snmp.txt", net_ns::add_paired_lines),
            ("proc-net-netstat.txt", net_ns::add_paired_lines),
            ("proc-net-snmp6.txt", net_ns::add_single_lines),
        ] {
            let added = self.fact(name, |it| {
                add(&mut counters, it.text).map_err(|(line, problem)| it.error_in_line(line, problem))
            })?;
            is_known |= added.known().is_some();
        }
        Ok(if is_known { Observed::Known(counters) } else { Observed::default() })
    }

    fn files(&mut self, node: &mut Node) -> Result<(), SourceError> {
        for (name, path) in [
            ("hosts", "/etc/hosts"),
            ("resolv.conf", "/etc/resolv.conf"),
            ("subnet.env", "/run/flannel/subnet.env"),
            ("kubelet-config.yaml", "/var/lib/kubelet/config.yaml"),
        ] {
            let file = self.fact(name, |it| Ok(file(it.text)))?;
            if file.known().is_some() {
                node.files.insert(path.to_owned(), file);
            }
        }
        let plugins = self.fact("cni.txt", |it| text::files(it.file, it.text))?;
        for (path, text) in plugins.known().into_iter().flatten() {
            node.files.insert(path.clone(), Observed::Known(file(text)));
            if let Some((directory, name)) = path.rsplit_once('/') {
                let names =
                    node.directories.entry(directory.to_owned()).or_insert(Observed::Known(Vec::new()));
                names.known_mut().into_iter().for_each(|it| it.push(name.to_owned()));
            }
        }
        Ok(())
    }

    /// Names what nobody took. Another form of a file that was taken needs no name.
    fn rest(self) -> impl Iterator<Item = String> {
        let node = self.node;
        let names = self.texts.into_keys().chain(self.directories).filter(|it| it != "nft.txt");
        names.map(move |it| format!("{node}/{it}: not part of a snapshot"))
    }
}

/// A text of which there is nothing is the text of nothing.
fn present(text: Observed<String>) -> Observed<String> {
    match text {
        Observed::Known(text) if text.trim().is_empty() => Observed::Absent,
        other => other,
    }
}

/// A file of a bundle, which has neither mode nor time.
fn file(text: &str) -> File {
    let (text, n_redacted) = redact::text(text);
    File { n_redacted, ..File::text(text) }
}
#[cfg(test)]
mod tests {
    use hopwise_snapshot::{
        LinkDetail, Place, PortState, Reason, RouteKind, RuleAction, SocketProtocol, SysctlKey,
    };

    use super::*;

    fn sample(proxy: &str) -> Bundle {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/samples");
        let taken_at = "2026-11-21T10:05:40Z".parse().unwrap();
        read(&samples.join(format!("kubeadm-1.34-flannel-vxlan-{proxy}")), taken_at).unwrap()
    }

    #[test]
    fn a_real_cluster_is_read_whole() {
        for proxy in ["iptables", "nftables"] {
            let Bundle { snapshot, not_understood } = sample(proxy);
            assert_eq!(not_understood, Vec::<String>::new());
            assert_eq!(snapshot.source, format!("samples/kubeadm-1.34-flannel-vxlan-{proxy}"));
            assert_eq!(snapshot.nodes.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["n1", "n2", "n3"]);
            let cluster = &snapshot.cluster;
            assert_eq!(cluster.nodes.known().unwrap().len(), 3);
            assert_eq!(cluster.pods.known().unwrap().len(), 17);
            assert_eq!(cluster.services.known().unwrap().len(), 4);
            assert_eq!(cluster.endpoint_slices.known().unwrap().len(), 4);
            assert_eq!(cluster.config_maps.known().unwrap().len(), 4);
            assert_eq!(cluster.workloads.known().unwrap().len(), 5);
            assert!(cluster.network_policies.is_not_collected());
            assert!(cluster.config_map("kube-system", "coredns").unwrap().data.contains_key("Corefile"));
            let flannel = &cluster.config_map("kube-flannel", "kube-flannel-cfg").unwrap().data;
            assert!(flannel["net-conf.json"].contains("10.244.0.0/16"));
            let texts = cluster.config_maps.known().unwrap().iter().flat_map(|it| it.data.values());
            assert!(texts.into_iter().all(|it| !it.contains("[redacted]")), "kubeadm puts no secret there");
            let bytes = hopwise_snapshot::hop::write(&snapshot);
            assert_eq!(hopwise_snapshot::hop::read(&bytes).unwrap(), snapshot);
        }
    }

    #[test]
    fn links_addresses_and_routes_carry_what_the_tools_printed() {
        let snapshot = sample("iptables").snapshot;
        let net = snapshot.net(&Place::node("n2")).unwrap();
        let LinkDetail::Vxlan(vxlan) = &net.link("flannel.1").unwrap().detail else { panic!() };
        assert_eq!((vxlan.vni, vxlan.port, vxlan.learning), (1, 8472, false));
        assert_eq!(vxlan.local, "192.168.50.12".parse().ok());
        assert_eq!(vxlan.lower, Some(net.link("eth0").unwrap().index));
        let LinkDetail::Bridge(bridge) = &net.link("cni0").unwrap().detail else { panic!() };
        assert!(bridge.multicast_snooping && !bridge.vlan_filtering);
        assert_eq!(bridge.ageing_seconds, 300);
        let veth = net.link("veth5f22975c").unwrap();
        assert_eq!(veth.master, Some(net.link("cni0").unwrap().index));
        assert_eq!((veth.lower.unwrap().0, veth.lower_nsid), (2, Some(1)));
        let port = veth.port.as_ref().unwrap();
        assert!(port.hairpin && port.learning && port.state == PortState::Forwarding);
        assert!(veth.is_up() && veth.has_carrier());

        let routes = net.routes.known().unwrap();
        assert_eq!(routes.iter().filter(|it| it.destination.addr().is_ipv6()).count(), 19);
        let to_n3 = routes.iter().find(|it| it.destination == "10.244.1.0/24".parse().unwrap()).unwrap();
        assert_eq!(to_n3.kind, RouteKind::Unicast);
        assert_eq!(to_n3.table, 254);
        assert!(to_n3.next_hops[0].onlink);
        assert_eq!(to_n3.next_hops[0].via, "10.244.1.0".parse().ok());
        let default = routes.iter().find(|it| it.destination == "0.0.0.0/0".parse().unwrap()).unwrap();
        assert_eq!(default.next_hops[0].via, "192.168.50.1".parse().ok());
        assert!(
            net.addresses.known().unwrap().iter().any(|it| it.address == "10.244.2.1/24".parse().unwrap())
        );
        assert_eq!(net.neighbours.known().unwrap().len(), 8);
        let fdb = net.fdb.known().unwrap();
        let remote = fdb.iter().find(|it| it.remote == "192.168.50.13".parse().ok()).unwrap();
        assert!(remote.on_device && remote.mac == "4e:ef:b3:da:f7:01".parse().unwrap());
    }

    #[test]
    fn texts_go_to_the_back_end_that_wrote_them() {
        let snapshot = sample("iptables").snapshot;
        let net = snapshot.net(&Place::node("n1")).unwrap();
        let nft = &net.netfilter;
        assert!(nft.iptables_nft.ipv4.known().unwrap().contains("KUBE-SERVICES"));
        assert!(nft.iptables_nft.ipv6.known().unwrap().contains("KUBE-"));
        assert!(nft.iptables_legacy.ipv4.is_not_collected());
        assert!(nft.nft.known().unwrap().starts_with("{\"nftables\""));
        assert!(nft.ipsets.is_not_collected());
    }

    #[test]
    fn sysctls_sockets_counters_and_connections_are_facts() {
        let snapshot = sample("iptables").snapshot;
        let node = snapshot.nodes[&NodeName::from("n2")].known().unwrap();
        let net = &node.net;
        let sysctls = net.sysctls.known().unwrap();
        let key = SysctlKey::of_link(false, "flannel.1", "forwarding");
        assert_eq!(sysctls.get(&key), Observed::Known("1"));
        assert_eq!(sysctls.values.len(), 1325);
        assert_eq!(net.conntrack.max, Observed::Known(262_144));
        assert_eq!(net.conntrack.statistics.known().unwrap()["invalid"], 1);
        let connections = net.conntrack.entries.known().unwrap();
        assert_eq!(connections.len(), 55);
        assert!(connections.iter().any(|it| !it.replied && it.original.destination_port == 8472));
        assert_eq!(net.counters.known().unwrap()["IpForwDatagrams"], 170);
        assert!(net.counters.known().unwrap().contains_key("Ip6InReceives"));
        let sockets = net.sockets.known().unwrap();
        let vxlan = sockets.iter().find(|it| it.port == 8472).unwrap();
        assert_eq!((vxlan.protocol, &vxlan.program), (SocketProtocol::Udp, &None));
        let kubelet = sockets.iter().find(|it| it.port == 10250).unwrap();
        assert_eq!(kubelet.program.as_deref(), Some("kubelet"));
        assert!(kubelet.address.is_ipv6() && !kubelet.is_v6_only && kubelet.backlog == 4096);
        assert!(node.files["/etc/cni/net.d/10-flannel.conflist"].known().is_some());
        let plugins = &node.directories["/etc/cni/net.d"];
        assert_eq!(plugins, &Observed::Known(vec!["10-flannel.conflist".to_owned()]));
        assert!(node.files["/var/lib/kubelet/config.yaml"].known().unwrap().n_redacted == 0);
    }

    #[test]
    fn what_a_bundle_lacks_is_not_collected() {
        let snapshot = sample("iptables").snapshot;
        let node = snapshot.nodes[&NodeName::from("n2")].known().unwrap();
        let lacking: Observed<()> = Observed::NotCollected(Reason::SourceLacksIt);
        assert_eq!(node.net.qdiscs.clone().map(|_| ()), lacking);
        assert_eq!(node.net.inode.clone().map(|_| ()), lacking);
        assert_eq!(node.processes.clone().map(|_| ()), lacking);
        assert_eq!(node.modules.clone().map(|_| ()), lacking);
        assert!(!node.files.contains_key("/etc/sysctl.conf"));
        // The rules of IPv6 are there and unknown.
        let rules = node.net.rules.known().unwrap();
        let ipv6: Vec<_> = rules.iter().filter(|it| it.is_ipv6).collect();
        assert_eq!(ipv6.len(), 1);
        assert_eq!(ipv6[0].not_modelled, ["ip -6 rule was not collected"]);
        assert_eq!(rules[0].action, RuleAction::Lookup(255));
    }

    #[test]
    fn errors_and_left_overs_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().join("w1");
        fs::create_dir_all(node.join("sub")).unwrap();
        fs::create_dir_all(directory.path().join("api")).unwrap();
        let write = |path: &str, text: &str| fs::write(directory.path().join(path), text).unwrap();
        let read = || read(directory.path(), Timestamp::UNIX_EPOCH).map_err(|it| it.to_string());
        write("w1/odd.txt", "?");
        write("w1/ip-route.json", "[]");
        write("api/log.txt", "?");
        write("notes", "?");
        let bundle = read().unwrap();
        assert_eq!(
            bundle.not_understood,
            [
                "api/log.txt: not JSON",
                "notes: not a directory of a node",
                "w1/odd.txt: not part of a snapshot",
                "w1/sub: not part of a snapshot"
            ]
        );
        let net = bundle.snapshot.net(&Place::node("w1")).unwrap();
        assert!(net.links.is_not_collected());
        assert!(net.routes.is_not_collected(), "routes of one family are no list of routes");

        write("w1/ip-addr.json", "[{\"ifindex\": 1,\n \"ifname\": 7}]");
        assert_eq!(read().unwrap_err(), "w1/ip-addr.json, line 1, column 2: `ifname` is 7, expected a text");
        write("w1/ip-addr.json", "[{\"ifindex\": 1,\n \"ifname\"}]");
        assert_eq!(read().unwrap_err(), "w1/ip-addr.json, line 2, column 10: expected `:`");
        write("w1/ip-addr.json", "[]");
        write("w1/ip-route.json", "[{\"dst\": \"10.0.0.0/8\", \"dev\": \"eth0\"}]");
        assert_eq!(
            read().unwrap_err(),
            "w1/ip-route.json, line 1, column 2: `eth0` is none of the interfaces"
        );
        write("w1/ip-route.json", "[]");
        write("w1/sysctl.txt", "net.ipv4.ip_forward = 1\nnonsense\n");
        assert_eq!(
            read().unwrap_err(),
            "w1/sysctl.txt, line 2, column 1: expected `KEY = VALUE`, found `nonsense`"
        );
    }
}
