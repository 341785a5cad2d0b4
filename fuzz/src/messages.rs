//! What nodes and clients say to each other.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use hopwise_wire::{Asked, FROM_A_CLIENT, FROM_A_NODE, Greeting, HEADER, Told, document, frame};

/// A message: as a body, and as the document inside of one. What is read is written and read back as it was.
pub fn wire(data: &[u8]) {
    let _ = (Greeting::Client.read(data), Greeting::Node.read(data), document::<Asked>(data, &FROM_A_CLIENT));
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let body = encoder.write_all(data).and_then(|()| encoder.finish()).expect("writing to memory does not fail");
    if let Ok(asked) = document::<Asked>(&body, &FROM_A_CLIENT) {
        let written = frame(&asked, &FROM_A_CLIENT).expect("what was read can be written");
        let read: Asked = document(&written[HEADER..], &FROM_A_CLIENT).expect("what was written is read");
        assert_eq!(read, asked);
    }
    if let Ok(told) = document::<Told>(&body, &FROM_A_NODE) {
        let written = frame(&told, &FROM_A_NODE).expect("what was read can be written");
        let read: Told = document(&written[HEADER..], &FROM_A_NODE).expect("what was written is read");
        assert_eq!(read, told);
    }
}
