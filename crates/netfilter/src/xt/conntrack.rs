//! Matches on the packet's connection: `conntrack`, `state`, `connmark`, `helper`.
//!
//! Kernel: net/netfilter/xt_conntrack.c, xt_state.c, xt_connmark.c, xt_helper.c.

use std::net::IpAddr;

use bitflags::bitflags;

use super::{AddressMask, Mark, Span, Test};
use crate::{
    iptables::words::Words,
    names,
    packet::{Connection, ConnectionState, ConnectionStatus, Direction},
    put,
    remark::Problem,
    scene::Scene,
    ternary::Ternary,
};

bitflags! {
    /// States that a rule asks for, in the order in which iptables writes them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct States: u8 {
        /// No connection behind the packet.
        const INVALID = 1;
        /// The first packets of a connection.
        const NEW = 1 << 1;
        /// A connection or error that another connection announced.
        const RELATED = 1 << 2;
        /// With packets both ways.
        const ESTABLISHED = 1 << 3;
        /// Taken out of tracking.
        const UNTRACKED = 1 << 4;
        /// The connection's source is translated.
        const SNAT = 1 << 5;
        /// The connection's destination is translated.
        const DNAT = 1 << 6;
    }
}

bitflags! {
    /// Status bits that a rule asks for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Statuses: u8 {
        /// A helper expected it.
        const EXPECTED = 1;
        /// An answer was seen.
        const SEEN_REPLY = 1 << 1;
        /// It will not be expired early.
        const ASSURED = 1 << 2;
        /// Its first packet left.
        const CONFIRMED = 1 << 3;
    }
}

impl States {
    /// The bit of a packet's own state; without a connection it is invalid, as the kernel has it.
    pub(crate) fn of(connection: Option<&Connection>) -> Self {
        match connection.map(|it| it.state) {
            None | Some(ConnectionState::Invalid) => Self::INVALID,
            Some(ConnectionState::New) => Self::NEW,
            Some(ConnectionState::Established) => Self::ESTABLISHED,
            Some(ConnectionState::Related) => Self::RELATED,
            Some(ConnectionState::Untracked) => Self::UNTRACKED,
        }
    }

    fn read(text: &str) -> Option<Self> {
        text.split(',').try_fold(Self::empty(), |all, word| Some(all | Self::from_name(word)?))
    }

    fn text(self) -> String {
        self.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(",")
    }
}

impl Statuses {
    fn read(text: &str) -> Option<Self> {
        text.split(',').try_fold(Self::empty(), |all, word| match word {
            "NONE" => Some(all),
            _ => Some(all | Self::from_name(word)?),
        })
    }

    fn text(self) -> String {
        if self.is_empty() {
            return "NONE".to_owned();
        }
        self.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(",")
    }
}

/// `-m conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// `--ctstate`.
    pub states: Option<Test<States>>,
    /// `--ctproto`, by number.
    pub protocol: Option<Test<u8>>,
    /// `--ctorigsrc`, `--ctorigsrcport`.
    pub original_source: Endpoint,
    /// `--ctorigdst`, `--ctorigdstport`.
    pub original_destination: Endpoint,
    /// `--ctreplsrc`, `--ctreplsrcport`.
    pub reply_source: Endpoint,
    /// `--ctrepldst`, `--ctrepldstport`.
    pub reply_destination: Endpoint,
    /// `--ctstatus`.
    pub statuses: Option<Test<Statuses>>,
    /// `--ctexpire`: seconds left. Not known.
    pub expires: Option<Test<Span<u32>>>,
    /// `--ctdir`.
    pub direction: Option<Direction>,
}

/// One end of one direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: Option<Test<AddressMask>>,
    /// Its port.
    pub port: Option<Test<Span<u16>>>,
}

impl Endpoint {
    fn holds(&self, address: IpAddr, port: u16) -> bool {
        self.address.is_none_or(|it| it.value.covers(address) != it.not)
            && self.port.is_none_or(|it| it.value.contains(port) != it.not)
    }

    fn write_address(&self, out: &mut String, option: &str) {
        if let Some(test) = &self.address {
            test.write_option(out, option, short(&test.value));
        }
    }

    fn write_port(&self, out: &mut String, option: &str) {
        if let Some(test) = &self.port {
            test.write_option(out, option, test.value);
        }
    }
}

/// An address without the mask that names it alone (`xtables_ipmask_to_numeric`).
pub(super) fn short(mask: &AddressMask) -> String {
    let full = if mask.address.is_ipv4() { 32 } else { 128 };
    if mask.prefix_len() == Some(full) { mask.address.to_string() } else { mask.to_string() }
}

const ADDRESS: &str = "ADDRESS[/MASK]";
const PORT: &str = "PORT or LOW:HIGH";

impl Conntrack {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--ctstate" | "--state" => {
                    let value = words.parse("connection states", States::read)?;
                    all.states = Some(Test { not, value });
                }
                "--ctproto" => {
                    let value = words.parse("a protocol", names::protocol_number)?;
                    all.protocol = Some(Test { not, value });
                }
                "--ctorigsrc" => {
                    all.original_source.address = Some(Test { not, value: words.value(ADDRESS)? });
                }
                "--ctorigdst" => {
                    all.original_destination.address = Some(Test { not, value: words.value(ADDRESS)? });
                }
                "--ctreplsrc" => all.reply_source.address = Some(Test { not, value: words.value(ADDRESS)? }),
                "--ctrepldst" => {
                    all.reply_destination.address = Some(Test { not, value: words.value(ADDRESS)? });
                }
                "--ctorigsrcport" => {
                    all.original_source.port = Some(Test { not, value: words.span(PORT)? });
                }
                "--ctorigdstport" => {
                    all.original_destination.port = Some(Test { not, value: words.span(PORT)? });
                }
                "--ctreplsrcport" => all.reply_source.port = Some(Test { not, value: words.span(PORT)? }),
                "--ctrepldstport" => {
                    all.reply_destination.port = Some(Test { not, value: words.span(PORT)? });
                }
                "--ctstatus" => {
                    let value = words.parse("connection statuses", Statuses::read)?;
                    all.statuses = Some(Test { not, value });
                }
                "--ctexpire" => {
                    all.expires = Some(Test { not, value: words.span("SECONDS or LOW:HIGH")? });
                }
                "--ctdir" if !not => {
                    all.direction = Some(words.parse("`ORIGINAL` or `REPLY`", |text| match text {
                        "ORIGINAL" => Some(Direction::Original),
                        "REPLY" => Some(Direction::Reply),
                        _ => None,
                    })?);
                }
                _ => return Err(words.unexpected("an option of `-m conntrack`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m conntrack");
        if let Some(test) = &self.states {
            test.write_option(out, "--ctstate", test.value.text());
        }
        if let Some(test) = &self.protocol {
            test.write_option(out, "--ctproto", test.value);
        }
        self.original_source.write_address(out, "--ctorigsrc");
        self.original_destination.write_address(out, "--ctorigdst");
        self.reply_source.write_address(out, "--ctreplsrc");
        self.reply_destination.write_address(out, "--ctrepldst");
        self.original_source.write_port(out, "--ctorigsrcport");
        self.original_destination.write_port(out, "--ctorigdstport");
        self.reply_source.write_port(out, "--ctreplsrcport");
        self.reply_destination.write_port(out, "--ctrepldstport");
        if let Some(test) = &self.statuses {
            test.write_option(out, "--ctstatus", test.value.text());
        }
        if let Some(test) = &self.expires {
            test.write_option(out, "--ctexpire", test.value);
        }
        match self.direction {
            Some(Direction::Original) => out.push_str(" --ctdir ORIGINAL"),
            Some(Direction::Reply) => out.push_str(" --ctdir REPLY"),
            None => {}
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let connection = scene.view.connection.as_ref();
        let tracked = connection.filter(|it| it.is_tracked());
        if let Some(test) = &self.states {
            let mut states = States::of(connection);
            if let Some(tracked) = tracked {
                states.set(States::SNAT, tracked.status.contains(ConnectionStatus::SOURCE_NAT));
                states.set(States::DNAT, tracked.status.contains(ConnectionStatus::DESTINATION_NAT));
            }
            if states.intersects(test.value) == test.not {
                return Ternary::No;
            }
        }
        // Without a connection nothing but the state is looked at, and the rest does not count.
        let Some(connection) = tracked else { return self.states.is_some().into() };
        self.holds_for(connection)
    }

    fn holds_for(&self, connection: &Connection) -> Ternary {
        let (original, reply) = (&connection.original, &connection.reply);
        let holds = self.direction.is_none_or(|it| it == connection.direction)
            && self.original_source.holds(original.source, original.source_port)
            && self.original_destination.holds(original.destination, original.destination_port)
            && self.reply_source.holds(reply.source, reply.source_port)
            && self.reply_destination.holds(reply.destination, reply.destination_port)
            && self.protocol.is_none_or(|it| (it.value == original.protocol) != it.not)
            && self
                .statuses
                .is_none_or(|it| (u32::from(it.value.bits()) & connection.status.bits() != 0) != it.not);
        Ternary::from(holds).and(|| match self.expires {
            Some(_) => Ternary::unknown("when the connection expires is not known"),
            None => Ternary::Yes,
        })
    }
}

/// `-m state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub Test<States>);

impl State {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        super::quantity::read_one(words, "--state", |words| words.parse("connection states", States::read))
            .map(Self)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m state");
        self.0.write_option(out, "--state", self.0.value.text());
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        self.0.check(States::of(scene.view.connection.as_ref()).intersects(self.0.value))
    }
}

/// `-m connmark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connmark(pub Mark);

impl Connmark {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        Mark::read(words).map(Self)
    }

    /// Without a connection it does not hold, negated or not.
    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        match scene.view.connection.as_ref().filter(|it| it.is_tracked()) {
            Some(connection) => self.0.holds(connection.mark),
            None => Ternary::No,
        }
    }
}

/// `-m helper`: was the connection expected by this helper's? The name may be a beginning, or empty for any.
pub(super) fn helper_holds(test: &Test<String>, scene: &Scene<'_>) -> Ternary {
    let connection = scene.view.connection.as_ref().filter(|it| it.is_tracked());
    let helper = connection.and_then(|it| it.helper.as_deref());
    test.check(helper.is_some_and(|it| it.starts_with(test.value.as_str())))
}

/// Writes `mask` as iptables writes values under masks, for other modules of the connection.
pub(super) fn write_masks(out: &mut String, packet: u32, connection: u32) {
    put!(out, " --nfmask {packet:#x} --ctmask {connection:#x}");
}
