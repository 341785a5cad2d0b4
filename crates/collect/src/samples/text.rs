//! Command output that is no JSON.

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_snapshot::{
    ConntrackEntry, Counters, IfIndex, Link, Socket, SocketProtocol, SocketState, SysctlKey, Sysctls,
};

use crate::{
    error::{Document, SourceError},
    net_ns,
};

/// Adds counters from a text; an error has the line and what is wrong with it.
pub(super) type Add = fn(&mut Counters, &str) -> Result<(), (usize, String)>;

/// Reads the switches of `/proc/sys/net` in `sysctl -a`.
pub fn sysctls(file: &str, text: &str) -> Result<Sysctls, SourceError> {
    let document = Document { file, text };
    let mut sysctls = Sysctls::default();
    for (number, line) in numbered(text) {
        // sysctl(8) says on its standard error what it could not read.
        if line.starts_with("sysctl: ") {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(document.error_in_line(number, format!("expected `KEY = VALUE`, found `{line}`")));
        };
        let key = SysctlKey::from_dotted(key.trim());
        if key.path().starts_with("net/") {
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            // A value of several lines is printed as several values.
            let known = sysctls.values.entry(key).or_default();
            if !known.is_empty() {
                known.push('\n');
            }
            known.push_str(&value);
        }
    }
    Ok(sysctls)
}

/// Reads the waiting sockets in `ss -lntup` (and with `-w`). Stream and packet sockets are left out.
///
/// It does not print whether an IPv6 socket takes IPv4: one on `*` does, one on `[::]` does not, and one on
/// an address of IPv6 cannot (`__inet6_bind`, `net/ipv6/af_inet6.c`).
pub fn sockets(file: &str, text: &str, links: &[Link]) -> Result<Vec<Socket>, SourceError> {
    let document = Document { file, text };
    let mut sockets = Vec::new();
    for (number, line) in numbered(text) {
        if line.starts_with("Netid") {
            continue;
        }
        let wrong = |what: &str| document.error_in_line(number, format!("expected {what} in `{line}`"));
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [netid, state, receive, send, local, _, rest @ ..] = words.as_slice() else {
            return Err(wrong("protocol, state, two queues and two addresses"));
        };
        let protocol = match *netid {
            "tcp" => SocketProtocol::Tcp,
            "udp" => SocketProtocol::Udp,
            "raw" => SocketProtocol::Raw,
            _ => continue,
        };
        let (address, port) = local.rsplit_once(':').ok_or_else(|| wrong("ADDRESS:PORT"))?;
        let (address, link) = address.split_once('%').map_or((address, None), |(it, link)| (it, Some(link)));
        let (address, is_v6_only) = local_address(address).ok_or_else(|| wrong("a local address"))?;
        let link = link.map(|name| index_of(links, name).ok_or_else(|| wrong("an interface of the node")));
        let state = match *state {
            "LISTEN" => SocketState::Listening,
            "UNCONN" => SocketState::Unconnected,
            "ESTAB" => SocketState::Connected,
            _ => return Err(wrong("LISTEN, UNCONN or ESTAB")),
        };
        let send: u32 = send.parse().map_err(|_| wrong("a number as Send-Q"))?;
        sockets.push(Socket {
            protocol,
            address,
            port: port_number(port).ok_or_else(|| wrong("a port number"))?,
            state,
            is_v6_only,
            link: link.transpose()?,
            receive_queue: receive.parse().map_err(|_| wrong("a number as Recv-Q"))?,
            backlog: if state == SocketState::Listening { send } else { 0 },
            program: program(&rest.join(" ")),
        });
    }
    sockets.sort();
    Ok(sockets)
}

fn local_address(text: &str) -> Option<(IpAddr, bool)> {
    match text {
        "*" => Some((IpAddr::from([0u16; 8]), false)),
        text => match text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            Some(ipv6) => {
                let address: IpAddr = ipv6.parse().ok()?;
                Some((address, address.to_canonical().is_ipv6()))
            }
            None => text.parse().ok().map(|it| (it, false)),
        },
    }
}

/// A port, or of a raw socket the protocol by name or number.
fn port_number(text: &str) -> Option<u16> {
    match text {
        "*" => Some(0),
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        "ipv6-icmp" => Some(58),
        number => number.parse().ok(),
    }
}

fn index_of(links: &[Link], name: &str) -> Option<IfIndex> {
    links.iter().find(|it| it.name == name).map(|it| it.index)
}

/// `users:(("NAME",pid=1,fd=2),…)`.
fn program(text: &str) -> Option<String> {
    let name = text.strip_prefix("users:((\"")?;
    Some(name[..name.find('"')?].to_owned())
}

/// Reads `conntrack -S`, summed over processors, under the names that `/proc/net/stat/nf_conntrack` has.
pub fn conntrack_statistics(file: &str, text: &str) -> Result<BTreeMap<String, u64>, SourceError> {
    let document = Document { file, text };
    let mut sums = BTreeMap::new();
    for (number, line) in numbered(text) {
        for word in line.split_ascii_whitespace() {
            let counter =
                word.split_once('=').and_then(|(name, value)| Some((name, value.parse::<u64>().ok()?)));
            let Some((name, value)) = counter else {
                return Err(document.error_in_line(number, format!("expected `NAME=NUMBER`, found `{word}`")));
            };
            let name = match name {
                "cpu" => continue,
                "error" => "icmp_error",
                "clash_resolve" => "clashres",
                "chaintoolong" => "chainlength",
                other => other,
            };
            *sums.entry(name.to_owned()).or_insert(0) += value;
        }
    }
    Ok(sums)
}

/// Reads `conntrack -L` or `/proc/net/nf_conntrack`.
pub fn connections(file: &str, text: &str) -> Result<Vec<ConntrackEntry>, SourceError> {
    let document = Document { file, text };
    // The tool says on its standard error how many there were.
    let lines = numbered(text).filter(|(_, it)| !it.starts_with("conntrack v"));
    lines
        .map(|(number, line)| net_ns::connection(line).map_err(|it| document.error_in_line(number, it)))
        .collect()
}

/// Adds what `nstat -az` prints: `NAME VALUE RATE` a line.
pub(super) fn add_nstat(counters: &mut Counters, text: &str) -> Result<(), (usize, String)> {
    for (number, line) in numbered(text) {
        if line.starts_with('#') {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next().and_then(|it| it.parse().ok())) {
            (Some(name), Some(value)) => counters.insert(name.to_owned(), value),
            _ => return Err((number, format!("expected `NAME VALUE RATE`, found `{line}`"))),
        };
    }
    Ok(())
}

/// Reads files that follow one another, each after a line `== PATH`.
pub fn files(file: &str, text: &str) -> Result<BTreeMap<String, String>, SourceError> {
    let document = Document { file, text };
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut current: Option<String> = None;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if let Some(path) = line.strip_prefix("== /") {
            let path = format!("/{}", path.trim_end());
            files.insert(path.clone(), String::new());
            current = Some(path);
            continue;
        }
        match current.as_ref().and_then(|it| files.get_mut(it)) {
            Some(content) => content.push_str(line),
            None if line.trim().is_empty() => {}
            None => return Err(document.error_in_line(number + 1, "expected a line `== PATH` before a file")),
        }
    }
    Ok(files)
}

/// The lines that hold something, counted from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, it)| (at + 1, it.trim_end())).filter(|(_, it)| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn switches_are_read_with_dots_in_names_and_several_lines() {
        let text = "kernel.pid_max = 1\nnet.ipv4.conf.flannel/1.forwarding = 1\nnet.a = x\nnet.a = y\nnet.b = \n\
                    sysctl: permission denied on key 'net.c'\n";
        let sysctls = sysctls("s", text).unwrap();
        let get = |key: &str| sysctls.values.get(&SysctlKey::from_path(key)).map(String::as_str);
        assert_eq!(get("net/ipv4/conf/flannel.1/forwarding"), Some("1"));
        assert_eq!((get("net/a"), get("net/b")), (Some("x\ny"), Some("")));
        assert_eq!(sysctls.values.len(), 3);
    }

    #[test]
    fn sockets_are_read_with_interface_and_program() {
        let text = "Netid State Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n\
                    udp UNCONN 1 0 127.0.0.53%lo:53 0.0.0.0:* users:((\"systemd-resolve\",pid=1,fd=2),(\"x\",pid=2,fd=3))\n\
                    tcp LISTEN 0 17 [::]:80 [::]:*\n\
                    tcp LISTEN 0 17 *:81 *:*\n\
                    raw UNCONN 0 0 *:icmp *:*\n\
                    u_str LISTEN 0 5 /run/x 1 * 0\n";
        let mut loopback = super::super::ip::links("l", r#"[{"ifindex":1,"ifname":"lo"}]"#).unwrap();
        loopback.truncate(1);
        let sockets = sockets("ss.txt", text, &loopback).unwrap();
        assert_eq!(sockets.len(), 4);
        let find = |port: u16| sockets.iter().find(|it| it.port == port).unwrap();
        assert_eq!((find(53).link, find(53).program.as_deref()), (Some(IfIndex(1)), Some("systemd-resolve")));
        assert_eq!((find(80).is_v6_only, find(81).is_v6_only, find(80).backlog), (true, false, 17));
        assert_eq!((find(1).protocol, find(53).backlog), (SocketProtocol::Raw, 0));
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        let problem = sockets("ss.txt", "\ntcp LISTEN 0 x 1.2.3.4:80 *:*\n", &[]).unwrap_err().to_string();
        assert_eq!(
            problem,
            "ss.txt, line 2, column 1: expected a number as Send-Q in `tcp LISTEN 0 x 1.2.3.4:80 *:*`"
        );
        let problem = conntrack_statistics("c", "cpu=0 found\n").unwrap_err().to_string();
        assert_eq!(problem, "c, line 1, column 1: expected `NAME=NUMBER`, found `found`");
        let problem = files("cni.txt", "{\n== /a\n").unwrap_err().to_string();
        assert_eq!(problem, "cni.txt, line 1, column 1: expected a line `== PATH` before a file");
    }

    #[test]
    fn files_are_cut_apart() {
        let files = files("cni.txt", "\n== /etc/a\n1\n== not a path\n\n== /etc/b\n").unwrap();
        let wanted = [("/etc/a", "1\n== not a path\n\n"), ("/etc/b", "")];
        assert_eq!(files, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\n]{0,120}") {
            let _ = (sysctls("x", &text), sockets("x", &text, &[]), conntrack_statistics("x", &text));
            let _ = (connections("x", &text), files("x", &text));
            let _ = add_nstat(&mut Counters::new(), &text);
        }
    }
}
