//! What snapshots are read from.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use hopwise_collect::{
    kubectl::Objects,
    redact as cut,
    samples::{bridge, ip, text as tools},
};
use hopwise_snapshot::{Cluster, Snapshot, facts, hop as format};

use crate::text;

/// A `.hop` file: read or refused. What is read is written and read back as it was.
pub fn hop(data: &[u8]) {
    if let Ok(snapshot) = format::read(data) {
        survives(&snapshot);
    }
}

/// The same, with the input as the document inside of the compressed part.
pub fn hop_document(data: &[u8]) {
    let mut bytes = format!("hopwise-snapshot {}\n", format::FORMAT).into_bytes();
    let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
    encoder
        .write_all(data)
        .and_then(|()| encoder.finish().map(drop))
        .expect("writing to memory does not fail");
    if let Ok(snapshot) = format::read(&bytes) {
        survives(&snapshot);
        let named = facts::facts(&snapshot);
        facts::chains(&snapshot);
        for element in named.keys().take(50) {
            facts::text(&snapshot, element);
        }
    }
}

fn survives(snapshot: &Snapshot) {
    let written = format::write(snapshot);
    let read = format::read(&written).expect("what was written is read");
    assert_eq!(read, *snapshot);
    assert_eq!(format::write(&read), written);
}

/// What `kubectl get -o json` prints: objects, or an error that names the place. Objects survive their own document.
pub fn kubectl(data: &[u8]) {
    let mut objects = Objects::default();
    match objects.add("objects.json", data) {
        Ok(()) => {
            let document = serde_json::to_vec(&objects.cluster).expect("objects have only string keys");
            let read: Cluster = serde_json::from_slice(&document).expect("what was written is read");
            assert_eq!(read, objects.cluster);
        }
        Err(error) => assert!(error.to_string().contains("objects.json"), "{error}"),
    }
}

/// What tools print, as bundles hold it: each reader takes or refuses it, and names the file when it refuses.
pub fn samples(data: &[u8]) {
    let text = text(data);
    let links = ip::links("ip-addr.json", &text);
    let known = links.as_deref().unwrap_or_default();
    let errors = [
        links.as_ref().err().map(ToString::to_string),
        ip::addresses("ip-addr.json", &text).err().map(|it| it.to_string()),
        ip::neighbours("ip-neigh.json", &text, known).err().map(|it| it.to_string()),
        bridge::ports("bridge-link.json", &text).err().map(|it| it.to_string()),
        bridge::fdb("bridge-fdb.json", &text, known).err().map(|it| it.to_string()),
        tools::sysctls("sysctl.txt", &text).err().map(|it| it.to_string()),
        tools::sockets("ss.txt", &text, known).err().map(|it| it.to_string()),
        tools::conntrack_statistics("conntrack-stat.txt", &text).err().map(|it| it.to_string()),
        tools::connections("conntrack.txt", &text).err().map(|it| it.to_string()),
        tools::files("cni.txt", &text).err().map(|it| it.to_string()),
    ];
    for error in errors.into_iter().flatten() {
        assert!(error.contains(".json") || error.contains(".txt"), "{error}");
    }
}

/// What cuts secrets out: what was cut once has nothing more to cut.
pub fn redact(data: &[u8]) {
    let (kept, _) = cut::bytes(data);
    assert_eq!(cut::bytes(&kept).0, kept);
}
