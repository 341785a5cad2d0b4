//! One end of a flow, as a person names it: `svc/shop/cart:80/tcp`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use hopwise_snapshot::{NodeName, PodName};

/// What is expected where an end of a flow is named.
const EXPECTED_END: &str = "expected pod/NS/NAME, node/NAME, svc/NS/NAME, ip/ADDRESS or a DNS name, then \
     optionally :PORT and /tcp, /udp or /icmp";

/// One end of a flow, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Who or what.
    pub named: Named,
    /// The port, where one is named.
    pub port: Option<u16>,
    /// The protocol, where one is named.
    pub protocol: Option<Transport>,
}

/// Who or what an end of a flow is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// A pod.
    Pod(PodName),
    /// A node.
    Node(NodeName),
    /// A Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An address.
    Address(IpAddr),
    /// A DNS name.
    Name(String),
}

/// A protocol that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo.
    Icmp,
}

/// Why a text is no end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not name an end of a flow: {wrong}; {EXPECTED_END}")]
pub struct EndpointError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub wrong: String,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|wrong| EndpointError { text: text.to_owned(), wrong })
    }
}

fn parse(text: &str) -> Result<Endpoint, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let n_names = match parts[0] {
        "pod" | "svc" | "service" => 2,
        "node" | "ip" => 1,
        _ => 0,
    };
    // A DNS name has no word before it.
    let n_before = usize::from(n_names > 0);
    let n_needed = n_before + n_names.max(1);
    if parts.len() < n_needed || parts.iter().any(|it| it.is_empty()) {
        return Err("a part of the name is missing".to_owned());
    }
    if parts.len() > n_needed + 1 {
        return Err(format!("`{}` is one part too many", parts[n_needed + 1]));
    }
    let protocol = parts.get(n_needed).map(|it| transport(it)).transpose()?;
    let last = parts[n_needed - 1];
    let (name, port) = if parts[0] == "ip" { (last, None) } else { split_port(last)? };
    let (named, port) = match parts[0] {
        "pod" => (Named::Pod(PodName::new(parts[1], name)), port),
        "svc" | "service" => (Named::Service { namespace: parts[1].to_owned(), name: name.to_owned() }, port),
        "node" => (Named::Node(NodeName::from(name)), port),
        "ip" => address(last).ok_or_else(|| format!("`{last}` is no address"))?,
        _ => match address(last) {
            Some(it) => it,
            None => (dns_name(name)?, port),
        },
    };
    if protocol == Some(Transport::Icmp) && port.is_some() {
        return Err("ICMP has no ports".to_owned());
    }
    if matches!(protocol, Some(Transport::Tcp | Transport::Udp)) && port.is_none() {
        return Err("a port is missing before the protocol".to_owned());
    }
    Ok(Endpoint { named, port, protocol })
}

fn transport(word: &str) -> Result<Transport, String> {
    match word.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        "icmp" => Ok(Transport::Icmp),
        _ => Err(format!("`{word}` is no protocol that can be asked for")),
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let Some((name, port)) = text.rsplit_once(':') else { return Ok((text, None)) };
    // An IPv6 address without a port has colons too; none of them is a port's.
    if name.contains(':') && !name.ends_with(']') {
        return Ok((text, None));
    }
    // Rust reads `+80` as a number too.
    let digits = Some(port).filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
    match digits.and_then(|it| it.parse().ok()) {
        Some(port) if port > 0 && !name.is_empty() => Ok((name, Some(port))),
        _ => Err(format!("`{port}` is no port, 1 to 65535")),
    }
}

fn address(text: &str) -> Option<(Named, Option<u16>)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() > 0).then_some((Named::Address(address.ip()), Some(address.port())));
    }
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().map(|it| (Named::Address(it), None))
}

fn dns_name(text: &str) -> Result<Named, String> {
    let is_label = |it: &str| {
        let is_inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        !it.is_empty() && it.len() <= 63 && it.bytes().all(is_inner)
    };
    if text.len() <= 254 && text.trim_end_matches('.').split('.').all(is_label) {
        Ok(Named::Name(text.to_owned()))
    } else {
        Err(format!("`{text}` is no DNS name"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.named, self.port) {
            (Named::Address(address), Some(port)) => write!(f, "ip/{}", SocketAddr::new(*address, port))?,
            (named, Some(port)) => write!(f, "{named}:{port}")?,
            (named, None) => write!(f, "{named}")?,
        }
        match self.protocol {
            Some(Transport::Tcp) => f.write_str("/tcp"),
            Some(Transport::Udp) => f.write_str("/udp"),
            Some(Transport::Icmp) => f.write_str("/icmp"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name) => write!(f, "pod/{name}"),
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Service { namespace, name } => write!(f, "svc/{namespace}/{name}"),
            Self::Address(address) => write!(f, "ip/{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_end_is_written_as_it_is_read() {
        for text in [
            "pod/default/echo-w1",
            "pod/default/echo-w1:8080/tcp",
            "pod/default/tcp/icmp",
            "node/w1",
            "node/w1.example.org:10250",
            "svc/kube-system/kube-dns:53/udp",
            "ip/203.0.113.10:8080/tcp",
            "ip/[2001:db8::1]:53/udp",
            "ip/2001:db8::1",
            "kubernetes.default.svc",
            "www.example.test:443/tcp",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_address_needs_no_word_before_it() {
        assert_eq!("10.0.0.1:80".parse::<Endpoint>().unwrap().to_string(), "ip/10.0.0.1:80");
        assert_eq!("2001:db8::1".parse::<Endpoint>().unwrap().to_string(), "ip/2001:db8::1");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_is_written_alike(
            text in "((pod|svc|node|ip)/)?[a-z0-9:.\\[\\]/]{0,24}(/(tcp|udp|icmp))?|\\PC{0,24}"
        ) {
            if let Ok(end) = text.parse::<Endpoint>() {
                prop_assert_eq!(end.to_string().parse::<Endpoint>(), Ok(end));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| text.parse::<Endpoint>().unwrap_err().wrong;
        assert_eq!(wrong("pod/default"), "a part of the name is missing");
        assert_eq!(wrong("pod/default/"), "a part of the name is missing");
        assert_eq!(wrong("pod/a/b/c/d"), "`d` is one part too many");
        assert_eq!(wrong("pod/a/b:99999"), "`99999` is no port, 1 to 65535");
        assert_eq!(wrong("pod/a/b:0"), "`0` is no port, 1 to 65535");
        assert_eq!(wrong("1.0.0.1:+80"), "`+80` is no port, 1 to 65535");
        assert_eq!(wrong("pod/a/b:80/sctp"), "`sctp` is no protocol that can be asked for");
        assert_eq!(wrong("pod/a/b:80/icmp"), "ICMP has no ports");
        assert_eq!(wrong("pod/a/b/tcp"), "a port is missing before the protocol");
        assert_eq!(wrong("ip/10.0.0"), "`10.0.0` is no address");
        assert_eq!(wrong("na me"), "`na me` is no DNS name");
        assert_eq!(wrong(""), "a part of the name is missing");
    }
}
