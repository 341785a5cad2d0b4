//! Random identifiers, as the kernel, the CNI plugins and the API server choose them.

use hopwise_snapshot::Mac;

use crate::LabError;

/// `N` random bytes of the kernel.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], LabError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| LabError::Random { source: std::io::Error::other(error) })?;
    Ok(bytes)
}

/// A random number.
pub(crate) fn number() -> Result<u64, LabError> {
    bytes().map(u64::from_be_bytes)
}

/// A random address of a network card, locally administered (`eth_random_addr`, `include/linux/etherdevice.h`).
pub(crate) fn mac() -> Result<Mac, LabError> {
    let mut bytes = bytes::<6>()?;
    bytes[0] = bytes[0] & 0xfe | 0x02;
    Ok(Mac(bytes))
}

/// A random UUID of version 4 (RFC 9562 §5.4).
pub(crate) fn uid() -> Result<String, LabError> {
    let mut bytes = bytes::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// The name of a pod's veth on its node, as the CNI plugins choose it (`pkg/ip/link_linux.go`).
pub(crate) fn veth_name() -> Result<String, LabError> {
    Ok(format!("veth{}", hex(&bytes::<4>()?)))
}

/// A suffix as the API server appends to a `generateName` (`apimachinery/pkg/util/rand`).
pub(crate) fn suffix() -> Result<String, LabError> {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    Ok(bytes::<5>()?.iter().map(|it| char::from(LETTERS[usize::from(*it) % LETTERS.len()])).collect())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    })
}
