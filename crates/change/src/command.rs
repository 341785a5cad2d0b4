//! The commands that do a change.

use std::fmt;

use hopwise_snapshot::{Place, PortNumberOrName, RouteKind, RoutingRule, RuleAction, protocols, tables};
use ipnet::IpNet;
use serde_json::json;

use crate::{Change, RouteSpec, added};

/// Programs that kubelet runs by manifests of the node: what ends is started again.
const STATIC_PODS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller", "kube-scheduler"];

/// A command and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The node, or the pod whose network namespace it runs in; none for a command to the API server.
    pub place: Option<Place>,
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// What it reads from its standard input; empty for nothing.
    pub input: String,
}

impl fmt::Display for Command {
    /// As a person types it in a shell of the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, argument) in self.arguments.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&quoted(argument))?;
        }
        if self.input.is_empty() { Ok(()) } else { write!(f, " <<'EOF'\n{}\nEOF", self.input.trim_end()) }
    }
}

impl Command {
    /// A command that reads nothing.
    pub fn new(place: Option<Place>, arguments: Vec<String>) -> Self {
        Self { place, arguments, input: String::new() }
    }
}

/// What a command does to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAct {
    /// Writes it.
    Write {
        /// Its absolute path.
        path: String,
        /// All of its content.
        content: String,
    },
    /// Removes it.
    Remove {
        /// Its absolute path.
        path: String,
    },
}

impl Command {
    /// What the command does to a file, where that is all: for places in which no shell of theirs should be trusted.
    pub fn file_act(&self) -> Option<FileAct> {
        let words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["sh", "-c", script] => {
                let (content, rest) = unquoted(script.strip_prefix("printf %s ")?)?;
                let (path, rest) = unquoted(rest.strip_prefix(" > ")?)?;
                rest.is_empty().then_some(FileAct::Write { path, content })
            }
            ["rm", path] if path.starts_with('/') => Some(FileAct::Remove { path: (*path).to_owned() }),
            _ => None,
        }
    }
}

/// The argument that a text begins with, as [`quoted`] writes it, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut argument = String::new();
    let mut rest = text;
    loop {
        if let Some(inside) = rest.strip_prefix('\'') {
            let (part, behind) = inside.split_once('\'')?;
            argument.push_str(part);
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix(r"\'") {
            argument.push('\'');
            rest = behind;
        } else {
            let end = rest.find(|it| !is_plain(it)).unwrap_or(rest.len());
            let (part, behind) = rest.split_at(end);
            argument.push_str(part);
            if part.is_empty() {
                return (rest.len() < text.len()).then_some((argument, behind));
            }
            rest = behind;
        }
    }
}

/// May it stand in a shell's word as it is?
fn is_plain(it: char) -> bool {
    it.is_ascii_alphanumeric() || "%+,-./:=@_".contains(it)
}

/// An argument as a POSIX shell reads it back.
pub(crate) fn quoted(argument: &str) -> String {
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

impl Change {
    /// The commands that do it, in order.
    #[expect(clippy::too_many_lines, reason = "one arm a change")]
    pub fn commands(&self) -> Vec<Command> {
        let place = self.place();
        let one = |words: Vec<String>| vec![Command::new(place.clone(), words)];
        match self {
            Self::Sysctl { key, value, .. } => one(words(&["sysctl", "-w", &format!("{key}={value}")])),
            Self::LinkUp { link, up, .. } => {
                one(words(&["ip", "link", "set", "dev", link, if *up { "up" } else { "down" }]))
            }
            Self::LinkMaster { link, master: Some(master), .. } => {
                one(words(&["ip", "link", "set", "dev", link, "master", master]))
            }
            Self::LinkMaster { link, master: None, .. } => {
                one(words(&["ip", "link", "set", "dev", link, "nomaster"]))
            }
            Self::LinkMtu { link, mtu, .. } => {
                one(words(&["ip", "link", "set", "dev", link, "mtu", &mtu.to_string()]))
            }
            Self::LinkMac { link, mac, .. } => {
                one(words(&["ip", "link", "set", "dev", link, "address", &mac.to_string()]))
            }
            Self::LinkArp { link, on, .. } => {
                one(words(&["ip", "link", "set", "dev", link, "arp", if *on { "on" } else { "off" }]))
            }
            Self::LinkRemoved { link, .. } => one(words(&["ip", "link", "del", "dev", link])),
            Self::AddressAdded { link, address, .. } => one(address_words("add", link, address)),
            Self::AddressRemoved { link, address, .. } => one(address_words("del", link, address)),
            Self::RouteReplaced { route, .. } => one(route.words("replace")),
            Self::RouteRemoved { table, destination, metric, .. } => {
                one(route_removal(*table, destination, *metric))
            }
            Self::RuleAdded { rule, .. } => one(rule_words(rule)),
            Self::RuleRemoved { is_ipv6, priority, .. } => {
                let mut all = ip(*is_ipv6);
                all.extend(words(&["rule", "del", "pref", &priority.to_string()]));
                one(all)
            }
            Self::NeighbourReplaced { link, address, mac, .. } => one(words(&[
                "ip",
                "neigh",
                "replace",
                &address.to_string(),
                "lladdr",
                &mac.to_string(),
                "dev",
                link,
                "nud",
                "permanent",
            ])),
            Self::NeighbourRemoved { link, address, .. } => {
                one(words(&["ip", "neigh", "del", &address.to_string(), "dev", link]))
            }
            Self::FdbReplaced { link, mac, remote: Some(remote), .. } => one(words(&[
                "bridge",
                "fdb",
                "replace",
                &mac.to_string(),
                "dev",
                link,
                "dst",
                &remote.to_string(),
                "self",
                "permanent",
            ])),
            Self::FdbReplaced { link, mac, remote: None, .. } => {
                one(words(&["bridge", "fdb", "replace", &mac.to_string(), "dev", link, "master", "static"]))
            }
            Self::FdbRemoved { link, mac, .. } => {
                one(words(&["bridge", "fdb", "del", &mac.to_string(), "dev", link]))
            }
            Self::BridgePort { port, attribute, value, .. } => {
                one(words(&["bridge", "link", "set", "dev", port, attribute, value]))
            }
            // The kernel changes neither on a device that is there, and whoever made it knows the rest: its
            // controller makes it anew. What opens a socket is a program, not a command of ours.
            Self::Vxlan { .. } | Self::SocketOpened { .. } => Vec::new(),
            Self::QdiscRemoved { link, parent, .. } => {
                one(words(&["tc", "qdisc", "del", "dev", link, parent]))
            }
            Self::TcFilterRemoved { link, direction, priority, .. } => {
                one(words(&["tc", "filter", "del", "dev", link, direction, "pref", &priority.to_string()]))
            }
            Self::XdpRemoved { link, .. } => one(words(&["ip", "link", "set", "dev", link, "xdp", "off"])),
            Self::XfrmPolicyRemoved { index, direction, .. } => {
                one(words(&["ip", "xfrm", "policy", "delete", "dir", direction, "index", &index.to_string()]))
            }
            Self::FileWritten { path, content, .. } => {
                let script = format!("printf %s {} > {}", quoted(content), quoted(path));
                one(words(&["sh", "-c", &script]))
            }
            Self::FileRemoved { path, .. } => one(words(&["rm", path])),
            Self::Resynced { node, controller } => {
                let (namespace, _) = controller.daemon_set();
                let field = format!("spec.nodeName={node}");
                let label = controller.label();
                let arguments =
                    ["kubectl", "-n", namespace, "delete", "pod", "-l", label, "--field-selector", &field];
                vec![Command::new(None, words(&arguments))]
            }
            Self::PodRecreated { pod } => {
                let arguments = ["kubectl", "-n", &pod.namespace, "delete", "pod", &pod.name];
                vec![Command::new(None, words(&arguments))]
            }
            Self::ServiceSelector { namespace, name, selector } => {
                let patch = json!([{"op": "replace", "path": "/spec/selector", "value": selector}]);
                let arguments = ["kubectl", "-n", namespace, "patch", "service", name, "--type=json", "-p"];
                one([words(&arguments), vec![patch.to_string()]].concat())
            }
            Self::ServiceTargetPort { namespace, name, port, protocol, target } => {
                // Ports are merged by their numbers (`patchMergeKey` of `ServiceSpec.Ports`).
                let target = target.clone().unwrap_or(PortNumberOrName::Number(*port));
                let port = json!({"port": port, "protocol": protocol, "targetPort": target});
                let patch = json!({"spec": {"ports": [port]}});
                let arguments = ["kubectl", "-n", namespace, "patch", "service", name, "-p"];
                one([words(&arguments), vec![patch.to_string()]].concat())
            }
            Self::EndpointsWritten { .. } | Self::PodUnready { .. } => Vec::new(),
            Self::ProcessHalted { program, is_gone, .. } => {
                one(words(&["pkill", if *is_gone { "-KILL" } else { "-STOP" }, "-x", program]))
            }
            // A static pod's: kubelet starts it again.
            Self::ProcessStarted { program, .. } if STATIC_PODS.contains(&program.as_str()) => {
                one(words(&["pkill", "-KILL", "-x", program]))
            }
            Self::ProcessStarted { program, .. } => one(words(&["systemctl", "restart", program])),
            Self::IptablesFlushed { tool, table, .. } => ["-F", "-X"]
                .map(|verb| Command::new(place.clone(), words(&[tool, "-t", table, verb])))
                .to_vec(),
            rules => match rules.rule_words() {
                words if words.is_empty() => {
                    let all = added::commands(rules).into_iter();
                    all.map(|arguments| Command::new(place.clone(), arguments)).collect()
                }
                words => one(words),
            },
        }
    }

    /// The commands of changes to packet filters.
    fn rule_words(&self) -> Vec<String> {
        match self {
            Self::IptablesInserted { tool, table, chain, position, rule, .. } => {
                let mut all = words(&[tool, "-t", table, "-I", chain, &position.to_string()]);
                all.extend(split_words(rule));
                all
            }
            Self::IptablesDeleted { tool, table, chain, position, .. } => {
                words(&[tool, "-t", table, "-D", chain, &position.to_string()])
            }
            Self::IptablesRuleDeleted { tool, table, chain, rule, .. } => {
                let mut all = words(&[tool, "-t", table, "-D", chain]);
                all.extend(split_words(rule));
                all
            }
            Self::IptablesPolicy { tool, table, chain, policy, .. } => {
                words(&[tool, "-t", table, "-P", chain, policy])
            }
            Self::NftRuleDeleted { family, table, chain, handle, .. } => {
                words(&["nft", "delete", "rule", family, table, chain, "handle", &handle.to_string()])
            }
            Self::NftPolicy { family, table, chain, policy, .. } => {
                words(&["nft", "chain", family, table, chain, "{", "policy", &format!("{policy};"), "}"])
            }
            _ => Vec::new(),
        }
    }

    /// The change in one line, as commands joined by `; `.
    pub fn summary(&self) -> String {
        match self {
            Self::FileWritten { path, .. } => format!("write {path}"),
            Self::SocketOpened { protocol, port, .. } => format!("start what listens on {protocol} {port}"),
            Self::SocketClosed { protocol, port, .. } => format!("end what listens on {protocol} {port}"),
            Self::XdpAttached { link, program, .. } => format!("attach XDP program {program} to {link}"),
            Self::PodUnready { pod, is_pending: true } => format!("take {pod} from its node"),
            Self::PodUnready { pod, is_pending: false } => format!("make {pod} unready"),
            Self::EndpointsWritten { namespace, name } => {
                format!("let kube-controller-manager write the endpoints of {namespace}/{name} anew")
            }
            Self::Vxlan { link, attribute, value, .. } => {
                format!("make {link} anew with {attribute} {value}")
            }
            other => {
                let commands: Vec<String> = other.commands().iter().map(Command::to_string).collect();
                commands.join("; ")
            }
        }
    }
}

impl RouteSpec {
    /// The words of `ip route VERB` for this route.
    pub fn words(&self, verb: &str) -> Vec<String> {
        let is_ipv6 = self.destination.addr().is_ipv6();
        let mut all = ip(is_ipv6);
        all.extend(words(&["route", verb]));
        if self.kind != RouteKind::Unicast {
            all.push(self.kind.word().to_owned());
        }
        all.push(destination_word(&self.destination));
        if let Some(via) = self.via {
            all.extend(words(&["via", &via.to_string()]));
        }
        if let Some(link) = &self.link {
            all.extend(words(&["dev", link]));
        }
        if self.table != tables::MAIN {
            all.extend(words(&["table", &tables::name(self.table)]));
        }
        if self.metric != 0 && !(is_ipv6 && self.metric == 1024) {
            all.extend(words(&["metric", &self.metric.to_string()]));
        }
        match self.protocol {
            protocols::BOOT | protocols::UNSPEC => {}
            protocols::KERNEL => all.extend(words(&["proto", "kernel"])),
            other => all.extend(words(&["proto", &other.to_string()])),
        }
        if self.scope == 253 && !is_ipv6 {
            all.extend(words(&["scope", "link"]));
        }
        if let Some(source) = self.preferred_source {
            all.extend(words(&["src", &source.to_string()]));
        }
        if let Some(mtu) = self.mtu {
            all.extend(words(&["mtu", &mtu.to_string()]));
        }
        if self.onlink {
            all.push("onlink".to_owned());
        }
        all
    }
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|it| (*it).to_owned()).collect()
}

fn ip(is_ipv6: bool) -> Vec<String> {
    if is_ipv6 { words(&["ip", "-6"]) } else { words(&["ip"]) }
}

fn destination_word(destination: &IpNet) -> String {
    match destination {
        it if it.prefix_len() == 0 => "default".to_owned(),
        it if it.prefix_len() == it.max_prefix_len() => it.addr().to_string(),
        it => it.to_string(),
    }
}

fn address_words(verb: &str, link: &str, address: &IpNet) -> Vec<String> {
    let mut all = ip(address.addr().is_ipv6());
    all.extend(words(&["addr", verb, &address.to_string(), "dev", link]));
    if verb == "add" && matches!(address, IpNet::V4(it) if it.prefix_len() < 31) {
        all.extend(words(&["brd", "+"]));
    }
    all
}

fn route_removal(table: u32, destination: &IpNet, metric: u32) -> Vec<String> {
    let is_ipv6 = destination.addr().is_ipv6();
    let mut all = ip(is_ipv6);
    all.extend(words(&["route", "del", &destination_word(destination)]));
    if table != tables::MAIN {
        all.extend(words(&["table", &tables::name(table)]));
    }
    if metric != 0 && !(is_ipv6 && metric == 1024) {
        all.extend(words(&["metric", &metric.to_string()]));
    }
    all
}

fn rule_words(rule: &RoutingRule) -> Vec<String> {
    let mut all = ip(rule.is_ipv6);
    all.extend(words(&["rule", "add"]));
    if rule.inverted {
        all.push("not".to_owned());
    }
    all.extend(words(&["pref", &rule.priority.to_string()]));
    let mut with = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            all.extend([word.to_owned(), value]);
        }
    };
    with("from", rule.source.map(|it| it.to_string()));
    with("to", rule.destination.map(|it| it.to_string()));
    with("iif", rule.input.clone());
    with("oif", rule.output.clone());
    with("fwmark", rule.mark.map(|(value, mask)| format!("{value:#x}/{mask:#x}")));
    with("tos", (rule.tos != 0).then(|| format!("{:#x}", rule.tos)));
    with("ipproto", rule.ip_protocol.map(|it| it.to_string()));
    with("sport", rule.source_ports.map(|(first, last)| format!("{first}-{last}")));
    with("dport", rule.destination_ports.map(|(first, last)| format!("{first}-{last}")));
    with("uidrange", rule.users.map(|(first, last)| format!("{first}-{last}")));
    match rule.action {
        RuleAction::Lookup(table) => with("lookup", Some(tables::name(table))),
        RuleAction::Goto(priority) => with("goto", Some(priority.to_string())),
        RuleAction::Nop => all.push("nop".to_owned()),
        RuleAction::Blackhole => all.push("blackhole".to_owned()),
        RuleAction::Unreachable => all.push("unreachable".to_owned()),
        RuleAction::Prohibit => all.push("prohibit".to_owned()),
        RuleAction::Other(_) => {}
    }
    if let Some(length) = rule.suppress_prefix_length {
        all.extend(words(&["suppress_prefixlength", &length.to_string()]));
    }
    all
}

/// The words of a rule as `iptables-save` prints it: separated by blanks, but for quoted ones.
pub(crate) fn split_words(rule: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut is_word) = (false, false);
    let mut characters = rule.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if is_quoted => word.extend(characters.next()),
            '"' => (is_quoted, is_word) = (!is_quoted, true),
            blank if blank.is_whitespace() && !is_quoted => {
                if is_word {
                    all.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            other => {
                word.push(other);
                is_word = true;
            }
        }
    }
    if is_word {
        all.push(word);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(change: &Change) -> String {
        change.summary()
    }

    #[test]
    fn what_is_done_to_a_file_is_known_again() {
        let place = Place::pod("default", "a");
        for content in
            ["", "plain", "it's\n'quoted'\\", "'", "nameserver 10.96.0.10\nsearch x\n", "\\'> /etc/passwd"]
        {
            for path in ["/etc/resolv.conf", "/etc/a b'c"] {
                let (path, content) = (path.to_owned(), content.to_owned());
                let change = Change::FileWritten {
                    place: place.clone(),
                    path: path.clone(),
                    content: content.clone(),
                };
                let act = change.commands()[0].file_act();
                assert_eq!(act, Some(FileAct::Write { path: path.clone(), content }), "{change:?}");
                let removed = Change::FileRemoved { place: place.clone(), path: path.clone() };
                assert_eq!(removed.commands()[0].file_act(), Some(FileAct::Remove { path }));
            }
        }
    }

    #[test]
    fn a_script_that_does_more_is_no_act_on_a_file() {
        let act =
            |words: &[&str]| Command::new(None, words.iter().map(|it| (*it).to_owned()).collect()).file_act();
        for script in [
            "printf %s x > /a; rm /b",
            "printf %s x",
            "printf %s x > ",
            "printf %s 'x > /a",
            "printf %s x > $HOME/a",
            "printf %s $(id) > /a",
        ] {
            assert_eq!(act(&["sh", "-c", script]), None, "{script}");
        }
        assert_eq!(act(&["rm", "-rf", "/a"]), None);
        assert_eq!(act(&["rm", "-rf"]), None);
        assert_eq!(act(&[]), None);
    }

    #[test]
    fn commands_are_those_that_a_person_types() {
        let place = Place::node("w1");
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let flannel = RouteSpec {
            onlink: true,
            ..RouteSpec::unicast(net("10.244.2.0/24"), Some("10.244.2.0".parse().unwrap()), "flannel.1")
        };
        assert_eq!(
            line(&Change::RouteReplaced { place: place.clone(), route: flannel }),
            "ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"
        );
        assert_eq!(
            line(&Change::Sysctl {
                place: place.clone(),
                key: hopwise_snapshot::SysctlKey::of_link(false, "flannel.1", "forwarding"),
                value: "1".to_owned(),
            }),
            "sysctl -w net.ipv4.conf.flannel/1.forwarding=1"
        );
        assert_eq!(
            line(&Change::IptablesInserted {
                place: place.clone(),
                tool: "iptables-nft".to_owned(),
                table: "filter".to_owned(),
                chain: "FORWARD".to_owned(),
                position: 1,
                rule: r#"-s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT"#.to_owned(),
            }),
            "iptables-nft -t filter -I FORWARD 1 -s 10.244.0.0/16 -m comment --comment 'flanneld forward' -j ACCEPT"
        );
        assert_eq!(
            line(&Change::RouteRemoved { place, table: 254, destination: net("fd00::/64"), metric: 1024 }),
            "ip -6 route del fd00::/64"
        );
    }

    #[test]
    fn a_quoted_word_stays_one() {
        assert_eq!(split_words(r#"--comment "a \"b\" c" -j X"#), ["--comment", "a \"b\" c", "-j", "X"]);
    }
}
