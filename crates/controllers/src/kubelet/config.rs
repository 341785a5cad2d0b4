//! kubelet's configuration, as far as it decides about pods' files.

use std::net::IpAddr;

use serde::Deserialize;

use crate::{
    family::parse_sloppy,
    yaml::{self, YamlError},
};

/// The settings of kubelet that decide about names (`KubeletConfiguration`, `kubelet.config.k8s.io/v1beta1` of
/// Kubernetes 1.34), from `/var/lib/kubelet/config.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletConfig {
    /// The addresses of the cluster's name service.
    pub cluster_dns: Vec<IpAddr>,
    /// The domain of the cluster; empty gives pods no search list of the cluster.
    pub cluster_domain: String,
    /// The node's own resolver configuration that pods build on; empty means none.
    pub resolv_conf: String,
    /// Values that kubelet would refuse, one sentence each.
    pub remarks: Vec<String>,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        Self {
            cluster_dns: Vec::new(),
            cluster_domain: String::new(),
            resolv_conf: "/etc/resolv.conf".to_owned(),
            remarks: Vec::new(),
        }
    }
}

impl KubeletConfig {
    /// Reads the text of a `KubeletConfiguration`. Fields that decide nothing about names are not looked at.
    ///
    /// # Errors
    /// The text is not YAML, or a field is of the wrong type.
    pub fn parse(text: &str) -> Result<Self, YamlError> {
        let file: File = yaml::parse(text)?;
        let default = Self::default();
        let mut remarks = Vec::new();
        let mut cluster_dns = Vec::new();
        for text in file.cluster_dns.iter().flatten() {
            match parse_sloppy(text) {
                Some(address) => cluster_dns.push(address),
                None => {
                    remarks.push(format!("clusterDNS: `{text}` is not an address; kubelet leaves it out"));
                }
            }
        }
        Ok(Self {
            cluster_dns,
            cluster_domain: file.cluster_domain.unwrap_or(default.cluster_domain),
            resolv_conf: file.resolv_conf.unwrap_or(default.resolv_conf),
            remarks,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    #[serde(rename = "clusterDNS")]
    cluster_dns: Option<Vec<String>>,
    #[serde(rename = "clusterDomain")]
    cluster_domain: Option<String>,
    #[serde(rename = "resolvConf")]
    resolv_conf: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_kubeadm_node() {
        let config =
            KubeletConfig::parse(include_str!("../../tests/samples/kubeadm/n1/kubelet-config.yaml")).unwrap();
        assert_eq!(config.cluster_dns, ["10.96.0.10".parse::<IpAddr>().unwrap()]);
        assert_eq!(config.cluster_domain, "cluster.local");
        assert_eq!(config.resolv_conf, "/etc/resolv.conf");
    }

    #[test]
    fn without_a_field_the_nodes_own_file_counts_and_an_empty_one_means_none() {
        assert_eq!(KubeletConfig::parse("").unwrap().resolv_conf, "/etc/resolv.conf");
        assert_eq!(KubeletConfig::parse("resolvConf: ''").unwrap().resolv_conf, "");
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let config = KubeletConfig::parse("clusterDNS: [10.96.0.10, coredns]").unwrap();
        assert_eq!(config.cluster_dns.len(), 1);
        assert_eq!(config.remarks, ["clusterDNS: `coredns` is not an address; kubelet leaves it out"]);
    }
}
