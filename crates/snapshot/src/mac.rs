//! Ethernet addresses.

use std::{fmt, str::FromStr};

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of every station on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The all-zero address: no station; in a VXLAN FDB the default destination.
    pub const ZERO: Self = Self([0; 6]);

    /// Is the group bit set (broadcast included)?
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not six colon-separated bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected six bytes as aa:bb:cc:dd:ee:ff, found `{0}`")]
pub struct MacError(pub String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(error)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|it| it.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

crate::name::serde_as_text!(Mac);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        assert_eq!("4e:0a:74:81:55:c4".parse::<Mac>().unwrap().to_string(), "4e:0a:74:81:55:c4");
        assert_eq!("4e:a:74:81:55:c4".parse::<Mac>().unwrap().to_string(), "4e:0a:74:81:55:c4");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "4e:0a:74:81:55", "4e:0a:74:81:55:c4:00", "4e:0a:74:81:55:+4", "4e-0a-74-81-55-c4"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_group_bit_tells_multicast() {
        assert!(Mac::BROADCAST.is_multicast());
        assert!("33:33:00:00:00:01".parse::<Mac>().unwrap().is_multicast());
        assert!(!Mac::ZERO.is_multicast());
    }
}
