//! Names: does a place get an answer through its own resolver configuration?
//!
//! The question's packets are flows like any other; what is particular is who is asked (resolv.conf), and
//! that a cluster's DNS server asks others in its turn (Corefile, and the resolv.conf of its own pod).

use std::{collections::BTreeSet, net::IpAddr};

use hopwise_dns::{Corefile, ResolvConf, Upstream};
use hopwise_snapshot::{Element, FileContent, Observed, Place, PodObject, Snapshot};

use crate::{
    Network,
    packet::FlowProtocol,
    trace::{Assumption, Blocker, BlockerKind, Disposition, Flow, Recipient, Unknown},
    tracer::{State, Traces, follow},
    verify::Verified,
    walk::Mode,
};

/// Where every resolver looks.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of name servers.
const DNS: u16 = 53;

/// How a name is resolved: the flows that it takes, and how it ends.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The questions, in the order in which they are asked.
    pub questions: Vec<Traces>,
    /// Whether the name gets an answer.
    pub verified: Verified,
}

/// Follows the resolution of `name` at `from`.
pub fn resolve(network: &Network, snapshot: &Snapshot, from: &Place, name: &str) -> Resolution {
    let mut resolver = Resolver { network, snapshot, questions: Vec::new(), is_recording: true };
    let verified = resolver.resolve(from, name);
    Resolution { questions: resolver.questions, verified }
}

/// The same without the hops.
pub(crate) fn check(network: &Network, snapshot: &Snapshot, from: &Place, name: &str) -> Verified {
    Resolver { network, snapshot, questions: Vec::new(), is_recording: false }.resolve(from, name)
}

struct Resolver<'a> {
    network: &'a Network,
    snapshot: &'a Snapshot,
    questions: Vec<Traces>,
    is_recording: bool,
}

/// What a server is asked.
struct Question<'q> {
    /// The name as the program wrote it.
    name: &'q str,
    /// What the resolver makes of it, in the order in which it asks.
    candidates: &'q [String],
}

impl Resolver<'_> {
    fn resolve(&mut self, from: &Place, name: &str) -> Verified {
        let config = match self.resolv_conf(from) {
            Ok(config) => config,
            Err(unknown) => return *unknown,
        };
        if config.nameservers.is_empty() {
            return no_name_server(from);
        }
        let candidates = config.candidates(name);
        let mut first_failure: Option<Verified> = None;
        for server in config.used_nameservers() {
            let mut answer = self.ask(from, server, &Question { name, candidates: &candidates }, true);
            let failed = first_failure.get_or_insert_with(|| answer.clone());
            answer.visited.extend(failed.visited.iter().copied());
            answer.touches_underlay |= failed.touches_underlay;
            if answer.state != State::Broken {
                return answer;
            }
            failed.visited.extend(answer.visited);
        }
        first_failure.unwrap_or_else(|| no_name_server(from))
    }

    /// The resolver configuration of a place; an unread one makes the answer unknown.
    fn resolv_conf(&self, place: &Place) -> Result<ResolvConf, Box<Verified>> {
        let file = self.snapshot.files(place).and_then(|it| it.get(RESOLV_CONF));
        match file {
            Some(Observed::Known(file)) => Ok(ResolvConf::parse(content(&file.content))),
            Some(Observed::Absent) => Ok(ResolvConf::parse(b"")),
            Some(Observed::NotCollected(reason)) => Err(Box::new(unknown(
                Element::file(place, RESOLV_CONF),
                Unknown::NotCollected(reason.clone()),
            ))),
            None => {
                let reason = hopwise_snapshot::Reason::SourceLacksIt;
                Err(Box::new(unknown(Element::file(place, RESOLV_CONF), Unknown::NotCollected(reason))))
            }
        }
    }

    /// Asks one server for the first of the candidates that it knows.
    fn ask(&mut self, from: &Place, server: IpAddr, question: &Question<'_>, may_forward: bool) -> Verified {
        let flow = Flow::new(from.clone(), server, FlowProtocol::Udp(DNS));
        let mode = if self.is_recording { Mode::Recording } else { Mode::Plain };
        let traces = follow(self.network, &flow, mode);
        let mut verified = Verified::of(&traces);
        let answering: BTreeSet<Recipient> = traces
            .traces
            .iter()
            .filter_map(|it| match &it.disposition {
                Disposition::Delivered { by, .. } => Some(by.clone()),
                _ => None,
            })
            .collect();
        if self.is_recording {
            self.questions.push(traces);
        }
        if verified.state == State::Broken {
            return verified;
        }
        for server in answering {
            let answer = self.answer(from, &server, question, may_forward);
            verified.merge(answer);
        }
        verified
    }

    /// What a server that got the question answers.
    fn answer(
        &mut self,
        from: &Place,
        server: &Recipient,
        question: &Question<'_>,
        may_forward: bool,
    ) -> Verified {
        let candidates = question.candidates;
        let place = match server {
            // A name server outside is taken to know what is outside, and knows nothing of the cluster.
            Recipient::Outside(_) if self.is_of_cluster(question.name) => {
                return name_not_found(Element::file(from, RESOLV_CONF), Some(from.clone()), question.name);
            }
            Recipient::Outside(address) if !self.network.underlay.is_believed_outside(*address) => {
                let what = format!("whether the name server {address} answers");
                return unknown(Element::file(from, RESOLV_CONF), Unknown::NotModelled(what));
            }
            Recipient::Outside(_) => return Verified::kept(),
            Recipient::Place(place) => place,
        };
        let Some(corefile) = self.corefile_of(place) else {
            let what = "a name server that is not the cluster's".to_owned();
            return unknown(Element::socket(place, "udp", DNS), Unknown::NotModelled(what));
        };
        for name in candidates {
            let Some(block) = corefile.block_for(name, DNS) else { continue };
            let zones = block.kubernetes().into_iter().flat_map(|it| it.zones);
            let mut zones = zones.filter(|zone| is_below(name, zone));
            if zones.next().is_some() {
                if self.is_service(name) {
                    return Verified::kept();
                }
                continue;
            }
            if may_forward && let Some(forward) = block.forward().into_iter().find(|it| it.takes(name)) {
                return self.forward(place, &forward.upstreams, name);
            }
        }
        let element = Element::object("configmap", "kube-system", "coredns", Some("Corefile"));
        name_not_found(element, Some(place.clone()), question.name)
    }

    /// A DNS server asks its upstreams, one after the other (CoreDNS `plugin/forward`).
    fn forward(&mut self, place: &Place, upstreams: &[Upstream], name: &str) -> Verified {
        let mut servers = Vec::new();
        for upstream in upstreams {
            match upstream {
                Upstream::Server { address, .. } => servers.push(address.ip()),
                Upstream::File(_) => match self.resolv_conf(place) {
                    Ok(config) if config.nameservers.is_empty() => return no_name_server(place),
                    // The server uses all of them, not only the three of the C library.
                    Ok(config) => servers.extend(config.nameservers.iter().map(|it| it.address)),
                    Err(unknown) => return *unknown,
                },
                Upstream::NotUnderstood(text) => {
                    let element = Element::object("configmap", "kube-system", "coredns", Some("Corefile"));
                    return unknown(element, Unknown::NotModelled(format!("upstream {text}")));
                }
            }
        }
        let mut first_failure: Option<Verified> = None;
        for server in servers {
            let candidates = [name.to_owned()];
            let answer = self.ask(place, server, &Question { name, candidates: &candidates }, false);
            if answer.state != State::Broken {
                return answer;
            }
            let failed = first_failure.get_or_insert_with(|| answer.clone());
            failed.visited.extend(answer.visited);
        }
        first_failure.unwrap_or_else(|| no_name_server(place))
    }

    /// The Corefile that a place's DNS server runs with, if the place is one of the cluster's DNS pods.
    fn corefile_of(&self, place: &Place) -> Option<Corefile> {
        let pod: &PodObject = self.snapshot.cluster.pod(place.as_pod()?)?;
        let is_dns = pod.metadata.labels.get("k8s-app").is_some_and(|it| it == "kube-dns");
        let config = self.snapshot.cluster.config_map("kube-system", "coredns")?;
        let text = config.data.get("Corefile")?;
        is_dns.then(|| Corefile::parse(text.as_bytes()))
    }

    /// Is it a name of some Service's, `NAME.NAMESPACE.svc.ZONE`?
    fn is_service(&self, name: &str) -> bool {
        let mut labels = name.trim_end_matches('.').split('.');
        let (Some(service), Some(namespace), Some("svc")) = (labels.next(), labels.next(), labels.next())
        else {
            return false;
        };
        self.snapshot.cluster.service(namespace, service).is_some()
    }

    /// Is it a name that only the cluster's own servers know? `NAME.NAMESPACE.svc` is one before any domain is
    /// searched.
    fn is_of_cluster(&self, name: &str) -> bool {
        let corefile =
            self.snapshot.cluster.config_map("kube-system", "coredns").and_then(|it| it.data.get("Corefile"));
        let Some(corefile) = corefile.map(|it| Corefile::parse(it.as_bytes())) else { return false };
        let Some(block) = corefile.block_for(name, DNS) else { return false };
        let mut zones = block.kubernetes().into_iter().flat_map(|it| it.zones);
        zones.any(|zone| is_below(name, &zone)) || is_below(name, "svc")
    }
}

fn content(content: &FileContent) -> &[u8] {
    content.bytes()
}

/// Is `name` the zone's own or below it?
fn is_below(name: &str, zone: &str) -> bool {
    let (name, zone) = (name.trim_end_matches('.').to_lowercase(), zone.trim_end_matches('.').to_lowercase());
    zone.is_empty() || name == zone || name.ends_with(&format!(".{zone}"))
}

fn unknown(element: Element, reason: Unknown) -> Verified {
    let mut verified = Verified::kept();
    verified.state = State::Unknown;
    verified.disposition = Disposition::Unknown;
    verified.assumptions.insert(Assumption { element, reason, is_tried: false });
    verified
}

fn no_name_server(place: &Place) -> Verified {
    let path = RESOLV_CONF.to_owned();
    let element = Element::file(place, RESOLV_CONF);
    Verified::broken(Blocker {
        element,
        place: Some(place.clone()),
        kind: BlockerKind::NoNameServer { path },
    })
}

fn name_not_found(element: Element, place: Option<Place>, name: &str) -> Verified {
    let kind = BlockerKind::NameNotFound { name: name.to_owned() };
    Verified::broken(Blocker { element, place, kind })
}
