//! Frames: a length, and a compressed JSON document.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Serialize, de::DeserializeOwned};

use crate::WireError;

/// How large what one side says may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The compressed document of a frame, in bytes.
    pub body: u32,
    /// The document itself, in bytes.
    pub document: u64,
}

/// What a node takes from a client: the longest are files to write.
pub const FROM_A_CLIENT: Sizes = Sizes { body: 16 << 20, document: 64 << 20 };
/// What a client takes from a node: the longest are the rules of a node with thousands of Services.
pub const FROM_A_NODE: Sizes = Sizes { body: 64 << 20, document: 256 << 20 };

/// The bytes in front of a frame's body.
pub const HEADER: usize = 4;

/// A message as a frame.
pub fn frame<T: Serialize>(message: &T, sizes: &Sizes) -> Result<Vec<u8>, WireError> {
    let text = serde_json::to_vec(message).map_err(WireError::NotUnderstood)?;
    within(text.len() as u64, sizes.document)?;
    let mut encoder = ZlibEncoder::new(vec![0; HEADER], Compression::new(3));
    encoder.write_all(&text).map_err(WireError::Damaged)?;
    let mut bytes = encoder.finish().map_err(WireError::Damaged)?;
    let length = bytes.len() - HEADER;
    within(length as u64, u64::from(sizes.body))?;
    // It fits: it is at most `sizes.body`.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    bytes[..HEADER].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// How long the body is that follows a header.
pub fn body_length(header: [u8; HEADER], sizes: &Sizes) -> Result<u32, WireError> {
    let length = u32::from_be_bytes(header);
    within(u64::from(length), u64::from(sizes.body))?;
    Ok(length)
}

/// The message in a frame's body.
pub fn document<T: DeserializeOwned>(body: &[u8], sizes: &Sizes) -> Result<T, WireError> {
    let mut text = Vec::new();
    // One byte more than is allowed tells what is just large enough from what is too large.
    let mut decoder = ZlibDecoder::new(body).take(sizes.document.saturating_add(1));
    decoder.read_to_end(&mut text).map_err(WireError::Damaged)?;
    within(text.len() as u64, sizes.document)?;
    serde_json::from_slice(&text).map_err(WireError::NotUnderstood)
}

fn within(length: u64, limit: u64) -> Result<(), WireError> {
    if length > limit { Err(WireError::TooLarge { length, limit }) } else { Ok(()) }
}
