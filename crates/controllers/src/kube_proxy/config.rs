//! kube-proxy's configuration, as far as it decides about rules.

use std::net::IpAddr;

use hopwise_snapshot::{Cluster, ConfigMap, Observed};
use ipnet::IpNet;
use serde::Deserialize;

use crate::{
    Family,
    family::{parse_net_sloppy, parse_sloppy},
    yaml::{self, YamlError},
};

/// The settings of kube-proxy that decide about rules (`KubeProxyConfiguration`, `kubeproxy.config.k8s.io/v1alpha1`
/// of Kubernetes 1.34).
///
/// [`Default`] is what kube-proxy does with an empty file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeProxyConfig {
    /// Which rules it writes.
    pub mode: ProxyMode,
    /// How it tells packets of the node's own pods from others.
    pub detect_local: DetectLocal,
    /// Does it masquerade everything that goes to a cluster address?
    pub masquerade_all: bool,
    /// The bit of the packet mark that asks for masquerading, 0 to 31.
    pub masquerade_bit: u8,
    /// Does it offer NodePorts on loopback addresses too (IPv4, mode iptables)?
    pub localhost_node_ports: bool,
    /// The ranges of node addresses that NodePorts are offered on; empty means all.
    pub node_port_addresses: Vec<IpNet>,
    /// Are NodePorts offered on the node's own address alone (`primary`)? That is what mode nftables does where the file
    /// names no addresses.
    pub node_ports_on_primary: bool,
    /// The name that it takes the node to have, where the host name is not used.
    pub hostname_override: Option<String>,
    /// The address that it takes the node to have, where the node object is not used.
    pub bind_address: Option<IpAddr>,
    /// Does it switch on `nf_conntrack_tcp_be_liberal`?
    pub conntrack_tcp_be_liberal: bool,
    /// Values that kube-proxy would refuse or ignore, one sentence each.
    pub remarks: Vec<String>,
}

/// Which rules kube-proxy writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyMode {
    /// iptables; also when the file names none.
    #[default]
    Iptables,
    /// nftables.
    Nftables,
    /// IPVS.
    Ipvs,
    /// A word that kube-proxy 1.34 refuses on Linux.
    Unknown(String),
}

/// How kube-proxy tells packets of the node's own pods from others (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// Their source lies in one of these ranges: the first of each family counts.
    ClusterCidr(Vec<IpNet>),
    /// Their source lies in the node's own `podCIDRs`.
    NodeCidr,
    /// They come in by this interface.
    BridgeInterface(String),
    /// They come in by an interface whose name begins so.
    InterfaceNamePrefix(String),
}

/// Why a configuration could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeProxyConfigError {
    /// The ConfigMap has no such key.
    #[error("the ConfigMap has no key `config.conf`")]
    NoKey,
    /// The text is not YAML of the expected shape.
    #[error("failed to read `config.conf`")]
    Yaml(#[source] YamlError),
}

impl Default for KubeProxyConfig {
    fn default() -> Self {
        Self {
            mode: ProxyMode::Iptables,
            detect_local: DetectLocal::ClusterCidr(Vec::new()),
            masquerade_all: false,
            masquerade_bit: 14,
            localhost_node_ports: true,
            node_port_addresses: Vec::new(),
            node_ports_on_primary: false,
            hostname_override: None,
            bind_address: None,
            conntrack_tcp_be_liberal: false,
            remarks: Vec::new(),
        }
    }
}

impl KubeProxyConfig {
    /// Reads the text of a `KubeProxyConfiguration`.
    ///
    /// Fields that decide nothing about rules are not looked at.
    ///
    /// # Errors
    /// The text is not YAML, or a field is of the wrong type.
    pub fn parse(text: &str) -> Result<Self, YamlError> {
        Ok(yaml::parse::<File>(text)?.into_config())
    }

    /// Reads the ConfigMap that kubeadm writes, `kube-system/kube-proxy`.
    ///
    /// # Errors
    /// It has no key `config.conf`, or what that holds cannot be read.
    pub fn from_config_map(config_map: &ConfigMap) -> Result<Self, KubeProxyConfigError> {
        let text = config_map.data.get("config.conf").ok_or(KubeProxyConfigError::NoKey)?;
        Self::parse(text).map_err(KubeProxyConfigError::Yaml)
    }

    /// Reads the configuration of a kubeadm cluster from its objects; [`Observed::Absent`] where it has no
    /// ConfigMap `kube-system/kube-proxy`.
    pub fn of_cluster(cluster: &Cluster) -> Observed<Result<Self, KubeProxyConfigError>> {
        match &cluster.config_maps {
            Observed::NotCollected(reason) => Observed::NotCollected(reason.clone()),
            Observed::Absent => Observed::Absent,
            Observed::Known(_) => match cluster.config_map("kube-system", "kube-proxy") {
                Some(config_map) => Observed::Known(Self::from_config_map(config_map)),
                None => Observed::Absent,
            },
        }
    }

    /// What keeps kube-proxy from starting with a ConfigMap, one clause each (`loadConfigFromFile` and
    /// `Validate`, Kubernetes 1.34 `cmd/kube-proxy/app/options.go` and `pkg/proxy/apis/config/validation`).
    pub fn obstacles(config_map: &ConfigMap) -> Vec<String> {
        let Some(text) = config_map.data.get("config.conf") else {
            return vec![KubeProxyConfigError::NoKey.to_string()];
        };
        let kind = match yaml::parse::<FileKind>(text) {
            Ok(kind) => kind,
            Err(error) => return vec![format!("`config.conf`: {error}")],
        };
        let mut all = Vec::new();
        if kind.kind != "KubeProxyConfiguration" {
            all.push(format!("`config.conf` is of kind `{}`, not KubeProxyConfiguration", kind.kind));
        }
        if !kind.api_version.starts_with("kubeproxy.config.k8s.io/") {
            let version = &kind.api_version;
            all.push(format!(
                "`config.conf` is of version `{version}`, not kubeproxy.config.k8s.io/v1alpha1"
            ));
        }
        match Self::parse(text) {
            Ok(config) => all.extend(config.remarks),
            Err(error) => all.push(format!("`config.conf`: {error}")),
        }
        all
    }

    /// The ranges of node addresses that NodePorts of a family are offered on; none means all
    /// (`NewNodePortAddresses`, Kubernetes 1.34 `pkg/proxy/util/nodeport_addresses.go`).
    pub(crate) fn node_port_ranges(&self, family: Family) -> Option<Vec<IpNet>> {
        let of_family = self.node_port_addresses.iter().filter(|it| Family::of_net(it) == family);
        let ranges: Vec<IpNet> = of_family.copied().collect();
        let is_all = ranges.is_empty() || ranges.iter().any(|it| it.prefix_len() == 0);
        if is_all { None } else { Some(ranges) }
    }
}

/// What every configuration file begins with.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileKind {
    kind: String,
    api_version: String,
}

/// The file as it is written. Kubernetes lets every field be absent or null.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    mode: Option<String>,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: Option<String>,
    detect_local_mode: Option<String>,
    detect_local: Option<FileDetectLocal>,
    iptables: Option<FileIptables>,
    nftables: Option<FileNftables>,
    node_port_addresses: Option<Vec<String>>,
    hostname_override: Option<String>,
    bind_address: Option<String>,
    conntrack: Option<FileConntrack>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileDetectLocal {
    bridge_interface: Option<String>,
    interface_name_prefix: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileIptables {
    masquerade_bit: Option<u64>,
    masquerade_all: Option<bool>,
    localhost_node_ports: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileNftables {
    masquerade_bit: Option<u64>,
    masquerade_all: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileConntrack {
    tcp_be_liberal: Option<bool>,
}

impl File {
    fn into_config(self) -> KubeProxyConfig {
        let default = KubeProxyConfig::default();
        let mut remarks = Vec::new();
        let mode = match self.mode.as_deref().unwrap_or_default() {
            "" | "iptables" => ProxyMode::Iptables,
            "nftables" => ProxyMode::Nftables,
            "ipvs" => ProxyMode::Ipvs,
            other => ProxyMode::Unknown(other.to_owned()),
        };
        if let ProxyMode::Unknown(word) = &mode {
            remarks.push(format!("kube-proxy 1.34 knows no mode `{word}` on Linux"));
        }
        let iptables = self.iptables.unwrap_or_default();
        let nftables = self.nftables.unwrap_or_default();
        let (bit, masquerade_all) = match mode {
            ProxyMode::Nftables => (nftables.masquerade_bit, nftables.masquerade_all),
            _ => (iptables.masquerade_bit, iptables.masquerade_all),
        };
        let masquerade_bit = match bit.map(u8::try_from) {
            None => default.masquerade_bit,
            Some(Ok(bit)) if bit < 32 => bit,
            Some(_) => {
                remarks.push("masqueradeBit must be 0 to 31; kube-proxy does not start with it".to_owned());
                default.masquerade_bit
            }
        };
        let node_ports = self.node_port_addresses.unwrap_or_default();
        // `platformApplyDefaults` (`cmd/kube-proxy/app/server_linux.go`).
        let node_ports_on_primary = match node_ports.as_slice() {
            [] => mode == ProxyMode::Nftables,
            [only] => only == "primary",
            _ => false,
        };
        KubeProxyConfig {
            mode,
            detect_local: detect_local(
                self.detect_local_mode.as_deref().unwrap_or_default(),
                self.detect_local.unwrap_or_default(),
                self.cluster_cidr.as_deref().unwrap_or_default(),
                &mut remarks,
            ),
            masquerade_all: masquerade_all.unwrap_or_default(),
            masquerade_bit,
            localhost_node_ports: iptables.localhost_node_ports.unwrap_or(default.localhost_node_ports),
            node_port_addresses: nets(
                "nodePortAddresses",
                node_ports.iter().filter(|_| !node_ports_on_primary).map(String::as_str),
                &mut remarks,
            ),
            node_ports_on_primary,
            hostname_override: self.hostname_override.filter(|it| !it.is_empty()),
            bind_address: self
                .bind_address
                .as_deref()
                .and_then(parse_sloppy)
                .filter(|it| !it.is_unspecified()),
            conntrack_tcp_be_liberal: self.conntrack.and_then(|it| it.tcp_be_liberal).unwrap_or_default(),
            remarks,
        }
    }
}

fn detect_local(
    mode: &str,
    settings: FileDetectLocal,
    cluster_cidr: &str,
    remarks: &mut Vec<String>,
) -> DetectLocal {
    let cluster = |remarks: &mut Vec<String>| {
        let texts = cluster_cidr.split(',').map(str::trim).filter(|it| !it.is_empty());
        DetectLocal::ClusterCidr(nets("clusterCIDR", texts, remarks))
    };
    match mode {
        "" | "ClusterCIDR" => cluster(remarks),
        "NodeCIDR" => DetectLocal::NodeCidr,
        "BridgeInterface" => DetectLocal::BridgeInterface(settings.bridge_interface.unwrap_or_default()),
        "InterfaceNamePrefix" => {
            DetectLocal::InterfaceNamePrefix(settings.interface_name_prefix.unwrap_or_default())
        }
        other => {
            remarks.push(format!("kube-proxy 1.34 knows no detectLocalMode `{other}`"));
            cluster(remarks)
        }
    }
}

fn nets<'a>(field: &str, texts: impl Iterator<Item = &'a str>, remarks: &mut Vec<String>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for text in texts {
        match parse_net_sloppy(text) {
            Some(net) => nets.push(net),
            None => remarks.push(format!("{field}: `{text}` is not a range of addresses")),
        }
    }
    nets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(KubeProxyConfig::parse("{}").unwrap(), KubeProxyConfig::default());
        assert_eq!(
            KubeProxyConfig::parse("kind: KubeProxyConfiguration\n").unwrap(),
            KubeProxyConfig::default()
        );
    }

    #[test]
    fn every_field_that_decides_is_read() {
        let config = KubeProxyConfig::parse(
            "mode: nftables\nclusterCIDR: 10.244.0.0/16,fd00:10:244::/56\niptables:\n  masqueradeBit: 3\n  \
             localhostNodePorts: false\nnftables:\n  masqueradeAll: true\n  masqueradeBit: 20\nnodePortAddresses: \
             [192.168.0.0/16]\nhostnameOverride: n1\nbindAddress: 192.168.0.9\nconntrack: {tcpBeLiberal: true}\n",
        )
        .unwrap();
        assert_eq!(config.mode, ProxyMode::Nftables);
        assert_eq!(
            config.detect_local,
            DetectLocal::ClusterCidr(vec![
                "10.244.0.0/16".parse().unwrap(),
                "fd00:10:244::/56".parse().unwrap()
            ])
        );
        assert!(config.masquerade_all && config.conntrack_tcp_be_liberal && !config.localhost_node_ports);
        assert_eq!(config.masquerade_bit, 20);
        assert_eq!(config.node_port_addresses, ["192.168.0.0/16".parse().unwrap()]);
        assert_eq!(config.hostname_override.as_deref(), Some("n1"));
        assert_eq!(config.bind_address, Some("192.168.0.9".parse().unwrap()));
        assert!(config.remarks.is_empty());
    }

    #[test]
    fn values_that_kube_proxy_refuses_are_named() {
        let config = KubeProxyConfig::parse(
            "mode: userspace\nclusterCIDR: 10.244.0.0\niptables: {masqueradeBit: 32}\ndetectLocalMode: Node\n",
        )
        .unwrap();
        assert_eq!(config.mode, ProxyMode::Unknown("userspace".to_owned()));
        assert_eq!(config.remarks.len(), 4, "{:?}", config.remarks);
    }

    #[test]
    fn a_field_of_the_wrong_type_is_an_error_with_its_line() {
        let error =
            KubeProxyConfig::parse("mode: iptables\niptables:\n  masqueradeAll: maybe\n").unwrap_err();
        assert_eq!(error.line, Some(3), "{error}");
    }

    #[test]
    fn what_keeps_it_from_starting_is_named() {
        let obstacles = |text: &str| {
            let mut config_map = ConfigMap::default();
            config_map.data.insert("config.conf".to_owned(), text.to_owned());
            KubeProxyConfig::obstacles(&config_map)
        };
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        assert_eq!(obstacles(head), [""; 0]);
        assert_eq!(obstacles(&format!("{head}mode: ipvz\n")).len(), 1);
        assert_eq!(obstacles("mode: iptables\n").len(), 2);
        assert!(obstacles(&format!("{head}mode: [\n"))[0].starts_with("`config.conf`: line "));
        assert_eq!(KubeProxyConfig::obstacles(&ConfigMap::default()).len(), 1);
    }

    #[test]
    fn a_cluster_without_the_config_map_is_told_from_one_that_nobody_read() {
        let mut cluster = Cluster::default();
        assert!(KubeProxyConfig::of_cluster(&cluster).is_not_collected());
        cluster.config_maps = Observed::Known(Vec::new());
        assert_eq!(KubeProxyConfig::of_cluster(&cluster), Observed::Absent);
    }
}
