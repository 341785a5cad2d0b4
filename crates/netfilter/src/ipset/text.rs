//! The text of `ipset save`.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{Entry, IpSet, Part, Storage, Value};
use crate::{
    Counters, Source,
    iptables::words::{Words, masked, split_without_escapes},
    names, put,
    remark::{Problem, Remark, Weight},
};

pub(super) fn parse(text: &str) -> (BTreeMap<String, IpSet>, Vec<Remark>) {
    let mut sets = BTreeMap::new();
    let mut remarks = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let read = match split_without_escapes(line, 1) {
            Ok(words) if words.is_empty() => continue,
            Ok(words) => read_line(&mut Words::new(&words, line.len() + 1), &mut sets),
            Err(problem) => Err(problem),
        };
        if let Err(Problem { column, expected, found }) = read {
            remarks.push(Remark {
                source: Source::Ipset,
                weight: Weight::Lost,
                line: at + 1,
                column,
                path: String::new(),
                expected,
                found,
                rule: None,
            });
        }
    }
    (sets, remarks)
}

fn read_line(words: &mut Words<'_, '_>, sets: &mut BTreeMap<String, IpSet>) -> Result<(), Problem> {
    match words.argument("`create` or `add`")? {
        "create" => {
            let set = read_create(words)?;
            sets.insert(set.name.clone(), set);
        }
        "add" => {
            let name = words.argument("a set's name")?;
            let set = sets.get_mut(name).ok_or_else(|| words.unexpected("a set that was created above"))?;
            let entry = read_entry(words, set)?;
            set.insert(entry);
        }
        _ => return Err(words.unexpected("`create` or `add`")),
    }
    Ok(())
}

fn read_create(words: &mut Words<'_, '_>) -> Result<IpSet, Problem> {
    let name = words.argument("a set's name")?;
    let (storage, parts) = words.parse("a set's type", |text| {
        let (storage, parts) = text.split_once(':')?;
        let storage =
            [Storage::Bitmap, Storage::Hash, Storage::List].into_iter().find(|it| it.word() == storage)?;
        let parts = parts.split(',').map(Part::from_word).collect::<Option<Vec<_>>>()?;
        Some((storage, parts))
    })?;
    let mut header = Vec::new();
    while let Some(word) = words.next() {
        header.push(word.text.clone().into_owned());
    }
    IpSet::new(name, storage, parts, header)
        .ok_or_else(|| words.unexpected("`family`, `netmask`, `bitmask` and `markmask` with their values"))
}

fn read_entry(words: &mut Words<'_, '_>, set: &IpSet) -> Result<Entry, Problem> {
    let key = words.parse("an entry of the set's type", |text| read_key(text, set))?;
    let mut entry = Entry { key, ..Entry::default() };
    while let Some(word) = words.next() {
        match &*word.text {
            "nomatch" => entry.nomatch = true,
            "wildcard" => entry.wildcard = true,
            "timeout" => entry.timeout = Some(words.number("seconds")?),
            "packets" => {
                entry.counters.get_or_insert_default().packets = words.number("packets")?;
            }
            "bytes" => entry.counters.get_or_insert_default().bytes = words.number("bytes")?,
            "comment" => entry.comment = Some(words.argument("a comment")?.to_owned()),
            "skbmark" => {
                let (value, mask) = words.parse("MARK[/MASK]", masked)?;
                entry.mark = Some((value, mask.unwrap_or(u32::MAX)));
            }
            "skbprio" => {
                entry.priority = Some(words.parse("MAJOR:MINOR", |text| {
                    let (major, minor) = text.split_once(':')?;
                    Some((u16::from_str_radix(major, 16).ok()?, u16::from_str_radix(minor, 16).ok()?))
                })?);
            }
            "skbqueue" => entry.queue = Some(words.number("a queue")?),
            _ => return Err(words.unexpected("an option of an entry")),
        }
    }
    Ok(entry)
}

fn read_key(text: &str, set: &IpSet) -> Option<Vec<Value>> {
    let mut values = Vec::with_capacity(set.parts.len());
    let mut words = text.split(',');
    for part in &set.parts {
        let Some(word) = words.next() else {
            // Only the station of a bitmap:ip,mac may be missing.
            let may_lack = *part == Part::Mac && set.storage == Storage::Bitmap;
            return may_lack.then_some(values);
        };
        values.push(match part {
            Part::Ip => Value::Ip(word.parse().ok().filter(|it| family_fits(*it, set))?),
            Part::Net => {
                let net = match word.split_once('/') {
                    Some(_) => word.parse::<IpNet>().ok()?.trunc(),
                    None => IpNet::from(word.parse::<IpAddr>().ok()?),
                };
                Value::Net(Some(net).filter(|it| family_fits(it.addr(), set))?)
            }
            Part::Port => read_port(word, set.storage == Storage::Bitmap)?,
            Part::Mac => Value::Mac(word.parse().ok()?),
            Part::Iface => match word.strip_prefix("physdev:") {
                Some(name) => Value::Iface(name.to_owned(), true),
                None => Value::Iface(word.to_owned(), false),
            },
            Part::Mark => Value::Mark(masked(word)?.0),
            Part::Set => Value::Set(word.to_owned()),
        });
    }
    words.next().is_none().then_some(values)
}

fn family_fits(address: IpAddr, set: &IpSet) -> bool {
    set.is_v6.is_none_or(|it| it == address.is_ipv6())
}

fn read_port(word: &str, is_bitmap: bool) -> Option<Value> {
    if is_bitmap {
        return Some(Value::Port(None, word.parse().ok()?));
    }
    let (protocol, port) = word.split_once(':').unwrap_or(("tcp", word));
    let number = names::protocol_number(protocol)?;
    let port = match number {
        names::ICMP | names::ICMP6 => match port.split_once('/') {
            Some((kind, code)) => {
                u16::from(kind.parse::<u8>().ok()?) << 8 | u16::from(code.parse::<u8>().ok()?)
            }
            None => names::ipset_icmp_number(port, number == names::ICMP6)?,
        },
        _ => port.parse().ok()?,
    };
    Some(Value::Port(Some(number), port))
}

/// Writes sets as `ipset save` does, lists of sets last.
pub fn emit(sets: &BTreeMap<String, IpSet>) -> String {
    let mut out = String::new();
    for is_list in [false, true] {
        for set in sets.values().filter(|it| (it.storage == Storage::List) == is_list) {
            emit_set(set, &mut out);
        }
    }
    out
}

fn emit_set(set: &IpSet, out: &mut String) {
    put!(out, "create {} {}", set.name, set.type_name());
    for word in set.header() {
        put!(out, " {word}");
    }
    out.push('\n');
    for entry in set.entries() {
        put!(out, "add {} ", set.name);
        let key: Vec<String> = entry.key.iter().map(value_text).collect();
        out.push_str(&key.join(","));
        emit_options(entry, out);
        out.push('\n');
    }
}

fn emit_options(entry: &Entry, out: &mut String) {
    if let Some(timeout) = entry.timeout {
        put!(out, " timeout {timeout}");
    }
    if entry.nomatch {
        out.push_str(" nomatch");
    }
    if entry.wildcard {
        out.push_str(" wildcard");
    }
    if let Some(Counters { packets, bytes }) = entry.counters {
        put!(out, " packets {packets} bytes {bytes}");
    }
    if let Some(comment) = &entry.comment {
        put!(out, " comment \"{comment}\"");
    }
    match entry.mark {
        Some((value, u32::MAX)) => put!(out, " skbmark {value:#x}"),
        Some((value, mask)) => put!(out, " skbmark {value:#x}/{mask:#x}"),
        None => {}
    }
    if let Some((major, minor)) = entry.priority {
        put!(out, " skbprio {major:x}:{minor:x}");
    }
    if let Some(queue) = entry.queue {
        put!(out, " skbqueue {queue}");
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Ip(address) => address.to_string(),
        Value::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Value::Net(net) => net.to_string(),
        Value::Port(None, port) => port.to_string(),
        Value::Port(Some(protocol), port) => {
            let is_icmp = matches!(*protocol, names::ICMP | names::ICMP6);
            let port = match names::ipset_icmp_text(*port, *protocol == names::ICMP6).filter(|_| is_icmp) {
                Some(name) => name.to_owned(),
                None if is_icmp => format!("{}/{}", port >> 8, port & 0xff),
                None => port.to_string(),
            };
            format!("{}:{port}", names::protocol_text(*protocol))
        }
        Value::Mac(mac) => mac.to_string(),
        Value::Iface(name, true) => format!("physdev:{name}"),
        Value::Iface(name, false) | Value::Set(name) => name.clone(),
        Value::Mark(mark) => format!("{mark:#010x}"),
    }
}
