//! The sets that `-m set` asks, as `ipset save` lists them.
//!
//! Kernel: net/netfilter/ipset. What a set says of a packet is in `lookup`.

mod lookup;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use hopwise_snapshot::Mac;
use ipnet::IpNet;

use crate::{Counters, remark::Remark};

pub(crate) use lookup::Membership;
pub use text::emit;

/// Reads what `ipset save` prints.
pub fn parse(text: &str) -> (BTreeMap<String, IpSet>, Vec<Remark>) {
    text::parse(text)
}

/// A set.
#[derive(Clone, Debug, Default)]
pub struct IpSet {
    /// Its name.
    pub name: String,
    /// How it keeps its entries.
    pub storage: Storage,
    /// What an entry is made of.
    pub parts: Vec<Part>,
    /// The rest of its `create` line: sizes, `family`, `range`, `netmask`, `counters`, `timeout`, …
    header: Vec<String>,
    /// The family of its addresses; none where it holds none, or sets.
    is_v6: Option<bool>,
    /// The bits of an address that count (`netmask`, `bitmask`), as an address; none means all.
    mask: Option<IpAddr>,
    /// The bits of a mark that count (`markmask`).
    mark_mask: u32,
    entries: Vec<Entry>,
    index: HashMap<Vec<Value>, usize>,
    /// For each part that is a network: the prefix lengths in use.
    lengths: Vec<BTreeSet<u8>>,
}

impl PartialEq for IpSet {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.storage == other.storage
            && self.parts == other.parts
            && self.header == other.header
            && self.entries == other.entries
    }
}

/// How a set keeps its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Storage {
    /// A bit for each possible entry.
    Bitmap,
    /// A hash table.
    #[default]
    Hash,
    /// A list of other sets.
    List,
}

impl Storage {
    /// The word of a type's name before its colon.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Hash => "hash",
            Self::List => "list",
        }
    }
}

/// What an entry is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// An address.
    Ip,
    /// A network: the longest prefix decides.
    Net,
    /// A protocol and a port.
    Port,
    /// A station.
    Mac,
    /// A device.
    Iface,
    /// A packet mark.
    Mark,
    /// Another set.
    Set,
}

impl Part {
    /// The word of a type's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Net => "net",
            Self::Port => "port",
            Self::Mac => "mac",
            Self::Iface => "iface",
            Self::Mark => "mark",
            Self::Set => "set",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Ip, Self::Net, Self::Port, Self::Mac, Self::Iface, Self::Mark, Self::Set]
            .into_iter()
            .find(|it| it.word() == word)
    }
}

/// An entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its parts, one for each of the set's; a `bitmap:ip,mac` entry may lack its station.
    pub key: Vec<Value>,
    /// Does it except its network from a wider one?
    pub nomatch: bool,
    /// Is its device the beginning of names?
    pub wildcard: bool,
    /// Seconds left when it was listed; 0 never ends.
    pub timeout: Option<u64>,
    /// What it has counted.
    pub counters: Option<Counters>,
    /// Its comment.
    pub comment: Option<String>,
    /// The mark that `SET --map-set` gives, and its mask.
    pub mark: Option<(u32, u32)>,
    /// The priority that `SET --map-set` gives, major and minor.
    pub priority: Option<(u16, u16)>,
    /// The queue that `SET --map-set` gives.
    pub queue: Option<u16>,
}

/// A part of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An address.
    Ip(IpAddr),
    /// A network.
    Net(IpNet),
    /// A protocol's number and a port; in a `bitmap:port` without protocol. For ICMP the port is the type
    /// in the upper byte and the code in the lower.
    Port(Option<u8>, u16),
    /// A station.
    Mac(Mac),
    /// A device, and whether it is meant as a bridge port.
    Iface(String, bool),
    /// A packet mark.
    Mark(u32),
    /// Another set.
    Set(String),
}

impl IpSet {
    /// An empty set of the type `storage:part,…`, with the options of its `create` line.
    ///
    /// None where an option that decides what it holds (`family`, `netmask`, `bitmask`, `markmask`) has no
    /// value that makes sense.
    pub fn new(
        name: impl Into<String>,
        storage: Storage,
        parts: Vec<Part>,
        header: Vec<String>,
    ) -> Option<Self> {
        let value = |option: &str| {
            let at = header.iter().position(|it| it == option)?;
            Some(header.get(at + 1).map_or("", String::as_str))
        };
        let has_addresses = parts.iter().any(|it| matches!(it, Part::Ip | Part::Net));
        let is_v6 = match value("family") {
            None => has_addresses.then_some(false),
            Some("inet") => Some(false),
            Some("inet6") => Some(true),
            Some("unspec") => None,
            Some(_) => return None,
        };
        let mask = match (value("netmask"), value("bitmask")) {
            (None, None) => None,
            (Some(length), _) => {
                let any: IpAddr = if is_v6 == Some(true) { [0u16; 8].into() } else { [0u8; 4].into() };
                Some(IpNet::new(any, length.parse().ok()?).ok()?.netmask())
            }
            (None, Some(mask)) => Some(mask.parse().ok()?),
        };
        let mark_mask = match value("markmask") {
            Some(mask) => u32::try_from(crate::iptables::words::number(mask)?).ok()?,
            None => u32::MAX,
        };
        let lengths = vec![BTreeSet::new(); parts.len()];
        Some(Self {
            name: name.into(),
            storage,
            parts,
            header,
            is_v6,
            mask,
            mark_mask,
            lengths,
            ..Self::default()
        })
    }

    /// The rest of its `create` line, as words: sizes, `family`, `range`, `netmask`, `counters`, …
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The entries in the order in which they were listed.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds an entry, or replaces the one with its key.
    pub fn insert(&mut self, entry: Entry) {
        for (at, value) in entry.key.iter().enumerate() {
            if let (Value::Net(net), Some(lengths)) = (value, self.lengths.get_mut(at)) {
                lengths.insert(net.prefix_len());
            }
        }
        let key = self.index_key(&entry.key);
        match self.index.get(&key) {
            // Devices of one network share an index key: they lie behind each other.
            Some(&at) if !self.is_by_device() || self.entries[at].key == entry.key => {
                self.entries[at] = entry;
            }
            _ => {
                self.index.entry(key).or_insert(self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    /// Removes the entry with this key, if there is one.
    pub fn remove(&mut self, key: &[Value]) {
        let kept: Vec<Entry> = std::mem::take(&mut self.entries);
        self.index.clear();
        self.lengths = vec![BTreeSet::new(); self.parts.len()];
        for entry in kept.into_iter().filter(|it| it.key != key) {
            self.insert(entry);
        }
    }

    /// The type as `ipset` writes it: `hash:ip,port`.
    pub fn type_name(&self) -> String {
        let parts: Vec<&str> = self.parts.iter().map(|it| it.word()).collect();
        format!("{}:{}", self.storage.word(), parts.join(","))
    }

    /// Do entries end in a device, which is compared after the network was found?
    fn is_by_device(&self) -> bool {
        self.parts.contains(&Part::Iface)
    }

    /// What an entry is found by: its parts without those that are compared afterwards.
    fn index_key(&self, key: &[Value]) -> Vec<Value> {
        let is_loose = |value: &&Value| match value {
            Value::Iface(..) => true,
            Value::Mac(_) => self.storage == Storage::Bitmap,
            _ => false,
        };
        key.iter().filter(|it| !is_loose(it)).cloned().collect()
    }
}
