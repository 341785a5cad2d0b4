//! The `.hop` file: nothing is lost in it, and nothing that is no `.hop` file harms.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod any;

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use hopwise_snapshot::{
    Snapshot,
    hop::{self, HopError},
};
use proptest::prelude::*;

/// Real snapshots of a lab, as a command wrote them.
const SAMPLES: [&[u8]; 2] = [
    include_bytes!("../../../cli/tests/snapshots/healthy.hop"),
    include_bytes!("../../../cli/tests/snapshots/broken.hop"),
];

const MAGIC: &[u8] = b"hopwise-snapshot 1\n";

fn of_document(document: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
    encoder.write_all(document).unwrap();
    encoder.finish().unwrap();
    bytes
}

#[test]
fn whole_snapshots_survive_and_give_the_same_bytes_every_time() {
    for bytes in SAMPLES {
        let snapshot = hop::read(bytes).unwrap();
        let written = hop::write(&snapshot);
        assert_eq!(hop::read(&written).unwrap(), snapshot);
        assert_eq!(hop::write(&hop::read(&written).unwrap()), written);
        assert_eq!(hop::id(&hop::read(&written).unwrap()), hop::id(&snapshot));
    }
}

/// The generator fills what a reader asks for. A field that is left out of both directions would escape it.
#[test]
fn no_field_is_left_out_of_the_format() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut n_files = 0;
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "rs") {
            continue;
        }
        n_files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|it| it.trim_start().starts_with("#[serde(")) {
            let rest = line.replace("skip_serializing_if", "");
            assert!(!rest.contains("skip"), "{}: {line}", path.display());
        }
    }
    assert!(n_files > 10, "{sources} has the sources");
}

#[test]
fn the_generator_fills_the_facts() {
    let snapshots: Vec<Snapshot> = (0..40).map(any::snapshot).collect();
    let nodes = || snapshots.iter().flat_map(|it| it.nodes.values()).filter_map(|it| it.known());
    assert!(nodes().any(|it| it.net.links.known().is_some_and(|it| it.iter().any(|it| it.xdp.is_some()))));
    assert!(nodes().any(|it| it.net.fdb.known().is_some_and(|it| !it.is_empty())));
    assert!(nodes().any(|it| it.net.sysctls.known().is_some_and(|it| !it.unreadable.is_empty())));
    assert!(nodes().any(|it| it.net.netfilter.ipsets.known().is_some()));
    let pods = snapshots.iter().filter_map(|it| it.cluster.pods.known()).flatten();
    assert!(pods.map(|it| it.spec.containers.len()).sum::<usize>() > 0);
}

#[test]
fn every_beginning_of_a_file_is_refused() {
    let bytes =
        of_document(br#"{"takenAt":"2026-11-21T10:00:00Z","source":"x","cluster":{},"nodes":{},"pods":{}}"#);
    hop::read(&bytes).unwrap();
    for end in 0..bytes.len() {
        let error = hop::read(&bytes[..end]).unwrap_err();
        assert!(matches!(error, HopError::NotHop | HopError::Truncated { .. }), "{end}: {error}");
    }
    let bytes = SAMPLES[1];
    for end in (0..bytes.len()).step_by(bytes.len() / 50) {
        let error = hop::read(&bytes[..end]).unwrap_err();
        assert!(matches!(error, HopError::NotHop | HopError::Truncated { .. }), "{end}: {error}");
    }
}

#[test]
fn a_newer_version_is_refused_before_anything_else_is_read() {
    for version in ["3", "77", "4294967295"] {
        let bytes = [format!("hopwise-snapshot {version}\n").as_bytes(), &[0xff; 40]].concat();
        let error = hop::read(&bytes).unwrap_err();
        assert!(matches!(error, HopError::TooNew { found } if found.to_string() == version), "{error}");
    }
    for version in ["0", "-1", "x", "", " 1", "4294967296", "99999999999999999"] {
        let bytes = format!("hopwise-snapshot {version}\n");
        assert!(matches!(hop::read(bytes.as_bytes()), Err(HopError::NotHop)), "{version}");
    }
}

#[test]
fn a_document_that_is_cut_names_where_it_ends() {
    let error = hop::read(&of_document(br#"{"takenAt":"2026-11-21T10:00:00Z","#)).unwrap_err();
    assert!(matches!(error, HopError::Document { line: 1, column: 34, .. }), "{error:?}");
}

#[test]
fn a_deep_document_does_not_exhaust_the_stack() {
    let deep = "[".repeat(200_000);
    assert!(matches!(hop::read(&of_document(deep.as_bytes())), Err(HopError::Document { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_field_of_every_fact_survives(seed: u64) {
        let snapshot = any::snapshot(seed);
        let written = hop::write(&snapshot);
        let read = hop::read(&written).unwrap();
        prop_assert_eq!(&read, &snapshot);
        prop_assert_eq!(hop::write(&read), written);
    }

    #[test]
    fn any_bytes_behind_the_magic_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(hop::read(&[MAGIC, &bytes].concat()).is_err());
        prop_assert!(hop::read(&of_document(&bytes)).is_err());
        prop_assert!(hop::read(&bytes).is_err());
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_harmless(at: prop::sample::Index, with in 1u8..) {
        let document = br#"{"takenAt":"2026-11-21T10:00:00Z","source":"x","cluster":{},"nodes":{},"pods":{}}"#;
        let mut bytes = of_document(document);
        let at = at.index(bytes.len());
        let whole = hop::read(&bytes).unwrap();
        bytes[at] ^= with;
        // The header of a gzip stream has fields that say nothing of the content.
        if let Ok(read) = hop::read(&bytes) {
            prop_assert_eq!(read, whole);
        }
    }
}
