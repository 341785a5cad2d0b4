//! resolv.conf as the C library reads it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::text::{c_string, lines, shown, words};

/// Name servers that are asked at most (`MAXNS`).
const MAX_NAMESERVERS: usize = 3;
/// Search domains that resolvers before glibc 2.26 and some others take.
const OLD_SEARCH_LIMIT: usize = 6;

/// A resolver configuration as glibc 2.36 reads it (`res_vinit_1`, `resolv/res_init.c`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The name servers in their order; only the first three are used.
    pub nameservers: Vec<Nameserver>,
    /// The search list of the last line `search` or `domain`.
    pub search: Vec<String>,
    /// That line, from 1.
    pub search_line: Option<usize>,
    /// The options.
    pub options: Options,
    /// What is ignored, cut or read otherwise than it looks.
    pub remarks: Vec<ResolvConfRemark>,
}

/// A name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    /// The line, from 1.
    pub line: usize,
    /// The address.
    pub address: IpAddr,
    /// The interface of a link-local IPv6 address, as it is written behind `%`.
    pub scope: Option<String>,
}

/// The options of a resolver configuration (resolv.conf(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Names with so many dots are tried as they are first; at most 15.
    pub ndots: u8,
    /// Seconds that a server is waited for; at most 30.
    pub timeout: u8,
    /// Rounds through the servers; at most 5.
    pub attempts: u8,
    /// Is every query begun with another server?
    pub rotate: bool,
    /// Are queries sent by TCP?
    pub use_vc: bool,
    /// Is EDNS0 used?
    pub edns0: bool,
    /// Are A and AAAA asked one after the other?
    pub single_request: bool,
    /// Are A and AAAA asked from two sockets?
    pub single_request_reopen: bool,
    /// Are names without a dot not looked up as they are?
    pub no_tld_query: bool,
    /// Are changes of the file not noticed?
    pub no_reload: bool,
    /// Is the bit "authentic data" believed?
    pub trust_ad: bool,
    /// Is AAAA not asked?
    pub no_aaaa: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ndots: 1,
            timeout: 5,
            attempts: 2,
            rotate: false,
            use_vc: false,
            edns0: false,
            single_request: false,
            single_request_reopen: false,
            no_tld_query: false,
            no_reload: false,
            trust_ad: false,
            no_aaaa: false,
        }
    }
}

/// Something in a resolver configuration that does not do what it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConfRemark {
    /// The line, from 1.
    pub line: usize,
    /// What it is.
    pub kind: ResolvConfRemarkKind,
}

/// What does not do what it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolvConfRemarkKind {
    /// The line begins with no word that is known. It is ignored.
    NotUnderstood(String),
    /// The line begins with a blank. glibc and musl ignore it, while kubelet and Go read it.
    LeadingBlank(String),
    /// The line ends in a carriage return, which glibc takes for a part of the last word.
    CarriageReturn,
    /// The line holds a NUL byte, where it ends for C.
    NulByte,
    /// The line holds bytes that are not UTF-8.
    NotUtf8,
    /// The word has no value. It is ignored.
    NoValue(&'static str),
    /// The value is no address. The line is ignored.
    NotAnAddress(String),
    /// The address is written in a form that only the C library understands, and means this one.
    UnusualAddress(String, Ipv4Addr),
    /// There are three servers before it. It is never asked.
    FourthNameserver(IpAddr),
    /// A later line replaces this search list.
    SearchReplaced {
        /// The line that counts.
        by: usize,
    },
    /// There are more domains than older resolvers take.
    LongSearchList(usize),
    /// `#` and `;` begin a comment only at the beginning of a line: they are part of the value.
    CommentInValue,
    /// The option is not known. It is ignored.
    UnknownOption(String),
    /// The option's value is negative. What that does is not modelled; the value before is kept here.
    OptionNotModelled(String),
    /// The option's value is not a number, or larger than the resolver takes; this is what counts.
    OptionValue(String, u8),
}

impl fmt::Display for ResolvConfRemarkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUnderstood(text) => write!(f, "not understood and ignored: `{text}`"),
            Self::LeadingBlank(text) => {
                write!(f, "begins with a blank: the C library ignores it, kubelet does not: `{text}`")
            }
            Self::CarriageReturn => {
                f.write_str("ends in a carriage return, which is read as part of the value")
            }
            Self::NulByte => f.write_str("holds a NUL byte, where the C library ends the line"),
            Self::NotUtf8 => f.write_str("holds bytes that are not UTF-8"),
            Self::NoValue(word) => write!(f, "`{word}` without a value is ignored"),
            Self::NotAnAddress(text) => write!(f, "`{text}` is not an address: ignored"),
            Self::UnusualAddress(text, address) => write!(f, "`{text}` means {address} to the C library"),
            Self::FourthNameserver(address) => {
                write!(f, "{address} is never asked: only the first three name servers are")
            }
            Self::SearchReplaced { by } => write!(f, "line {by} replaces this search list"),
            Self::LongSearchList(n) => {
                write!(f, "{n} search domains: resolvers before glibc 2.26 take {OLD_SEARCH_LIMIT}")
            }
            Self::CommentInValue => f.write_str("a comment begins only at the beginning of a line"),
            Self::UnknownOption(text) => write!(f, "option `{text}` is not known: ignored"),
            Self::OptionNotModelled(text) => write!(f, "`{text}` is negative: its effect is not modelled"),
            Self::OptionValue(text, used) => write!(f, "`{text}` is read as {used}"),
        }
    }
}

impl fmt::Display for ResolvConfRemark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.kind)
    }
}

/// Whose rules a name is searched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// glibc 2.36 (`__res_context_search`, `resolv/res_query.c`): Debian, Red Hat, Ubuntu images.
    Glibc,
    /// musl 1.2 (`name_from_dns_search`, `src/network/lookup_name.c`): Alpine images.
    Musl,
}

impl ResolvConf {
    /// Reads a file. An absent file is like an empty one.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut conf = Self::default();
        for (line, whole) in lines(bytes) {
            conf.read_line(line, whole);
        }
        conf.remarks.sort_by_key(|it| it.line);
        conf
    }

    /// The name servers that are asked: the first three, or without any the machine itself.
    pub fn used_nameservers(&self) -> Vec<IpAddr> {
        if self.nameservers.is_empty() {
            return vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        }
        self.nameservers.iter().take(MAX_NAMESERVERS).map(|it| it.address).collect()
    }

    /// The absolute names that glibc asks for `name`, in order, each ending in a dot; it stops at the first that
    /// exists. See [`ResolvConf::candidates_of`].
    pub fn candidates(&self, name: &str) -> Vec<String> {
        self.candidates_of(Resolver::Glibc, name)
    }

    /// The absolute names that a resolver asks for `name`, in order, each ending in a dot.
    ///
    /// Without a line `search` or `domain` the search list is the domain of the machine's own host name, which a
    /// pod does not have; here it is empty.
    pub fn candidates_of(&self, resolver: Resolver, name: &str) -> Vec<String> {
        let n_dots = name.bytes().filter(|it| *it == b'.').count();
        let has_enough_dots = n_dots >= usize::from(self.options.ndots);
        let is_absolute = name.ends_with('.');
        let as_is = absolute(name);
        if name.is_empty() || is_absolute || (resolver == Resolver::Musl && has_enough_dots) {
            return vec![as_is];
        }
        let mut names = Vec::new();
        if has_enough_dots {
            names.push(as_is.clone());
        }
        let mut has_root = false;
        for domain in &self.search {
            let domain = domain.strip_prefix('.').unwrap_or(domain);
            has_root |= domain.is_empty();
            let candidate =
                if domain.is_empty() { as_is.clone() } else { absolute(&format!("{name}.{domain}")) };
            if !names.contains(&candidate) {
                names.push(candidate);
            }
        }
        let is_forbidden = resolver == Resolver::Glibc
            && self.options.no_tld_query
            && n_dots == 0
            && !self.search.is_empty();
        let was_asked = has_enough_dots || has_root;
        if !was_asked && !is_forbidden {
            names.push(as_is);
        }
        names
    }

    fn read_line(&mut self, line: usize, whole: &[u8]) {
        let text = c_string(whole);
        // Comments begin at the very beginning, and nowhere else.
        if matches!(text.first(), None | Some(b'#' | b';')) {
            if text.is_empty() && !whole.is_empty() {
                self.remark(line, ResolvConfRemarkKind::NulByte);
            }
            return;
        }
        if words(text).all(|it| it == b"\r") {
            return;
        }
        if text.len() < whole.len() {
            self.remark(line, ResolvConfRemarkKind::NulByte);
        }
        if text.ends_with(b"\r") {
            self.remark(line, ResolvConfRemarkKind::CarriageReturn);
        }
        if std::str::from_utf8(text).is_err() {
            self.remark(line, ResolvConfRemarkKind::NotUtf8);
        }
        if matches!(text.first(), Some(b' ' | b'\t')) {
            self.remark(line, ResolvConfRemarkKind::LeadingBlank(shown(text)));
            return;
        }
        match value_of(text) {
            Some(("nameserver", value)) => self.read_nameserver(line, value),
            Some(("domain", value)) => self.read_search(line, "domain", words(value).take(1)),
            Some(("search", value)) => self.read_search(line, "search", words(value)),
            Some(("options", value)) => self.read_options(line, value),
            // Addresses that answers are sorted by: no effect on what is asked.
            Some(("sortlist", _)) => {}
            _ => self.read_other(line, text),
        }
    }

    fn read_other(&mut self, line: usize, text: &[u8]) {
        let bare = KEYWORDS.iter().find(|it| text.trim_ascii_end() == it.as_bytes());
        self.remark(
            line,
            match bare {
                Some(word) => ResolvConfRemarkKind::NoValue(word),
                None => ResolvConfRemarkKind::NotUnderstood(shown(text)),
            },
        );
    }

    fn read_nameserver(&mut self, line: usize, value: &[u8]) {
        let Some(word) = words(value).next() else {
            self.remark(line, ResolvConfRemarkKind::NoValue("nameserver"));
            return;
        };
        let text = shown(word);
        let (address, scope) = match (inet_aton(word), text.split_once('%')) {
            (Some(address), _) => (Some(IpAddr::V4(address)), None),
            (None, Some((address, scope))) => (v6(address), Some(scope.to_owned())),
            (None, None) => (v6(&text), None),
        };
        let Some(address) = address else {
            self.remark(line, ResolvConfRemarkKind::NotAnAddress(text));
            return;
        };
        match address {
            IpAddr::V4(read) if text.parse::<Ipv4Addr>() != Ok(read) => {
                self.remark(line, ResolvConfRemarkKind::UnusualAddress(text, read));
            }
            _ => {}
        }
        if self.nameservers.len() >= MAX_NAMESERVERS {
            self.remark(line, ResolvConfRemarkKind::FourthNameserver(address));
        }
        self.nameservers.push(Nameserver { line, address, scope });
    }

    fn read_search<'a>(&mut self, line: usize, word: &'static str, domains: impl Iterator<Item = &'a [u8]>) {
        let domains: Vec<String> = domains.map(|it| String::from_utf8_lossy(it).into_owned()).collect();
        // An empty list does not replace the one before.
        if domains.is_empty() {
            self.remark(line, ResolvConfRemarkKind::NoValue(word));
            return;
        }
        if domains.iter().any(|it| it.starts_with(['#', ';'])) {
            self.remark(line, ResolvConfRemarkKind::CommentInValue);
        }
        if domains.len() > OLD_SEARCH_LIMIT {
            self.remark(line, ResolvConfRemarkKind::LongSearchList(domains.len()));
        }
        if let Some(before) = self.search_line.replace(line) {
            self.remark(before, ResolvConfRemarkKind::SearchReplaced { by: line });
        }
        self.search = domains;
    }

    fn read_options(&mut self, line: usize, value: &[u8]) {
        let mut has_any = false;
        for word in words(value) {
            has_any = true;
            self.read_option(line, word.strip_suffix(b"\r").unwrap_or(word));
        }
        if !has_any {
            self.remark(line, ResolvConfRemarkKind::NoValue("options"));
        }
    }

    /// glibc looks only at the beginning of a word: `rotated` is `rotate`.
    fn read_option(&mut self, line: usize, word: &[u8]) {
        if let Some((value, number, most)) = self.options.number(word) {
            if value.starts_with(b"-") {
                self.remark(line, ResolvConfRemarkKind::OptionNotModelled(shown(word)));
                return;
            }
            let used = u8::try_from(atoi(value)).unwrap_or(most).min(most);
            *number = used;
            if *value != *used.to_string().as_bytes() {
                self.remark(line, ResolvConfRemarkKind::OptionValue(shown(word), used));
            }
            return;
        }
        match self.options.switch(word) {
            Some(switch) => *switch = true,
            None => self.remark(line, ResolvConfRemarkKind::UnknownOption(shown(word))),
        }
    }

    fn remark(&mut self, line: usize, kind: ResolvConfRemarkKind) {
        self.remarks.push(ResolvConfRemark { line, kind });
    }
}

/// The file as it would be written: what was ignored is gone.
impl fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        for server in &self.nameservers {
            match &server.scope {
                Some(scope) => writeln!(f, "nameserver {}%{scope}", server.address)?,
                None => writeln!(f, "nameserver {}", server.address)?,
            }
        }
        let words = self.options.words();
        if words.is_empty() { Ok(()) } else { writeln!(f, "options {}", words.join(" ")) }
    }
}

impl Options {
    /// The value that a word gives to a number, the number, and the most that counts.
    fn number<'a>(&mut self, word: &'a [u8]) -> Option<(&'a [u8], &mut u8, u8)> {
        if let Some(value) = word.strip_prefix(b"ndots:") {
            return Some((value, &mut self.ndots, 15));
        }
        if let Some(value) = word.strip_prefix(b"timeout:") {
            return Some((value, &mut self.timeout, 30));
        }
        let value = word.strip_prefix(b"attempts:")?;
        Some((value, &mut self.attempts, 5))
    }

    /// The switch that a word turns on, tried in the order of glibc.
    fn switch(&mut self, word: &[u8]) -> Option<&mut bool> {
        const NAMES: [&str; 10] = [
            "rotate",
            "edns0",
            "single-request-reopen",
            "single-request",
            "no_tld_query",
            "no-tld-query",
            "no-reload",
            "use-vc",
            "trust-ad",
            "no-aaaa",
        ];
        let name = NAMES.iter().find(|it| word.starts_with(it.as_bytes()))?;
        Some(match *name {
            "rotate" => &mut self.rotate,
            "edns0" => &mut self.edns0,
            "single-request-reopen" => &mut self.single_request_reopen,
            "single-request" => &mut self.single_request,
            "no-reload" => &mut self.no_reload,
            "use-vc" => &mut self.use_vc,
            "trust-ad" => &mut self.trust_ad,
            "no-aaaa" => &mut self.no_aaaa,
            _ => &mut self.no_tld_query,
        })
    }

    /// The options that differ from the defaults.
    fn words(&self) -> Vec<String> {
        let default = Self::default();
        let number =
            |name: &str, value: u8, default: u8| (value != default).then(|| format!("{name}:{value}"));
        let switch = |name: &str, is_on: bool| is_on.then(|| name.to_owned());
        [
            number("ndots", self.ndots, default.ndots),
            number("timeout", self.timeout, default.timeout),
            number("attempts", self.attempts, default.attempts),
            switch("rotate", self.rotate),
            switch("use-vc", self.use_vc),
            switch("edns0", self.edns0),
            switch("single-request", self.single_request),
            switch("single-request-reopen", self.single_request_reopen),
            switch("no-tld-query", self.no_tld_query),
            switch("no-reload", self.no_reload),
            switch("trust-ad", self.trust_ad),
            switch("no-aaaa", self.no_aaaa),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

const KEYWORDS: [&str; 5] = ["nameserver", "domain", "search", "options", "sortlist"];

/// The word that a line begins with, if it is known and a blank follows, and the rest.
fn value_of(line: &[u8]) -> Option<(&'static str, &[u8])> {
    KEYWORDS.iter().find_map(|word| {
        let rest = line.strip_prefix(word.as_bytes())?;
        matches!(rest.first(), Some(b' ' | b'\t')).then_some((*word, rest))
    })
}

fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

fn v6(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// The number that a text begins with, 0 without any (`atoi`).
fn atoi(text: &[u8]) -> u32 {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let digits = text.iter().take_while(|it| it.is_ascii_digit());
    digits.fold(0, |number: u32, it| number.saturating_mul(10).saturating_add(u32::from(it - b'0')))
}

/// An IPv4 address in the forms of `inet_aton`: one to four parts, decimal, octal (`010`) or hexadecimal (`0x8`), the
/// last of which fills what is left.
fn inet_aton(text: &[u8]) -> Option<Ipv4Addr> {
    let text = std::str::from_utf8(text).ok()?;
    let parts: Option<Vec<u32>> = text.split('.').map(c_number).collect();
    let parts = parts?;
    let (last, high) = parts.split_last()?;
    if high.len() > 3 || high.iter().any(|it| *it > 255) {
        return None;
    }
    let n_low = 8 * (4 - u32::try_from(high.len()).ok()?);
    let limit = u32::MAX.checked_shr(32 - n_low).unwrap_or(0);
    if *last > limit {
        return None;
    }
    let mut bits = *last;
    for (index, part) in high.iter().enumerate() {
        bits |= part << (24 - 8 * index);
    }
    Some(Ipv4Addr::from_bits(bits))
}

fn c_number(text: &str) -> Option<u32> {
    if !text.bytes().all(|it| it.is_ascii_alphanumeric()) {
        return None;
    }
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn remarks(text: &str) -> Vec<String> {
        ResolvConf::parse(text.as_bytes()).remarks.iter().map(ToString::to_string).collect()
    }

    const POD: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n\
                       options ndots:5\n";

    #[test]
    fn the_file_of_a_pod() {
        let conf = ResolvConf::parse(POD.as_bytes());
        assert_eq!(conf.used_nameservers(), ["10.96.0.10".parse::<IpAddr>().unwrap()]);
        assert_eq!((conf.nameservers[0].line, conf.search_line, conf.options.ndots), (2, Some(1), 5));
        assert_eq!(conf.remarks, []);
        assert_eq!(conf.to_string(), POD);
    }

    #[test]
    fn without_a_name_server_the_machine_asks_itself() {
        for text in ["", "# No DNS servers known.\n", "nameserver\n", "nameserver dns.example\n"] {
            let conf = ResolvConf::parse(text.as_bytes());
            assert_eq!(conf.used_nameservers(), [IpAddr::V4(Ipv4Addr::LOCALHOST)], "{text}");
        }
    }

    #[test]
    fn the_fourth_name_server_is_never_asked() {
        let text = "nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4\n";
        let conf = ResolvConf::parse(text.as_bytes());
        assert_eq!((conf.nameservers.len(), conf.used_nameservers().len()), (4, 3));
        assert_eq!(remarks(text), ["line 4: 4.4.4.4 is never asked: only the first three name servers are"]);
    }

    #[test]
    fn the_last_of_search_and_domain_counts() {
        let conf = ResolvConf::parse(b"domain a.test b.test\nsearch c.test d.test\nsearch \n");
        assert_eq!(conf.search, ["c.test", "d.test"]);
        assert_eq!(conf.search_line, Some(2));
        let conf = ResolvConf::parse(b"search c.test d.test\ndomain a.test b.test\n");
        assert_eq!(conf.search, ["a.test"]);
        assert_eq!(conf.remarks[0].to_string(), "line 1: line 2 replaces this search list");
    }

    #[test]
    fn options_add_up_over_lines() {
        let conf =
            ResolvConf::parse(b"options ndots:2 rotate\noptions timeout:1\tattempts:9 use-vc no-tld-query\n");
        let options = conf.options;
        assert_eq!((options.ndots, options.timeout, options.attempts), (2, 1, 5));
        assert!(options.rotate && options.use_vc && options.no_tld_query && !options.edns0);
        assert_eq!(conf.remarks[0].to_string(), "line 2: `attempts:9` is read as 5");
    }

    #[test]
    fn comments_begin_only_at_the_beginning_of_a_line() {
        let conf = ResolvConf::parse(
            b"; a\n# b\nnameserver 1.1.1.1 # the first\nsearch a.test # mine\n # nameserver 2.2.2.2\n",
        );
        assert_eq!(conf.nameservers.len(), 1);
        assert_eq!(conf.search, ["a.test", "#", "mine"]);
        let kinds: Vec<_> = conf.remarks.iter().map(|it| it.line).collect();
        assert_eq!(kinds, [4, 5]);
    }

    #[test]
    fn what_is_ignored_is_named() {
        assert_eq!(
            remarks(
                "  nameserver 1.1.1.1\nnameservers 1.1.1.1\nnameserver\nnameserver 1.1.1\nnameserver 1.1.1.256\noptions ndot:5\n"
            ),
            [
                "line 1: begins with a blank: the C library ignores it, kubelet does not: `  nameserver 1.1.1.1`",
                "line 2: not understood and ignored: `nameservers 1.1.1.1`",
                "line 3: `nameserver` without a value is ignored",
                "line 4: `1.1.1` means 1.1.0.1 to the C library",
                "line 5: `1.1.1.256` is not an address: ignored",
                "line 6: option `ndot:5` is not known: ignored",
            ]
        );
    }

    #[test]
    fn a_file_from_windows_has_no_name_server() {
        let conf = ResolvConf::parse(b"nameserver 1.1.1.1\r\noptions ndots:3 rotate\r\n\r\n");
        assert!(conf.nameservers.is_empty());
        assert!(conf.options.rotate && conf.options.ndots == 3);
        assert!(conf.remarks.iter().any(|it| it.kind == ResolvConfRemarkKind::CarriageReturn));
    }

    #[test]
    fn addresses_in_all_forms_of_c() {
        for (text, address) in [
            ("8.8", Some("8.0.0.8")),
            ("010.0.0.1", Some("8.0.0.1")),
            ("0x7f.1", Some("127.0.0.1")),
            ("134744072", Some("8.8.8.8")),
            ("1.2.65535", Some("1.2.255.255")),
            ("1.2.65536", None),
            ("256.1.1.1", None),
            ("1..1", None),
            ("08.8.8.8", None),
            ("1.1.1.1.1", None),
            ("fe80::1", Some("fe80::1")),
            ("::ffff:1.2.3.4", Some("::ffff:1.2.3.4")),
            ("[::1]", None),
        ] {
            let conf = ResolvConf::parse(format!("nameserver {text}").as_bytes());
            let read = conf.nameservers.first().map(|it| it.address.to_string());
            assert_eq!(read.as_deref(), address, "{text}");
        }
    }

    #[test]
    fn a_link_local_server_keeps_its_interface() {
        let conf = ResolvConf::parse(b"nameserver fe80::1%eth0");
        assert_eq!(conf.nameservers[0].scope.as_deref(), Some("eth0"));
        assert_eq!(conf.to_string(), "nameserver fe80::1%eth0\n");
    }

    #[test]
    fn names_with_few_dots_go_through_the_search_list_first() {
        let conf = ResolvConf::parse(POD.as_bytes());
        let names = conf.candidates("api.example.test");
        assert_eq!(names.len(), 4);
        assert_eq!(names[0], "api.example.test.shop.svc.cluster.local.");
        assert_eq!(names[3], "api.example.test.");
        assert_eq!(
            conf.candidates("cart"),
            ["cart.shop.svc.cluster.local.", "cart.svc.cluster.local.", "cart.cluster.local.", "cart."]
        );
        assert_eq!(conf.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f.");
        assert_eq!(conf.candidates("a.b.c.d.e.f").len(), 4);
        assert_eq!(conf.candidates("example.test."), ["example.test."]);
    }

    #[test]
    fn musl_searches_no_name_with_enough_dots() {
        let conf = ResolvConf::parse(b"search a.test\noptions ndots:1\n");
        assert_eq!(conf.candidates("x.y"), ["x.y.", "x.y.a.test."]);
        assert_eq!(conf.candidates_of(Resolver::Musl, "x.y"), ["x.y."]);
        assert_eq!(conf.candidates_of(Resolver::Musl, "x"), ["x.a.test.", "x."]);
    }

    #[test]
    fn the_root_in_the_search_list_is_the_name_itself() {
        let conf = ResolvConf::parse(b"search . a.test\n");
        assert_eq!(conf.candidates("x"), ["x.", "x.a.test."]);
        let conf = ResolvConf::parse(b"search a.test\noptions no-tld-query\n");
        assert_eq!(conf.candidates("x"), ["x.a.test."]);
    }

    fn any_line() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("nameserver 10.0.0.1".to_owned()),
            "(nameserver|search|domain|options|sortlist)[ \\t]{0,2}[a-z0-9.:%#;-]{0,12}[ \\t]?[a-z0-9.:]{0,8}\\r?",
            "options (ndots|timeout|attempts):[0-9]{0,4} (rotate|no-aaaa|use-vc|x)",
            "\\PC{0,30}",
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let conf = ResolvConf::parse(&bytes);
            let _ = (conf.to_string(), conf.candidates("a.b"), conf.remarks.len());
        }

        #[test]
        fn what_is_written_is_read_back(lines in proptest::collection::vec(any_line(), 0..8)) {
            let conf = ResolvConf::parse(lines.join("\n").as_bytes());
            let again = ResolvConf::parse(conf.to_string().as_bytes());
            let addresses = |it: &ResolvConf| it.nameservers.iter().map(|it| (it.address, it.scope.clone())).collect::<Vec<_>>();
            prop_assert_eq!(addresses(&again), addresses(&conf));
            prop_assert_eq!(again.search, conf.search);
            prop_assert_eq!(again.options, conf.options);
        }

        #[test]
        fn every_candidate_is_absolute_and_asked_once(name in "[a-z.]{1,12}", lines in proptest::collection::vec(any_line(), 0..6)) {
            let conf = ResolvConf::parse(lines.join("\n").as_bytes());
            for resolver in [Resolver::Glibc, Resolver::Musl] {
                let names = conf.candidates_of(resolver, &name);
                prop_assert!(names.iter().all(|it| it.ends_with('.')));
                let mut distinct = names.clone();
                distinct.sort();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), names.len());
            }
        }
    }
}
