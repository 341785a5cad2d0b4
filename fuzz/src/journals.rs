//! What a repair wrote down, and was perhaps killed over.

use hopwise_repair::{Entry, Journal};

/// A journal: read or refused, with the line. What is read is written and read back as it was; cut anywhere it reads as what
/// was finished of it, or as nothing.
pub fn journal(data: &[u8]) {
    let Ok(journal) = Journal::parse(data) else { return };
    let rest: Vec<u8> = journal.entries.iter().flat_map(Entry::line).collect();
    let first = data.split_inclusive(|it| *it == b'\n').next().expect("a journal has a first line");
    let written = [first, rest.as_slice()].concat();
    assert_eq!(Journal::parse(&written).expect("what was written is read"), journal);
    let cut = Journal::parse(&written[..written.len() - 1]);
    assert!(cut.map_or(0, |it| it.entries.len()) <= journal.entries.len());
    assert!(journal.done().count() <= journal.entries.len());
    journal.open_step();
    journal.state();
}
