//! What the kernel sends.

/// The body of one message of the kernel; the first byte says of which kind. Decoded, or refused.
pub fn netlink(data: &[u8]) {
    if let Some((kind, body)) = data.split_first() {
        decode(*kind, body);
    }
}

#[cfg(fuzzing)]
fn decode(kind: u8, body: &[u8]) {
    hopwise_collect::fuzzing::message(kind, body);
}

// The decoders are private to their crates but for fuzzing.
#[cfg(not(fuzzing))]
fn decode(_: u8, _: &[u8]) {}
