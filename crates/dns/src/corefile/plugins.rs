//! The plugins that decide who is asked.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    lexer::Word,
    remark::{CorefileRemarkKind as Kind, Remarks, Severity},
    tree::Directive,
    zone::{Transport, fully_qualified, holds, zones},
};
use crate::Hosts;

/// How plugin `kubernetes` answers for names of pods by address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodMode {
    /// Not at all.
    #[default]
    Disabled,
    /// With the address in the name, whether or not there is such a pod.
    Insecure,
    /// Where there is such a pod.
    Verified,
}

/// The plugin `kubernetes`: names of Services and pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// The line, from 1.
    pub line: usize,
    /// The zones that it answers for.
    pub zones: Vec<String>,
    /// How it answers for pods by address.
    pub pods: PodMode,
    /// The zones for which names that do not exist are given to the plugins behind; none: they are answered here.
    pub fallthrough: Option<Vec<String>>,
    /// Seconds that answers are valid.
    pub ttl: u32,
    /// The only namespaces that are served; empty means all.
    pub namespaces: Vec<String>,
    /// A choice of Services by labels.
    pub labels: Option<String>,
    /// A choice of namespaces by labels.
    pub namespace_labels: Option<String>,
    /// Are Services served whose endpoints are not looked at?
    pub no_endpoints: bool,
    /// Do Services without endpoints not exist?
    pub ignores_empty_services: bool,
    /// The API server where it is not the cluster's own.
    pub endpoint: Option<String>,
}

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

/// The plugin `hosts`: names of a file and of the Corefile itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsPlugin {
    /// The line, from 1.
    pub line: usize,
    /// The file.
    pub path: String,
    /// The zones that it answers for.
    pub zones: Vec<String>,
    /// The entries that stand in the Corefile; the lines are counted from the plugin's first.
    pub entries: Hosts,
    /// The zones for which names that it does not have are given to the plugins behind; none: they do not exist.
    pub fallthrough: Option<Vec<String>>,
    /// Seconds that answers are valid.
    pub ttl: u32,
}

/// The plugin `cache`: keeps answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// The line, from 1.
    pub line: usize,
    /// The zones whose answers it keeps.
    pub zones: Vec<String>,
    /// Seconds that answers are kept at most.
    pub success_ttl: u32,
    /// Seconds that "no such name" is kept at most.
    pub denial_ttl: u32,
    /// Zones whose answers it does not keep.
    pub without_success: Vec<String>,
    /// Zones whose denials it does not keep.
    pub without_denial: Vec<String>,
    /// How long answers are given beyond their time while the upstream fails; none: not at all.
    pub serve_stale: Option<Duration>,
}

/// The plugin `health`: tells kubelet that CoreDNS lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The line, from 1.
    pub line: usize,
    /// Where it listens, as `HOST:PORT`.
    pub address: String,
    /// How long it goes on when it is asked to end.
    pub lameduck: Duration,
}

/// The plugin `ready`: tells kubelet that CoreDNS answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The line, from 1.
    pub line: usize,
    /// Where it listens, as `HOST:PORT`.
    pub address: String,
}

/// Reads one plugin's words and collects what CoreDNS would refuse.
pub(super) struct Reader<'a> {
    directive: &'a Directive,
    /// The zones of the server block, for plugins that name none.
    zones: &'a [String],
    remarks: &'a mut Remarks,
}

impl<'a> Reader<'a> {
    pub(super) fn new(directive: &'a Directive, zones: &'a [String], remarks: &'a mut Remarks) -> Self {
        Self { directive, zones, remarks }
    }

    fn line(&self) -> usize {
        self.directive.name.line
    }

    fn count(&mut self, at: &Word) {
        self.remarks.error(at, Kind::ArgumentCount(at.text.clone()));
    }

    fn value(&mut self, of: &Word, expected: &'static str, found: &Word) {
        let kind = Kind::Value { of: of.text.clone(), expected, found: found.text.clone() };
        self.remarks.error(found, kind);
    }

    fn unknown_option(&mut self, plugin: &'static str, option: &Word) {
        self.remarks.error(option, Kind::UnknownOption { plugin, option: option.text.clone() });
    }

    /// The only argument of an option.
    fn single<'w>(&mut self, option: &'w Directive) -> Option<&'w Word> {
        let [only] = option.args.as_slice() else {
            self.count(&option.name);
            return None;
        };
        Some(only)
    }

    /// The first argument of an option, whatever follows.
    fn first<'w>(&mut self, option: &'w Directive) -> Option<&'w Word> {
        let first = option.args.first();
        if first.is_none() {
            self.count(&option.name);
        }
        first
    }

    fn flag(&mut self, option: &Directive) -> bool {
        if !option.args.is_empty() {
            self.count(&option.name);
        }
        true
    }

    fn number(
        &mut self,
        option: &Directive,
        word: &Word,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = word.text.parse().ok().filter(|it| range.contains(it));
        if number.is_none() {
            self.value(&option.name, "a number in its range", word);
        }
        number
    }

    fn duration(&mut self, option: &Directive, word: &Word) -> Option<Duration> {
        let duration = parse_duration(&word.text);
        if duration.is_none() {
            self.value(&option.name, "a duration as `5s`", word);
        }
        duration
    }

    /// Zones that are named, or those of the server block.
    fn zones_or_own(&mut self, words: &[Word]) -> Vec<String> {
        if words.is_empty() { self.zones.to_vec() } else { named_zones(words) }
    }

    pub(super) fn kubernetes(&mut self) -> Kubernetes {
        let mut plugin = Kubernetes {
            line: self.line(),
            zones: self.zones_or_own(&self.directive.args),
            pods: PodMode::Disabled,
            fallthrough: None,
            ttl: 5,
            namespaces: Vec::new(),
            labels: None,
            namespace_labels: None,
            no_endpoints: false,
            ignores_empty_services: false,
            endpoint: None,
        };
        if plugin.zones.iter().all(|it| is_reverse(it)) {
            let name = &self.directive.name;
            let found = plugin.zones.join(" ");
            let expected = "a zone that is not a reverse zone";
            self.remarks.error(name, Kind::Value { of: name.text.clone(), expected, found });
        }
        for option in self.directive.lines() {
            self.kubernetes_option(&mut plugin, option);
        }
        if !plugin.namespaces.is_empty() && plugin.namespace_labels.is_some() {
            let name = &self.directive.name;
            let found = "both".to_owned();
            let expected = "only one of namespaces and namespace_labels";
            self.remarks.error(name, Kind::Value { of: name.text.clone(), expected, found });
        }
        plugin
    }

    fn kubernetes_option(&mut self, plugin: &mut Kubernetes, option: &Directive) {
        let texts = || option.texts().map(str::to_owned);
        match option.name.text.as_str() {
            "pods" => {
                let Some(mode) = self.single(option) else { return };
                match mode.text.as_str() {
                    "disabled" => plugin.pods = PodMode::Disabled,
                    "insecure" => plugin.pods = PodMode::Insecure,
                    "verified" => plugin.pods = PodMode::Verified,
                    _ => self.value(&option.name, "disabled, verified or insecure", mode),
                }
            }
            "fallthrough" => plugin.fallthrough = Some(fallthrough(&option.args)),
            "ttl" => {
                let Some(word) = self.first(option) else { return };
                if let Some(ttl) = self.number(option, word, 0..=3600) {
                    plugin.ttl = ttl;
                }
            }
            "namespaces" if self.first(option).is_some() => plugin.namespaces.extend(texts()),
            "labels" if self.first(option).is_some() => {
                plugin.labels = Some(texts().collect::<Vec<_>>().join(" "));
            }
            "namespace_labels" if self.first(option).is_some() => {
                plugin.namespace_labels = Some(texts().collect::<Vec<_>>().join(" "));
            }
            "endpoint" => plugin.endpoint = self.first(option).map(|it| it.text.clone()),
            "noendpoints" => plugin.no_endpoints = self.flag(option),
            "endpoint_pod_names" => {
                self.flag(option);
            }
            "ignore" => match option.args.first() {
                Some(word) if word.text == "empty_service" => plugin.ignores_empty_services = true,
                Some(word) => self.value(&option.name, "empty_service", word),
                None => {}
            },
            "tls" if option.args.len() == 3 => {}
            "kubeconfig" if matches!(option.args.len(), 1 | 2) => {}
            "tls" | "kubeconfig" => self.count(&option.name),
            "namespaces" | "labels" | "namespace_labels" => {}
            removed @ ("upstream" | "resyncperiod") => {
                let option_name = removed.to_owned();
                let kind = Kind::RemovedOption { plugin: "kubernetes", option: option_name, since: "1.7.0" };
                self.remarks.error(&option.name, kind);
            }
            _ => self.unknown_option("kubernetes", &option.name),
        }
    }

    pub(super) fn forward(&mut self) -> Forward {
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

    pub(super) fn hosts(&mut self) -> HostsPlugin {
        let args = &self.directive.args;
        let mut plugin = HostsPlugin {
            line: self.line(),
            path: args.first().map_or("/etc/hosts", |it| it.text.as_str()).to_owned(),
            zones: self.zones_or_own(args.get(1..).unwrap_or_default()),
            entries: Hosts::default(),
            fallthrough: None,
            ttl: 3600,
        };
        let mut entries = Vec::new();
        for option in self.directive.lines() {
            match option.name.text.as_str() {
                "fallthrough" => plugin.fallthrough = Some(fallthrough(&option.args)),
                "no_reverse" => {}
                "ttl" => {
                    let Some(word) = self.first(option) else { continue };
                    if let Some(ttl) = self.number(option, word, 1..=65535) {
                        plugin.ttl = ttl;
                    }
                }
                "reload" => {
                    let Some(word) = self.single(option) else { continue };
                    self.duration(option, word);
                }
                // Behind `fallthrough` an entry is taken for an option.
                _ if plugin.fallthrough.is_some() => self.unknown_option("hosts", &option.name),
                address => {
                    let names: Vec<&str> = option.texts().collect();
                    entries.push(format!("{address} {}", names.join(" ")));
                }
            }
        }
        plugin.entries = Hosts::parse(entries.join("\n").as_bytes());
        plugin
    }

    pub(super) fn cache(&mut self) -> Cache {
        let args = &self.directive.args;
        let ttl = args.first().filter(|it| it.text.parse::<i64>().is_ok());
        let mut plugin = Cache {
            line: self.line(),
            zones: self.zones_or_own(args.get(usize::from(ttl.is_some())..).unwrap_or_default()),
            success_ttl: 3600,
            denial_ttl: 1800,
            without_success: Vec::new(),
            without_denial: Vec::new(),
            serve_stale: None,
        };
        if let Some(ttl) = ttl.and_then(|it| self.number(self.directive, it, 1..=u32::MAX)) {
            (plugin.success_ttl, plugin.denial_ttl) = (ttl, ttl);
        }
        for option in self.directive.lines() {
            self.cache_option(&mut plugin, option);
        }
        plugin
    }

    fn cache_option(&mut self, plugin: &mut Cache, option: &Directive) {
        match option.name.text.as_str() {
            kind @ ("success" | "denial") => {
                let Some(capacity) = self.first(option) else { return };
                self.number(option, capacity, 0..=u32::MAX);
                let Some(ttl) = option.args.get(1).and_then(|it| self.number(option, it, 1..=u32::MAX))
                else {
                    return;
                };
                if kind == "success" {
                    plugin.success_ttl = ttl;
                } else {
                    plugin.denial_ttl = ttl;
                }
            }
            "disable" => {
                let Some(kind) = self.first(option) else { return };
                let named = &option.args[1..];
                let zones = if named.is_empty() {
                    vec![".".to_owned()]
                } else {
                    named.iter().map(|it| fully_qualified(&it.text)).collect()
                };
                match kind.text.as_str() {
                    "success" => plugin.without_success = zones,
                    "denial" => plugin.without_denial = zones,
                    _ => self.value(&option.name, "success or denial", kind),
                }
            }
            "serve_stale" => {
                let given = option.args.first().map(|it| self.duration(option, it));
                plugin.serve_stale = given.unwrap_or(Some(Duration::from_hours(1)));
            }
            "prefetch" => {
                self.first(option);
            }
            "servfail" => {
                let Some(word) = self.single(option) else { return };
                // RFC 2308 §7.1 forbids more.
                if self.duration(option, word).is_some_and(|it| it > Duration::from_mins(5)) {
                    self.value(&option.name, "at most 5m", word);
                }
            }
            "keepttl" => {
                self.flag(option);
            }
            _ => self.unknown_option("cache", &option.name),
        }
    }

    pub(super) fn health(&mut self) -> Health {
        let address = self.listen_address(":8080");
        let mut lameduck = Duration::ZERO;
        for option in self.directive.lines() {
            if option.name.text != "lameduck" {
                self.unknown_option("health", &option.name);
                continue;
            }
            let Some(word) = self.single(option) else { continue };
            lameduck = self.duration(option, word).unwrap_or(lameduck);
        }
        Health { line: self.line(), address, lameduck }
    }

    pub(super) fn ready(&mut self) -> Ready {
        Ready { line: self.line(), address: self.listen_address(":8181") }
    }

    fn listen_address(&mut self, default: &str) -> String {
        let name = &self.directive.name;
        match self.directive.args.as_slice() {
            [] => default.to_owned(),
            [address] => {
                if !address.text.contains(':') {
                    self.value(name, "HOST:PORT", address);
                }
                address.text.clone()
            }
            _ => {
                self.count(name);
                default.to_owned()
            }
        }
    }

    pub(super) fn errors(&mut self) {
        let name = &self.directive.name;
        match self.directive.args.as_slice() {
            [] => {}
            [word] if word.text == "stdout" => {}
            [word] => self.value(name, "stdout", word),
            _ => self.count(name),
        }
        for option in self.directive.lines() {
            match option.name.text.as_str() {
                "stacktrace" => {}
                "consolidate" => {
                    if !matches!(option.args.len(), 2 | 3) {
                        self.count(&option.name);
                    } else if let Some(word) = option.args.first() {
                        self.duration(option, word);
                    }
                }
                _ => self.unknown_option("errors", &option.name),
            }
        }
    }

    pub(super) fn loop_detection(&mut self) {
        if !self.directive.args.is_empty() {
            self.count(&self.directive.name);
        }
    }
}

/// Zones that are named; what is no zone is left out silently, as CoreDNS does.
fn named_zones(words: &[Word]) -> Vec<String> {
    words.iter().filter_map(|it| zones(&it.text)).flatten().collect()
}

/// The zones of `fallthrough`: all where none is named.
fn fallthrough(words: &[Word]) -> Vec<String> {
    if words.is_empty() { vec![".".to_owned()] } else { named_zones(words) }
}

/// Is a zone below one of the reverse trees (`dnsutil.IsReverse`)? Their roots themselves are not.
fn is_reverse(zone: &str) -> bool {
    [".in-addr.arpa.", ".ip6.arpa."].iter().any(|it| zone.ends_with(it))
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

/// A duration as Go writes it: `1h30m`, `5s`, `100ms`; negative ones are none.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let units =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let behind = &rest[end..];
        let (unit, seconds) = units.iter().find(|(unit, _)| {
            behind.strip_prefix(unit).is_some_and(|it| {
                it.is_empty() || it.starts_with(|it: char| it.is_ascii_digit() || it == '.')
            })
        })?;
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = &behind[unit.len()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in
            [("5s", 5000), ("0", 0), ("1h30m", 5_400_000), ("1.5s", 1500), ("100ms", 100), (".5s", 500)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "-5s", "s", "5x", "5s5", "1e3s", "."] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

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
