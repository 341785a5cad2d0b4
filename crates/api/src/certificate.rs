//! Until when a client certificate is valid.

use jiff::Timestamp;
use kube::config::AuthInfo;
use x509_cert::{Certificate, der::DecodePem};

/// Until when the client certificate of a user is valid; none where the user has none, or it cannot be read.
pub(crate) fn valid_until(user: &AuthInfo) -> Option<Timestamp> {
    let pem = match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) => base64(data)?,
        (None, Some(path)) => std::fs::read(path).ok()?,
        (None, None) => return None,
    };
    not_after(&pem)
}

/// Until when the first certificate of a PEM text is valid.
fn not_after(pem: &[u8]) -> Option<Timestamp> {
    // A file may hold the key, too, in any order.
    let text = std::str::from_utf8(pem).ok()?;
    let begin = text.find("-----BEGIN CERTIFICATE-----")?;
    let end = text[begin..].find("-----END CERTIFICATE-----")? + begin;
    let certificate =
        Certificate::from_pem(format!("{}-----END CERTIFICATE-----\n", &text[begin..end])).ok()?;
    let until = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Timestamp::from_second(i64::try_from(until.as_secs()).ok()?).ok()
}

/// Standard base64, with white space between.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut n_bits) = (0u32, 0);
    for byte in text.bytes().filter(|it| !it.is_ascii_whitespace() && *it != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((held >> n_bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate() -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2026, 2, 3);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_behind_other_texts() {
        let text = format!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n{}", certificate());
        assert_eq!(not_after(text.as_bytes()).unwrap().to_string(), "2026-02-03T00:00:00Z");
    }

    #[test]
    fn base64_is_read_with_and_without_line_feeds() {
        assert_eq!(base64("aGVsbG8h").unwrap(), b"hello!");
        assert_eq!(base64("aGVs\nbG8=\n").unwrap(), b"hello");
        assert_eq!(base64("a?b"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(at in 0usize..2000, byte in any::<u8>(), text in any::<Vec<u8>>()) {
            let _ = not_after(&text);
            let mut damaged = certificate().into_bytes();
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = not_after(&damaged);
            let _ = base64(&String::from_utf8_lossy(&text));
        }
    }
}
