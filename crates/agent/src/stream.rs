//! Greetings and frames on streams of bytes.

use std::io::{self, BufRead, Read, Write};

use hopwise_wire::{Greeting, HEADER, Sizes, WireError, body_length, document, frame};
use serde::{Serialize, de::DeserializeOwned};

/// How much a login shell may say before the greeting.
const MOST_NOISE: u64 = 64 << 10;

/// Why nothing more can be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The stream.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// What came is not what was expected.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The stream ended within a message.
    #[error("the connection ended in the middle of a message")]
    Truncated,
    /// What came first was no greeting.
    #[error("no greeting of Hopwise came{}", said(.0))]
    NoGreeting(String),
}

fn said(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text => format!("; what came: {}", text.escape_debug()),
    }
}

/// Writes a message.
pub(crate) fn write<T: Serialize>(
    output: &mut (impl Write + ?Sized),
    message: &T,
    sizes: &Sizes,
) -> Result<(), StreamError> {
    output.write_all(&frame(message, sizes)?)?;
    Ok(output.flush()?)
}

/// Reads a message; none where the stream ends before one.
pub(crate) fn read<T: DeserializeOwned>(
    input: &mut impl Read,
    sizes: &Sizes,
) -> Result<Option<T>, StreamError> {
    let mut header = Vec::new();
    input.take(HEADER as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let header = <[u8; HEADER]>::try_from(header).map_err(|_| StreamError::Truncated)?;
    let length = body_length(header, sizes)?;
    // What is said to come is not made room for before it comes.
    let mut body = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut body)?;
    if body.len() as u64 != u64::from(length) {
        return Err(StreamError::Truncated);
    }
    Ok(Some(document(&body, sizes)?))
}

/// Greets.
pub(crate) fn greet(output: &mut (impl Write + ?Sized), own: Greeting) -> Result<(), StreamError> {
    output.write_all(&own.line())?;
    Ok(output.flush()?)
}

/// Waits for the other side's greeting, and passes over what a login shell says before it.
pub(crate) fn be_greeted(input: &mut impl BufRead, other: Greeting) -> Result<(), StreamError> {
    let mut input = input.take(MOST_NOISE);
    let mut noise = String::new();
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(StreamError::NoGreeting(noise));
        }
        match other.read(&line) {
            Some(greeted) => return Ok(greeted?),
            None if noise.len() < 400 => noise.extend(String::from_utf8_lossy(&line).chars().take(400)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hopwise_wire::FROM_A_CLIENT;

    use super::*;

    #[test]
    fn messages_are_read_one_after_the_other_until_the_stream_ends() {
        let mut bytes = Vec::new();
        write(&mut bytes, &"one", &FROM_A_CLIENT).unwrap();
        write(&mut bytes, &"two", &FROM_A_CLIENT).unwrap();
        let mut input = Cursor::new(&bytes);
        let mut next = || read::<String>(&mut input, &FROM_A_CLIENT).unwrap();
        assert_eq!((next().as_deref(), next().as_deref(), next()), (Some("one"), Some("two"), None));
        for end in 1..bytes.len() / 2 {
            let error = read::<String>(&mut Cursor::new(&bytes[..end]), &FROM_A_CLIENT).unwrap_err();
            assert!(matches!(error, StreamError::Truncated), "{end}: {error}");
        }
    }

    #[test]
    fn a_greeting_is_found_behind_what_a_login_shell_says() {
        let greeted = |text: &str| be_greeted(&mut Cursor::new(text), Greeting::Node);
        greeted("Welcome to w1!\n\nhopwise-node 1\nrest").unwrap();
        let error = greeted("Welcome to w1!\n\x1b[2J").unwrap_err();
        assert_eq!(error.to_string(), "no greeting of Hopwise came; what came: Welcome to w1!\\n\\u{1b}[2J");
        assert!(matches!(
            greeted("hopwise-node 2\n"),
            Err(StreamError::Wire(WireError::OtherVersion { .. }))
        ));
        assert!(greeted(&"x\n".repeat(100_000)).is_err());
    }
}
