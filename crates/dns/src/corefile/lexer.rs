//! The words of a Corefile.

/// A word with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The line that it begins in, from 1.
    pub line: usize,
    /// The column that it begins in, from 1, in characters.
    pub column: usize,
    /// The word, without quotes.
    pub text: String,
    /// The file that it comes from, by its place in [`crate::Corefile::files`]; 0 is the Corefile itself.
    pub file: usize,
}

impl Word {
    /// The last line of the word: a quoted one may hold line breaks.
    pub(super) fn last_line(&self) -> usize {
        self.line + self.text.matches('\n').count()
    }
}

/// Splits a text into words as CoreDNS does (coredns/caddy 1.1 `caddyfile/lexer.go`): `#` begins a comment also inside of
/// a word, and then only up to the next blank; a quote counts only at a word's beginning, carriage returns vanish.
pub(super) fn words(text: &str, file: usize) -> Vec<Word> {
    let mut words = Vec::new();
    let mut current: Option<Word> = None;
    let (mut is_quoted, mut is_escaped, mut is_comment) = (false, false, false);
    let (mut line, mut column) = (1, 0);
    for letter in text.strip_prefix('\u{feff}').unwrap_or(text).chars() {
        column += 1;
        let at = (line, column);
        if letter == '\n' {
            line += 1;
            column = 0;
        }
        if let Some(word) = current.as_mut().filter(|_| is_quoted) {
            match letter {
                '\\' if !is_escaped => is_escaped = true,
                '"' if !is_escaped => {
                    is_quoted = false;
                    words.extend(current.take());
                }
                _ => {
                    if is_escaped && letter != '"' {
                        word.text.push('\\');
                    }
                    word.text.push(letter);
                    is_escaped = false;
                }
            }
            continue;
        }
        if letter.is_whitespace() {
            if letter == '\r' {
                continue;
            }
            // A comment that begins inside of a word ends with the word.
            if letter == '\n' || current.is_some() {
                is_comment = false;
            }
            words.extend(current.take());
            continue;
        }
        is_comment |= letter == '#';
        if is_comment {
            continue;
        }
        if let Some(word) = &mut current {
            word.text.push(letter);
        } else {
            is_quoted = letter == '"';
            let text = if is_quoted { String::new() } else { letter.to_string() };
            current = Some(Word { line: at.0, column: at.1, text, file });
        }
    }
    // An open quote at the end of the file ends there; an empty word does not count.
    words.extend(current.filter(|it| !it.text.is_empty()));
    words
}

/// A word as it is written, so that [`words`] reads it back. A text that needs quotes and has a backslash before a
/// quote or at its end cannot be written at all.
pub(super) fn written(text: &str) -> String {
    let needs_quotes =
        text.is_empty() || text.starts_with('"') || text.chars().any(|it| it.is_whitespace() || it == '#');
    if needs_quotes { format!("\"{}\"", text.replace('"', "\\\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<String> {
        words(text, 0).into_iter().map(|it| format!("{}:{} {}", it.line, it.column, it.text)).collect()
    }

    #[test]
    fn words_know_their_places() {
        assert_eq!(texts(".:53 {\n  errors # all\n}\r\n"), ["1:1 .:53", "1:6 {", "2:3 errors", "3:1 }"]);
    }

    #[test]
    fn quotes_hold_blanks_line_breaks_and_escaped_quotes() {
        assert_eq!(
            texts("a \"b c\n\\\"d\\n\" e\"f\" \"\" \"open"),
            ["1:1 a", "1:3 b c\n\"d\\n", "2:8 e\"f\"", "2:13 ", "2:16 open"]
        );
    }

    #[test]
    fn a_comment_inside_of_a_word_ends_with_the_word() {
        assert_eq!(texts("a#b c #d e\nf"), ["1:1 a", "1:5 c", "2:1 f"]);
    }

    #[test]
    fn a_carriage_return_vanishes_and_a_byte_order_mark_too() {
        assert_eq!(texts("\u{feff}a\rb\r\n"), ["1:1 ab"]);
    }

    proptest! {
        #[test]
        fn a_written_word_is_read_back(text in "([a-z\"#{} \n.]|\\\\[a-z ]){0,12}") {
            let read = words(&written(&text), 0);
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0].text, &text);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = words(&text, 0);
        }
    }
}
