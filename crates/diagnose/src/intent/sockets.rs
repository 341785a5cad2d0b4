//! The ports that pods declare: somebody must listen there.

use hopwise_change::Change;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, Place, Protocol, SocketProtocol, SocketState};

use super::{Aspect, Basis, Deviation, Intent, pods};

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, pod) in pods(intent.snapshot) {
        let (Some(object), Some(sockets)) = (intent.snapshot.cluster.pod(name), pod.net.sockets.known())
        else {
            continue;
        };
        let place = Place::Pod(name.clone());
        for port in object.spec.containers.iter().flat_map(|it| &it.ports) {
            let (protocol, word) = match port.protocol {
                Protocol::Tcp => (SocketProtocol::Tcp, "tcp"),
                Protocol::Udp => (SocketProtocol::Udp, "udp"),
                Protocol::Sctp => continue,
            };
            let on_port = |it: &&hopwise_snapshot::Socket| {
                it.protocol == protocol
                    && it.port == port.container_port
                    && it.state != SocketState::Connected
            };
            let mut bound = sockets.iter().filter(on_port);
            if bound.clone().any(|it| !it.address.is_loopback()) {
                continue;
            }
            let observed = match bound.next() {
                Some(it) => format!("listens on {} alone", it.address),
                None => "nobody listens".to_owned(),
            };
            let change = Change::SocketOpened {
                place: place.clone(),
                protocol: word.to_owned(),
                port: port.container_port,
            };
            let told =
                format!("see to the program of {name} that should listen on {word} {}", port.container_port);
            found.push(Deviation {
                element: Element::socket(&place, word, port.container_port),
                place: place.clone(),
                aspect: Aspect::Socket,
                observed,
                expected: format!("a listener on {word} {}", port.container_port),
                basis: Basis::Api,
                source: "ss -lntu".to_owned(),
                repair: Repair::one(Action {
                    run: vec![told],
                    inverse: Vec::new(),
                    ..Action::change(change, intent.snapshot, Risk::External, "ss -lntu")
                }),
            });
        }
    }
}
