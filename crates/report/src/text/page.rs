//! Lines, columns and styles.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use super::Layout;

/// The narrowest terminal that lines are broken for.
const NARROWEST: usize = 80;

/// A heading.
pub(super) const STRONG: Style = Style::new().bold();
/// A label.
pub(super) const FAINT: Style = Style::new().dimmed();
/// Something broken.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// Something in order.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Something open.
pub(super) const OPEN: Style = AnsiColor::Yellow.on_default();

/// A text in the making.
pub(super) struct Page {
    text: String,
    width: Option<usize>,
}

impl Page {
    pub(super) fn new(layout: &Layout) -> Self {
        Self { text: String::new(), width: layout.width.map(|it| it.max(NARROWEST)) }
    }

    /// The text, without a line feed at its end.
    pub(super) fn done(self) -> String {
        self.text.trim_end_matches('\n').to_owned()
    }

    /// The columns that there are, at most `most`.
    pub(super) fn columns(&self, most: usize) -> usize {
        self.width.map_or(most, |it| it.min(most))
    }

    /// An empty line, never two of them.
    pub(super) fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// Text from a column on; what does not fit goes on in the same column.
    pub(super) fn line(&mut self, column: usize, text: &str) {
        self.styled(column, text, Style::new());
    }

    /// The same in a style.
    pub(super) fn styled(&mut self, column: usize, text: &str, style: Style) {
        for line in self.wrapped(text, column) {
            let _ = writeln!(self.text, "{}{}", " ".repeat(column), paint(&line, style));
        }
    }

    /// A label at `at`, and text from `column` on; what does not fit goes on in the text's column.
    pub(super) fn field(&mut self, at: usize, label: &str, column: usize, text: &str) {
        let mut lines = self.wrapped(text, column).into_iter();
        let padding = column.saturating_sub(at + width(label)).max(1);
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(
            self.text,
            "{}{}{}{}",
            " ".repeat(at),
            paint(label, FAINT),
            " ".repeat(padding),
            paint_mark(&first)
        );
        for line in lines {
            let _ = writeln!(self.text, "{}{}", " ".repeat(column), paint_mark(&line));
        }
    }

    /// A text at the left with one at the right edge, which is at `right` or the terminal's.
    pub(super) fn edges(
        &mut self,
        (left, left_style): (&str, Style),
        (text, style): (&str, Style),
        right: usize,
    ) {
        let left = printable(left);
        let used = width(&left) + width(text);
        let padding = self.columns(right).saturating_sub(used).max(2);
        let _ =
            writeln!(self.text, "{}{}{}", paint(&left, left_style), " ".repeat(padding), paint(text, style));
    }

    /// A text of several lines, each from a column on and never broken.
    pub(super) fn verbatim(&mut self, column: usize, text: &str) {
        for line in text.lines() {
            let line = printable(line);
            let _ = writeln!(self.text, "{}", format!("{}{line}", " ".repeat(column)).trim_end());
        }
    }

    fn wrapped(&self, text: &str, column: usize) -> Vec<String> {
        let text = printable(text);
        match self.width {
            Some(columns) => wrap(&text, columns.saturating_sub(column).max(20)),
            None => vec![text],
        }
    }
}

/// Breaks a text at spaces into lines of at most `columns`; a word that is longer stays whole.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    // Several spaces in a row are columns of their own and stay, unless the line ends there.
    let mut spaces = 0;
    for word in text.split(' ') {
        if word.is_empty() {
            spaces += 1;
            continue;
        }
        if !line.is_empty() && width(&line) + spaces + width(word) > columns {
            lines.push(std::mem::take(&mut line));
        } else {
            line.push_str(&" ".repeat(spaces));
        }
        line.push_str(word);
        spaces = 1;
    }
    lines.push(line);
    lines
}

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// A text in which nothing moves the cursor: names and rules come from the cluster, and a terminal obeys what it
/// prints.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => printable.push(' '),
            // Marks that turn the direction of writing around can make a line read as another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => printable.extend(character.escape_unicode()),
            it if it.is_control() => printable.extend(it.escape_default()),
            it => printable.push(it),
        }
    }
    printable
}

pub(super) fn paint(text: &str, style: Style) -> String {
    if text.is_empty() || style == Style::new() {
        return text.to_owned();
    }
    format!("{style}{text}{style:#}")
}

/// The mark of what stops a flow, in the style of that.
fn paint_mark(text: &str) -> String {
    text.replace('✗', &paint("✗", BAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: Option<usize>) -> Page {
        Page::new(&Layout { width, is_verbose: false })
    }

    fn plain(page: Page) -> String {
        anstream::adapter::strip_str(&page.done()).to_string()
    }

    #[test]
    fn what_does_not_fit_goes_on_in_its_column() {
        let mut page = page(Some(80));
        page.field(2, "at", 11, &"word ".repeat(20));
        let text = plain(page);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  at       word word"));
        assert!(lines[1].starts_with("           word"));
        assert!(lines.iter().all(|it| width(it) <= 80));
    }

    #[test]
    fn nothing_is_broken_below_eighty_columns_nor_where_there_is_no_terminal() {
        for columns in [None, Some(20)] {
            let mut page = page(columns);
            page.line(2, &"x".repeat(70));
            page.line(2, &["word"; 15].join(" "));
            assert_eq!(plain(page).lines().count(), 2);
        }
    }

    #[test]
    fn a_long_word_stays_whole() {
        let word = "y".repeat(100);
        assert_eq!(wrap(&format!("a {word} b"), 20), ["a", &word, "b"]);
    }

    #[test]
    fn columns_within_a_line_stay() {
        assert_eq!(wrap("risk 1   do it now", 14), ["risk 1   do it", "now"]);
    }

    #[test]
    fn a_rule_cannot_talk_to_the_terminal() {
        let mut page = page(None);
        page.line(0, "-A INPUT --comment \"\u{1b}[2Jgone\u{202e}\"");
        assert_eq!(page.done(), "-A INPUT --comment \"\\u{1b}[2Jgone\\u{202e}\"");
    }

    #[test]
    fn the_right_edge_moves_in_where_the_terminal_is_narrow() {
        let mut wide = page(None);
        wide.edges(("HW1001 x", STRONG), ("proven", BAD), 83);
        assert_eq!(width(&plain(wide)), 83);
        let mut narrow = page(Some(80));
        narrow.edges(("HW1001 x", STRONG), ("proven", BAD), 83);
        assert_eq!(width(&plain(narrow)), 80);
    }
}
