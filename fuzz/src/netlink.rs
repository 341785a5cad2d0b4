//! What the kernel sends, and what comes off the wire.

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

/// A packet as a packet socket or a raw socket shows it: one of ours, or not.
pub fn packet(data: &[u8]) {
    look_at(data);
}

#[cfg(fuzzing)]
fn look_at(data: &[u8]) {
    hopwise_probe::fuzzing::packet(data);
}

#[cfg(not(fuzzing))]
fn look_at(_: &[u8]) {}
