//! Messages of any content are read back, and bytes of any content do no harm.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, io::Write, net::IpAddr, time::Duration};

use flate2::{Compression, write::ZlibEncoder};
use hopwise_snapshot::{
    Answers, Crossing, Mac, Message, NetNs, Node, NodeName, Observed, Packet, Place, Pod, PodName, Question,
    Reason,
};
use hopwise_wire::{
    Arrived, Asked, Bounds, Departed, End, Errand, FROM_A_CLIENT, FROM_A_NODE, HEADER, PodIdentity, Refusal,
    Reply, Request, Sizes, Told, Welcome, WireError, body_length, document, frame,
};
use proptest::{collection::vec, prelude::*};

fn place() -> impl Strategy<Value = Place> {
    let name = "[a-z0-9.-]{1,12}";
    prop_oneof![
        name.prop_map(|it| Place::node(&it)),
        (name, name).prop_map(|(namespace, name)| Place::pod(&namespace, &name)),
    ]
}

fn pod_name() -> impl Strategy<Value = PodName> {
    ("[a-z0-9-]{1,12}", "[a-z0-9.-]{1,12}").prop_map(|(namespace, name)| PodName::new(namespace, name))
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        (any::<u16>(), any::<u32>(), any::<[u8; 6]>(), any::<Option<u32>>())
            .prop_map(|(port, vni, mac, size)| Packet::Vxlan { port, vni, station: Mac(mac), size }),
        any::<u16>().prop_map(|port| Packet::Udp { port }),
        Just(Packet::Echo),
        any::<u16>().prop_map(|port| Packet::Tcp { port }),
    ]
}

fn crossing() -> impl Strategy<Value = Crossing> {
    (".{0,9}", any::<IpAddr>(), ".{0,9}", any::<IpAddr>(), vec(packet(), 0..4)).prop_map(
        |(from, source, to, destination, packets)| Crossing {
            from: NodeName(from),
            source,
            to: NodeName(to),
            destination,
            packets,
        },
    )
}

fn question() -> impl Strategy<Value = Question> {
    let message = prop_oneof![
        any::<Option<u32>>().prop_map(|size| Message::Echo { size }),
        any::<u16>().prop_map(|port| Message::Tcp { port }),
        (".{0,30}", any::<u16>()).prop_map(|(name, port)| Message::Name { name, port }),
    ];
    (place(), any::<IpAddr>(), message).prop_map(|(from, to, message)| Question { from, to, message })
}

fn departed() -> impl Strategy<Value = Departed> {
    let packet = any::<(u16, u16)>();
    (vec(packet, 0..9), vec((any::<u16>(), packet), 0..9), any::<u32>()).prop_map(
        |(packets, ports, n_asked)| Departed {
            packets: packets.into_iter().collect(),
            ports: ports.into_iter().collect(),
            n_asked,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let pods = vec((pod_name(), ".{0,40}"), 0..4);
    let pods = pods.prop_map(|all| all.into_iter().map(|(name, uid)| PodIdentity { name, uid }).collect());
    let time = any::<u32>().prop_map(|it| Duration::from_millis(it.into()));
    prop_oneof![
        (".{0,20}", pods).prop_map(|(node, pods)| Request::Begin { node: NodeName(node), pods }),
        (time.clone(), any::<u64>())
            .prop_map(|(namespace, connections)| Request::Collect(Bounds { namespace, connections })),
        vec(question(), 0..4).prop_map(Request::Ask),
        (crossing(), any::<u64>()).prop_map(|(crossing, probe)| Request::Send { crossing, probe }),
        (crossing(), any::<u64>()).prop_map(|(crossing, probe)| Request::Watch { crossing, probe }),
        (any::<u64>(), departed()).prop_map(|(watch, departed)| Request::Expect { watch, departed }),
        (place(), vec(".{0,20}", 0..4), ".{0,40}", time).prop_map(|(place, arguments, input, time)| {
            Request::Run(Errand { place, arguments, input, time })
        }),
        (place(), ".{0,20}", "(.|\n){0,60}").prop_map(|(place, path, content)| Request::WriteFile {
            place,
            path,
            content
        }),
        (place(), ".{0,20}").prop_map(|(place, path)| Request::RemoveFile { place, path }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        (place(), ".{0,20}").prop_map(|(place, why)| Refusal::NoPlace { place, why }),
        ".{0,20}".prop_map(|program| Refusal::ProgramMissing { program }),
        any::<u32>().prop_map(|it| Refusal::TimedOut { time: Duration::from_millis(it.into()) }),
        ".{0,20}".prop_map(Refusal::NotAllowed),
        vec(".{0,20}", 0..4).prop_map(Refusal::Failed),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let node = (any::<bool>(), ".{0,20}").prop_map(|(is_known, text)| {
        let kernel = Observed::Known(text.clone());
        let facts = if is_known { Observed::Known(Node { kernel, ..Node::default() }) } else { failed(text) };
        Reply::Node(Box::new(facts))
    });
    let pod = (pod_name(), ".{0,20}").prop_map(|(name, node)| {
        let node = NodeName(node);
        let (net, files, processes) = (NetNs::default(), BTreeMap::new(), Observed::Absent);
        Reply::Pod(name, Box::new(Observed::Known(Pod { node, net, files, processes })))
    });
    let answers = any::<(u32, u32, u32)>();
    let answers =
        answers.prop_map(|(n_sent, n_answered, n_refused)| Answers { n_sent, n_answered, n_refused });
    let answers = prop_oneof![answers.prop_map(Ok), refusal().prop_map(Err)];
    prop_oneof![
        (place(), any::<u32>(), any::<u32>()).prop_map(|(place, n_done, n_places)| Reply::Progress {
            place,
            n_done,
            n_places
        }),
        node,
        pod,
        Just(Reply::Watching),
        (".{0,9}", any::<u32>()).prop_map(|(program, user)| Reply::Welcome(Welcome { program, user })),
        vec(answers, 0..4).prop_map(Reply::Answers),
        departed().prop_map(Reply::Departed),
        (vec(any::<(u16, u16)>(), 0..9), vec(any::<u16>(), 0..9), any::<u32>()).prop_map(
            |(packets, ports, n_asked)| Reply::Arrived(Arrived {
                packets: packets.into_iter().collect(),
                ports: ports.into_iter().collect(),
                n_asked,
            })
        ),
        (any::<i32>(), "(.|\n){0,60}", ".{0,20}").prop_map(|(code, output, complaint)| Reply::Ended(End {
            code,
            output,
            complaint
        })),
        Just(Reply::Done),
        refusal().prop_map(Reply::Refused),
    ]
}

fn failed<T>(text: String) -> Observed<T> {
    Observed::NotCollected(Reason::Failed(text))
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8], sizes: &Sizes) -> Result<T, WireError> {
    let (header, body) = bytes.split_first_chunk::<HEADER>().unwrap();
    assert_eq!(body_length(*header, sizes)? as usize, body.len());
    document(body, sizes)
}

proptest! {
    #[test]
    fn requests_are_read_back(id: u64, request in request()) {
        let asked = Asked { id, request };
        let bytes = frame(&asked, &FROM_A_CLIENT).unwrap();
        prop_assert_eq!(read::<Asked>(&bytes, &FROM_A_CLIENT).unwrap(), asked);
    }

    #[test]
    fn replies_are_read_back(id: u64, reply in reply()) {
        let told = Told { id, reply };
        let bytes = frame(&told, &FROM_A_NODE).unwrap();
        prop_assert_eq!(read::<Told>(&bytes, &FROM_A_NODE).unwrap(), told);
    }

    #[test]
    fn bytes_of_any_kind_are_no_message_and_do_no_harm(body in vec(any::<u8>(), 0..200)) {
        prop_assert!(document::<Asked>(&body, &FROM_A_CLIENT).is_err());
        prop_assert!(document::<Told>(&body, &FROM_A_NODE).is_err());
    }

    #[test]
    fn texts_of_any_kind_are_no_message_and_do_no_harm(text in "[\\[\\]{}\",:0-9a-z\\\\]{0,80}") {
        prop_assert!(document::<Asked>(&compressed(text.as_bytes()), &FROM_A_CLIENT).is_err());
    }

    #[test]
    fn a_message_with_bytes_changed_is_another_one_or_an_error(
        request in request(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut bytes = frame(&Asked { id: 1, request }, &FROM_A_CLIENT).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (header, body) = bytes.split_first_chunk::<HEADER>().unwrap();
        let _ = (body_length(*header, &FROM_A_CLIENT), document::<Asked>(body, &FROM_A_CLIENT));
    }

    #[test]
    fn a_message_cut_anywhere_is_refused(reply in reply(), at: prop::sample::Index) {
        let bytes = frame(&Told { id: 1, reply }, &FROM_A_NODE).unwrap();
        let body = &bytes[HEADER..];
        // The last four bytes are the checksum, which tells only of what was decoded whole.
        let end = at.index(body.len() - 4);
        prop_assert!(document::<Told>(&body[..end], &FROM_A_NODE).is_err());
    }
}

fn compressed(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_anything_is_kept() {
    let error = body_length(u32::MAX.to_be_bytes(), &FROM_A_NODE).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a message of 4294967295 bytes is larger than the 67108864 that are allowed"
    );
    assert_eq!(body_length(7u32.to_be_bytes(), &FROM_A_NODE).unwrap(), 7);
}

#[test]
fn what_swells_up_when_it_is_decoded_is_cut_off() {
    let sizes = Sizes { body: 1 << 20, document: 1 << 20 };
    let bomb = compressed(&vec![b' '; 16 << 20]);
    assert!(bomb.len() < 100_000);
    let error = document::<Asked>(&bomb, &sizes).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { limit: 1_048_576, .. }), "{error}");
}

#[test]
fn what_nests_too_deep_is_refused() {
    let text = format!("{{\"id\":1,\"request\":{}", "[".repeat(1_000_000));
    assert!(matches!(
        document::<Asked>(&compressed(text.as_bytes()), &FROM_A_CLIENT),
        Err(WireError::NotUnderstood(_))
    ));
}

#[test]
fn a_message_of_ones_own_that_is_too_large_is_not_sent() {
    let request = Request::WriteFile {
        place: Place::node("w1"),
        path: "/etc/hosts".to_owned(),
        content: "x".repeat(2000),
    };
    let sizes = Sizes { body: 1000, document: 1000 };
    let error = frame(&Asked { id: 1, request }, &sizes).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { .. }), "{error}");
}
