//! Corefiles as CoreDNS 1.12 reads them.

mod lexer;
mod plugins;
mod remark;
mod tree;
mod zone;

use std::{collections::BTreeMap, fmt};

pub use lexer::Word;
pub use plugins::{Cache, Forward, ForwardPolicy, Health, HostsPlugin, Kubernetes, PodMode, Ready, Upstream};
pub use remark::{CorefileRemark, CorefileRemarkKind, Severity};
pub use tree::Directive;
pub use zone::{ServerKey, Transport};

use plugins::Reader;
use remark::Remarks;

/// The plugins of CoreDNS 1.12, in the order in which they see a query (`core/dnsserver/zdirectives.go`).
const PLUGINS: [&str; 53] = [
    "root",
    "metadata",
    "geoip",
    "cancel",
    "tls",
    "timeouts",
    "multisocket",
    "reload",
    "nsid",
    "bufsize",
    "bind",
    "debug",
    "trace",
    "ready",
    "health",
    "pprof",
    "prometheus",
    "errors",
    "log",
    "dnstap",
    "local",
    "dns64",
    "acl",
    "any",
    "chaos",
    "loadbalance",
    "tsig",
    "cache",
    "rewrite",
    "header",
    "dnssec",
    "autopath",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "route53",
    "azure",
    "clouddns",
    "k8s_external",
    "kubernetes",
    "file",
    "auto",
    "secondary",
    "etcd",
    "loop",
    "forward",
    "grpc",
    "erratic",
    "whoami",
    "on",
    "sign",
    "view",
];
/// Plugins that are gone: name, first version without it, what does its work now.
const REMOVED: [(&str, &str, &str); 2] =
    [("proxy", "1.5.0", "forward"), ("federation", "1.7.0", "kubernetes")];
/// Plugins that may stand only once in a server block.
const ONCE: [&str; 6] = ["hosts", "cache", "kubernetes", "loop", "ready", "errors"];

/// A Corefile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corefile {
    /// Its server blocks, up to where CoreDNS would give up.
    pub blocks: Vec<ServerBlock>,
    /// What CoreDNS refuses, ignores or understands differently, in the order of lines.
    pub remarks: Vec<CorefileRemark>,
    /// The files that words and remarks come from: first the Corefile, under an empty name, then what it imports.
    pub files: Vec<String>,
}

/// A server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerBlock {
    /// Its first line, from 1.
    pub line: usize,
    /// Its keys as they are written.
    pub words: Vec<Word>,
    /// What it serves.
    pub keys: Vec<ServerKey>,
    /// Its plugins as they are written. CoreDNS asks them in an order of its own.
    pub directives: Vec<Directive>,
}

/// What a Corefile refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The environment of CoreDNS, complete; none where it is not known.
    pub environment: Option<BTreeMap<String, String>>,
    /// Files that could be imported, by absolute path; none where they were not read.
    pub files: Option<BTreeMap<String, Vec<u8>>>,
    /// The directory of the Corefile.
    pub directory: String,
}

impl Sources {
    /// The value of an environment variable: empty where the environment is known and has none.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.as_ref().map(|it| it.get(name).map_or("", String::as_str))
    }

    /// The files that a name or a pattern with `*` and `?` means, in the order of their names.
    fn matching(&self, pattern: &str) -> Option<Vec<(&str, &[u8])>> {
        let pattern = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("{}/{pattern}", self.directory.trim_end_matches('/'))
        };
        let files = self.files.as_ref()?.iter();
        let found = files.filter(|(path, _)| matches(pattern.as_bytes(), path.as_bytes()));
        Some(found.map(|(path, content)| (path.as_str(), content.as_slice())).collect())
    }
}

/// Does a path match a pattern (`filepath.Match` of Go without `[]`)? `*` and `?` match no slash.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    // Positions to go back to: behind the last `*`, and how much it has taken.
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < path.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(b'?') if path[t] != b'/' => (p, t) = (p + 1, t + 1),
            Some(letter) if *letter == path[t] => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((star, taken)) if path[taken] != b'/' => {
                    back = Some((star, taken + 1));
                    (p, t) = (star + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|it| *it == b'*')
}

impl Corefile {
    /// Reads a Corefile of which nothing but the text is known.
    pub fn parse(bytes: &[u8]) -> Self {
        Self::parse_with(bytes, &Sources::default())
    }

    /// Reads a Corefile with what it refers to.
    pub fn parse_with(bytes: &[u8], sources: &Sources) -> Self {
        let mut remarks = Remarks::default();
        let text = String::from_utf8_lossy(bytes);
        if std::str::from_utf8(bytes).is_err() {
            let start = Word { line: 1, column: 1, text: String::new(), file: 0 };
            remarks.add(&start, Severity::Warning, CorefileRemarkKind::NotUtf8);
        }
        let mut blocks = Vec::new();
        let (read, files) = tree::blocks(&text, sources, &mut remarks);
        for block in read {
            let keys = keys(&block.keys, &blocks, &block.directives, &mut remarks);
            let line = block.keys.first().map_or(1, |it| it.line);
            let block = ServerBlock { line, words: block.keys, keys, directives: block.directives };
            block.check(&mut remarks);
            blocks.push(block);
        }
        remarks.0.sort_by_key(|it| (it.file, it.line, it.column));
        Self { blocks, remarks: remarks.0, files }
    }

    /// Would CoreDNS 1.12 refuse it?
    pub fn is_refused(&self) -> bool {
        self.remarks.iter().any(|it| it.severity == Severity::Error)
    }

    /// The server block that answers a query for a fully qualified name at a port: that with the longest zone. Blocks
    /// with plugin `view` may step aside for others.
    pub fn block_for(&self, name: &str, port: u16) -> Option<&ServerBlock> {
        let name = zone::fully_qualified(name);
        let keys = self.blocks.iter().flat_map(|block| block.keys.iter().map(move |key| (block, key)));
        let takes = |(_, key): &(&ServerBlock, &ServerKey)| {
            key.port == port && key.transport == Transport::Dns && zone::holds(&key.zone, &name)
        };
        // Of equal zones, the first counts.
        let mut best: Option<(&ServerBlock, &ServerKey)> = None;
        for found in keys.filter(takes) {
            if best.is_none_or(|it| it.1.zone.len() < found.1.zone.len()) {
                best = Some(found);
            }
        }
        best.map(|it| it.0)
    }
}

/// The keys of a block; remarks what is no zone, and what another block serves already.
fn keys(
    words: &[Word],
    before: &[ServerBlock],
    directives: &[Directive],
    remarks: &mut Remarks,
) -> Vec<ServerKey> {
    let is_plain = |directives: &[Directive]| {
        !directives.iter().any(|it| matches!(it.name.text.as_str(), "bind" | "view"))
    };
    let mut keys: Vec<ServerKey> = Vec::new();
    for word in words {
        let Some(read) = zone::server_keys(&word.text) else {
            if !word.text.contains("{$") && !word.text.contains("{%") {
                remarks.error(word, CorefileRemarkKind::NotAZone(word.text.clone()));
            }
            continue;
        };
        for key in read {
            let mut others = before.iter().filter(|it| is_plain(&it.directives)).flat_map(|it| &it.keys);
            if is_plain(directives) && (keys.contains(&key) || others.any(|it| *it == key)) {
                remarks.error(word, CorefileRemarkKind::ZoneTwice(key.to_string()));
            }
            keys.push(key);
        }
    }
    keys
}

impl ServerBlock {
    /// The zones that it serves, for plugins that name none themselves.
    pub fn zones(&self) -> Vec<String> {
        self.keys.iter().map(|it| it.zone.clone()).collect()
    }

    /// Its plugins of a name.
    pub fn directives_of<'a>(&'a self, plugin: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.directives.iter().filter(move |it| it.name.text == plugin)
    }

    /// Has it a plugin of this name?
    pub fn has(&self, plugin: &str) -> bool {
        self.directives_of(plugin).next().is_some()
    }

    /// Its plugins `kubernetes`.
    pub fn kubernetes(&self) -> Vec<Kubernetes> {
        let (zones, mut ignored) = (self.zones(), Remarks::default());
        let read = |it| Reader::new(it, &zones, &mut ignored).kubernetes();
        self.directives_of("kubernetes").map(read).collect()
    }

    /// Its plugins `forward`.
    pub fn forward(&self) -> Vec<Forward> {
        let (zones, mut ignored) = (self.zones(), Remarks::default());
        let read = |it| Reader::new(it, &zones, &mut ignored).forward();
        self.directives_of("forward").map(read).collect()
    }

    /// Its plugins `hosts`.
    pub fn hosts(&self) -> Vec<HostsPlugin> {
        let (zones, mut ignored) = (self.zones(), Remarks::default());
        let read = |it| Reader::new(it, &zones, &mut ignored).hosts();
        self.directives_of("hosts").map(read).collect()
    }

    /// Its plugins `cache`.
    pub fn cache(&self) -> Vec<Cache> {
        let (zones, mut ignored) = (self.zones(), Remarks::default());
        let read = |it| Reader::new(it, &zones, &mut ignored).cache();
        self.directives_of("cache").map(read).collect()
    }

    /// Its plugins `health`.
    pub fn health(&self) -> Vec<Health> {
        let (zones, mut ignored) = (self.zones(), Remarks::default());
        let read = |it| Reader::new(it, &zones, &mut ignored).health();
        self.directives_of("health").map(read).collect()
    }

    /// Its plugins `ready`.
    pub fn ready(&self) -> Vec<Ready> {
        let (zones, mut ignored) = (self.zones(), Remarks::default());
        let read = |it| Reader::new(it, &zones, &mut ignored).ready();
        self.directives_of("ready").map(read).collect()
    }

    /// Has it plugin `loop`, which ends CoreDNS when a query comes back to it?
    pub fn detects_loops(&self) -> bool {
        self.has("loop")
    }

    /// Has it plugin `errors`, which logs failed queries?
    pub fn logs_errors(&self) -> bool {
        self.has("errors")
    }

    /// Remarks what CoreDNS would refuse of its plugins.
    fn check(&self, remarks: &mut Remarks) {
        let zones = self.zones();
        for (index, directive) in self.directives.iter().enumerate() {
            let name = directive.name.text.as_str();
            let is_repeated = self.directives[..index].iter().any(|it| it.name.text == name);
            if is_repeated && ONCE.contains(&name) {
                remarks.error(&directive.name, CorefileRemarkKind::PluginTwice(name.to_owned()));
            }
            let mut reader = Reader::new(directive, &zones, remarks);
            match name {
                "kubernetes" => drop(reader.kubernetes()),
                "forward" => drop(reader.forward()),
                "hosts" => drop(reader.hosts()),
                "cache" => drop(reader.cache()),
                "health" => drop(reader.health()),
                "ready" => drop(reader.ready()),
                "errors" => reader.errors(),
                "loop" => reader.loop_detection(),
                _ if PLUGINS.contains(&name) => {}
                _ => check_name(directive, remarks),
            }
        }
    }
}

/// Remarks a plugin that CoreDNS does not have.
fn check_name(directive: &Directive, remarks: &mut Remarks) {
    let name = &directive.name;
    if let Some((plugin, since, instead)) = REMOVED.iter().find(|it| it.0 == name.text) {
        let kind = CorefileRemarkKind::RemovedPlugin { plugin: (*plugin).to_owned(), since, instead };
        remarks.error(name, kind);
        return;
    }
    let is_reference = name.text.contains("{$") || name.text.contains("{%");
    if !is_reference {
        remarks.error(name, CorefileRemarkKind::UnknownPlugin(name.text.clone()));
    }
}

/// The file as it would be written: imports and snippets are resolved, comments are gone.
impl fmt::Display for Corefile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for block in &self.blocks {
            let keys: Vec<String> = block.words.iter().map(|it| lexer::written(&it.text)).collect();
            writeln!(f, "{} {{", keys.join(" "))?;
            for directive in &block.directives {
                directive.write(f, 1)?;
            }
            writeln!(f, "}}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
