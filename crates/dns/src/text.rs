//! Bytes as text.

use std::borrow::Cow;

/// The lines of a file with their numbers, from 1. A last line need not end.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let ended = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines = ended.split(|it| *it == b'\n');
    lines.enumerate().map(|(index, line)| (index + 1, line)).filter(move |_| !bytes.is_empty())
}

/// A text for people: bytes that are not UTF-8 are shown as U+FFFD.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
    text.chars().take(120).collect()
}

/// The part of a line before the first NUL, where a C string ends.
pub(crate) fn c_string(line: &[u8]) -> &[u8] {
    line.split(|it| *it == 0).next().unwrap_or_default()
}

/// Splits a line at blanks and tabs.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|it| matches!(it, b' ' | b'\t')).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_editors_count_them() {
        let numbered = |text: &'static [u8]| lines(text).collect::<Vec<_>>();
        assert_eq!(numbered(b""), []);
        assert_eq!(numbered(b"a\n\nb"), [(1, &b"a"[..]), (2, b""), (3, b"b")]);
        assert_eq!(numbered(b"a\n"), [(1, &b"a"[..])]);
        assert_eq!(numbered(b"\n"), [(1, &b""[..])]);
    }
}
