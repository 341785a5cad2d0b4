//! Protocol counters and the counters of connection tracking, as the kernel prints them.

use std::collections::BTreeMap;

use hopwise_snapshot::Counters;

/// The line, counted from 1, that is not what it should be, and what it should be.
pub(crate) type Problem = (usize, String);

/// Adds what `/proc/net/snmp` or `/proc/net/netstat` says: pairs of lines that begin alike, one with names
/// and one with values. A counter is called by both, `Ip: InReceives` becoming `IpInReceives`.
///
/// Negative values (`TcpMaxConn` is -1) wrap, as nstat(8) reads them.
pub(crate) fn add_paired_lines(counters: &mut Counters, text: &str) -> Result<(), Problem> {
    let mut lines = text.lines().enumerate();
    while let Some((number, names)) = lines.next() {
        let wrong = |what: &str| (number + 1, what.to_owned());
        let (group, names) = names.split_once(": ").ok_or_else(|| wrong("expected `GROUP: NAME…`"))?;
        let values = lines.next().and_then(|(_, it)| it.strip_prefix(group)?.strip_prefix(": "));
        let values = values.ok_or_else(|| wrong(&format!("expected a line `{group}: VALUE…` after it")))?;
        let (names, values) = (names.split_ascii_whitespace(), values.split_ascii_whitespace());
        if names.clone().count() != values.clone().count() {
            return Err(wrong("as many values as names expected"));
        }
        for (name, value) in names.zip(values) {
            let value =
                counter(value).ok_or_else(|| wrong(&format!("expected a number, found `{value}`")))?;
            counters.insert(format!("{group}{name}"), value);
        }
    }
    Ok(())
}

/// Adds what `/proc/net/snmp6` says: a name and a value a line.
pub(crate) fn add_single_lines(counters: &mut Counters, text: &str) -> Result<(), Problem> {
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next().and_then(counter)) {
            (Some(name), Some(value)) => counters.insert(name.to_owned(), value),
            _ => return Err((number + 1, format!("expected `NAME VALUE`, found `{line}`"))),
        };
    }
    Ok(())
}

fn counter(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned))
}

/// Sums `/proc/net/stat/nf_conntrack` over processors: a line of names and one of hexadecimal values a
/// processor. `entries`, the same number in each line, is left out.
pub(crate) fn conntrack_statistics(text: &str) -> Result<BTreeMap<String, u64>, Problem> {
    let mut lines = text.lines().enumerate();
    let names: Vec<&str> = match lines.next() {
        Some((_, names)) => names.split_ascii_whitespace().collect(),
        None => return Err((1, "expected the names of counters".to_owned())),
    };
    let mut sums: BTreeMap<String, u64> =
        names.iter().filter(|it| **it != "entries").map(|it| ((*it).to_owned(), 0)).collect();
    for (number, line) in lines {
        for (name, value) in names.iter().zip(line.split_ascii_whitespace()) {
            let value = u64::from_str_radix(value, 16)
                .map_err(|_| (number + 1, format!("expected a hexadecimal number, found `{value}`")))?;
            if let Some(sum) = sums.get_mut(*name) {
                *sum = sum.wrapping_add(value);
            }
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_of_lines_name_and_count() {
        let mut counters = Counters::new();
        let text =
            "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn\nTcp: -1\nIcmpMsg: InType3\nIcmpMsg: 7\n";
        add_paired_lines(&mut counters, text).unwrap();
        add_single_lines(&mut counters, "Ip6InReceives                   \t12\n").unwrap();
        let wanted = [
            ("IcmpMsgInType3", 7),
            ("Ip6InReceives", 12),
            ("IpDefaultTTL", 64),
            ("IpForwarding", 1),
            ("TcpMaxConn", u64::MAX),
        ];
        assert_eq!(counters, wanted.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        let problem = |text: &str| add_paired_lines(&mut Counters::new(), text).unwrap_err();
        assert_eq!(problem("Ip: A\nIp: 1\nTcp A\n"), (3, "expected `GROUP: NAME…`".to_owned()));
        assert_eq!(problem("Ip: A\nTcp: 1\n"), (1, "expected a line `Ip: VALUE…` after it".to_owned()));
        assert_eq!(problem("Ip: A B\nIp: 1\n"), (1, "as many values as names expected".to_owned()));
        assert_eq!(problem("Ip: A\nIp: x\n"), (1, "expected a number, found `x`".to_owned()));
        let problem = add_single_lines(&mut Counters::new(), "A 1\nB\n").unwrap_err();
        assert_eq!(problem, (2, "expected `NAME VALUE`, found `B`".to_owned()));
    }

    #[test]
    fn processors_are_summed() {
        let text = "entries  found drop\n0000000a  00000001 000000ff\n0000000a  00000002 00000001\n";
        let wanted = [("drop".to_owned(), 256), ("found".to_owned(), 3)];
        assert_eq!(conntrack_statistics(text).unwrap(), wanted.into());
        assert!(conntrack_statistics("").is_err());
        assert_eq!(conntrack_statistics("a\nz\n").unwrap_err().0, 2);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\n]{0,100}") {
            let mut counters = Counters::new();
            let _ = (add_paired_lines(&mut counters, &text), add_single_lines(&mut counters, &text));
            let _ = conntrack_statistics(&text);
        }
    }
}
