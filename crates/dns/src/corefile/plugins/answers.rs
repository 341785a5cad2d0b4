//! The plugins that answer from what they hold: `hosts` and `cache`.

use std::time::Duration;

use super::{Reader, fallthrough};
use crate::{
    Hosts,
    corefile::{tree::Directive, zone::fully_qualified},
};

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

impl Reader<'_> {
    pub(in crate::corefile) fn hosts(&mut self) -> HostsPlugin {
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

    pub(in crate::corefile) fn cache(&mut self) -> Cache {
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
}
