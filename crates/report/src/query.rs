//! A flow that a person asks for, found in a snapshot: which promises concern it, and which one flow it is.

use std::{collections::BTreeSet, net::IpAddr};

use hopwise_dataplane::{Check, Contract, Expectation, Flow, FlowProtocol, Promise, PromiseKind, Recipient};
use hopwise_snapshot::{Cluster, NodeName, Place, PodName, Protocol, Snapshot};

use crate::{
    Asked,
    endpoint::{Endpoint, EndpointError, Named, Transport},
    nearest::nearest,
};

/// A flow that was asked for, as a snapshot knows it.
#[derive(Clone, Debug)]
pub struct Query {
    /// The words of the person.
    pub asked: Asked,
    /// Who sends.
    pub from: Place,
    /// The promises that concern it. Where none does, the one flow that was asked for, as if it were promised.
    pub promises: Vec<Promise>,
    /// Does Kubernetes promise it?
    pub is_promised: bool,
    /// The one flow to trace.
    one: Result<Promise, QueryError>,
}

/// Why a flow that was asked for is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// One end is not understood.
    #[error(transparent)]
    Malformed(#[from] EndpointError),
    /// The snapshot knows no such thing.
    #[error("there is no {kind} `{name}` in {source_name}")]
    NoSuch {
        /// `pod`, `node` or `service`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The source of the snapshot.
        source_name: String,
        /// Names that look like it.
        nearest: Vec<String>,
    },
    /// Only a pod or a node sends.
    #[error(
        "`{text}` sends no packets that could be followed: expected pod/NS/NAME or node/NAME, without a port"
    )]
    NotASender {
        /// What was asked for.
        text: String,
    },
    /// A Service has more than one port.
    #[error("`{text}` has several ports: expected one of {ports}")]
    SeveralPorts {
        /// What was asked for.
        text: String,
        /// The ports.
        ports: String,
    },
    /// Its address is not known.
    #[error("`{text}` has no address: {because}")]
    NoAddress {
        /// What was asked for.
        text: String,
        /// Why.
        because: &'static str,
    },
    /// Connecting by a name depends on the resolver's answer, which is not modelled.
    #[error("`{text}` is a name with a port: a name is followed to its answer alone")]
    NameWithPort {
        /// What was asked for.
        text: String,
    },
}

impl QueryError {
    /// What to do about it.
    pub fn next(&self) -> Option<String> {
        match self {
            Self::NoSuch { nearest, .. } if nearest.is_empty() => None,
            Self::NoSuch { nearest, .. } => Some(format!("did you mean {}?", nearest.join(" or "))),
            Self::NameWithPort { text } => {
                let name = text.split([':', '/']).next().unwrap_or(text);
                Some(format!(
                    "ask for `{name}`, then for ip/ADDRESS:PORT with the address that it stands for"
                ))
            }
            Self::Malformed(_)
            | Self::NotASender { .. }
            | Self::SeveralPorts { .. }
            | Self::NoAddress { .. } => None,
        }
    }
}

impl Query {
    /// Finds a flow by its two ends. Where both ends have addresses of both families, IPv6 is taken only on request.
    pub fn new(
        snapshot: &Snapshot,
        contract: &Contract,
        asked: Asked,
        wants_ipv6: bool,
    ) -> Result<Self, QueryError> {
        let ends = Ends {
            snapshot,
            from: sender(snapshot, &asked.from)?,
            to: asked.to.parse()?,
            to_text: asked.to.clone(),
            wants_ipv6,
        };
        ends.check_target()?;
        let concerns = |it: &&Promise| it.from == ends.from && ends.concerns(it);
        let promises: Vec<Promise> = contract.promises.iter().filter(concerns).cloned().collect();
        let is_promised = !promises.is_empty();
        let one = ends.own_promise().map(|own| {
            let same = promises.iter().find(|it| ends.is_same(it, &own));
            same.cloned().unwrap_or(own)
        });
        let promises = if is_promised { promises } else { vec![one.clone()?] };
        Ok(Self { asked, from: ends.from, promises, is_promised, one })
    }

    /// The one flow to trace, as it is promised, or as if it were. Fails where a Service has several ports, and none
    /// was asked for.
    pub fn one(&self) -> Result<&Promise, QueryError> {
        self.one.as_ref().map_err(Clone::clone)
    }
}

/// Who sends.
fn sender(snapshot: &Snapshot, text: &str) -> Result<Place, QueryError> {
    let end: Endpoint = text.parse()?;
    let refused = || QueryError::NotASender { text: text.to_owned() };
    if end.port.is_some() || end.protocol.is_some() {
        return Err(refused());
    }
    match &end.named {
        Named::Pod(name) => {
            check_pod(snapshot, name)?;
            Ok(place_of_pod(snapshot, name))
        }
        Named::Node(name) => {
            check_node(snapshot, name)?;
            Ok(Place::Node(name.clone()))
        }
        Named::Address(address) => place_of_address(&snapshot.cluster, *address).ok_or_else(refused),
        Named::Service { .. } | Named::Name(_) => Err(refused()),
    }
}

/// A pod, or its node where it has no network of its own.
fn place_of_pod(snapshot: &Snapshot, name: &PodName) -> Place {
    let pod = snapshot.cluster.pod(name);
    let node = pod.filter(|it| it.spec.host_network).and_then(|it| it.spec.node_name.clone());
    node.map_or_else(|| Place::Pod(name.clone()), |it| Place::Node(NodeName(it)))
}

fn place_of_address(cluster: &Cluster, address: IpAddr) -> Option<Place> {
    let nodes = cluster.nodes.known().into_iter().flatten();
    let node = nodes.map(|it| (it.name(), it)).find(|(_, it)| it.internal_ips().any(|it| it == address));
    if let Some((name, _)) = node {
        return Some(Place::Node(name));
    }
    let mut pods = cluster.pods.known().into_iter().flatten().filter(|it| it.is_running());
    pods.find(|it| it.ips().contains(&address)).map(|it| Place::Pod(it.name()))
}

fn check_pod(snapshot: &Snapshot, name: &PodName) -> Result<(), QueryError> {
    if snapshot.cluster.pod(name).is_some() || snapshot.pods.contains_key(name) {
        return Ok(());
    }
    let mut names: BTreeSet<String> = snapshot.pods.keys().map(ToString::to_string).collect();
    names.extend(snapshot.cluster.pods.known().into_iter().flatten().map(|it| it.name().to_string()));
    Err(no_such(snapshot, "pod", &name.to_string(), &names))
}

fn check_node(snapshot: &Snapshot, name: &NodeName) -> Result<(), QueryError> {
    if snapshot.cluster.node(name).is_some() || snapshot.nodes.contains_key(name) {
        return Ok(());
    }
    let mut names: BTreeSet<String> = snapshot.nodes.keys().map(ToString::to_string).collect();
    names.extend(snapshot.cluster.nodes.known().into_iter().flatten().map(|it| it.name().to_string()));
    Err(no_such(snapshot, "node", name.as_str(), &names))
}

fn no_such(snapshot: &Snapshot, kind: &'static str, name: &str, names: &BTreeSet<String>) -> QueryError {
    let word = if kind == "service" { "svc" } else { kind };
    // Few names are shown whole: whoever asks for `w9` learns that there are cp, w1 and w2.
    let likely: Vec<&str> = match nearest(name, names.iter().map(String::as_str)) {
        none if none.is_empty() && names.len() <= 5 => names.iter().map(String::as_str).collect(),
        some => some,
    };
    QueryError::NoSuch {
        kind,
        name: name.to_owned(),
        source_name: snapshot.source.clone(),
        nearest: likely.into_iter().map(|it| format!("{word}/{it}")).collect(),
    }
}

/// The two ends, while promises for them are looked for.
struct Ends<'a> {
    snapshot: &'a Snapshot,
    from: Place,
    to: Endpoint,
    to_text: String,
    wants_ipv6: bool,
}

impl Ends<'_> {
    fn check_target(&self) -> Result<(), QueryError> {
        let cluster = &self.snapshot.cluster;
        match &self.to.named {
            Named::Pod(name) => check_pod(self.snapshot, name),
            Named::Node(name) => check_node(self.snapshot, name),
            Named::Service { namespace, name } if cluster.service(namespace, name).is_none() => {
                let services = cluster.services.known().into_iter().flatten();
                let names: BTreeSet<String> = services.map(hopwise_snapshot::Service::full_name).collect();
                Err(no_such(self.snapshot, "service", &format!("{namespace}/{name}"), &names))
            }
            // A word alone is a node or a pod more often than a name.
            Named::Name(name) if !name.contains('.') => {
                let names: BTreeSet<String> = self.snapshot.places().map(|it| it.to_string()).collect();
                let same = names.iter().filter(|it| it.rsplit('/').next() == Some(name));
                let nearest: Vec<String> = same.cloned().collect();
                if nearest.is_empty() {
                    return Ok(());
                }
                let source_name = self.snapshot.source.clone();
                Err(QueryError::NoSuch { kind: "DNS name", name: name.clone(), source_name, nearest })
            }
            Named::Name(_) if self.to.port.is_some() => {
                Err(QueryError::NameWithPort { text: self.to_text.clone() })
            }
            Named::Service { .. } | Named::Address(_) | Named::Name(_) => Ok(()),
        }
    }

    /// Is the promise about what was asked for?
    fn concerns(&self, promise: &Promise) -> bool {
        let is_it = match (&self.to.named, &promise.check) {
            (Named::Name(name), Check::Name { name: promised }) => {
                name.trim_end_matches('.').eq_ignore_ascii_case(promised)
            }
            (Named::Address(address), Check::Flow { flow, .. }) => flow.to == *address,
            (Named::Node(name), Check::Flow { flow, .. }) => {
                let node = self.snapshot.cluster.node(name);
                node.is_some_and(|it| it.internal_ips().any(|it| it == flow.to))
            }
            (named, Check::Flow { .. }) => {
                promise.to.parse::<Endpoint>().is_ok_and(|it: Endpoint| it.named == *named)
            }
            (_, Check::Name { .. } | Check::Duty(_)) => false,
        };
        let Check::Flow { flow, .. } = &promise.check else { return is_it };
        let has_port = self.to.port.is_none_or(|it| flow.protocol.port() == Some(it));
        let has_protocol = match self.to.protocol {
            None => true,
            Some(Transport::Tcp) => matches!(flow.protocol, FlowProtocol::Tcp(_)),
            Some(Transport::Udp) => matches!(flow.protocol, FlowProtocol::Udp(_)),
            Some(Transport::Icmp) => flow.protocol == FlowProtocol::Icmp,
        };
        is_it && has_port && has_protocol && (!self.wants_ipv6 || flow.is_ipv6())
    }

    /// Is it the same flow, whatever is expected of it?
    fn is_same(&self, promise: &Promise, own: &Promise) -> bool {
        match (&promise.check, &own.check) {
            (Check::Flow { flow, .. }, Check::Flow { flow: own, .. }) => flow == own,
            (Check::Name { .. }, Check::Name { .. }) => self.concerns(promise),
            _ => false,
        }
    }

    /// What was asked for, as if it were promised.
    fn own_promise(&self) -> Result<Promise, QueryError> {
        if let Named::Name(name) = &self.to.named {
            return Ok(Promise {
                from: self.from.clone(),
                to: name.clone(),
                kind: PromiseKind::Name,
                check: Check::Name { name: name.clone() },
            });
        }
        let (address, recipients) = self.address()?;
        let protocol = self.protocol()?;
        let kind = match (&self.to.named, &self.from) {
            (Named::Service { .. }, _) => PromiseKind::Service,
            (Named::Pod(_), Place::Node(_)) => PromiseKind::NodeToPod,
            (Named::Pod(_), Place::Pod(_)) => PromiseKind::PodToPod,
            _ => PromiseKind::Outside,
        };
        let word = match protocol {
            FlowProtocol::Tcp(_) => Some(Transport::Tcp),
            FlowProtocol::Udp(_) => Some(Transport::Udp),
            FlowProtocol::Icmp => None,
        };
        let to = Endpoint { named: self.to.named.clone(), port: protocol.port(), protocol: word };
        let flow = Flow::new(self.from.clone(), address, protocol);
        let expectation = Expectation { recipients, ..Expectation::anyone() };
        Ok(Promise {
            from: self.from.clone(),
            to: to.to_string(),
            kind,
            check: Check::Flow { flow, expectation },
        })
    }

    /// The address to send to, and who must take what arrives there.
    fn address(&self) -> Result<(IpAddr, BTreeSet<Recipient>), QueryError> {
        let cluster = &self.snapshot.cluster;
        let (all, recipient): (Vec<IpAddr>, Option<Place>) = match &self.to.named {
            Named::Address(address) => return Ok((*address, BTreeSet::new())),
            Named::Pod(name) => {
                let place = place_of_pod(self.snapshot, name);
                (cluster.pod(name).map(hopwise_snapshot::PodObject::ips).unwrap_or_default(), Some(place))
            }
            Named::Node(name) => {
                let all = cluster.node(name).map(|it| it.internal_ips().collect());
                (all.unwrap_or_default(), Some(Place::Node(name.clone())))
            }
            Named::Service { namespace, name } => {
                let service = cluster.service(namespace, name);
                (service.map(hopwise_snapshot::Service::cluster_ips).unwrap_or_default(), None)
            }
            Named::Name(_) => (Vec::new(), None),
        };
        let wanted = all.iter().find(|it| it.is_ipv6() == self.wants_ipv6);
        let because = match &self.to.named {
            Named::Service { .. } => "it is headless, or the API server gave it none yet",
            _ => "the API server says none",
        };
        let none = || QueryError::NoAddress { text: self.to_text.clone(), because };
        let address = *wanted.or_else(|| all.first()).ok_or_else(none)?;
        Ok((address, recipient.map(Recipient::Place).into_iter().collect()))
    }

    fn protocol(&self) -> Result<FlowProtocol, QueryError> {
        if let Some(port) = self.to.port {
            return Ok(match self.to.protocol.or_else(|| self.protocol_of_port(port)) {
                Some(Transport::Udp) => FlowProtocol::Udp(port),
                _ => FlowProtocol::Tcp(port),
            });
        }
        let Named::Service { namespace, name } = &self.to.named else { return Ok(FlowProtocol::Icmp) };
        if self.to.protocol == Some(Transport::Icmp) {
            return Ok(FlowProtocol::Icmp);
        }
        let ports = self.snapshot.cluster.service(namespace, name).map(|it| it.spec.ports.as_slice());
        match ports.unwrap_or_default() {
            [one] => FlowProtocol::of_port(one.protocol, one.port).ok_or_else(|| self.several_ports(&[])),
            ports => Err(self.several_ports(ports)),
        }
    }

    /// UDP, where a Service has the port for UDP alone.
    fn protocol_of_port(&self, port: u16) -> Option<Transport> {
        let Named::Service { namespace, name } = &self.to.named else { return None };
        let service = self.snapshot.cluster.service(namespace, name)?;
        let has = |protocol| service.spec.ports.iter().any(|it| it.port == port && it.protocol == protocol);
        (has(Protocol::Udp) && !has(Protocol::Tcp)).then_some(Transport::Udp)
    }

    fn several_ports(&self, ports: &[hopwise_snapshot::ServicePort]) -> QueryError {
        let ports: Vec<String> = ports.iter().map(|it| format!(":{}/{}", it.port, it.protocol)).collect();
        QueryError::SeveralPorts { text: self.to_text.clone(), ports: ports.join(", ") }
    }
}
