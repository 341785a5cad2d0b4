//! The names of kube-proxy's chains.

use std::net::SocketAddr;

use hopwise_snapshot::Protocol;
use sha2::{Digest, Sha256};

use super::service_port::ServicePortName;

const PREFIXES: [&str; 5] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-FW-", "KUBE-EXT-", "KUBE-SEP-"];

/// The names of the chains of a port of a Service (Kubernetes 1.34 `pkg/proxy/iptables/proxier.go`): a prefix and
/// the first 16 letters of the base32 of the SHA-256 of the port's name and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainNames {
    /// Chooses among the endpoints of policy `Cluster`.
    pub cluster: String,
    /// Chooses among the endpoints of policy `Local`.
    pub local: String,
    /// Takes what goes to a load balancer address with source ranges.
    pub firewall: String,
    /// Takes what goes to an external address.
    pub external: String,
    prefix_of_endpoints: String,
}

impl ChainNames {
    /// The names for a port.
    pub fn of(port: &ServicePortName) -> Self {
        let text = hashed_text(port);
        let hash = hash(&text);
        Self {
            cluster: format!("KUBE-SVC-{hash}"),
            local: format!("KUBE-SVL-{hash}"),
            firewall: format!("KUBE-FW-{hash}"),
            external: format!("KUBE-EXT-{hash}"),
            prefix_of_endpoints: text,
        }
    }

    /// The name of the chain that translates to one endpoint.
    pub fn endpoint(&self, address: SocketAddr) -> String {
        format!("KUBE-SEP-{}", hash(&format!("{}{address}", self.prefix_of_endpoints)))
    }
}

/// Is a chain of this name one that kube-proxy deletes when it no longer needs it?
pub(super) fn is_of_a_service(chain: &str) -> bool {
    PREFIXES.iter().any(|it| chain.starts_with(it))
}

fn hashed_text(port: &ServicePortName) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    format!("{port}{protocol}")
}

/// The first 16 letters of the base32 (RFC 4648 §6) of a SHA-256: ten bytes give them exactly.
pub(super) fn hash(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(text.as_bytes());
    let mut letters = String::with_capacity(16);
    for five_bytes in digest[..10].chunks_exact(5) {
        let bits = five_bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for index in (0..8).rev() {
            letters.push(char::from(ALPHABET[(bits >> (5 * index) & 31) as usize]));
        }
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, port: &str, protocol: Protocol) -> ServicePortName {
        let (namespace, name) = name.split_once('/').unwrap();
        ServicePortName { namespace: namespace.into(), name: name.into(), port: port.into(), protocol }
    }

    #[test]
    fn names_are_those_of_every_cluster() {
        assert_eq!(
            ChainNames::of(&port("default/kubernetes", "https", Protocol::Tcp)).cluster,
            "KUBE-SVC-NPX46M4PTMTKRN6Y"
        );
        assert_eq!(
            ChainNames::of(&port("kube-system/kube-dns", "dns", Protocol::Udp)).cluster,
            "KUBE-SVC-TCOU7JCQXEZGVUNU"
        );
        assert_eq!(
            ChainNames::of(&port("default/echo-np", "", Protocol::Tcp)).external,
            "KUBE-EXT-XS3QDOAWI6R6C3NX"
        );
    }

    #[test]
    fn an_endpoint_of_another_port_of_the_same_pod_has_another_chain() {
        let dns = ChainNames::of(&port("kube-system/kube-dns", "dns", Protocol::Udp));
        assert_eq!(dns.endpoint("10.244.1.2:53".parse().unwrap()), "KUBE-SEP-Z6M7ZHWCTBNMPLD7");
        let tcp = ChainNames::of(&port("kube-system/kube-dns", "dns-tcp", Protocol::Tcp));
        assert_eq!(tcp.endpoint("10.244.1.2:53".parse().unwrap()), "KUBE-SEP-BWHGELGX6BITPZVO");
    }
}
