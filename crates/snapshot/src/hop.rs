//! The `.hop` file: a snapshot as bytes.
//!
//! A line of text, `hopwise-snapshot VERSION`, then a gzip stream with one JSON document. The version can
//! thus be read, and refused, before anything else is decoded; gzip's checksum finds a damaged file.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use sha2::{Digest, Sha256};

use crate::Snapshot;

/// The version that [`write`] writes. A new meaning in the document needs a new version.
///
/// | version | new in it |
/// |---|---|
/// | 1 | |
/// | 2 | events, logs, how containers ended, lists that are not whole; the reason `notAsked` |
pub const FORMAT: u32 = 2;

/// The most that a decoded document may take, in bytes: a small hostile file must not fill the memory.
pub const LARGEST_DOCUMENT: u64 = 4 << 30;

const MAGIC: &str = "hopwise-snapshot ";

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HopError {
    /// It does not begin as a `.hop` file does.
    #[error("not a .hop file: expected it to begin with `hopwise-snapshot VERSION`")]
    NotHop,
    /// It was written by a newer Hopwise.
    #[error("format {found} is newer than {FORMAT}, the newest that this version of Hopwise reads")]
    TooNew {
        /// The file's version.
        found: u32,
    },
    /// It ends too early.
    #[error("the file is cut short: its compressed part ends after {read} bytes of text")]
    Truncated {
        /// How many bytes of the document could be decoded.
        read: usize,
    },
    /// Its compressed part is damaged.
    #[error("the compressed part is damaged after {read} bytes of text")]
    Damaged {
        /// How many bytes of the document could be decoded.
        read: usize,
        /// What the decoder said.
        source: std::io::Error,
    },
    /// It is larger than any snapshot.
    #[error("the document is larger than {LARGEST_DOCUMENT} bytes")]
    TooLarge,
    /// The document is not a snapshot.
    #[error("line {line}, column {column} of the document is not what a snapshot holds there")]
    Document {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
        /// What was expected.
        source: serde_json::Error,
    },
}

/// The snapshot as the bytes of a `.hop` file. The same snapshot gives the same bytes.
#[expect(clippy::missing_panics_doc, reason = "writing to memory does not fail")]
pub fn write(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = format!("{MAGIC}{FORMAT}\n").into_bytes();
    let mut encoder = GzEncoder::new(&mut bytes, Compression::new(6));
    encoder.write_all(&document(snapshot)).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail");
    bytes
}

/// The snapshot in the bytes of a `.hop` file.
pub fn read(bytes: &[u8]) -> Result<Snapshot, HopError> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(HopError::NotHop)?;
    let end = rest.iter().take(12).position(|it| *it == b'\n').ok_or(HopError::NotHop)?;
    let version: u32 =
        std::str::from_utf8(&rest[..end]).ok().and_then(|it| it.parse().ok()).ok_or(HopError::NotHop)?;
    if version == 0 {
        return Err(HopError::NotHop);
    }
    if version > FORMAT {
        return Err(HopError::TooNew { found: version });
    }
    let text = inflate(&rest[end + 1..])?;
    serde_json::from_slice(&text).map_err(|source| HopError::Document {
        line: source.line(),
        column: source.column(),
        source,
    })
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, HopError> {
    let mut text = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(LARGEST_DOCUMENT + 1);
    match decoder.read_to_end(&mut text) {
        Ok(_) if text.len() as u64 > LARGEST_DOCUMENT => Err(HopError::TooLarge),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(HopError::Truncated { read: text.len() })
        }
        Err(source) => Err(HopError::Damaged { read: text.len(), source }),
    }
}

fn document(snapshot: &Snapshot) -> Vec<u8> {
    let mut text = serde_json::to_vec(snapshot).expect("a snapshot has only string keys");
    text.push(b'\n');
    text
}

/// Names a snapshot by its content: equal snapshots, equal names. 16 hexadecimal digits.
pub fn id(snapshot: &Snapshot) -> String {
    let digest = Sha256::digest(document(snapshot));
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Node, Observed, Reason};

    fn sample() -> Snapshot {
        let mut snapshot = Snapshot::new("2026-11-21T10:00:00Z".parse().unwrap(), "test");
        snapshot.nodes.insert("w1".into(), Observed::Known(Node::default()));
        snapshot.nodes.insert("w2".into(), Observed::NotCollected(Reason::TimedOut));
        snapshot
    }

    #[test]
    fn what_is_written_is_read_back_and_is_the_same_every_time() {
        let bytes = write(&sample());
        assert_eq!(read(&bytes).unwrap(), sample());
        assert_eq!(write(&sample()), bytes);
        assert_eq!(id(&sample()).len(), 16);
    }

    #[test]
    fn a_file_of_version_1_is_read_and_lacks_what_is_new() {
        let document = r#"{"takenAt":"2026-11-21T10:00:00Z","source":"old","nodes":{},"pods":{},"cluster":{
            "pods":{"known":[{"metadata":{"name":"a","namespace":"n"},"spec":{"hostNetwork":false,"containers":[]},
            "status":{"phase":"Running","containerStatuses":[{"name":"c","ready":true,"restartCount":2}]}}]}}}"#;
        let mut bytes = b"hopwise-snapshot 1\n".to_vec();
        let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
        encoder.write_all(document.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let cluster = read(&bytes).unwrap().cluster;
        assert!(cluster.events.is_not_collected() && cluster.logs.is_not_collected());
        assert!(cluster.has_all("pods") && !cluster.has_all("services"));
        let container = &cluster.pods.known().unwrap()[0].status.container_statuses[0];
        assert_eq!(container.restart_count, 2);
        assert!(container.state.is_empty() && container.last_state.is_empty());
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_without_panic() {
        let bytes = write(&sample());
        for end in 0..bytes.len() {
            let error = read(&bytes[..end]).unwrap_err();
            assert!(matches!(error, HopError::NotHop | HopError::Truncated { .. }), "{end}: {error}");
        }
    }

    #[test]
    fn a_newer_file_is_refused_by_its_version() {
        let error = read(b"hopwise-snapshot 3\nwhatever").unwrap_err();
        assert_eq!(
            error.to_string(),
            "format 3 is newer than 2, the newest that this version of Hopwise reads"
        );
    }

    #[test]
    fn a_damaged_file_is_told_from_a_short_one() {
        let mut bytes = write(&sample());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        let error = read(&bytes).unwrap_err();
        assert!(matches!(
            error,
            HopError::Damaged { .. } | HopError::Document { .. } | HopError::Truncated { .. }
        ));
    }

    #[test]
    fn another_document_names_the_place() {
        let mut bytes = format!("{MAGIC}{FORMAT}\n").into_bytes();
        let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
        encoder.write_all(b"{\"takenAt\": 7}").unwrap();
        encoder.finish().unwrap();
        assert!(read(&bytes).unwrap_err().to_string().starts_with("line 1, column 13"));
    }
}
