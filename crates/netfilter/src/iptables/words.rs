//! The words of an iptables rule.

use std::{borrow::Cow, str::FromStr};

use crate::{
    remark::{Problem, excerpt},
    xt::Span,
};

/// One word of a line, with quotes and escapes taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word<'t> {
    pub(crate) text: Cow<'t, str>,
    /// Where it begins, in bytes, from 1.
    pub(crate) column: usize,
    /// Was any of it in quotes? Then it is an argument, whatever it looks like.
    pub(crate) is_quoted: bool,
}

/// Splits a line as iptables-restore does (`add_param_to_argv`, iptables/xshared.c): words are separated by
/// spaces, double quotes join, and within them a backslash takes the next character as it is.
///
/// `column` is where `line` begins in its text's line.
pub(crate) fn split(line: &str, column: usize) -> Result<Vec<Word<'_>>, Problem> {
    split_with(line, column, true)
}

/// The same for a tool to which a backslash is a character like any other (ipset).
pub(crate) fn split_without_escapes(line: &str, column: usize) -> Result<Vec<Word<'_>>, Problem> {
    split_with(line, column, false)
}

fn split_with(line: &str, column: usize, has_escapes: bool) -> Result<Vec<Word<'_>>, Problem> {
    let bytes = line.as_bytes();
    let mut words = Vec::with_capacity(16);
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b' ' | b'\t' | b'\r') {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && !matches!(bytes[at], b' ' | b'\t' | b'\r' | b'"') {
            at += 1;
        }
        if at < bytes.len() && bytes[at] == b'"' {
            let (text, end) = quoted(line, start, has_escapes).ok_or_else(|| Problem {
                column: column + start,
                expected: "a closing quote".to_owned(),
                found: excerpt(&line[start..]),
            })?;
            words.push(Word { text: Cow::Owned(text), column: column + start, is_quoted: true });
            at = end;
        } else {
            let text = Cow::Borrowed(&line[start..at]);
            words.push(Word { text, column: column + start, is_quoted: false });
        }
    }
    Ok(words)
}

/// The word at `start`, some of which is in quotes, and where it ends.
fn quoted(line: &str, start: usize, has_escapes: bool) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut is_inside = false;
    let mut characters = line[start..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => is_inside = !is_inside,
            '\\' if is_inside && has_escapes => text.push(characters.next()?.1),
            ' ' | '\t' | '\r' if !is_inside => return Some((text, start + at)),
            other => text.push(other),
        }
    }
    (!is_inside).then_some((text, line.len()))
}

/// A reader of words.
#[derive(Clone, Debug)]
pub(crate) struct Words<'w, 't> {
    all: &'w [Word<'t>],
    at: usize,
    /// The column behind the last word.
    end: usize,
}

impl<'w, 't> Words<'w, 't> {
    pub(crate) fn new(words: &'w [Word<'t>], end: usize) -> Self {
        Self { all: words, at: 0, end }
    }

    /// Where the reader is.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to a place that [`Words::position`] gave.
    pub(crate) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    pub(crate) fn peek(&self) -> Option<&'w Word<'t>> {
        self.all.get(self.at)
    }

    pub(crate) fn next(&mut self) -> Option<&'w Word<'t>> {
        let word = self.all.get(self.at);
        self.at += usize::from(word.is_some());
        word
    }

    /// The next option (`--name`) with the `!` before it, where an option of a module comes next.
    ///
    /// `-m`, `-j`, `-g` and the like end a module's options.
    pub(crate) fn option(&mut self) -> Option<(bool, &'w str)> {
        let is_option = |word: Option<&Word<'_>>| {
            word.is_some_and(|it| !it.is_quoted && it.text.len() > 2 && it.text.starts_with("--"))
        };
        let next = self.peek()?;
        if next.text == "!" && !next.is_quoted {
            if !is_option(self.all.get(self.at + 1)) {
                return None;
            }
            self.at += 2;
            return Some((true, &self.all[self.at - 1].text));
        }
        if is_option(Some(next)) {
            self.at += 1;
            return Some((false, &next.text));
        }
        None
    }

    /// Eats the next word if it is `text`, outside quotes.
    pub(crate) fn eat(&mut self, text: &str) -> bool {
        let is_it = self.peek().is_some_and(|it| !it.is_quoted && it.text == text);
        self.at += usize::from(is_it);
        is_it
    }

    /// The next word as an argument.
    pub(crate) fn argument(&mut self, expected: &str) -> Result<&'w str, Problem> {
        match self.next() {
            Some(word) => Ok(&word.text),
            None => Err(Problem {
                column: self.end,
                expected: expected.to_owned(),
                found: "the end of the line".to_owned(),
            }),
        }
    }

    /// The next word as an argument that `read` understands.
    pub(crate) fn parse<T>(
        &mut self,
        expected: &str,
        read: impl FnOnce(&'w str) -> Option<T>,
    ) -> Result<T, Problem> {
        let text = self.argument(expected)?;
        read(text).ok_or_else(|| self.unexpected(expected))
    }

    /// The next word as a number: decimal, or hexadecimal after `0x`.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, expected: &str) -> Result<T, Problem> {
        self.parse(expected, |text| T::try_from(number(text)?).ok())
    }

    /// The next word as `LOW:HIGH` or one number that is both.
    pub(crate) fn span<T: TryFrom<u64> + Copy>(&mut self, expected: &str) -> Result<Span<T>, Problem> {
        self.parse(expected, |text| span(text, ':'))
    }

    /// The next word as a value that its own type reads.
    pub(crate) fn value<T: FromStr>(&mut self, expected: &str) -> Result<T, Problem> {
        self.parse(expected, |text| text.parse().ok())
    }

    /// The problem that the word just read is not what was expected.
    pub(crate) fn unexpected(&self, expected: &str) -> Problem {
        match self.at.checked_sub(1).and_then(|at| self.all.get(at)) {
            Some(word) => {
                Problem { column: word.column, expected: expected.to_owned(), found: excerpt(&word.text) }
            }
            None => Problem { column: self.end, expected: expected.to_owned(), found: String::new() },
        }
    }
}

/// A number as iptables reads it: decimal, hexadecimal after `0x`.
pub(crate) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// Two numbers around `separator`, or one number that is both.
pub(crate) fn span<T: TryFrom<u64> + Copy>(text: &str, separator: char) -> Option<Span<T>> {
    let one = |text: &str| T::try_from(number(text)?).ok();
    match text.split_once(separator) {
        Some((low, high)) => Some(Span { low: one(low)?, high: one(high)? }),
        None => one(text).map(|it| Span { low: it, high: it }),
    }
}

/// A number and the mask after its slash, where there is one.
pub(crate) fn masked(text: &str) -> Option<(u32, Option<u32>)> {
    let one = |text: &str| u32::try_from(number(text)?).ok();
    match text.split_once('/') {
        Some((value, mask)) => Some((one(value)?, Some(one(mask)?))),
        None => one(text).map(|it| (it, None)),
    }
}

/// Appends `text` as iptables-save quotes it (`xtables_save_string`, libxtables/xtables.c), with a space
/// before.
pub(crate) fn push_quoted(out: &mut String, text: &str) {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
    out.push(' ');
    if !text.is_empty() && text.chars().all(is_plain) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\' | '\'') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line, 1).unwrap().into_iter().map(|it| it.text.into_owned()).collect()
    }

    #[test]
    fn quotes_join_and_escape() {
        assert_eq!(
            texts(r#"-m comment --comment "a \"b\" c\\" -j X"#),
            ["-m", "comment", "--comment", r#"a "b" c\"#, "-j", "X"]
        );
        assert_eq!(texts(r#"  a""b  "" "#), ["ab", ""]);
    }

    #[test]
    fn an_open_quote_is_named_with_its_column() {
        let problem = split(r#"-m comment --comment "abc"#, 5).unwrap_err();
        assert_eq!((problem.column, problem.expected.as_str()), (26, "a closing quote"));
    }

    #[test]
    fn what_is_quoted_is_read_back() {
        for text in ["", "plain-text_1", "with space", r#"it's "x" \ y"#, "-j", "ünïcode"] {
            let mut line = String::new();
            push_quoted(&mut line, text);
            assert_eq!(texts(&line), [text]);
        }
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("0x4000"), Some(0x4000));
        assert_eq!(number("65535"), Some(65535));
        for text in ["", "0x", "+1", "-1", "1a", "99999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
