//! Connection tracking: its size, its counters and its entries.

use std::{fs, io, net::IpAddr};

use hopwise_snapshot::{Conntrack, ConntrackEntry, ConntrackTuple, Observed, Reason, SysctlKey, Sysctls};

use super::counters;
use crate::reason;

const STATISTICS: &str = "/proc/thread-self/net/stat/nf_conntrack";
const ENTRIES: &str = "/proc/thread-self/net/nf_conntrack";

/// The connection tracking of the calling thread's namespace. Of the entries at most `limit` are read.
pub(super) fn conntrack(sysctls: &Observed<Sysctls>, limit: u64) -> Conntrack {
    let sizes = sizes(sysctls);
    Conntrack { statistics: statistics(&sizes.count), entries: entries(&sizes.count, limit), ..sizes }
}

/// What the switches tell of connection tracking.
pub(crate) fn sizes(sysctls: &Observed<Sysctls>) -> Conntrack {
    Conntrack {
        count: number(sysctls, "nf_conntrack_count"),
        max: number(sysctls, "nf_conntrack_max"),
        buckets: number(sysctls, "nf_conntrack_buckets"),
        ..Conntrack::default()
    }
}

fn number(sysctls: &Observed<Sysctls>, leaf: &str) -> Observed<u64> {
    let key = SysctlKey::from_path(&format!("net/netfilter/{leaf}"));
    let value = match sysctls {
        Observed::Known(sysctls) => sysctls.get(&key),
        Observed::Absent => Observed::Absent,
        Observed::NotCollected(reason) => Observed::NotCollected(reason.clone()),
    };
    match value {
        Observed::Known(text) => match text.parse() {
            Ok(number) => Observed::Known(number),
            Err(_) => {
                Observed::NotCollected(Reason::Failed(format!("{key}: expected a number, found `{text}`")))
            }
        },
        Observed::Absent => Observed::Absent,
        Observed::NotCollected(reason) => Observed::NotCollected(reason),
    }
}

fn statistics(count: &Observed<u64>) -> Observed<std::collections::BTreeMap<String, u64>> {
    match read(STATISTICS, count) {
        Observed::Known(text) => match counters::conntrack_statistics(&text) {
            Ok(statistics) => Observed::Known(statistics),
            Err((line, what)) => {
                Observed::NotCollected(Reason::Failed(format!("{STATISTICS}, line {line}: {what}")))
            }
        },
        Observed::Absent => Observed::Absent,
        Observed::NotCollected(reason) => Observed::NotCollected(reason),
    }
}

fn entries(count: &Observed<u64>, limit: u64) -> Observed<Vec<ConntrackEntry>> {
    match count {
        Observed::Known(0) => return Observed::Known(Vec::new()),
        Observed::Known(count) if *count > limit => {
            return Observed::NotCollected(Reason::TooLarge { limit });
        }
        _ => {}
    }
    match read(ENTRIES, count) {
        Observed::Known(text) => match text.lines().map(entry).collect() {
            Ok(entries) => Observed::Known(entries),
            Err(what) => Observed::NotCollected(Reason::Failed(what)),
        },
        Observed::Absent => Observed::Absent,
        Observed::NotCollected(reason) => Observed::NotCollected(reason),
    }
}

/// Reads a file that kernels with connection tracking have where they were built to
/// (`CONFIG_NF_CONNTRACK_PROCFS`).
fn read(path: &str, count: &Observed<u64>) -> Observed<String> {
    match fs::read_to_string(path) {
        Ok(text) => Observed::Known(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match count {
            Observed::Absent => Observed::Absent,
            _ => Observed::NotCollected(Reason::Unsupported(path.replace("thread-self/", ""))),
        },
        Err(error) => Observed::NotCollected(reason::of_io(&error, &format!("reading {path}"))),
    }
}

/// Reads one line of `/proc/net/nf_conntrack` or of `conntrack -L`, which leaves out the first two words.
///
/// `PROTOCOL NUMBER SECONDS [STATE] src= dst= sport= dport= [UNREPLIED] src= … mark=`
pub(crate) fn entry(line: &str) -> Result<ConntrackEntry, String> {
    let wrong = |what: &str| format!("connection `{line}`: expected {what}");
    let mut words = line.split_ascii_whitespace().peekable();
    if matches!(words.peek(), Some(&("ipv4" | "ipv6"))) {
        words.next();
        words.next();
    }
    let number =
        words.nth(1).and_then(|it| it.parse().ok()).ok_or_else(|| wrong("a protocol and its number"))?;
    let mut tuples = [Tuple::default(), Tuple::default()];
    let mut entry_is_replied = true;
    let mut mark = 0;
    for word in words {
        if word == "[UNREPLIED]" {
            entry_is_replied = false;
        }
        let Some((name, value)) = word.split_once('=') else { continue };
        if name == "mark" {
            mark = value.parse().map_err(|_| wrong("a number behind `mark=`"))?;
            continue;
        }
        // The second `src=` begins the direction of the answers.
        let tuple = if tuples[0].is_begun_again_by(name) || tuples[1].source.is_some() {
            &mut tuples[1]
        } else {
            &mut tuples[0]
        };
        tuple.take(name, value).ok_or_else(|| wrong(&format!("a value behind `{name}=`")))?;
    }
    let [original, reply] = tuples.map(|it| it.finish(number).ok_or_else(|| wrong("two pairs of addresses")));
    Ok(ConntrackEntry { original: original?, reply: reply?, replied: entry_is_replied, mark })
}

/// One direction while its words are read.
#[derive(Default)]
struct Tuple {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: u16,
    destination_port: u16,
    icmp: (u8, u8),
}

impl Tuple {
    fn is_begun_again_by(&self, name: &str) -> bool {
        name == "src" && self.source.is_some()
    }

    fn take(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "src" => self.source = Some(value.parse().ok()?),
            "dst" => self.destination = Some(value.parse().ok()?),
            "sport" | "id" => self.source_port = value.parse().ok()?,
            "dport" => self.destination_port = value.parse().ok()?,
            "type" => self.icmp.0 = value.parse().ok()?,
            "code" => self.icmp.1 = value.parse().ok()?,
            _ => {}
        }
        Some(())
    }

    fn finish(self, protocol: u8) -> Option<ConntrackTuple> {
        const ICMP: u8 = 1;
        const ICMPV6: u8 = 58;
        let destination_port = match protocol {
            ICMP | ICMPV6 => u16::from_be_bytes([self.icmp.0, self.icmp.1]),
            _ => self.destination_port,
        };
        Some(ConntrackTuple {
            source: self.source?,
            destination: self.destination?,
            protocol,
            source_port: self.source_port,
            destination_port,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_the_tool_and_of_the_kernel_are_read_alike() {
        let tool = "udp      17 17 src=192.168.50.12 dst=192.168.50.13 sport=33014 dport=8472 [UNREPLIED] \
                    src=192.168.50.13 dst=192.168.50.12 sport=8472 dport=33014 mark=5 use=1";
        let kernel = format!("ipv4     2 {tool}").replace("use=1", "zone=0 use=2");
        let read = entry(tool).unwrap();
        assert_eq!(entry(&kernel).unwrap(), read);
        assert_eq!((read.original.source_port, read.original.destination_port), (33014, 8472));
        assert_eq!(read.reply.source, "192.168.50.13".parse::<IpAddr>().unwrap());
        assert_eq!((read.replied, read.mark), (false, 5));
        let tcp = "tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.96.0.1 sport=1 dport=443 packets=2 bytes=90 \
                   src=10.0.0.9 dst=10.0.0.1 sport=6443 dport=1 packets=1 bytes=50 [ASSURED] mark=0 use=1";
        let read = entry(tcp).unwrap();
        assert_eq!((read.replied, read.reply.source_port), (true, 6443));
        let echo = "ipv6     10 icmpv6   58 29 src=fd00::1 dst=fd00::2 type=128 code=0 id=7 src=fd00::2 dst=fd00::1 \
                    type=129 code=0 id=7 mark=0 use=1";
        let read = entry(echo).unwrap();
        assert_eq!((read.original.source_port, read.original.destination_port), (7, 0x8000));
        assert_eq!(read.reply.destination_port, 0x8100);
    }

    #[test]
    fn half_a_line_is_refused() {
        for line in
            ["", "udp", "udp 17 1 src=10.0.0.1", "udp x 1 src=a", "udp 17 1 src=10.0.0.1 dst=x sport=1"]
        {
            assert!(entry(line).is_err(), "{line}");
        }
    }

    #[test]
    fn sizes_come_from_the_switches() {
        let mut sysctls = Sysctls::default();
        let key = |leaf: &str| SysctlKey::from_path(&format!("net/netfilter/{leaf}"));
        sysctls.values.insert(key("nf_conntrack_count"), "7".to_owned());
        sysctls.values.insert(key("nf_conntrack_max"), "many".to_owned());
        let read = sizes(&Observed::Known(sysctls));
        assert_eq!((read.count, read.buckets), (Observed::Known(7), Observed::Absent));
        assert!(read.max.is_not_collected());
        let unread = sizes(&Observed::NotCollected(Reason::TimedOut));
        assert_eq!(unread.count, Observed::NotCollected(Reason::TimedOut));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[ a-z0-9=.:\\[\\]]{0,100}") {
            let _ = entry(&line);
        }
    }
}
