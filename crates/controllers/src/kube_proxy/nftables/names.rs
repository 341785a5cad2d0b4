//! The names of the chains and sets of a port of a Service.

use std::net::SocketAddr;

use super::{
    super::{chain_name::hash, service_port::ServicePortName},
    AFFINITY,
};

/// The longest name of nftables (`NameLengthMax` of knftables) less the longest prefix.
const LONGEST: usize = 256 - 16;

/// The names of the chains of a port of a Service in mode nftables (Kubernetes 1.34 `pkg/proxy/nftables/proxier.go`): a
/// prefix, the first 8 letters of the base32 of the SHA-256 of what follows, and `NAMESPACE/NAME/PROTOCOL/PORT`.
pub(super) struct Names {
    /// Chooses among the endpoints of policy `Cluster`.
    pub(super) cluster: String,
    /// Chooses among the endpoints of policy `Local`.
    pub(super) local: String,
    /// Takes what goes to an external address.
    pub(super) external: String,
    /// Drops what is no business of a load balancer address.
    pub(super) firewall: String,
    port: String,
}

impl Names {
    pub(super) fn of(port: &ServicePortName) -> Self {
        let port = format!("{}/{}/{}/{}", port.namespace, port.name, port.protocol, port.port);
        let base = with_hash(&port);
        Self {
            cluster: format!("service-{base}"),
            local: format!("local-{base}"),
            external: format!("external-{base}"),
            firewall: format!("firewall-{base}"),
            port,
        }
    }

    /// The chain that translates to one endpoint.
    pub(super) fn endpoint(&self, address: SocketAddr) -> String {
        format!("endpoint-{}", self.base_of(address))
    }

    /// The set of clients that an endpoint remembers.
    pub(super) fn affinity(&self, address: SocketAddr) -> String {
        format!("{AFFINITY}{}", self.base_of(address))
    }

    /// Colons are no letters of a chain's name.
    fn base_of(&self, address: SocketAddr) -> String {
        let ip = address.ip().to_string().replace(':', ".");
        with_hash(&format!("{}__{ip}/{}", self.port, address.port()))
    }
}

/// A name behind its hash, cut where it is too long (`hashAndTruncate`).
fn with_hash(name: &str) -> String {
    let mut all = format!("{}-{name}", &hash(name)[..8]);
    if all.len() > LONGEST {
        let mut end = LONGEST - 3;
        while !all.is_char_boundary(end) {
            end -= 1;
        }
        all.truncate(end);
        all.push_str("...");
    }
    all
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::Protocol;

    use super::*;

    fn port(name: &str, port: &str, protocol: Protocol) -> ServicePortName {
        let (namespace, name) = name.split_once('/').unwrap();
        ServicePortName { namespace: namespace.into(), name: name.into(), port: port.into(), protocol }
    }

    #[test]
    fn names_are_those_of_every_cluster() {
        let dns = Names::of(&port("kube-system/kube-dns", "dns", Protocol::Udp));
        assert_eq!(dns.cluster, "service-FY5PMXPG-kube-system/kube-dns/udp/dns");
        assert_eq!(
            dns.endpoint("10.244.1.2:53".parse().unwrap()),
            "endpoint-TF6S6XX7-kube-system/kube-dns/udp/dns__10.244.1.2/53"
        );
        let unnamed = Names::of(&port("default/echo-np", "", Protocol::Tcp));
        assert_eq!(unnamed.external, "external-EEUNXK2J-default/echo-np/tcp/");
    }

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        let long = "ä".repeat(200);
        let names = Names::of(&port(&format!("a/{long}"), "p", Protocol::Tcp));
        assert!(names.cluster.ends_with("..."), "{}", names.cluster);
        assert!(names.endpoint("[fd00::1]:80".parse().unwrap()).len() <= 256);
    }
}
