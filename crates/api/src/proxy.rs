//! Whether the API server is asked through a proxy: as Go's `net/http` decides it, and so kubectl.

use std::net::IpAddr;

use http::Uri;
use ipnet::IpNet;

/// What the environment says about proxies.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// `$HTTPS_PROXY`, or in lower case.
    pub https: Option<String>,
    /// `$HTTP_PROXY`, or in lower case.
    pub http: Option<String>,
    /// `$NO_PROXY`, or in lower case: hosts that are asked without.
    pub none_for: Option<String>,
}

impl Proxies {
    /// What this process' environment says.
    pub(crate) fn of_process() -> Self {
        let of = |upper: &str, lower: &str| {
            let value = std::env::var(upper).or_else(|_| std::env::var(lower)).ok();
            value.filter(|it| !it.is_empty())
        };
        Self {
            https: of("HTTPS_PROXY", "https_proxy"),
            http: of("HTTP_PROXY", "http_proxy"),
            none_for: of("NO_PROXY", "no_proxy"),
        }
    }

    /// The proxy for a server; none where it is asked directly.
    pub(crate) fn proxy_for(&self, server: &Uri) -> Option<String> {
        let (scheme, host) = (server.scheme_str()?, server.host()?.trim_matches(['[', ']']));
        let (proxy, port) = match scheme {
            "https" => (self.https.as_ref()?, server.port_u16().unwrap_or(443)),
            _ => (self.http.as_ref()?, server.port_u16().unwrap_or(80)),
        };
        let is_own = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        let spared = self.none_for.as_deref().unwrap_or_default();
        if is_own || spared.split(',').any(|it| spares(it.trim(), host, port)) {
            return None;
        }
        Some(if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") })
    }
}

/// Does this part of `$NO_PROXY` mean the host?
fn spares(part: &str, host: &str, port: u16) -> bool {
    if part.is_empty() || part == "*" {
        return part == "*";
    }
    if let Ok(address) = host.parse::<IpAddr>()
        && let Ok(network) = part.parse::<IpNet>()
    {
        return network.contains(&address);
    }
    let (name, wanted) = match part.rsplit_once(':') {
        // An IPv6 address has more than one colon.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse().ok()),
        _ => (part, None),
    };
    if wanted.is_some_and(|it: u16| it != port) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    let name = name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    match name.strip_prefix('.') {
        Some(domain) => host.strip_suffix(domain).is_some_and(|it| it.ends_with('.')),
        None => host == name || host.strip_suffix(name.as_str()).is_some_and(|it| it.ends_with('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(none_for: &str, server: &str) -> Option<String> {
        let proxies = Proxies {
            https: Some("proxy.example.test:3128".to_owned()),
            http: None,
            none_for: Some(none_for.to_owned()),
        };
        proxies.proxy_for(&server.parse().unwrap())
    }

    #[test]
    fn a_server_is_asked_through_the_proxy_unless_it_is_spared() {
        let through = Some("http://proxy.example.test:3128".to_owned());
        assert_eq!(proxy("", "https://api.example.test:6443"), through);
        assert_eq!(proxy("other.test,10.0.0.0/8", "https://11.0.0.1:6443"), through);
        assert_eq!(proxy("api.example.test:443", "https://api.example.test:6443"), through);
        assert_eq!(proxy(".api.example.test", "https://api.example.test"), through);
        assert_eq!(proxy("ple.test", "https://api.example.test"), through);
        let direct = [
            ("", "https://127.0.0.1:6443"),
            ("", "https://[::1]:6443"),
            ("", "https://localhost:6443"),
            ("*", "https://api.example.test"),
            ("10.0.0.0/8, 192.168.1.1", "https://10.1.2.3:6443"),
            ("192.168.1.1", "https://192.168.1.1:6443"),
            ("fd00::1", "https://[fd00::1]:6443"),
            ("example.test", "https://api.example.test"),
            (".example.test", "https://API.example.test"),
            ("*.example.test", "https://api.example.test"),
            ("api.example.test:6443", "https://api.example.test:6443"),
            ("", "http://api.example.test"),
        ];
        for (none_for, server) in direct {
            assert_eq!(proxy(none_for, server), None, "{none_for} {server}");
        }
    }
}
