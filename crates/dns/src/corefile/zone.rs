//! Zones, and the keys of server blocks.

use std::fmt;

use ipnet::IpNet;

/// How DNS is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Plain DNS by UDP and TCP.
    Dns,
    /// DNS over TLS.
    Tls,
    /// DNS over QUIC.
    Quic,
    /// DNS over HTTPS.
    Https,
    /// DNS over gRPC.
    Grpc,
}

impl Transport {
    const ALL: [Self; 5] = [Self::Dns, Self::Tls, Self::Quic, Self::Https, Self::Grpc];

    /// The scheme in front of `://`.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Https => "https",
            Self::Grpc => "grpc",
        }
    }

    /// The port where none is given (CoreDNS 1.12 `plugin/pkg/transport`).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Dns => 53,
            Self::Tls | Self::Quic => 853,
            Self::Https | Self::Grpc => 443,
        }
    }

    /// Splits `scheme://rest`; without a scheme it is plain DNS.
    pub(super) fn split(text: &str) -> (Self, &str) {
        let found = Self::ALL.into_iter().find_map(|it| {
            let rest = text.strip_prefix(it.scheme())?.strip_prefix("://")?;
            Some((it, rest))
        });
        found.unwrap_or((Self::Dns, text))
    }
}

/// What a server block serves: one of its keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerKey {
    /// How DNS is spoken.
    pub transport: Transport,
    /// The zone: lower case, with a dot at its end.
    pub zone: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.transport.scheme(), self.zone, self.port)
    }
}

/// Reads a key of a server block: `[SCHEME://]ZONE[:PORT]`. A range of addresses gives its reverse zones
/// (CoreDNS 1.12 `core/dnsserver/register.go`).
pub(super) fn server_keys(text: &str) -> Option<Vec<ServerKey>> {
    let (transport, rest) = Transport::split(text);
    let (zones, port) = zones_and_port(rest)?;
    let port = port.unwrap_or(transport.default_port());
    Some(zones.into_iter().map(|zone| ServerKey { transport, zone, port }).collect())
}

/// Reads a zone where a port does not matter (`NormalizeExact`); a range of addresses gives its reverse zones.
pub(super) fn zones(text: &str) -> Option<Vec<String>> {
    let (_, rest) = Transport::split(text);
    zones_and_port(rest).map(|it| it.0)
}

/// `SplitHostPort` of CoreDNS 1.12 `plugin/normalize.go`.
fn zones_and_port(text: &str) -> Option<(Vec<String>, Option<u16>)> {
    let (zone, port) = match text.rsplit_once(':') {
        Some((_, "")) => return None,
        Some((zone, digits)) if digits.bytes().all(|it| it.is_ascii_digit()) => {
            (zone, Some(digits.parse().ok()?))
        }
        _ => (text, None),
    };
    if let Ok(net) = zone.parse::<IpNet>() {
        return Some((reverse_zones(net), port));
    }
    is_domain_name(zone).then(|| (vec![fully_qualified(zone)], port))
}

/// Lower case, with a dot at the end.
pub(super) fn fully_qualified(name: &str) -> String {
    let lower = name.to_lowercase();
    if lower.ends_with('.') { lower } else { format!("{lower}.") }
}

/// Is a text a domain name for the library that CoreDNS uses (`dns.IsDomainName`)? Escapes count as they are written.
fn is_domain_name(text: &str) -> bool {
    if text == "." {
        return true;
    }
    let labels = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty() && text.len() <= 255 && labels.split('.').all(|it| !it.is_empty() && it.len() <= 63)
}

/// The reverse zones that hold a range: its prefix is lengthened to whole labels.
fn reverse_zones(net: IpNet) -> Vec<String> {
    let net = net.trunc();
    let step = if matches!(net, IpNet::V4(_)) { 8 } else { 4 };
    let length = net.prefix_len().div_ceil(step) * step;
    let Ok(subnets) = net.subnets(length) else { return Vec::new() };
    subnets.map(|it| reverse_zone(&it)).collect()
}

fn reverse_zone(net: &IpNet) -> String {
    let labels: Vec<String> = match net {
        IpNet::V4(net) => {
            let n_labels = usize::from(net.prefix_len() / 8);
            net.addr().octets()[..n_labels].iter().rev().map(u8::to_string).collect()
        }
        IpNet::V6(net) => {
            let n_labels = usize::from(net.prefix_len() / 4);
            let octets = net.addr().octets();
            let digits = octets.iter().flat_map(|it| [it >> 4, it & 15]);
            let labels: Vec<String> = digits.take(n_labels).map(|it| format!("{it:x}")).collect();
            labels.into_iter().rev().collect()
        }
    };
    let root = if matches!(net, IpNet::V4(_)) { "in-addr.arpa." } else { "ip6.arpa." };
    if labels.is_empty() { root.to_owned() } else { format!("{}.{root}", labels.join(".")) }
}

/// Does a zone hold a name? Both are fully qualified.
pub(super) fn holds(zone: &str, name: &str) -> bool {
    if zone == "." {
        return true;
    }
    let (zone, name) = (zone.to_ascii_lowercase(), name.to_ascii_lowercase());
    name == zone || name.strip_suffix(&zone).is_some_and(|it| it.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Option<Vec<String>> {
        server_keys(text).map(|keys| keys.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn keys_have_a_scheme_a_zone_and_a_port() {
        for (text, read) in [
            (".", "dns://.:53"),
            (".:1053", "dns://.:1053"),
            ("Example.TEST", "dns://example.test.:53"),
            ("tls://example.test", "tls://example.test.:853"),
            ("https://.:8443", "https://.:8443"),
            ("10.0.0.0/8", "dns://10.in-addr.arpa.:53"),
            ("10.244.1.0/24:5353", "dns://1.244.10.in-addr.arpa.:5353"),
            ("fd00::/8", "dns://d.f.ip6.arpa.:53"),
            ("0.0.0.0/0", "dns://in-addr.arpa.:53"),
        ] {
            assert_eq!(keys(text), Some(vec![read.to_owned()]), "{text}");
        }
    }

    #[test]
    fn a_range_between_labels_gives_several_zones() {
        assert_eq!(
            keys("10.244.0.0/15").unwrap(),
            ["dns://244.10.in-addr.arpa.:53", "dns://245.10.in-addr.arpa.:53"]
        );
        assert_eq!(keys("fd00::/7").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        for text in ["", ":53", "a..b", ".a", "example.test:", ".:70000", &"a".repeat(64), &"a.".repeat(200)]
        {
            assert_eq!(keys(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_holds_whole_labels() {
        assert!(holds("cluster.local.", "a.b.cluster.local."));
        assert!(holds("cluster.local.", "Cluster.Local."));
        assert!(!holds("cluster.local.", "mycluster.local."));
        assert!(holds(".", "a."));
    }
}
