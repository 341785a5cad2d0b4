//! Modules whose answer no snapshot holds, and modules that are not understood.

use crate::{
    iptables::words::{Words, push_quoted},
    remark::Problem,
    ternary::Ternary,
};

/// A known module whose answer depends on what happened before, on the clock, or on what is not modelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// The module.
    pub name: String,
    /// Its options as words.
    pub words: Vec<String>,
    /// Why its answer is not known.
    pub why: String,
}

/// The modules, and why their answer is not known.
const MODULES: [(&str, &str); 25] = [
    ("ah", "authentication headers are not modelled"),
    ("bpf", "a BPF program is not modelled"),
    ("cluster", "the hash of a cluster is not modelled"),
    ("connbytes", "what a connection has carried is not known"),
    ("connlabel", "connection labels are not known"),
    ("connlimit", "the number of connections now is not known"),
    ("cpu", "the processor is not known"),
    ("dst", "IPv6 destination options are not modelled"),
    ("esp", "the security parameter index is not known"),
    ("eui64", "IPv6 interface identifiers are not compared"),
    ("hashlimit", "a rate limit depends on the packets before"),
    ("hbh", "IPv6 hop-by-hop options are not modelled"),
    ("ipcomp", "compressed payload is not modelled"),
    ("ipv6header", "IPv6 extension headers are not modelled"),
    ("ipvs", "IPVS connections are not modelled"),
    ("limit", "a rate limit depends on the packets before"),
    ("mh", "IPv6 mobility headers are not modelled"),
    ("osf", "the operating system's fingerprint is not known"),
    ("quota", "what is left of the quota is not known"),
    ("rateest", "a measured rate is not known"),
    ("recent", "a list of recent addresses depends on the packets before"),
    ("rt", "IPv6 routing headers are not modelled"),
    ("srh", "IPv6 segment routing headers are not modelled"),
    ("time", "the answer depends on the clock"),
    ("unclean", "the module was removed from the kernel"),
];

impl Opaque {
    /// The module `name` with its options, which come next; none where it is not one of these.
    pub(super) fn read(name: &str, words: &mut Words<'_, '_>) -> Option<Result<Self, Problem>> {
        let (_, why) = MODULES.iter().find(|(module, _)| *module == name)?;
        Some(Ok(Self { name: name.to_owned(), words: rest(words), why: (*why).to_owned() }))
    }

    /// A module that is known in part, taken as a whole.
    pub(super) fn read_any(name: &str, words: &mut Words<'_, '_>, why: &str) -> Self {
        Self { name: name.to_owned(), words: rest(words), why: why.to_owned() }
    }

    pub(super) fn write(&self, out: &mut String) {
        write_words(out, "-m", &self.name, &self.words);
    }

    pub(super) fn holds(&self) -> Ternary {
        Ternary::unknown(format!("match `{}`: {}", self.name, self.why))
    }
}

/// A module, target or option that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The module or target; empty for options that belong to none.
    pub name: String,
    /// Its options as words.
    pub words: Vec<String>,
}

impl Unknown {
    /// The module or target `name` with whatever comes next.
    pub(crate) fn read(name: &str, words: &mut Words<'_, '_>) -> Self {
        Self { name: name.to_owned(), words: rest(words) }
    }

    pub(crate) fn write(&self, out: &mut String, option: &str) {
        write_words(out, option, &self.name, &self.words);
    }
}

/// The words up to the next module or target.
fn rest(words: &mut Words<'_, '_>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(word) = words.peek() {
        if !word.is_quoted && matches!(&*word.text, "-m" | "-j" | "-g") {
            break;
        }
        all.push(word.text.clone().into_owned());
        words.next();
    }
    all
}

fn write_words(out: &mut String, option: &str, name: &str, words: &[String]) {
    if !name.is_empty() {
        out.push(' ');
        out.push_str(option);
        out.push(' ');
        out.push_str(name);
    }
    for word in words {
        let is_bare = !word.is_empty()
            && !matches!(word.as_str(), "-m" | "-j" | "-g")
            && !word.contains([' ', '\t', '\r', '\n', '"', '\\', '\'']);
        if is_bare {
            out.push(' ');
            out.push_str(word);
        } else {
            push_quoted(out, word);
        }
    }
}
