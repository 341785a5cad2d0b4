//! Matches on the transport header: `tcp`, `udp`, `sctp`, `dccp`, `multiport`.
//!
//! Kernel: net/netfilter/xt_tcpudp.c, xt_sctp.c, xt_dccp.c, xt_multiport.c. A later fragment has no transport
//! header, and none of these holds for it, negated or not. But iptables-nft, from version 1.8.8 on, says
//! ports and flags in the language of nft, which takes the bytes of the fragment for a header.

use super::{Match, Opaque, Span, Test};
use crate::{
    Origin,
    iptables::words::{Words, span},
    names,
    packet::{TcpFlags, Transport},
    put,
    remark::Problem,
    scene::Scene,
    ternary::Ternary,
};

const PORTS: &str = "PORT or LOW:HIGH";

/// `-m tcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// `--sport`.
    pub source: Option<Test<Span<u16>>>,
    /// `--dport`.
    pub destination: Option<Test<Span<u16>>>,
    /// `--tcp-flags`: the flags to look at, and those of them that must be set.
    pub flags: Option<Test<(TcpFlags, TcpFlags)>>,
    /// `--tcp-option`: the number of an option that must be there.
    pub option: Option<Test<u8>>,
}

impl Tcp {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut tcp = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--sport" | "--source-port" => tcp.source = Some(Test { not, value: words.span(PORTS)? }),
                "--dport" | "--destination-port" => {
                    tcp.destination = Some(Test { not, value: words.span(PORTS)? });
                }
                "--tcp-flags" => {
                    let mask = words.parse("TCP flags", flags)?;
                    let set = words.parse("TCP flags", flags)?;
                    tcp.flags = Some(Test { not, value: (mask, set) });
                }
                "--syn" => {
                    let mask = TcpFlags::SYN | TcpFlags::RST | TcpFlags::ACK | TcpFlags::FIN;
                    tcp.flags = Some(Test { not, value: (mask, TcpFlags::SYN) });
                }
                "--tcp-option" => {
                    tcp.option = Some(Test { not, value: words.number("the number of a TCP option")? });
                }
                _ => return Err(words.unexpected("an option of `-m tcp`")),
            }
        }
        Ok(tcp)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m tcp");
        write_ports(out, self.source.as_ref(), self.destination.as_ref());
        if let Some(option) = &self.option {
            option.write_option(out, "--tcp-option", option.value);
        }
        if let Some(test) = &self.flags {
            let (mask, set) = test.value;
            test.write_option(out, "--tcp-flags", format_args!("{} {}", flags_text(mask), flags_text(set)));
        }
    }

    /// May iptables-nft have said it in the language of nft?
    fn may_be_translated(&self) -> bool {
        let asks = self.source.is_some() || self.destination.is_some() || self.flags.is_some();
        asks && self.option.is_none()
    }

    /// Is the packet one that would overwrite the ports of its first fragment? The module drops it on sight.
    pub(super) fn drops_hot(&self, scene: &Scene<'_>) -> bool {
        let is_overlapping = scene.view.header().is_some_and(|header| {
            header.protocol == names::TCP && header.fragment.is_some_and(|it| it.offset == 1)
        });
        is_overlapping && !(self.may_be_translated() && reads_fragment(names::TCP, scene))
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        if self.may_be_translated() && reads_fragment(names::TCP, scene) {
            return Ternary::unknown(FRAGMENT);
        }
        let Transport::Tcp(tcp) = scene.view.transport else { return Ternary::No };
        ports_hold(self.source, self.destination, tcp.source_port, tcp.destination_port)
            .and(|| match &self.flags {
                Some(test) => test.check(tcp.flags & test.value.0 == test.value.1),
                None => Ternary::Yes,
            })
            .and(|| match &self.option {
                Some(test) => has_option(tcp.mss.is_some(), test.value).not_if(test.not),
                None => Ternary::Yes,
            })
    }
}

/// What a fragment holds where its packet's first one has the header.
pub(super) const FRAGMENT: &str = "the bytes of a later fragment are not known";

/// Does the rule take bytes of a later fragment of this protocol for its transport header?
fn reads_fragment(protocol: u8, scene: &Scene<'_>) -> bool {
    scene.table.origin == Origin::IptablesNft
        && scene.view.header().is_some_and(|it| it.is_later_fragment() && it.protocol == protocol)
}

/// Whether a segment has the option numbered `option`. Only the maximum segment size (2) is modelled.
fn has_option(has_mss: bool, option: u8) -> Ternary {
    if option == 2 { has_mss.into() } else { Ternary::unknown("TCP options beside the MSS are not modelled") }
}

/// `-m udp`, and the ports of `-m dccp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// `--sport`.
    pub source: Option<Test<Span<u16>>>,
    /// `--dport`.
    pub destination: Option<Test<Span<u16>>>,
}

impl Udp {
    pub(super) fn read(words: &mut Words<'_, '_>, module: &str) -> Result<Self, Problem> {
        let mut udp = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--sport" | "--source-port" => udp.source = Some(Test { not, value: words.span(PORTS)? }),
                "--dport" | "--destination-port" => {
                    udp.destination = Some(Test { not, value: words.span(PORTS)? });
                }
                _ => return Err(words.unexpected(&format!("an option of `-m {module}`"))),
            }
        }
        Ok(udp)
    }

    pub(super) fn write(&self, out: &mut String, module: &str) {
        put!(out, " -m {module}");
        write_ports(out, self.source.as_ref(), self.destination.as_ref());
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let asks = self.source.is_some() || self.destination.is_some();
        if asks && reads_fragment(names::UDP, scene) {
            return Ternary::unknown(FRAGMENT);
        }
        match scene.view.transport {
            Transport::Udp { source_port, destination_port }
            | Transport::Ports { source_port, destination_port } => {
                ports_hold(self.source, self.destination, source_port, destination_port)
            }
            Transport::Tcp(_) | Transport::Icmp { .. } | Transport::Other => Ternary::No,
        }
    }
}

/// `-m dccp`: its ports, or the whole as words where it asks for more.
pub(super) fn read_dccp(words: &mut Words<'_, '_>) -> Match {
    let start = words.position();
    if let Ok(ports) = Udp::read(words, "dccp") {
        Match::Dccp(ports)
    } else {
        words.rewind(start);
        Match::Opaque(Opaque::read_any("dccp", words, "DCCP packet types are not modelled"))
    }
}

/// `-m sctp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sctp {
    /// `--sport`.
    pub source: Option<Test<Span<u16>>>,
    /// `--dport`.
    pub destination: Option<Test<Span<u16>>>,
    /// `--chunk-types`: how to look (`all`, `any`, `only`), and at what. Chunks are not modelled.
    pub chunks: Option<Test<(String, String)>>,
}

impl Sctp {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut sctp = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--sport" | "--source-port" => sctp.source = Some(Test { not, value: words.span(PORTS)? }),
                "--dport" | "--destination-port" => {
                    sctp.destination = Some(Test { not, value: words.span(PORTS)? });
                }
                "--chunk-types" => {
                    let how = words.argument("`all`, `any` or `only`")?.to_owned();
                    let types = words.argument("chunk types")?.to_owned();
                    sctp.chunks = Some(Test { not, value: (how, types) });
                }
                _ => return Err(words.unexpected("an option of `-m sctp`")),
            }
        }
        Ok(sctp)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m sctp");
        write_ports(out, self.source.as_ref(), self.destination.as_ref());
        if let Some(test) = &self.chunks {
            test.write_option(out, "--chunk-types", format_args!("{} {}", test.value.0, test.value.1));
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Transport::Ports { source_port, destination_port } = scene.view.transport else {
            return Ternary::No;
        };
        ports_hold(self.source, self.destination, source_port, destination_port).and(|| match self.chunks {
            Some(_) => Ternary::unknown("SCTP chunks are not modelled"),
            None => Ternary::Yes,
        })
    }
}

/// `-m multiport`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiport {
    /// Which ports to look at.
    pub side: PortSide,
    /// The ports.
    pub ports: Test<Vec<Span<u16>>>,
}

/// Which of a packet's ports a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortSide {
    /// The source.
    Source,
    /// The destination.
    Destination,
    /// Either.
    Either,
}

impl Multiport {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let expected = "`--sports`, `--dports` or `--ports`";
        let (not, option) = words.option().ok_or_else(|| words.unexpected(expected))?;
        let side = match option {
            "--sports" | "--source-ports" => PortSide::Source,
            "--dports" | "--destination-ports" => PortSide::Destination,
            "--ports" => PortSide::Either,
            _ => return Err(words.unexpected(expected)),
        };
        let list = |text: &str| text.split(',').map(|it| span(it, ':')).collect::<Option<Vec<_>>>();
        Ok(Self { side, ports: Test { not, value: words.parse("PORT[:PORT],…", list)? } })
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m multiport");
        let option = match self.side {
            PortSide::Source => "--sports",
            PortSide::Destination => "--dports",
            PortSide::Either => "--ports",
        };
        let ports: Vec<String> = self.ports.value.iter().map(Span::to_string).collect();
        self.ports.write_option(out, option, ports.join(","));
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Some((source, destination)) = scene.view.ports() else { return Ternary::No };
        let among = |port: u16| self.ports.value.iter().any(|it| it.contains(port));
        self.ports.check(match self.side {
            PortSide::Source => among(source),
            PortSide::Destination => among(destination),
            PortSide::Either => among(source) || among(destination),
        })
    }
}

fn ports_hold(
    source: Option<Test<Span<u16>>>,
    destination: Option<Test<Span<u16>>>,
    source_port: u16,
    destination_port: u16,
) -> Ternary {
    let holds = |test: Option<Test<Span<u16>>>, port| test.is_none_or(|it| it.value.contains(port) != it.not);
    (holds(source, source_port) && holds(destination, destination_port)).into()
}

fn write_ports(out: &mut String, source: Option<&Test<Span<u16>>>, destination: Option<&Test<Span<u16>>>) {
    if let Some(test) = source {
        test.write_option(out, "--sport", test.value);
    }
    if let Some(test) = destination {
        test.write_option(out, "--dport", test.value);
    }
}

/// The flags that `-m tcp` knows, in the order in which it writes them.
const FLAGS: [(&str, TcpFlags); 6] = [
    ("FIN", TcpFlags::FIN),
    ("SYN", TcpFlags::SYN),
    ("RST", TcpFlags::RST),
    ("PSH", TcpFlags::PSH),
    ("ACK", TcpFlags::ACK),
    ("URG", TcpFlags::URG),
];

fn flags(text: &str) -> Option<TcpFlags> {
    let mut all = TcpFlags::empty();
    for word in text.split(',') {
        match word {
            "ALL" => all |= FLAGS.iter().fold(TcpFlags::empty(), |all, (_, flag)| all | *flag),
            "NONE" => {}
            _ => all |= FLAGS.iter().find(|(name, _)| *name == word)?.1,
        }
    }
    Some(all)
}

fn flags_text(flags: TcpFlags) -> String {
    let names: Vec<&str> =
        FLAGS.iter().filter(|(_, flag)| flags.contains(*flag)).map(|(name, _)| *name).collect();
    if names.is_empty() { "NONE".to_owned() } else { names.join(",") }
}
