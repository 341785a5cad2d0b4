//! The file by which flanneld tells the CNI plugin what to give to pods.

use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Family;

/// The content of `/run/flannel/subnet.env` (`WriteSubnetFile`, flannel 0.28 `pkg/subnet/subnet.go`). Displayed, it is
/// the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetEnv {
    /// The range of all pods.
    pub network: Option<Ipv4Net>,
    /// The first address of the node's own range, with the range's prefix.
    pub subnet: Option<Ipv4Net>,
    /// The range of all pods.
    pub ipv6_network: Option<Ipv6Net>,
    /// The first address of the node's own range, with the range's prefix.
    pub ipv6_subnet: Option<Ipv6Net>,
    /// The MTU that pods get, in bytes.
    pub mtu: u32,
    /// Does flanneld masquerade, so that the bridge plugin need not?
    pub ipmasq: bool,
}

/// Why the CNI plugin cannot use a file. It fails the pod then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetEnvError {
    /// A value cannot be read.
    #[error("line {line}: {key}: expected {expected}, found `{found}`")]
    Value {
        /// The line, from 1.
        line: usize,
        /// The variable.
        key: String,
        /// What would have been understood.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// Variables are missing; the text is the plugin's own list.
    #[error("is missing {0}")]
    Missing(String),
}

impl SubnetEnv {
    /// Where flanneld puts the file.
    pub const PATH: &'static str = "/run/flannel/subnet.env";

    /// Reads a file as the CNI plugin does (`loadFlannelSubnetEnv`): other lines are ignored, the last value counts.
    ///
    /// # Errors
    /// A value cannot be read, or the plugin would miss one.
    pub fn parse(text: &str) -> Result<Self, SubnetEnvError> {
        let (mut network, mut subnet, mut ipv6_network, mut ipv6_subnet) = (None, None, None, None);
        let (mut mtu, mut ipmasq) = (None, None);
        for (index, line) in text.lines().enumerate() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let wrong = |expected| SubnetEnvError::Value {
                line: index + 1,
                key: key.to_owned(),
                expected,
                found: value.to_owned(),
            };
            let v4 = || value.parse::<Ipv4Net>().map_err(|_| wrong("an IPv4 range"));
            let v6 = || value.parse::<Ipv6Net>().map_err(|_| wrong("an IPv6 range"));
            match key {
                "FLANNEL_NETWORK" => network = Some(v4()?),
                "FLANNEL_SUBNET" => subnet = Some(v4()?),
                "FLANNEL_IPV6_NETWORK" => ipv6_network = Some(v6()?),
                "FLANNEL_IPV6_SUBNET" => ipv6_subnet = Some(v6()?),
                "FLANNEL_MTU" => mtu = Some(value.parse::<u32>().map_err(|_| wrong("a number"))?),
                "FLANNEL_IPMASQ" => ipmasq = Some(value == "true"),
                _ => {}
            }
        }
        let mut missing = Vec::new();
        if network.is_none() && ipv6_network.is_none() {
            missing.extend(["FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK"]);
        }
        if subnet.is_none() && ipv6_subnet.is_none() {
            missing.extend(["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"]);
        }
        match (mtu, ipmasq) {
            (Some(mtu), Some(ipmasq)) if missing.is_empty() => {
                Ok(Self { network, subnet, ipv6_network, ipv6_subnet, mtu, ipmasq })
            }
            _ => {
                missing.extend(mtu.is_none().then_some("FLANNEL_MTU"));
                missing.extend(ipmasq.is_none().then_some("FLANNEL_IPMASQ"));
                Err(SubnetEnvError::Missing(missing.join(", ")))
            }
        }
    }

    /// The range of the node's pods in a family.
    pub fn pod_cidr(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.subnet.map(|it| IpNet::V4(it.trunc())),
            Family::V6 => self.ipv6_subnet.map(|it| IpNet::V6(it.trunc())),
        }
    }

    /// The range of all pods in a family.
    pub fn network_of(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.network.map(|it| IpNet::V4(it.trunc())),
            Family::V6 => self.ipv6_network.map(|it| IpNet::V6(it.trunc())),
        }
    }
}

impl fmt::Display for SubnetEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(network), Some(subnet)) = (self.network, self.subnet) {
            writeln!(f, "FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={subnet}")?;
        }
        if let (Some(network), Some(subnet)) = (self.ipv6_network, self.ipv6_subnet) {
            writeln!(f, "FLANNEL_IPV6_NETWORK={network}\nFLANNEL_IPV6_SUBNET={subnet}")?;
        }
        writeln!(f, "FLANNEL_MTU={}\nFLANNEL_IPMASQ={}", self.mtu, self.ipmasq)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DUAL: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.2.1/24\n\
                        FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:2::1/64\n\
                        FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    #[test]
    fn a_file_is_read_and_written_alike() {
        let env = SubnetEnv::parse(DUAL).unwrap();
        assert_eq!(env.to_string(), DUAL);
        assert_eq!(env.pod_cidr(Family::V4).unwrap().to_string(), "10.244.2.0/24");
        assert_eq!(env.pod_cidr(Family::V6).unwrap().to_string(), "fd00:244:0:2::/64");
    }

    #[test]
    fn what_the_plugin_misses_is_named_as_the_plugin_names_it() {
        let error = SubnetEnv::parse("").unwrap_err().to_string();
        assert_eq!(
            error,
            "is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, \
             FLANNEL_IPMASQ"
        );
    }

    #[test]
    fn a_value_that_cannot_be_read_is_named_with_its_line() {
        let error = SubnetEnv::parse("A=1\nFLANNEL_SUBNET=10.244.2.1\n").unwrap_err().to_string();
        assert_eq!(error, "line 2: FLANNEL_SUBNET: expected an IPv4 range, found `10.244.2.1`");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(FLANNEL_[A-Z0-9_]{3,12}=\\PC{0,12}\n){0,8}") {
            if let Ok(env) = SubnetEnv::parse(&text) {
                let _ = env.to_string();
            }
        }
    }
}
