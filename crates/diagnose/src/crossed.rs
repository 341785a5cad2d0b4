//! What packets showed, told for a person; and where they and the model differ.

use hopwise_dataplane::{
    BlockerKind, Expectation, Flow, FlowProtocol, Network, Recipient, Size, State, losses, trace,
};
use hopwise_snapshot::{
    Answers, Crossing, Element, Message, Observation, Packet, Place, Question, Seen, Snapshot,
};

use crate::{
    cause::{Evidence, Suspect, Suspects},
    causes,
};

/// What was seen of the packets of all directions that lose something by the doing of one part of the underlay: what was
/// observed, and what should have been.
pub(crate) fn of_element(snapshot: &Snapshot, element: &Element) -> Vec<(String, String)> {
    let losses = losses(snapshot);
    let mut all = Vec::new();
    for loss in losses.iter().filter(|it| it.element == *element) {
        let last = snapshot.observations.iter().rev().find_map(|it| match it {
            Observation::Crossed { crossing, seen, asked } if is_of(crossing, loss) => {
                Some((crossing, seen, asked))
            }
            _ => None,
        });
        let Some((crossing, seen, asked)) = last else { continue };
        let mut parts: Vec<String> =
            crossing.packets.iter().zip(seen).map(|(packet, it)| counted(packet, *it)).collect();
        if asked.n_left > 0 {
            parts.push(format!("questions for its Ethernet address {}", of(*asked)));
        }
        let way = format!("{} → {}", crossing.source, crossing.destination);
        all.push((format!("{way} arrived: {}", parts.join(", ")), "what leaves arrives".to_owned()));
    }
    all
}

fn is_of(crossing: &Crossing, loss: &hopwise_dataplane::Loss) -> bool {
    crossing.from == loss.from && crossing.to == loss.to && crossing.destination.is_ipv6() == loss.is_ipv6
}

fn counted(packet: &Packet, seen: Seen) -> String {
    let what = match packet {
        Packet::Vxlan { port, size: None, .. } => format!("VXLAN on UDP {port}"),
        Packet::Vxlan { size: Some(size), .. } => format!("VXLAN of {size} bytes"),
        Packet::Udp { port } => format!("other UDP ({port})"),
        Packet::Echo => "ICMP echo".to_owned(),
        Packet::Tcp { port } => format!("TCP {port}"),
    };
    format!("{what} {}", of(seen))
}

fn of(seen: Seen) -> String {
    format!("{} of {}", seen.n_arrived, seen.n_left)
}

/// The flow that a question is.
pub fn flow_of(question: &Question) -> Flow {
    let protocol = match &question.message {
        Message::Echo { .. } => FlowProtocol::Icmp,
        Message::Tcp { port } => FlowProtocol::Tcp(*port),
        Message::Udp { port } | Message::Name { port, .. } => FlowProtocol::Udp(*port),
    };
    let mut flow = Flow::new(question.from.clone(), question.to, protocol);
    if let Message::Echo { size: Some(size) } = question.message {
        flow.size = Size::Bytes(size);
    }
    flow
}

/// The question that a flow is, the other way round; none for packets as large as the sender's interface takes, which a
/// question has to number.
pub fn question_of(flow: &Flow) -> Option<Question> {
    let message = match (flow.protocol, flow.size) {
        (FlowProtocol::Icmp, Size::Small) => Message::Echo { size: None },
        (FlowProtocol::Icmp, Size::Bytes(size)) => Message::Echo { size: Some(size) },
        (FlowProtocol::Icmp, Size::Full) => return None,
        (FlowProtocol::Tcp(port), _) => Message::Tcp { port },
        (FlowProtocol::Udp(port), _) => Message::Udp { port },
    };
    Some(Question { from: flow.from.clone(), to: flow.to, message })
}

/// What the model says of a flow to anyone at all.
pub(crate) fn modelled(network: &Network, flow: &Flow) -> State {
    trace(network, flow).judged(&Expectation::anyone()).state()
}

/// A finding for each question to which packets and model give different answers: then either something decides that was
/// not read, or the model is wrong. Neither is passed over.
pub(crate) fn disagreements(snapshot: &Snapshot, network: &Network) -> Vec<Suspect> {
    let mut suspects = Suspects::default();
    for observation in &snapshot.observations {
        let Observation::Asked { question, answers } = observation else { continue };
        let flow = flow_of(question);
        let (state, is_answered) = (modelled(network, &flow), answers.n_answered > 0);
        let says_nothing = match question.message {
            // Who gets a UDP packet need not answer.
            Message::Udp { .. } => answers.is_silence(),
            // A name server that knows no such name was reached, and a host on which none listens refuses as well.
            Message::Name { .. } => !is_answered && answers.n_refused > 0,
            // Packets that try a path do not heed the sender's own routes.
            Message::Echo { size: Some(_) } => is_answered && is_too_big_at_home(network, &flow),
            Message::Echo { size: None } | Message::Tcp { .. } => false,
        };
        if says_nothing {
            continue;
        }
        let said = match (state, is_answered) {
            (State::Kept, false) => "by all state that was read it arrives",
            (State::Broken, true) => "by the state that was read it does not arrive",
            _ => continue,
        };
        let at = if is_answered { question.from.clone() } else { decided_at(network, &flow, &question.from) };
        suspects
            .report(causes::program_decides(), Element::place(&at))
            .says(format!("Packets and state disagree: {flow} got {}, and {said}.", answered(*answers)))
            .because([Evidence {
                element: Element::place(&question.from),
                observed: answered(*answers),
                expected: said.to_owned(),
                source: format!("{} sent to {}", protocol(question), question.to),
            }]);
    }
    suspects.into_list()
}

/// Is it the sender itself that would not send so much?
fn is_too_big_at_home(network: &Network, flow: &Flow) -> bool {
    let traces = trace(network, flow);
    traces
        .blockers()
        .into_iter()
        .any(|it| matches!(it.kind, BlockerKind::TooBig { .. }) && it.place.as_ref() == Some(&flow.from))
}

/// Who got the packet last, by the model.
fn decided_at(network: &Network, flow: &Flow, from: &Place) -> Place {
    let traces = trace(network, flow);
    match &traces.representative().disposition {
        hopwise_dataplane::Disposition::Delivered { by: Recipient::Place(place), .. } => place.clone(),
        _ => from.clone(),
    }
}

fn answered(answers: Answers) -> String {
    let refused = match answers.n_refused {
        0 => String::new(),
        n => format!(" and {n} refusals"),
    };
    format!("{} answers to {} packets{refused}", answers.n_answered, answers.n_sent)
}

fn protocol(question: &Question) -> &'static str {
    match &question.message {
        Message::Udp { .. } => "UDP packets",
        Message::Name { .. } => "questions for a name",
        Message::Echo { .. } => "echo requests",
        Message::Tcp { .. } => "the beginning of a TCP connection",
    }
}
