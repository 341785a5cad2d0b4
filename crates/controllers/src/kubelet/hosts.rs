//! The hosts file that kubelet gives to a pod.

use hopwise_snapshot::{HostAlias, PodObject};

use super::config::KubeletConfig;

/// Linux cuts host names behind this many letters.
const MAX_HOST_NAME: usize = 63;

/// A pod's `/etc/hosts` (Kubernetes 1.34 `pkg/kubelet/kubelet_pods.go`): of kubelet's own making, or for a pod in the
/// node's network that of the node, `node_hosts`, with a head line. The pod's host aliases come last.
pub fn pod_hosts(config: &KubeletConfig, node_hosts: &str, pod: &PodObject) -> String {
    let aliases = host_aliases(&pod.spec.host_aliases);
    if pod.spec.host_network {
        return format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}{aliases}");
    }
    let name = host_name(pod);
    let names = match &pod.spec.subdomain {
        Some(subdomain) if !subdomain.is_empty() => {
            let (namespace, domain) = (&pod.metadata.namespace, &config.cluster_domain);
            format!("{name}.{subdomain}.{namespace}.svc.{domain}\t{name}")
        }
        _ => name,
    };
    let own: Vec<String> = pod.ips().iter().map(|it| format!("{it}\t{names}\n")).collect();
    let own = own.concat();
    format!(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{own}{aliases}"
    )
}

fn host_name(pod: &PodObject) -> String {
    let wanted = pod.spec.hostname.as_deref().filter(|it| !it.is_empty());
    let name = wanted.unwrap_or(&pod.metadata.name);
    let cut: String = name.chars().take(MAX_HOST_NAME).collect();
    if cut.len() == name.len() { cut } else { cut.trim_end_matches(['-', '.']).to_owned() }
}

fn host_aliases(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line = |it: &HostAlias| format!("{}\t{}\n", it.ip, it.hostnames.join("\t"));
    let lines: Vec<String> = aliases.iter().map(line).collect();
    format!("\n# Entries added by HostAliases.\n{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::{ObjectMeta, PodSpec, PodStatus};

    use super::*;

    fn pod() -> PodObject {
        PodObject {
            metadata: ObjectMeta { name: "echo-1".into(), namespace: "shop".into(), ..ObjectMeta::default() },
            status: PodStatus { pod_ip: Some("10.244.1.3".into()), ..PodStatus::default() },
            ..PodObject::default()
        }
    }

    fn config() -> KubeletConfig {
        KubeletConfig { cluster_domain: "cluster.local".to_owned(), ..KubeletConfig::default() }
    }

    #[test]
    fn a_pod_knows_itself_by_name() {
        let hosts = pod_hosts(&config(), "", &pod());
        assert!(hosts.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(hosts.ends_with("fe00::2\tip6-allrouters\n10.244.1.3\techo-1\n"));
    }

    #[test]
    fn a_subdomain_gives_a_full_name_and_aliases_come_last() {
        let mut pod = pod();
        pod.spec = PodSpec {
            hostname: Some("first".into()),
            subdomain: Some("echo".into()),
            host_aliases: vec![HostAlias {
                ip: "10.120.50.79".into(),
                hostnames: vec!["a.test".into(), "b.test".into()],
            }],
            ..PodSpec::default()
        };
        assert!(pod_hosts(&config(), "", &pod).ends_with(
            "10.244.1.3\tfirst.echo.shop.svc.cluster.local\tfirst\n\n# Entries added by HostAliases.\n\
             10.120.50.79\ta.test\tb.test\n"
        ));
    }

    #[test]
    fn a_pod_in_the_nodes_network_gets_the_nodes_file() {
        let mut pod = pod();
        pod.spec.host_network = true;
        assert_eq!(
            pod_hosts(&config(), "127.0.0.1 localhost n1\n", &pod),
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost n1\n"
        );
    }

    #[test]
    fn a_long_name_is_cut_and_ends_in_a_letter() {
        let mut pod = pod();
        pod.metadata.name = format!("{}-{}", "a".repeat(62), "b".repeat(10));
        assert!(pod_hosts(&config(), "", &pod).ends_with(&format!("10.244.1.3\t{}\n", "a".repeat(62))));
    }
}
