//! The resolver configuration that kubelet gives to a pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use hopwise_snapshot::{PodDnsConfigOption, PodObject};

use super::config::KubeletConfig;

/// Name servers at most (`MaxDNSNameservers`, Kubernetes 1.34 `pkg/apis/core/validation`).
const MAX_SERVERS: usize = 3;
/// Search domains at most.
const MAX_SEARCHES: usize = 32;
/// Letters of a search list at most.
const MAX_SEARCH_LETTERS: usize = 2048;
/// Letters of a domain at most.
const MAX_DOMAIN_LETTERS: usize = 253;

/// The resolver configuration of a pod. Displayed, it is the pod's `/etc/resolv.conf` as containerd and CRI-O write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDns {
    /// Name servers as texts: kubelet does not look at them.
    pub servers: Vec<String>,
    /// The search list.
    pub searches: Vec<String>,
    /// Options. Their order is arbitrary in the real kubelet (it follows a Go map); here they are sorted.
    pub options: Vec<String>,
    /// What was left out or replaced, one sentence each, as kubelet reports it in events.
    pub remarks: Vec<String>,
}

/// Why kubelet cannot make a pod's resolver configuration. The pod does not start then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodDnsError {
    /// The node's resolver configuration has a line `nameserver` without an address.
    #[error("line {line} of the node's resolver configuration: nameserver without an address")]
    EmptyNameserver {
        /// The line, from 1.
        line: usize,
    },
}

impl PodDns {
    /// Is there nothing in it? The container runtime then gives the pod a copy of the node's `/etc/resolv.conf`.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.searches.is_empty() && self.options.is_empty()
    }
}

impl fmt::Display for PodDns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.servers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

/// The resolver configuration that kubelet gives to a pod when it starts (`GetPodDNS`, Kubernetes 1.34
/// `pkg/kubelet/network/dns/dns.go`). A running pod keeps what it got.
///
/// `node_resolv_conf` is the content of [`KubeletConfig::resolv_conf`], and is not looked at where that is empty.
/// `node_ips` are the node's addresses.
///
/// # Errors
/// kubelet would not start the pod.
pub fn pod_dns(
    config: &KubeletConfig,
    node_resolv_conf: &str,
    node_ips: &[IpAddr],
    pod: &PodObject,
) -> Result<PodDns, PodDnsError> {
    let host = if config.resolv_conf.is_empty() { PodDns::default() } else { host_dns(node_resolv_conf)? };
    let mut dns = match pod.spec.dns_policy.as_str() {
        "None" => PodDns::default(),
        "Default" => default_dns(config, host, node_ips),
        "ClusterFirstWithHostNet" => cluster_first(config, host, node_ips, pod),
        // A pod in the node's network that asks for the cluster's names without saying so gets the node's.
        _ if pod.spec.host_network => default_dns(config, host, node_ips),
        _ => cluster_first(config, host, node_ips, pod),
    };
    if let Some(extra) = &pod.spec.dns_config {
        dns.servers.extend(extra.nameservers.iter().cloned());
        dns.searches.extend(extra.searches.iter().cloned());
        dns.servers = without_duplicates(dns.servers);
        dns.searches = without_duplicates(dns.searches);
        dns.options = merged_options(&dns.options, &extra.options);
    }
    fit_limits(&mut dns);
    Ok(dns)
}

fn cluster_first(config: &KubeletConfig, host: PodDns, node_ips: &[IpAddr], pod: &PodObject) -> PodDns {
    if config.cluster_dns.is_empty() {
        let mut dns = default_dns(config, host, node_ips);
        dns.remarks
            .push("kubelet has no clusterDNS, so that the pod gets the node's name servers".to_owned());
        return dns;
    }
    let mut searches = Vec::new();
    let domain = &config.cluster_domain;
    if !domain.is_empty() {
        searches.push(format!("{}.svc.{domain}", pod.metadata.namespace));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.clone());
    }
    searches.extend(host.searches);
    PodDns {
        servers: config.cluster_dns.iter().map(IpAddr::to_string).collect(),
        searches: if domain.is_empty() { searches } else { without_duplicates(searches) },
        options: vec!["ndots:5".to_owned()],
        remarks: host.remarks,
    }
}

/// The node's own configuration. Without one, the pod asks itself: that is what a resolver without servers does.
fn default_dns(config: &KubeletConfig, host: PodDns, node_ips: &[IpAddr]) -> PodDns {
    if !config.resolv_conf.is_empty() {
        return host;
    }
    let loopback = |it: &IpAddr| if it.is_ipv6() { "::1" } else { "127.0.0.1" };
    let mut servers: Vec<String> = node_ips.iter().map(|it| loopback(it).to_owned()).collect();
    if servers.is_empty() {
        servers.push("127.0.0.1".to_owned());
    }
    PodDns { servers, searches: vec![".".to_owned()], ..PodDns::default() }
}

/// kubelet's own reading of a resolver configuration, which is simpler than the C library's: `;` begins no comment,
/// `domain` is ignored, addresses are taken as they are.
fn host_dns(text: &str) -> Result<PodDns, PodDnsError> {
    let mut dns = PodDns::default();
    let mut options: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => match words.next() {
                Some(server) => dns.servers.push(server.to_owned()),
                None => return Err(PodDnsError::EmptyNameserver { line: index + 1 }),
            },
            Some("search") => {
                let domains = words.filter(|it| *it != ".");
                dns.searches = domains.map(|it| it.strip_suffix('.').unwrap_or(it).to_owned()).collect();
            }
            Some("options") => {
                options.extend(words.map(|it| (it.split(':').next().unwrap_or(it), it)));
            }
            _ => {}
        }
    }
    dns.options = options.into_values().map(str::to_owned).collect();
    Ok(dns)
}

/// An option of the pod replaces one of the same name.
fn merged_options(present: &[String], extra: &[PodDnsConfigOption]) -> Vec<String> {
    let mut merged: BTreeMap<&str, &str> =
        present.iter().map(|it| it.split_once(':').unwrap_or((it.as_str(), ""))).collect();
    merged.extend(extra.iter().map(|it| (it.name.as_str(), it.value.as_deref().unwrap_or(""))));
    let text = |(name, value): (&str, &str)| {
        if value.is_empty() { name.to_owned() } else { format!("{name}:{value}") }
    };
    merged.into_iter().map(text).collect()
}

fn without_duplicates(texts: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.into_iter().filter(|it| seen.insert(it.clone())).collect()
}

fn fit_limits(dns: &mut PodDns) {
    let left_out = dns.servers.split_off(dns.servers.len().min(MAX_SERVERS));
    if !left_out.is_empty() {
        let (n, kept) = (left_out.len(), dns.servers.join(" "));
        dns.remarks.push(format!("{n} name servers above {MAX_SERVERS} were left out, kept are: {kept}"));
    }
    let n_searches = dns.searches.len();
    dns.searches.truncate(MAX_SEARCHES);
    dns.searches.retain(|it| it.len() <= MAX_DOMAIN_LETTERS);
    while dns.searches.join(" ").len() > MAX_SEARCH_LETTERS {
        dns.searches.pop();
    }
    if dns.searches.len() < n_searches {
        let n = n_searches - dns.searches.len();
        let kept = dns.searches.join(" ");
        dns.remarks
            .push(format!("{n} search domains were left out for their number or length, kept are: {kept}"));
    }
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::{ObjectMeta, PodDnsConfig, PodSpec};
    use proptest::prelude::*;

    use super::*;

    fn config() -> KubeletConfig {
        KubeletConfig {
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".to_owned(),
            ..KubeletConfig::default()
        }
    }

    fn pod(policy: &str) -> PodObject {
        PodObject {
            metadata: ObjectMeta { name: "a".into(), namespace: "shop".into(), ..ObjectMeta::default() },
            spec: PodSpec { dns_policy: policy.to_owned(), ..PodSpec::default() },
            ..PodObject::default()
        }
    }

    fn written(config: &KubeletConfig, host: &str, pod: &PodObject) -> String {
        pod_dns(config, host, &["192.168.50.11".parse().unwrap()], pod).unwrap().to_string()
    }

    const HOST: &str =
        "nameserver 192.168.50.1\nsearch corp.test. svc.cluster.local\noptions timeout:2 rotate\n";

    #[test]
    fn a_pod_asks_the_cluster_first() {
        assert_eq!(
            written(&config(), HOST, &pod("ClusterFirst")),
            "search shop.svc.cluster.local svc.cluster.local cluster.local corp.test\nnameserver 10.96.0.10\n\
             options ndots:5\n"
        );
    }

    #[test]
    fn a_pod_in_the_nodes_network_asks_the_nodes_servers_unless_it_says_otherwise() {
        let mut pod = pod("ClusterFirst");
        pod.spec.host_network = true;
        assert_eq!(
            written(&config(), HOST, &pod),
            "search corp.test svc.cluster.local\nnameserver 192.168.50.1\noptions rotate timeout:2\n"
        );
        pod.spec.dns_policy = "ClusterFirstWithHostNet".to_owned();
        assert!(written(&config(), HOST, &pod).contains("nameserver 10.96.0.10\n"));
    }

    #[test]
    fn default_means_the_nodes_file_and_none_means_nothing() {
        assert!(written(&config(), HOST, &pod("Default")).contains("nameserver 192.168.50.1\n"));
        let nothing = pod_dns(&config(), HOST, &[], &pod("None")).unwrap();
        assert!(nothing.is_empty());
    }

    #[test]
    fn without_cluster_dns_the_nodes_servers_are_taken_and_it_is_said() {
        let config = KubeletConfig { cluster_dns: Vec::new(), ..config() };
        let dns = pod_dns(&config, HOST, &[], &pod("ClusterFirst")).unwrap();
        assert_eq!(dns.servers, ["192.168.50.1"]);
        assert_eq!(dns.remarks.len(), 1);
    }

    #[test]
    fn without_a_file_of_the_node_the_pod_asks_itself() {
        let config = KubeletConfig { resolv_conf: String::new(), ..config() };
        assert_eq!(written(&config, HOST, &pod("Default")), "search .\nnameserver 127.0.0.1\n");
        assert!(
            written(&config, HOST, &pod("ClusterFirst"))
                .starts_with("search shop.svc.cluster.local svc.cluster.local cluster.local\n")
        );
    }

    #[test]
    fn what_a_pod_asks_for_is_added_and_replaces_options() {
        let mut pod = pod("ClusterFirst");
        let option = |name: &str, value: Option<&str>| PodDnsConfigOption {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        pod.spec.dns_config = Some(PodDnsConfig {
            nameservers: vec!["1.1.1.1".into(), "10.96.0.10".into()],
            searches: vec!["mine.test".into(), "cluster.local".into()],
            options: vec![option("ndots", Some("2")), option("edns0", None)],
        });
        assert_eq!(
            written(&config(), "", &pod),
            "search shop.svc.cluster.local svc.cluster.local cluster.local mine.test\nnameserver 10.96.0.10\n\
             nameserver 1.1.1.1\noptions edns0 ndots:2\n"
        );
    }

    #[test]
    fn limits_cut_and_say_so() {
        let host: Vec<String> = (1..=5).map(|it| format!("nameserver 10.0.0.{it}\n")).collect();
        let dns = pod_dns(&config(), &host.concat(), &[], &pod("Default")).unwrap();
        assert_eq!(dns.servers, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(dns.remarks.len(), 1);

        let many: Vec<String> = (0..40).map(|it| format!("d{it}.test")).collect();
        let dns =
            pod_dns(&config(), &format!("search {}", many.join(" ")), &[], &pod("ClusterFirst")).unwrap();
        assert_eq!(dns.searches.len(), 32);
        assert_eq!(dns.searches[31], "d28.test");

        let long: Vec<String> = (0..20).map(|it| format!("{it}{}", "x".repeat(200))).collect();
        let dns = pod_dns(&config(), &format!("search {}", long.join(" ")), &[], &pod("Default")).unwrap();
        assert!(dns.searches.join(" ").len() <= 2048);
        assert_eq!(dns.searches.len(), 10);

        let too_long = "y".repeat(254);
        let dns = pod_dns(&config(), &format!("search a {too_long} b"), &[], &pod("Default")).unwrap();
        assert_eq!(dns.searches, ["a", "b"]);
    }

    #[test]
    fn kubelet_reads_the_nodes_file_in_its_own_way() {
        let host = "domain ignored.test\n  # nameserver 9.9.9.9\n;nameserver 8.8.8.8\nnameserver not-an-address\n\
                    search old.test\nsearch new.test .\noptions ndots:1\noptions ndots:3\n";
        let dns = pod_dns(&config(), host, &[], &pod("Default")).unwrap();
        assert_eq!(dns.servers, ["not-an-address"]);
        assert_eq!(dns.searches, ["new.test"]);
        assert_eq!(dns.options, ["ndots:3"]);
        let error = pod_dns(&config(), "search a\nnameserver\n", &[], &pod("ClusterFirst")).unwrap_err();
        assert_eq!(error, PodDnsError::EmptyNameserver { line: 2 });
    }

    proptest! {
        #[test]
        fn every_file_gives_a_configuration_within_the_limits_or_an_error(
            text in "((nameserver|search|options|#)? ?[a-z0-9.: ]{0,40}\n){0,20}", policy in "(ClusterFirst|Default|None)?") {
            if let Ok(dns) = pod_dns(&config(), &text, &[], &pod(&policy)) {
                prop_assert!(dns.servers.len() <= MAX_SERVERS && dns.searches.len() <= MAX_SEARCHES);
            }
        }
    }
}
