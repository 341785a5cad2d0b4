//! The plugin `kubernetes`.

use super::{Kind, Reader, fallthrough};
use crate::corefile::tree::Directive;

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

impl Reader<'_> {
    pub(in crate::corefile) fn kubernetes(&mut self) -> Kubernetes {
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
}

/// Is a zone below one of the reverse trees (`dnsutil.IsReverse`)? Their roots themselves are not.
fn is_reverse(zone: &str) -> bool {
    [".in-addr.arpa.", ".ip6.arpa."].iter().any(|it| zone.ends_with(it))
}
