//! The plugin `forward`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{Kind, Reader, named_zones};
use crate::corefile::{
    remark::Severity,
    tree::Directive,
    zone::{Transport, holds, zones},
};

/// Somebody whom plugin `forward` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// A server.
    Server {
        /// How DNS is spoken to it.
        transport: Transport,
        /// Its address and port.
        address: SocketAddr,
    },
    /// The name servers of a file like resolv.conf, read when CoreDNS starts.
    File(String),
    /// Neither: CoreDNS does not start.
    NotUnderstood(String),
}

/// How plugin `forward` chooses among its upstreams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardPolicy {
    /// At random.
    #[default]
    Random,
    /// In turn.
    RoundRobin,
    /// The first that works.
    Sequential,
}

/// The plugin `forward`: asks somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The line, from 1.
    pub line: usize,
    /// The zone that it asks for.
    pub from: String,
    /// Whom it asks, at most 15.
    pub upstreams: Vec<Upstream>,
    /// Zones that it leaves to the plugins behind.
    pub except: Vec<String>,
    /// How it chooses.
    pub policy: ForwardPolicy,
    /// Is every query sent by TCP?
    pub force_tcp: bool,
    /// Is every query first sent by UDP?
    pub prefer_udp: bool,
    /// Failed health checks until a server counts as down; 0 never.
    pub max_fails: u32,
    /// The time between health checks of a server that failed.
    pub health_check: Duration,
    /// The time until an idle connection is closed.
    pub expire: Duration,
    /// Queries at once at most; 0 is no limit.
    pub max_concurrent: u32,
    /// The name that a server's certificate must have.
    pub tls_server_name: Option<String>,
}

impl Forward {
    /// Does it ask for a fully qualified name?
    pub fn takes(&self, name: &str) -> bool {
        holds(&self.from, name) && !self.except.iter().any(|it| holds(it, name))
    }
}

impl Reader<'_> {
    pub(in crate::corefile) fn forward(&mut self) -> Forward {
        let mut plugin = Forward {
            line: self.line(),
            from: String::new(),
            upstreams: Vec::new(),
            except: Vec::new(),
            policy: ForwardPolicy::Random,
            force_tcp: false,
            prefer_udp: false,
            max_fails: 2,
            health_check: Duration::from_millis(500),
            expire: Duration::from_secs(10),
            max_concurrent: 0,
            tls_server_name: None,
        };
        self.forward_arguments(&mut plugin);
        for option in self.directive.lines() {
            self.forward_option(&mut plugin, option);
        }
        plugin
    }

    fn forward_arguments(&mut self, plugin: &mut Forward) {
        let name = &self.directive.name;
        let Some((from, to)) = self.directive.args.split_first() else {
            self.count(name);
            return;
        };
        match zones(&from.text).and_then(|it| it.into_iter().next()) {
            Some(zone) => plugin.from = zone,
            None => self.remarks.error(from, Kind::NotAZone(from.text.clone())),
        }
        if to.is_empty() {
            self.count(name);
            if let Some(meant) = meant_upstream(&from.text) {
                self.remarks.error(from, Kind::ProbablyMeant(format!("forward . {meant}")));
            }
        }
        for word in to {
            let upstream = upstream(&word.text);
            if let Upstream::NotUnderstood(text) = &upstream {
                // CoreDNS looks at the port only when it asks.
                let has_address = text.rsplit_once(':').is_some_and(|(it, _)| is_address(it));
                let severity = if has_address { Severity::Warning } else { Severity::Error };
                self.remarks.add(word, severity, Kind::NotAnUpstream(text.clone()));
                if let Some(meant) = meant_list(&word.text) {
                    self.remarks.error(word, Kind::ProbablyMeant(meant));
                }
            }
            plugin.upstreams.push(upstream);
        }
        if plugin.upstreams.len() > 15 {
            self.count(name);
        }
    }

    fn forward_option(&mut self, plugin: &mut Forward, option: &Directive) {
        match option.name.text.as_str() {
            "except" => {
                if self.first(option).is_some() {
                    plugin.except.extend(named_zones(&option.args));
                }
            }
            "policy" => {
                let Some(word) = self.first(option) else { return };
                match word.text.as_str() {
                    "random" => plugin.policy = ForwardPolicy::Random,
                    "round_robin" => plugin.policy = ForwardPolicy::RoundRobin,
                    "sequential" => plugin.policy = ForwardPolicy::Sequential,
                    _ => self.value(&option.name, "random, round_robin or sequential", word),
                }
            }
            "force_tcp" => plugin.force_tcp = self.flag(option),
            "prefer_udp" => plugin.prefer_udp = self.flag(option),
            "max_fails" | "max_concurrent" => {
                let Some(word) = self.first(option) else { return };
                let Some(number) = self.number(option, word, 0..=u32::MAX) else { return };
                if option.name.text == "max_fails" {
                    plugin.max_fails = number;
                } else {
                    plugin.max_concurrent = number;
                }
            }
            "health_check" | "expire" => {
                let Some(word) = self.first(option) else { return };
                let Some(duration) = self.duration(option, word) else { return };
                if option.name.text == "expire" {
                    plugin.expire = duration;
                } else {
                    plugin.health_check = duration;
                }
            }
            "tls_servername" => {
                plugin.tls_server_name = self.first(option).map(|it| it.text.clone());
            }
            "tls" if option.args.len() <= 3 => {}
            "tls" => self.count(&option.name),
            "next" => {
                self.first(option);
            }
            "failfast_all_unhealthy_upstreams" => {
                self.flag(option);
            }
            _ => self.unknown_option("forward", &option.name),
        }
    }
}

/// Whom a word of `forward` names (`HostPortOrFile`, CoreDNS 1.12 `plugin/pkg/parse/host.go`).
fn upstream(text: &str) -> Upstream {
    let not_understood = || Upstream::NotUnderstood(text.to_owned());
    let (transport, rest) = Transport::split(text);
    if !matches!(transport, Transport::Dns | Transport::Tls) {
        return not_understood();
    }
    let without_zone = |it: &str| it.split_once('%').map_or(it, |(address, _)| address).to_owned();
    if let Ok(address) = without_zone(rest).parse::<IpAddr>() {
        return Upstream::Server { transport, address: SocketAddr::new(address, transport.default_port()) };
    }
    let parts = rest.rsplit_once(':').and_then(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        Some((without_zone(host).parse::<IpAddr>().ok()?, port.parse::<u16>().ok()?))
    });
    match parts {
        Some((address, port)) => Upstream::Server { transport, address: SocketAddr::new(address, port) },
        // Any other word is tried as a file; one without a slash lies where CoreDNS was started, and is none.
        None if transport == Transport::Dns && rest.contains('/') && !rest.contains("://") => {
            Upstream::File(rest.to_owned())
        }
        None => not_understood(),
    }
}

fn is_address(text: &str) -> bool {
    let (_, host) = Transport::split(text);
    let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    host.parse::<IpAddr>().is_ok()
}

/// What was meant where `forward` has one argument only: the blank behind the zone is missing, or the zone is.
fn meant_upstream(text: &str) -> Option<String> {
    let rest = text.strip_prefix('.').unwrap_or(text);
    match upstream(rest) {
        Upstream::Server { .. } | Upstream::File(_) => Some(rest.to_owned()),
        Upstream::NotUnderstood(_) => None,
    }
}

/// What was meant where upstreams are separated by commas.
fn meant_list(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split([',', ';']).filter(|it| !it.is_empty()).collect();
    let is_list = parts.iter().all(|it| matches!(upstream(it), Upstream::Server { .. }));
    (is_list && !parts.is_empty()).then(|| parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_addresses_or_files() {
        let server =
            |transport, address: &str| Upstream::Server { transport, address: address.parse().unwrap() };
        for (text, expected) in [
            ("8.8.8.8", server(Transport::Dns, "8.8.8.8:53")),
            ("8.8.8.8:5353", server(Transport::Dns, "8.8.8.8:5353")),
            ("dns://8.8.8.8", server(Transport::Dns, "8.8.8.8:53")),
            ("tls://1.1.1.1", server(Transport::Tls, "1.1.1.1:853")),
            ("fd00::53", server(Transport::Dns, "[fd00::53]:53")),
            ("[fd00::53]:54", server(Transport::Dns, "[fd00::53]:54")),
            ("/etc/resolv.conf", Upstream::File("/etc/resolv.conf".to_owned())),
            ("dns.google", Upstream::NotUnderstood("dns.google".to_owned())),
            ("https://1.1.1.1", Upstream::NotUnderstood("https://1.1.1.1".to_owned())),
            ("8.8.8.8,8.8.4.4", Upstream::NotUnderstood("8.8.8.8,8.8.4.4".to_owned())),
        ] {
            assert_eq!(upstream(text), expected, "{text}");
        }
    }
}
