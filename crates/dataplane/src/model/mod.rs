//! The network: every place's stack, and how the places hang together.

pub(crate) mod fib;
pub(crate) mod losses;
pub(crate) mod stack;
pub(crate) mod underlay;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use hopwise_snapshot::{Element, IfIndex, Link, Observed, Place, Reason, Snapshot};

use stack::Stack;
use underlay::Underlay;

/// A place by its number in a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceId(pub(crate) u32);

/// The data plane of a cluster as its kernels would run it.
///
/// Built from a [`Snapshot`]; holds no fact that is not in it. A changed snapshot gives a changed network:
/// [`Network::rebuilt`] reads only the places that changed again.
#[derive(Clone, Debug)]
pub struct Network {
    entries: Vec<Entry>,
    by_place: BTreeMap<Place, PlaceId>,
    pub(crate) underlay: Underlay,
    /// The addresses that the API server's objects say a place has.
    claims: BTreeMap<IpAddr, PlaceId>,
}

#[derive(Clone, Debug)]
struct Entry {
    place: Place,
    stack: Result<Arc<Stack>, Reason>,
}

/// What is at the other end of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// An interface of a place.
    Link(PlaceId, IfIndex),
    /// What lies between the nodes.
    Underlay,
    /// A place whose state was not read.
    NotCollected,
    /// Nothing, or a namespace that is none of the cluster's places.
    Nowhere,
}

impl Network {
    /// The network that the snapshot describes.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut entries = Vec::new();
        for place in snapshot.places() {
            let stack = read_stack(snapshot, &place);
            entries.push(Entry { place, stack });
        }
        Self::assembled(snapshot, entries)
    }

    /// The network after the facts of some places changed from what this network was built of.
    pub fn rebuilt(&self, snapshot: &Snapshot, changed: &BTreeSet<Place>) -> Self {
        let keep = |it: &Entry| {
            let stack =
                if changed.contains(&it.place) { read_stack(snapshot, &it.place) } else { it.stack.clone() };
            Entry { place: it.place.clone(), stack }
        };
        Self::assembled(snapshot, self.entries.iter().map(keep).collect())
    }

    fn assembled(snapshot: &Snapshot, entries: Vec<Entry>) -> Self {
        let ids = (0..).map(PlaceId);
        let by_place = entries.iter().zip(ids).map(|(it, id)| (it.place.clone(), id)).collect();
        let mut network = Self { entries, by_place, underlay: Underlay::default(), claims: BTreeMap::new() };
        network.underlay = Underlay::new(&network, snapshot);
        network.claims = claims(&network, snapshot);
        network
    }

    /// The number of a place.
    pub(crate) fn id(&self, place: &Place) -> Option<PlaceId> {
        self.by_place.get(place).copied()
    }

    /// The place with this number.
    pub(crate) fn place(&self, id: PlaceId) -> &Place {
        &self.entries[id.0 as usize].place
    }

    /// All places, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PlaceId> {
        (0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX)).map(PlaceId)
    }

    /// The stack of a place, or why it was not read.
    pub(crate) fn stack(&self, id: PlaceId) -> Result<&Stack, &Reason> {
        self.entries[id.0 as usize].stack.as_deref()
    }

    /// All stacks that were read.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = (PlaceId, &Stack)> {
        self.ids().filter_map(|id| self.stack(id).ok().map(|stack| (id, stack)))
    }

    /// A place that may hold an address that another asks for, and whose interfaces or addresses were not read: the one
    /// that the API server's objects give it to, the one that shows it, or else a pod's own node. With what was not read.
    pub(crate) fn unread_holder(
        &self,
        asking: PlaceId,
        address: IpAddr,
    ) -> Option<(PlaceId, Element, Reason)> {
        let id = self.claims.get(&address).copied();
        let id = id.or_else(|| self.stacks().find_map(|(id, it)| it.holder_of(address).map(|_| id)));
        let own_node = || self.id(&Place::Node(self.stack(asking).ok()?.node.clone()));
        let id = id.or_else(own_node).filter(|it| *it != asking)?;
        let (element, reason) = self.unread_links(id)?;
        Some((id, element, reason))
    }

    /// What was not read of a place's interfaces and their addresses.
    pub(crate) fn unread_links(&self, id: PlaceId) -> Option<(Element, Reason)> {
        let place = self.place(id);
        let stack = match self.stack(id) {
            Ok(stack) => stack,
            Err(reason) => return Some((Element::place(place), reason.clone())),
        };
        match (&stack.links, &stack.addresses) {
            (Observed::NotCollected(reason), _) => Some((Element::ruleset(place, "link"), reason.clone())),
            (_, Observed::NotCollected(reason)) => Some((Element::ruleset(place, "address"), reason.clone())),
            _ => None,
        }
    }

    /// The place that an address belongs to by the API server's objects, and the interface that it belongs
    /// on: a pod's `eth0`, a node's uplink.
    pub(crate) fn claimed(&self, address: IpAddr) -> Option<(PlaceId, String)> {
        let id = *self.claims.get(&address)?;
        let link = match self.place(id) {
            Place::Pod(_) => "eth0".to_owned(),
            Place::Node(_) => {
                let (_, link) = self.underlay.uplinks.iter().find(|(place, _)| *place == id)?;
                self.stack(id).ok()?.link_name(*link)
            }
        };
        Some((id, link))
    }

    /// The MTU of the interface that holds an address of a place.
    pub(crate) fn mtu_of(&self, place: &Place, address: IpAddr) -> Option<u32> {
        let stack = self.stack(self.id(place)?).ok()?;
        stack.link(stack.holder_of(address)?.link).map(|it| it.mtu)
    }

    /// The node and the interface by which a host between the nodes reaches a node's address.
    pub(crate) fn face_of(&self, address: IpAddr) -> Option<(PlaceId, IfIndex)> {
        self.underlay.uplinks.iter().copied().find(|(id, uplink)| {
            let Ok(stack) = self.stack(*id) else { return false };
            let Some(link) = stack.link(*uplink) else { return false };
            let faces = [Some(*uplink), link.master];
            stack.holder_of(address).is_some_and(|it| faces.contains(&Some(it.link)))
        })
    }

    /// What is at the other end of an interface.
    pub(crate) fn peer(&self, id: PlaceId, link: &Link) -> Peer {
        let Ok(stack) = self.stack(id) else { return Peer::NotCollected };
        match link.kind.as_str() {
            "veth" => self.veth_peer(id, stack, link),
            "" if !link.is_loopback() && stack.place.as_node().is_some() => Peer::Underlay,
            _ => Peer::Nowhere,
        }
    }

    fn veth_peer(&self, id: PlaceId, stack: &Stack, link: &Link) -> Peer {
        let Some(index) = link.lower else { return Peer::Nowhere };
        let Some(nsid) = link.lower_nsid else {
            // Without a namespace number the peer lies in the same namespace.
            return if stack.link(index).is_some() { Peer::Link(id, index) } else { Peer::Nowhere };
        };
        let is_node = stack.place.as_node().is_some();
        let elsewhere = if is_node && link.master.is_none() { Peer::Underlay } else { Peer::Nowhere };
        match &stack.namespaces {
            Observed::Known(map) => match map.get(&nsid).and_then(|place| self.id(place)) {
                Some(peer) if self.stack(peer).is_err() => Peer::NotCollected,
                Some(peer) => Peer::Link(peer, index),
                None => elsewhere,
            },
            Observed::Absent => elsewhere,
            Observed::NotCollected(_) => self.mutual_peer(id, stack, link, index).unwrap_or_else(|| {
                let may_be_uplink = is_node && link.master.is_none();
                if may_be_uplink { Peer::Underlay } else { Peer::NotCollected }
            }),
        }
    }

    /// The one interface of another place on the same node that names this one as its own peer.
    fn mutual_peer(&self, id: PlaceId, stack: &Stack, link: &Link, index: IfIndex) -> Option<Peer> {
        let mut mutual = self.stacks().filter(|(other, it)| {
            *other != id
                && it.node == stack.node
                && it.link(index).is_some_and(|peer| peer.kind == "veth" && peer.lower == Some(link.index))
        });
        let (other, _) = mutual.next()?;
        mutual.next().is_none().then_some(Peer::Link(other, index))
    }
}

fn read_stack(snapshot: &Snapshot, place: &Place) -> Result<Arc<Stack>, Reason> {
    let (node, facts) = match place {
        Place::Node(name) => match snapshot.nodes.get(name) {
            Some(Observed::Known(node)) => (name.clone(), &node.net),
            Some(Observed::NotCollected(reason)) => return Err(reason.clone()),
            Some(Observed::Absent) | None => return Err(Reason::SourceLacksIt),
        },
        Place::Pod(name) => match snapshot.pods.get(name) {
            Some(Observed::Known(pod)) => (pod.node.clone(), &pod.net),
            Some(Observed::NotCollected(reason)) => return Err(reason.clone()),
            Some(Observed::Absent) => {
                return Err(Reason::Failed("the pod has no network namespace".to_owned()));
            }
            None => return Err(Reason::SourceLacksIt),
        },
    };
    Ok(Arc::new(Stack::new(place.clone(), node, facts)))
}

fn claims(network: &Network, snapshot: &Snapshot) -> BTreeMap<IpAddr, PlaceId> {
    let mut claims = BTreeMap::new();
    for node in snapshot.cluster.nodes.known().into_iter().flatten() {
        let Some(id) = network.id(&Place::Node(node.name())) else { continue };
        claims.extend(node.internal_ips().map(|it| (it, id)));
    }
    for pod in snapshot.cluster.pods.known().into_iter().flatten() {
        if pod.spec.host_network || !pod.is_running() {
            continue;
        }
        let Some(id) = network.id(&Place::Pod(pod.name())) else { continue };
        claims.extend(pod.ips().into_iter().map(|it| (it, id)));
    }
    claims
}
