//! Hosts files.

use std::{fmt, net::IpAddr};

use crate::text::{c_string, lines, shown};

/// A hosts file as glibc 2.36 reads it (`nss/nss_files/files-hosts.c`; hosts(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Its entries in their order.
    pub entries: Vec<HostsEntry>,
    /// What is ignored.
    pub remarks: Vec<HostsRemark>,
}

/// A line of a hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsEntry {
    /// The line, from 1.
    pub line: usize,
    /// The address.
    pub address: IpAddr,
    /// Its names, the canonical one first.
    pub names: Vec<String>,
}

/// A line that is ignored or read in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsRemark {
    /// The line, from 1.
    pub line: usize,
    /// Why.
    pub kind: HostsRemarkKind,
}

/// Why a line is ignored or read in part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostsRemarkKind {
    /// It does not begin with an address.
    NotAnAddress(String),
    /// The address has no name.
    NoName(IpAddr),
    /// It holds bytes that are not UTF-8.
    NotUtf8,
    /// It holds a NUL byte, where it ends for C.
    NulByte,
}

impl fmt::Display for HostsRemark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            HostsRemarkKind::NotAnAddress(text) => {
                write!(f, "expected an address first, found `{text}`: ignored")
            }
            HostsRemarkKind::NoName(address) => write!(f, "{address} has no name: ignored"),
            HostsRemarkKind::NotUtf8 => f.write_str("holds bytes that are not UTF-8"),
            HostsRemarkKind::NulByte => f.write_str("holds a NUL byte, where the C library ends the line"),
        }
    }
}

impl Hosts {
    /// Reads a file. An absent file is like an empty one.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut hosts = Self::default();
        for (line, whole) in lines(bytes) {
            hosts.read_line(line, whole);
        }
        hosts
    }

    /// The addresses of a name, in the order of the file. Case does not matter; a dot at the end does, as it does to
    /// glibc.
    pub fn lookup(&self, name: &str) -> Vec<IpAddr> {
        let has_name =
            |it: &&HostsEntry| it.names.iter().any(|candidate| candidate.eq_ignore_ascii_case(name));
        self.entries.iter().filter(has_name).map(|it| it.address).collect()
    }

    fn read_line(&mut self, line: usize, whole: &[u8]) {
        let text = c_string(whole);
        if text.len() < whole.len() {
            self.remarks.push(HostsRemark { line, kind: HostsRemarkKind::NulByte });
        }
        let before_comment = text.split(|it| *it == b'#').next().unwrap_or_default();
        let mut words = before_comment.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
        let Some(first) = words.next() else { return };
        let Some(address) = std::str::from_utf8(first).ok().and_then(|it| it.parse::<IpAddr>().ok()) else {
            self.remarks.push(HostsRemark { line, kind: HostsRemarkKind::NotAnAddress(shown(first)) });
            return;
        };
        if std::str::from_utf8(before_comment).is_err() {
            self.remarks.push(HostsRemark { line, kind: HostsRemarkKind::NotUtf8 });
        }
        let names: Vec<String> = words.map(|it| String::from_utf8_lossy(it).into_owned()).collect();
        if names.is_empty() {
            self.remarks.push(HostsRemark { line, kind: HostsRemarkKind::NoName(address) });
        } else {
            self.entries.push(HostsEntry { line, address, names });
        }
    }
}

/// The file as it would be written: what was ignored is gone.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{}\t{}", entry.address, entry.names.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: &[u8] =
        b"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n\
                         fe00::0\tip6-localnet\n10.244.1.3\techo-1\n\n# Entries added by HostAliases.\n\
                         10.120.50.79\thgkim.test.domain\tb.test # mine\n";

    #[test]
    fn the_file_of_a_pod() {
        let hosts = Hosts::parse(POD);
        assert_eq!(hosts.entries.len(), 5);
        assert_eq!(hosts.entries[4].line, 8);
        assert_eq!(hosts.lookup("HGKIM.test.domain"), ["10.120.50.79".parse::<IpAddr>().unwrap()]);
        assert_eq!(hosts.lookup("localhost").len(), 2);
        assert!(hosts.lookup("mine").is_empty());
        assert_eq!(hosts.remarks, []);
    }

    #[test]
    fn lines_that_are_ignored_are_named() {
        let hosts =
            Hosts::parse(b"localhost 127.0.0.1\n10.0.0.1\n010.0.0.1 a\nfe80::1%eth0 b\n1.2.3.4\tc\xff\n");
        let remarks: Vec<String> = hosts.remarks.iter().map(ToString::to_string).collect();
        assert_eq!(
            remarks,
            [
                "line 1: expected an address first, found `localhost`: ignored",
                "line 2: 10.0.0.1 has no name: ignored",
                "line 3: expected an address first, found `010.0.0.1`: ignored",
                "line 4: expected an address first, found `fe80::1%eth0`: ignored",
                "line 5: holds bytes that are not UTF-8",
            ]
        );
        assert_eq!(hosts.entries.len(), 1);
    }

    #[test]
    fn a_file_from_windows_is_read_all_the_same() {
        assert_eq!(Hosts::parse(b" 10.0.0.1 a b\r\n").entries[0].names, ["a", "b"]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Hosts::parse(&bytes).to_string();
        }

        #[test]
        fn what_is_written_is_read_back(lines in proptest::collection::vec("([0-9]{1,3}\\.){3}[0-9]{1,3}( [a-z.#]{1,8}){0,3}|\\PC{0,20}", 0..8)) {
            let hosts = Hosts::parse(lines.join("\n").as_bytes());
            let again = Hosts::parse(hosts.to_string().as_bytes());
            let plain = |it: Hosts| it.entries.into_iter().map(|it| (it.address, it.names)).collect::<Vec<_>>();
            prop_assert_eq!(plain(again), plain(hosts));
        }
    }
}
