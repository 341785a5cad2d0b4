//! VXLAN: a frame is wrapped into a UDP packet, which is a flow of its own, and unwrapped at the other end.
//!
//! Source: drivers/net/vxlan/vxlan_core.c (`vxlan_xmit`, `vxlan_xmit_one`, `vxlan_rcv`), Linux 6.18.

use std::net::IpAddr;

use hopwise_snapshot::{Element, FdbEntry, IfIndex, Link, Mac, Vxlan};

use super::{
    Complaining, Landing, Skb, Step, Walker,
    link::{Content, Frame, Landings},
    local::Taken,
    route::{InputRoute, OutputQuestion},
};
use crate::{
    model::PlaceId,
    packet::{IcmpError, Packet, Transport},
    trace::{BlockerKind, Stage},
};

/// Source port of outer packets. The kernel derives one from the inner flow; no rule of a cluster looks at it.
const OUTER_SOURCE_PORT: u16 = 49_152;

/// Where a frame is sent in its wrapping.
struct Remote {
    address: IpAddr,
    port: u16,
    vni: u32,
    via: Option<IfIndex>,
    element: Element,
}

/// Who takes the wrapping off, and what goes on with the packet.
struct Unwrapped {
    place: PlaceId,
    device: IfIndex,
    /// The mark that rules gave the wrapping on arrival (`skb_scrub_packet`, net/core/skbuff.c: in one namespace it
    /// stays).
    mark: u32,
}

impl Walker<'_> {
    /// Sends a frame through a tunnel.
    #[expect(clippy::needless_pass_by_value, reason = "the frame goes into the tunnel, and is nobody's then")]
    pub(super) fn encapsulate(
        &mut self,
        place: PlaceId,
        link: &Link,
        vxlan: &Vxlan,
        frame: Frame,
    ) -> Step<Landings> {
        if vxlan.external {
            let element = Element::link(self.place(place), &link.name);
            return Err(self.not_modelled(place, element, "tunnels whose destination is routing metadata"));
        }
        let remotes = self.remotes(place, link, vxlan, frame.destination)?;
        if remotes.is_empty() {
            let mac = frame.destination;
            let element = Element::fdb(self.place(place), &link.name, mac);
            return Err(self.stop(place, element, BlockerKind::NoTunnelEnd { link: link.name.clone(), mac }));
        }
        let mut landings = Vec::new();
        for remote in remotes {
            landings.extend(self.encapsulate_to(place, link, vxlan, &remote, frame.clone()));
        }
        Ok(landings)
    }

    /// The entries of the forwarding database for a station, or those for every station that has none.
    fn remotes(&mut self, place: PlaceId, link: &Link, vxlan: &Vxlan, mac: Mac) -> Step<Vec<Remote>> {
        let stack = self.stack(place)?;
        let fdb = match &stack.fdb {
            hopwise_snapshot::Observed::NotCollected(reason) => {
                let element = Element::fdb(self.place(place), &link.name, mac);
                return Err(self.not_collected(place, element, reason.clone()));
            }
            other => other.known().map_or(&[][..], Vec::as_slice),
        };
        let of =
            |mac: Mac| fdb.iter().filter(move |it| it.on_device && it.link == link.index && it.mac == mac);
        let remote = |entry: &FdbEntry| {
            entry.remote.map(|address| Remote {
                address,
                port: entry.port.unwrap_or(vxlan.port),
                vni: entry.vni.unwrap_or(vxlan.vni),
                via: entry.via,
                element: Element::fdb(&stack.place, &link.name, entry.mac),
            })
        };
        let mut found: Vec<Remote> = of(mac).filter_map(remote).collect();
        if found.is_empty() {
            found = of(Mac::ZERO).filter_map(remote).collect();
        }
        if found.is_empty() {
            let default = vxlan.remote.filter(|it| !is_multicast(*it));
            found.extend(default.map(|address| Remote {
                address,
                port: vxlan.port,
                vni: vxlan.vni,
                via: vxlan.lower,
                element: Element::tunnel(&stack.place, &link.name, "remote"),
            }));
        }
        Ok(found)
    }

    fn encapsulate_to(
        &mut self,
        place: PlaceId,
        link: &Link,
        vxlan: &Vxlan,
        remote: &Remote,
        frame: Frame,
    ) -> Landings {
        let to = remote.address;
        self.note(place, Stage::Encapsulate, Some(remote.element.clone()), || {
            format!("{} to {to} UDP {} network {}", link.name, remote.port, remote.vni)
        });
        self.depth += 1;
        let taken = self.carry(place, link, vxlan, remote, &frame);
        self.depth -= 1;
        match taken {
            Ok(Some(Unwrapped { place: there, device, mark })) => {
                let frame = match frame.content {
                    Content::Ip(skb) => {
                        let mut skb = skb.scrubbed();
                        skb.packet.mark = mark;
                        Frame { content: Content::Ip(skb), ..frame }
                    }
                    Content::Arp(_) => frame,
                };
                self.receive(there, device, frame)
            }
            Ok(None) => Vec::new(),
            Err(stop) => vec![Err(stop)],
        }
    }

    /// Takes the wrapping to the other end.
    fn carry(
        &mut self,
        place: PlaceId,
        link: &Link,
        vxlan: &Vxlan,
        remote: &Remote,
        frame: &Frame,
    ) -> Step<Option<Unwrapped>> {
        let overhead: u32 = if remote.address.is_ipv6() { 70 } else { 50 };
        let mark = match &frame.content {
            Content::Ip(skb) => skb.packet.mark,
            Content::Arp(_) => 0,
        };
        let question = OutputQuestion {
            destination: remote.address,
            source: vxlan.local,
            output: remote.via,
            mark,
            tos: 0,
            transport: (17, OUTER_SOURCE_PORT, remote.port),
        };
        let route = self.route_output(place, &question)?;
        let (source, hop) = match route {
            InputRoute::Forward(hop) => (vxlan.local.or(hop.source), hop),
            InputRoute::Local { .. } => {
                // A tunnel to oneself ends here (`vxlan_xmit_one`: "circular route").
                let element = remote.element.clone();
                let mac = frame.destination;
                return Err(self.stop(
                    place,
                    element,
                    BlockerKind::NoTunnelEnd { link: link.name.clone(), mac },
                ));
            }
        };
        let Some(source) = source else {
            let element = Element::tunnel(self.place(place), &link.name, "local");
            return Err(self.no_source(place, element, link.name.clone()));
        };
        let packet = Packet {
            source,
            destination: remote.address,
            ttl: if vxlan.ttl == 0 { 64 } else { vxlan.ttl },
            tos: 0,
            length: frame.length() + overhead,
            dont_fragment: vxlan.df == "set" || remote.address.is_ipv6(),
            transport: Transport::Udp { source_port: OUTER_SOURCE_PORT, destination_port: remote.port },
            mark,
        };
        let mut skb = Skb::new(packet);
        let landing = self.local_output(place, &mut skb, hop)?;
        self.unwrap_at(landing, remote)
    }

    fn unwrap_at(&mut self, landing: Landing, remote: &Remote) -> Step<Option<Unwrapped>> {
        let taken = match self.deliver(landing)? {
            Taken::Local(taken) => taken,
            Taken::Outside(_) => return Ok(None),
        };
        let (there, port) = (taken.place, taken.skb.packet.ports().1);
        let is_ipv6 = taken.skb.packet.is_ipv6();
        let stack = self.stack(there)?;
        let (vni, here) = (remote.vni, self.place(there).clone());
        if let Some(device) = stack.vxlan_device(vni, port, is_ipv6) {
            self.note_by(
                there,
                Stage::Decapsulate,
                |it| Element::link(it, &device.name),
                || device.name.clone(),
            );
            let mark = taken.skb.packet.mark;
            return Ok(Some(Unwrapped { place: there, device: device.index, mark }));
        }
        let kind = BlockerKind::NoTunnelDevice { vni, port };
        if stack.has_vxlan_socket(port, is_ipv6) {
            let device = self.any_vxlan(there, |it| it.port == port);
            let element = Element::tunnel(&here, &device, "vni");
            return Err(self.stop(there, element, kind));
        }
        let device = self.any_vxlan(there, |it| it.vni == vni);
        let element = if device.is_empty() {
            Element::socket(&here, "udp", port)
        } else {
            Element::tunnel(&here, &device, "port")
        };
        let answer = Complaining::Icmp(IcmpError::PortUnreachable);
        Err(self.stop(there, element, kind).complaining(there, answer, &taken.skb))
    }

    /// The name of a tunnel device of a place that fits in one respect; empty if there is none.
    fn any_vxlan(&self, place: PlaceId, fits: impl Fn(&Vxlan) -> bool) -> String {
        let links = self.network.stack(place).ok().and_then(|it| it.links.known());
        let mut names = links.into_iter().flat_map(|it| it.values()).filter_map(|it| match &it.detail {
            hopwise_snapshot::LinkDetail::Vxlan(vxlan) if fits(vxlan) => Some(it.name.clone()),
            _ => None,
        });
        names.next().unwrap_or_default()
    }
}

fn is_multicast(address: IpAddr) -> bool {
    address.is_multicast()
}
