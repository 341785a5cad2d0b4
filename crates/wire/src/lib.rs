//! What a client and a node say to each other: greetings, requests, replies, and the frames that carry them.
//!
//! Read [`Request`] and [`Reply`] first. Each side begins with a line of text, its [`Greeting`], which names the version
//! that it speaks; whoever does not speak the other's version says so and ends. What follows are frames: four bytes with
//! a length, and a compressed JSON document of that length ([`frame()`], [`body_length`], [`document`]).
//!
//! What is deliberately absent: reading and writing. Where bytes come from and go to is `hopwise-agent`'s business.
//! Nothing here trusts the other side: sizes are bounded before anything is kept ([`Sizes`]), and whatever bytes there
//! are, the worst that comes of them is a [`WireError`].

mod frame;
mod greeting;
mod message;

pub use frame::{FROM_A_CLIENT, FROM_A_NODE, HEADER, Sizes, body_length, document, frame};
pub use greeting::{Greeting, LONGEST_GREETING, VERSION};
pub use message::{
    Arrived, Asked, Bounds, Departed, End, Errand, PodIdentity, Refusal, Reply, Request, Told, Welcome,
};

/// Why bytes are not what the other side should have said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {found} of this protocol, expected {VERSION}: both sides must be of one version of Hopwise"
    )]
    OtherVersion {
        /// Its version.
        found: u32,
    },
    /// A message is larger than may be sent.
    #[error("a message of {length} bytes is larger than the {limit} that are allowed")]
    TooLarge {
        /// How large it is, or at least is.
        length: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The compressed part is cut short or damaged.
    #[error("a message is cut short or damaged")]
    Damaged(#[source] std::io::Error),
    /// The document is no message.
    #[error("a message is not understood")]
    NotUnderstood(#[source] serde_json::Error),
}
