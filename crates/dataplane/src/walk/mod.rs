//! One packet's way through the kernels, as they are.
//!
//! [`Walker`] follows a packet from a socket to whoever takes it, or to what stops it. Every function here
//! is a part of the kernel and is named after what it does there; the sources are those of Linux 6.18.

mod bridge;
mod choices;
mod conversation;
mod hooks;
mod ip;
mod link;
mod local;
mod neighbour;
mod route;
mod tracking;
mod traffic_control;
mod translate;
mod tunnel;
mod underlay;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hopwise_snapshot::{Element, IfIndex, Mac, Observed, Place, Reason, SysctlKey};

pub(crate) use choices::{Choices, Fork};
pub(crate) use conversation::{Mode, trace_once};

use crate::{
    model::{Network, PlaceId, stack::Stack},
    packet::{IcmpError, Packet},
    trace::{Assumption, Blocker, BlockerKind, Disposition, Hop, Stage, Translation, Unknown},
};
use tracking::{Association, Tracking};

/// How many steps a walk may take before it is given up as a circle. A packet's time to live ends circles of
/// routers long before; this ends circles of bridges.
const LONGEST_WALK: u32 = 4_000;

/// Who is asked for, where, and by which address of one's own.
type Asked = (PlaceId, IfIndex, IpAddr, Option<IpAddr>);

/// What follows packets.
pub(crate) struct Walker<'n> {
    network: &'n Network,
    choices: &'n mut Choices,
    tracking: Tracking,
    /// Addresses that were resolved in this trace.
    resolved: BTreeMap<Asked, Result<Station, Box<Stop>>>,
    /// Are hops written down, or only what decides?
    /// Where the walk is forced on past whatever stops it: what that was so far.
    passed: Option<BTreeSet<Blocker>>,
    is_recording: bool,
    hops: Vec<Hop>,
    assumptions: BTreeSet<Assumption>,
    translations: Vec<Translation>,
    visited: BTreeSet<PlaceId>,
    /// The node that the packet left by for what lies between the nodes.
    left_by: Option<PlaceId>,
    leg: u8,
    depth: u8,
    n_steps: u32,
}

/// A packet with what one kernel attaches to it (`struct sk_buff`).
#[derive(Clone, Debug)]
struct Skb {
    packet: Packet,
    /// What connection tracking says of it, in the place where it is.
    association: Option<Association>,
    /// Is it to be left untracked, or in a zone of its own?
    is_untracked: bool,
    zone: u16,
    /// The Ethernet header that it came in with: source and destination.
    ether: Option<(Mac, Mac)>,
}

impl Skb {
    fn new(packet: Packet) -> Self {
        Self { packet, association: None, is_untracked: false, zone: 0, ether: None }
    }

    /// The packet as it enters another namespace: nothing of this one's kernel goes with it.
    fn scrubbed(mut self) -> Self {
        self.packet.mark = 0;
        Self::new(self.packet)
    }
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Station {
    /// To this Ethernet address.
    Mac(Mac),
    /// To a station between the nodes that is no node's, and whose Ethernet address nobody learned.
    Foreign,
    /// Nowhere in particular: the link needs no address.
    None,
}

/// Whom a frame's destination names, as the receiving interface sees it (`skb->pkt_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PacketType {
    Host,
    Broadcast,
    Multicast,
    OtherHost,
}

/// A packet at the door of an IP stack.
#[derive(Clone, Debug)]
struct Arrival {
    place: PlaceId,
    link: IfIndex,
    packet_type: PacketType,
    source_mac: Mac,
    destination_mac: Mac,
    skb: Skb,
    /// The bridge port that it came in by.
    physical_input: Option<IfIndex>,
    /// Did it pass the prerouting hooks while it was bridged (`ip_sabotage_in`)?
    is_prerouted: bool,
}

/// Where a packet that left an IP stack turns up.
#[derive(Clone, Debug)]
enum Landing {
    /// At another IP stack, or the same one.
    Stack(Box<Arrival>),
    /// At a host that is none of the cluster's.
    Outside(Packet),
}

/// Why a packet goes no further.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    blocker: Blocker,
    how: How,
    /// Who complains to the sender, and how.
    complaint: Option<Complaint>,
}

/// In which way a packet stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Without a word, unless there is a complaint.
    Dropped,
    /// The sending kernel refuses at once.
    Refused(IcmpError),
    /// It ran in circles.
    Looping,
    /// Nobody can tell.
    Unknown,
}

/// What a host sends back when it stops a packet.
#[derive(Clone, Debug)]
struct Complaint {
    place: PlaceId,
    answer: Complaining,
    /// The packet as it was when it was stopped.
    about: Skb,
}

/// How a host complains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complaining {
    Icmp(IcmpError),
    Reset,
}

type Step<T> = Result<T, Box<Stop>>;

impl<'n> Walker<'n> {
    pub(crate) fn new(network: &'n Network, choices: &'n mut Choices, is_recording: bool) -> Self {
        Self {
            network,
            choices,
            passed: None,
            tracking: Tracking::default(),
            resolved: BTreeMap::new(),
            is_recording,
            hops: Vec::new(),
            assumptions: BTreeSet::new(),
            translations: Vec::new(),
            visited: BTreeSet::new(),
            left_by: None,
            leg: 0,
            depth: 0,
            n_steps: 0,
        }
    }

    /// The stack of a place; a place that was not read cannot be walked.
    fn stack(&mut self, id: PlaceId) -> Step<&'n Stack> {
        self.visited.insert(id);
        let network = self.network;
        match network.stack(id) {
            Ok(stack) => Ok(stack),
            Err(reason) => {
                let element = Element::place(network.place(id));
                Err(self.not_collected(id, element, reason.clone()))
            }
        }
    }

    fn place(&self, id: PlaceId) -> &'n Place {
        self.network.place(id)
    }

    /// Counts a step, and gives up when there are too many.
    fn step(&mut self, place: PlaceId) -> Step<()> {
        self.n_steps += 1;
        if self.n_steps <= LONGEST_WALK {
            return Ok(());
        }
        let element = Element::place(self.place(place));
        Err(self.stop(place, element, BlockerKind::TimeToLive).looping())
    }

    /// Writes down what happened.
    fn note(
        &mut self,
        place: PlaceId,
        stage: Stage,
        element: Option<Element>,
        note: impl FnOnce() -> String,
    ) {
        if self.is_recording {
            let place = Some(self.network.place(place).clone());
            let is_outer = self.depth > 0;
            self.hops.push(Hop { place, stage, element, note: note(), leg: self.leg, is_outer });
        }
    }

    /// Writes down what happened, by a piece of state that is only named when it is written down.
    fn note_by(
        &mut self,
        place: PlaceId,
        stage: Stage,
        element: impl FnOnce(&Place) -> Element,
        note: impl FnOnce() -> String,
    ) {
        if self.is_recording {
            let element = element(self.network.place(place));
            self.note(place, stage, Some(element), note);
        }
    }

    /// Does something of which nothing is written down.
    fn in_silence<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let was_recording = std::mem::replace(&mut self.is_recording, false);
        let outcome = self.unforced(act);
        self.is_recording = was_recording;
        outcome
    }

    /// Does something that ends at the first that stops it, as packets do.
    fn unforced<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let passed = self.passed.take();
        let outcome = act(self);
        self.passed = passed;
        outcome
    }

    /// Ends here, or where the walk is forced, goes on past what stops the packet. What nobody knows cannot be
    /// passed.
    fn past(&mut self, stop: Box<Stop>) -> Step<()> {
        match &mut self.passed {
            Some(passed) if !matches!(stop.how, How::Unknown | How::Looping) => {
                passed.insert(stop.blocker);
                Ok(())
            }
            _ => Err(stop),
        }
    }

    /// Writes down that a piece of state is taken to be as the flow needs it.
    fn assume(&mut self, element: Element, reason: Unknown) {
        self.assumptions.insert(Assumption { element, reason, is_tried: false });
    }

    fn stop(&self, place: PlaceId, element: Element, kind: BlockerKind) -> Box<Stop> {
        let place = Some(self.network.place(place).clone());
        Box::new(Stop { blocker: Blocker { element, place, kind }, how: How::Dropped, complaint: None })
    }

    fn not_collected(&mut self, place: PlaceId, element: Element, reason: Reason) -> Box<Stop> {
        self.assume(element.clone(), Unknown::NotCollected(reason));
        self.stop(place, element, BlockerKind::Unknown).unknown()
    }

    /// There is no address to send from; nobody knows where nobody read which addresses there are.
    fn no_source(&mut self, place: PlaceId, element: Element, link: String) -> Box<Stop> {
        let network = self.network;
        if let Ok(stack) = network.stack(place)
            && let Observed::NotCollected(reason) = &stack.addresses
        {
            return self.not_collected(place, element, reason.clone());
        }
        self.stop(place, element, BlockerKind::NoSource { link })
    }

    fn not_modelled(&mut self, place: PlaceId, element: Element, what: impl Into<String>) -> Box<Stop> {
        self.assume(element.clone(), Unknown::NotModelled(what.into()));
        self.stop(place, element, BlockerKind::Unknown).unknown()
    }

    /// A switch as a number; `favourable` where it was not read.
    fn switch(&mut self, place: PlaceId, key: &SysctlKey, when_absent: i64, favourable: i64) -> Step<i64> {
        Ok(match self.stack(place)?.switch(key) {
            Observed::Known(value) => value,
            Observed::Absent => when_absent,
            Observed::NotCollected(reason) => {
                self.assume(Element::sysctl(self.place(place), key), Unknown::NotCollected(reason));
                favourable
            }
        })
    }

    /// A switch of an interface that counts for it if either its own or that of `all` is set: the larger of
    /// both (`IN_DEV_MAXCONF`, `IN_DEV_ORCONF`, include/linux/inetdevice.h), and the key that holds it.
    fn largest(&mut self, place: PlaceId, link: &str, leaf: &str) -> Step<(i64, SysctlKey)> {
        let own = SysctlKey::of_link(false, link, leaf);
        let all = SysctlKey::of_link(false, "all", leaf);
        let of_link = self.switch(place, &own, 0, 0)?;
        let of_all = self.switch(place, &all, 0, 0)?;
        Ok(if of_all > of_link { (of_all, all) } else { (of_link, own) })
    }

    /// The name of an interface.
    fn link_name(&self, place: PlaceId, link: IfIndex) -> String {
        match self.network.stack(place) {
            Ok(stack) => stack.link_name(link),
            Err(_) => link.to_string(),
        }
    }
}

impl Stop {
    fn looping(mut self: Box<Self>) -> Box<Self> {
        self.how = How::Looping;
        self
    }

    fn unknown(mut self: Box<Self>) -> Box<Self> {
        self.how = How::Unknown;
        self
    }

    fn refused(mut self: Box<Self>, error: IcmpError) -> Box<Self> {
        self.how = How::Refused(error);
        self
    }

    fn complaining(mut self: Box<Self>, place: PlaceId, answer: Complaining, about: &Skb) -> Box<Self> {
        self.complaint = Some(Complaint { place, answer, about: about.clone() });
        self
    }

    /// How a flow ends that is stopped so, when no complaint reaches the sender.
    fn disposition(&self) -> Disposition {
        match self.how {
            How::Dropped => Disposition::Dropped,
            How::Refused(error) => Disposition::Rejected(crate::trace::Rejection::Local(error)),
            How::Looping => Disposition::Looping,
            How::Unknown => Disposition::Unknown,
        }
    }
}

/// Does this address mean nothing without its interface (RFC 4007)?
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(it) if it.is_unicast_link_local())
}
