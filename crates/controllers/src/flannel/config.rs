//! flannel's configuration of the whole network.

use hopwise_snapshot::{Cluster, ConfigMap, Observed};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    Family,
    json::{self, Fields, JsonError},
};

/// The key of the ConfigMap that holds the configuration.
const KEY: &str = "net-conf.json";

/// flannel's configuration of the whole network (`net-conf.json`; flannel 0.28 `pkg/subnet/config.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlannelConfig {
    /// Does it make an IPv4 network? On unless switched off.
    pub enable_ipv4: bool,
    /// Does it make an IPv6 network?
    pub enable_ipv6: bool,
    /// Does it write nftables rules instead of iptables rules?
    pub enable_nftables: bool,
    /// The range of all pods' IPv4 addresses.
    pub network: Option<Ipv4Net>,
    /// The range of all pods' IPv6 addresses.
    pub ipv6_network: Option<Ipv6Net>,
    /// How packets get to other nodes.
    pub backend: Backend,
}

/// How packets get to other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In VXLAN tunnels.
    Vxlan(VxlanBackend),
    /// By routes through the other nodes.
    HostGw,
    /// In a way that is not modelled, by its name (`wireguard`, `udp`, `ipip`, …).
    Other(String),
}

/// The settings of VXLAN tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanBackend {
    /// The network identifier, 1 by default.
    pub vni: u32,
    /// The UDP port; none leaves it to the kernel, which takes 8472.
    pub port: Option<u16>,
    /// The MTU of the nodes' network in bytes; none takes that of the interface.
    pub mtu: Option<u32>,
    /// Does the device carry group policy marks?
    pub gbp: bool,
    /// Does the device learn addresses from what it receives?
    pub learning: bool,
    /// Are nodes in the same subnet reached by plain routes?
    pub direct_routing: bool,
}

impl VxlanBackend {
    /// The port of the kernel's VXLAN driver where none is given.
    pub const KERNEL_PORT: u16 = 8472;
}

impl Default for VxlanBackend {
    fn default() -> Self {
        Self { vni: 1, port: None, mtu: None, gbp: false, learning: false, direct_routing: false }
    }
}

/// Why a configuration could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlannelConfigError {
    /// The ConfigMap has no such key.
    #[error("the ConfigMap has no key `net-conf.json`")]
    NoKey,
    /// The text is not JSON, or a field has a value that flannel refuses.
    #[error("failed to read `net-conf.json`")]
    Json(#[from] JsonError),
}

impl FlannelConfig {
    /// Reads a `net-conf.json`. Names of fields are taken without regard to case, as Go does.
    ///
    /// # Errors
    /// The text is not JSON, or a field has a value that flannel refuses too.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let document = json::parse(text)?;
        let fields = Fields::of(&document, "net-conf.json")?;
        let backend = match fields.find("Backend") {
            None => Backend::Other("udp".to_owned()),
            Some(value) => backend(&Fields::of(value, "Backend")?)?,
        };
        Ok(Self {
            enable_ipv4: fields.boolean("EnableIPv4")?.unwrap_or(true),
            enable_ipv6: fields.boolean("EnableIPv6")?.unwrap_or(false),
            enable_nftables: fields.boolean("EnableNFTables")?.unwrap_or(false),
            network: fields
                .parsed("Network", "an IPv4 range as `10.244.0.0/16`")?
                .map(|it: Ipv4Net| it.trunc()),
            ipv6_network: fields
                .parsed("IPv6Network", "an IPv6 range as `fd00:10:244::/56`")?
                .map(|it: Ipv6Net| it.trunc()),
            backend,
        })
    }

    /// Reads the ConfigMap `kube-flannel-cfg`.
    ///
    /// # Errors
    /// It has no key `net-conf.json`, or what that holds cannot be read.
    pub fn from_config_map(config_map: &ConfigMap) -> Result<Self, FlannelConfigError> {
        Ok(Self::parse(config_map.data.get(KEY).ok_or(FlannelConfigError::NoKey)?)?)
    }

    /// Reads the configuration of a cluster from its objects: the ConfigMap `kube-flannel-cfg` of the namespace
    /// `kube-flannel`, or `kube-system` as before flannel 0.20. [`Observed::Absent`] where there is none.
    pub fn of_cluster(cluster: &Cluster) -> Observed<Result<Self, FlannelConfigError>> {
        match &cluster.config_maps {
            Observed::NotCollected(reason) => Observed::NotCollected(reason.clone()),
            Observed::Absent => Observed::Absent,
            Observed::Known(_) => {
                let mut places = ["kube-flannel", "kube-system"].into_iter();
                match places.find_map(|it| cluster.config_map(it, "kube-flannel-cfg")) {
                    Some(config_map) => Observed::Known(Self::from_config_map(config_map)),
                    None => Observed::Absent,
                }
            }
        }
    }

    /// Does it make a network of a family?
    pub fn is_enabled(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.enable_ipv4,
            Family::V6 => self.enable_ipv6,
        }
    }

    /// The range of all pods of a family.
    pub fn network_of(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.network.map(IpNet::V4),
            Family::V6 => self.ipv6_network.map(IpNet::V6),
        }
    }
}

fn backend(fields: &Fields<'_>) -> Result<Backend, JsonError> {
    let kind = fields.text("Type")?.unwrap_or_default();
    // flannel's backend manager lowers the case of the name (`pkg/backend/manager.go`).
    match kind.to_lowercase().as_str() {
        "vxlan" => Ok(Backend::Vxlan(VxlanBackend {
            vni: fields.number("VNI", 0xff_ffff)?.unwrap_or(1),
            port: fields.number("Port", 0xffff)?.and_then(|it| u16::try_from(it).ok()).filter(|it| *it != 0),
            mtu: fields.number("MTU", 0xffff)?,
            gbp: fields.boolean("GBP")?.unwrap_or(false),
            learning: fields.boolean("Learning")?.unwrap_or(false),
            direct_routing: fields.boolean("DirectRouting")?.unwrap_or(false),
        })),
        "host-gw" => Ok(Backend::HostGw),
        other => Ok(Backend::Other(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_the_manifest() {
        let config = FlannelConfig::parse(
            r#"{"Network": "10.244.0.0/16", "EnableNFTables": false, "Backend": {"Type": "vxlan"}}"#,
        )
        .unwrap();
        assert_eq!(config.backend, Backend::Vxlan(VxlanBackend::default()));
        assert!(config.enable_ipv4 && !config.enable_ipv6);
        assert_eq!(config.network_of(Family::V4), Some("10.244.0.0/16".parse().unwrap()));
        assert_eq!(config.network_of(Family::V6), None);
    }

    #[test]
    fn names_are_read_without_regard_to_case() {
        let config = FlannelConfig::parse(
            r#"{"network":"10.5.1.1/16","enableipv6":true,"ipv6network":"fd00::/56",
                "backend":{"type":"VXLAN","vni":4096,"PORT":4789,"Mtu":1400,"DirectRouting":true,"learning":true}}"#,
        )
        .unwrap();
        assert!(config.enable_ipv6);
        assert_eq!(config.network.unwrap().to_string(), "10.5.0.0/16");
        let Backend::Vxlan(vxlan) = config.backend else { panic!("vxlan") };
        assert_eq!((vxlan.vni, vxlan.port, vxlan.mtu), (4096, Some(4789), Some(1400)));
        assert!(vxlan.direct_routing && vxlan.learning && !vxlan.gbp);
    }

    #[test]
    fn without_a_backend_it_is_udp() {
        assert_eq!(FlannelConfig::parse("{}").unwrap().backend, Backend::Other("udp".to_owned()));
    }

    #[test]
    fn errors_name_the_field_or_the_place() {
        let error = |text| FlannelConfig::parse(text).unwrap_err().to_string();
        assert_eq!(error("{\n  \"Network\": }"), "line 2, column 14: not JSON: expected value");
        assert_eq!(
            error(r#"{"Network": "10.244.0.0"}"#),
            "`Network`: expected an IPv4 range as `10.244.0.0/16`, found `\"10.244.0.0\"`"
        );
        assert_eq!(
            error(r#"{"Backend": {"Type": "vxlan", "Port": 70000}}"#),
            "`Port`: expected a number in its range, found `70000`"
        );
    }
}
