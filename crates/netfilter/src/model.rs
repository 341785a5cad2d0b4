//! Tables, chains and rules, whichever tool wrote them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use hopwise_snapshot::Reason;

use crate::{ipset::IpSet, nft, remark::Remark, xt};

/// Every rule that one network namespace decides packets by.
///
/// Made by [`Ruleset::parse`]. Its fields may be changed, to ask what a changed rule would do; nothing in it
/// depends on where it came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruleset {
    /// The tables, in the order in which their tools list them.
    pub tables: Vec<Table>,
    /// The sets that `-m set` asks, by name.
    pub ipsets: BTreeMap<String, IpSet>,
    /// What was not understood.
    pub remarks: Vec<Remark>,
    /// What nobody read. What these would say is not in [`Ruleset::tables`]: see [`Ruleset::missing_at`].
    pub missing: Vec<Missing>,
}

/// A text that was not collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which one.
    pub source: Source,
    /// Why.
    pub reason: Reason,
}

/// The texts that a [`Ruleset`] is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `nft -j list ruleset`.
    Nft,
    /// `iptables-nft-save -c`.
    IptablesNft,
    /// `ip6tables-nft-save -c`.
    Ip6tablesNft,
    /// `iptables-legacy-save -c`.
    IptablesLegacy,
    /// `ip6tables-legacy-save -c`.
    Ip6tablesLegacy,
    /// `arptables-legacy-save`.
    ArptablesLegacy,
    /// `ipset save`.
    Ipset,
}

impl Source {
    /// The tool that shows it, as in [`hopwise_snapshot::Element`].
    pub fn tool(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::IptablesNft => "iptables-nft",
            Self::Ip6tablesNft => "ip6tables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Ip6tablesLegacy => "ip6tables-legacy",
            Self::ArptablesLegacy => "arptables-legacy",
            Self::Ipset => "ipset",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tool())
    }
}

/// Who keeps a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// nf_tables, written by nft or a program that speaks netlink.
    Nft,
    /// nf_tables, written by iptables-nft, and taken from its own words.
    IptablesNft,
    /// The xtables back end, IPv4 or IPv6.
    IptablesLegacy,
    /// The xtables back end, ARP.
    ArptablesLegacy,
}

/// The packets that a table is for (`NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// ARP.
    Arp,
    /// Frames that a bridge handles.
    Bridge,
    /// Frames of single devices.
    Netdev,
}

impl Family {
    /// The word that nft uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
        }
    }

    /// The family that nft calls `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ip, Self::Ip6, Self::Inet, Self::Arp, Self::Bridge, Self::Netdev]
            .into_iter()
            .find(|it| it.word() == word)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Who keeps it.
    pub origin: Origin,
    /// Which packets it is for.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its nf_tables handle: higher ones were made later.
    pub handle: Option<u64>,
    /// Is it switched off?
    pub dormant: bool,
    /// Its further flags (`owner`, `persist`).
    pub flags: Vec<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its chains, in the order in which the tool lists them.
    pub chains: Chains,
    /// Its sets and maps, by name.
    pub sets: BTreeMap<String, nft::Set>,
    /// Its stateful objects (counters, quotas, helpers), by kind and name.
    pub objects: BTreeMap<(String, String), nft::Object>,
    /// Its flowtables, by name.
    pub flowtables: BTreeMap<String, nft::Flowtable>,
}

impl Table {
    /// An empty table.
    pub fn new(origin: Origin, family: Family, name: impl Into<String>) -> Self {
        Self {
            origin,
            family,
            name: name.into(),
            handle: None,
            dormant: false,
            flags: Vec::new(),
            comment: None,
            chains: Chains::default(),
            sets: BTreeMap::new(),
            objects: BTreeMap::new(),
            flowtables: BTreeMap::new(),
        }
    }

    /// The tool that shows this table, as in [`hopwise_snapshot::Element`].
    pub fn tool(&self) -> &'static str {
        match (self.origin, self.family) {
            (Origin::Nft, _) => "nft",
            (Origin::IptablesNft, Family::Ip6) => "ip6tables-nft",
            (Origin::IptablesNft, _) => "iptables-nft",
            (Origin::IptablesLegacy, Family::Ip6) => "ip6tables-legacy",
            (Origin::IptablesLegacy, _) => "iptables-legacy",
            (Origin::ArptablesLegacy, _) => "arptables-legacy",
        }
    }
}

/// The chains of a table: a list that finds its members by name.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    list: Vec<Chain>,
    by_name: HashMap<String, usize>,
}

impl Chains {
    /// Adds a chain, or takes its place where one of that name exists, and returns where it is.
    pub fn insert(&mut self, chain: Chain) -> usize {
        if let Some(&at) = self.by_name.get(&chain.name) {
            self.list[at] = chain;
            at
        } else {
            self.by_name.insert(chain.name.clone(), self.list.len());
            self.list.push(chain);
            self.list.len() - 1
        }
    }

    /// Removes the chains that `keep` refuses.
    pub fn retain(&mut self, keep: impl FnMut(&Chain) -> bool) {
        self.list.retain(keep);
        self.by_name = self.list.iter().enumerate().map(|(at, it)| (it.name.clone(), at)).collect();
    }

    /// The chain called `name`.
    pub fn get(&self, name: &str) -> Option<&Chain> {
        self.position(name).map(|at| &self.list[at])
    }

    /// The chain called `name`, for changing all but its name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Chain> {
        self.position(name).map(|at| &mut self.list[at])
    }

    /// Where in the list the chain called `name` is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// All chains in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Chain> {
        self.list.iter()
    }

    /// All chains in order, for changing all but their names.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Chain> {
        self.list.iter_mut()
    }

    /// The chain at a place in the list.
    pub fn at(&self, position: usize) -> Option<&Chain> {
        self.list.get(position)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl PartialEq for Chains {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl FromIterator<Chain> for Chains {
    fn from_iter<I: IntoIterator<Item = Chain>>(chains: I) -> Self {
        let mut all = Self::default();
        for chain in chains {
            all.insert(chain);
        }
        all
    }
}

impl<'a> IntoIterator for &'a Chains {
    type Item = &'a Chain;
    type IntoIter = std::slice::Iter<'a, Chain>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Chains {
    type Item = &'a mut Chain;
    type IntoIter = std::slice::IterMut<'a, Chain>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its nf_tables handle: higher ones were made later.
    pub handle: Option<u64>,
    /// Where packets enter it; none for a chain that is only jumped to.
    pub base: Option<BaseChain>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// An empty chain.
    pub fn new(name: impl Into<String>, base: Option<BaseChain>) -> Self {
        Self { name: name.into(), handle: None, base, comment: None, rules: Vec::new() }
    }
}

/// Where and how packets enter a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// What kind of decisions it makes.
    pub kind: Kind,
    /// The hook.
    pub hook: Hook,
    /// Its priority as written; chains with lower ones run first. See [`Ruleset::hooks`] for where the
    /// kernel really runs chains of [`Kind::Nat`].
    pub priority: i32,
    /// What becomes of packets that no rule decides.
    pub policy: Policy,
    /// The devices whose packets it sees, for the hooks that belong to devices. A name that ends in `*`
    /// stands for all that begin with it. None means that nobody knows: versions of nft up to 1.0.6 do not
    /// list them.
    pub devices: Vec<String>,
    /// What the policy has counted; iptables shows it, nft does not.
    pub counters: Option<Counters>,
}

/// Kinds of base chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Lets pass or not.
    Filter,
    /// Translates: sees only packets that begin a connection, or announce a related one.
    Nat,
    /// Filters output, and the packet is routed anew if its mark, addresses or type of service changed.
    Route,
}

impl Kind {
    /// The word that nft uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// Hooks of the network stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// As it comes from a device, before anything else.
    Ingress,
    /// Before the routing decision.
    Prerouting,
    /// To a local socket.
    Input,
    /// From one device to another.
    Forward,
    /// From a local socket.
    Output,
    /// After the routing decision, on its way out.
    Postrouting,
    /// As it goes to a device, after anything else.
    Egress,
}

impl Hook {
    /// The word that nft uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Egress => "egress",
        }
    }

    /// The hook that nft calls `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::Ingress,
            Self::Prerouting,
            Self::Input,
            Self::Forward,
            Self::Output,
            Self::Postrouting,
            Self::Egress,
        ]
        .into_iter()
        .find(|it| it.word() == word)
    }
}

/// What becomes of packets that no rule of a base chain decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// They go on.
    #[default]
    Accept,
    /// They are dropped.
    Drop,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its place in its chain, from 1.
    pub position: usize,
    /// Its nf_tables handle.
    pub handle: Option<u64>,
    /// As its tool prints it, without counters: `-A FORWARD -j ACCEPT`, `ct state established accept`.
    pub text: String,
    /// Its comment.
    pub comment: Option<String>,
    /// What it has counted, where it counts. In nft a rule counts from its `counter` on; the first one.
    pub counters: Option<Counters>,
    /// Its line in the text that it was read from, from 1; none for JSON.
    pub line: Option<usize>,
    /// What it does, in order: a step that does not hold ends it.
    pub steps: Vec<Step>,
}

impl Rule {
    /// A rule at `position` that does these things. It has no text.
    pub fn new(position: usize, steps: Vec<Step>) -> Self {
        Self { position, handle: None, text: String::new(), comment: None, counters: None, line: None, steps }
    }

    /// The chains that the rule may lead to.
    pub fn leads_to(&self) -> Vec<&str> {
        let mut all = Vec::new();
        for step in &self.steps {
            match step {
                Step::Target(xt::Target::Jump(chain) | xt::Target::Goto(chain)) => all.push(chain.as_str()),
                Step::Statement(statement) => statement.leads_to(&mut all),
                Step::Match(_) | Step::Target(_) | Step::Relation(_) => {}
            }
        }
        all
    }
}

/// One thing that a rule does.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A condition in the language of iptables.
    Match(xt::Match),
    /// What iptables does in the end.
    Target(xt::Target),
    /// A condition in the language of nft.
    Relation(nft::Relation),
    /// Anything else in the language of nft.
    Statement(nft::Statement),
}
