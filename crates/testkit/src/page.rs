//! The manual page of a cause, and the cases that it holds.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::case::Case;

/// The sections of a page, in their order.
pub const SECTIONS: [&str; 5] = ["What happens", "Why it is proven", "Repair", "Look-alikes", "Cases"];

/// The page of a cause.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path from the workspace.
    pub path: PathBuf,
    /// Its heading: the name of the cause.
    pub title: String,
    /// Its sections, in the order of the page.
    pub sections: Vec<Section>,
    /// The cases of its section `Cases`.
    pub cases: Vec<Case>,
}

/// A part of a page below a heading of the second rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// The line of the heading, from 1.
    pub line: usize,
    /// What stands below it, without blank lines at its ends.
    pub text: String,
}

/// Why a page cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {what}", path.display())]
pub struct PageError {
    /// The page.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what was expected.
    pub what: String,
}

impl Page {
    /// Reads a page; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, PageError> {
        let error =
            |line: usize, what: &str| PageError { path: path.to_owned(), line, what: what.to_owned() };
        let lines: Vec<&str> = text.lines().collect();
        let title = match lines.first().and_then(|it| it.strip_prefix("# ")) {
            Some(title) => title.trim().to_owned(),
            None => return Err(error(1, "expected `# NAME-OF-THE-CAUSE`")),
        };
        let mut sections: Vec<Section> = Vec::new();
        let mut starts: Vec<usize> = Vec::new();
        for at in outside_of_blocks(&lines) {
            if let Some(title) = lines[at].strip_prefix("## ") {
                starts.push(at);
                sections.push(Section { title: title.trim().to_owned(), line: at + 1, text: String::new() });
            } else if at > 0 && starts.is_empty() && !lines[at].trim().is_empty() {
                return Err(error(at + 1, "expected a section (`## What happens`) before any text"));
            }
        }
        for (number, section) in sections.iter_mut().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(lines.len());
            lines[starts[number] + 1..end].join("\n").trim_matches('\n').clone_into(&mut section.text);
        }
        let mut cases = Vec::new();
        if let Some(number) = sections.iter().position(|it| it.title == "Cases") {
            let end = starts.get(number + 1).copied().unwrap_or(lines.len());
            cases = Case::parse_all(path, &lines[..end], starts[number] + 1)?;
        }
        Ok(Self { path: path.to_owned(), title, sections, cases })
    }

    /// The section of this title.
    pub fn section(&self, title: &str) -> Option<&Section> {
        self.sections.iter().find(|it| it.title == title)
    }
}

/// The numbers of the lines that are not in a fenced block.
fn outside_of_blocks<'a>(lines: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
    let mut is_inside = false;
    (0..lines.len()).filter(move |at| {
        if lines[*at].starts_with("```") {
            is_inside = !is_inside;
            return false;
        }
        !is_inside
    })
}

/// All pages below a directory of the workspace, sorted by path.
pub fn pages(workspace: &Path, directory: &str) -> io::Result<Vec<Result<Page, PageError>>> {
    let mut files = Vec::new();
    collect(&workspace.join(directory), &mut files)?;
    files.sort();
    let mut pages = Vec::new();
    for file in files {
        let relative = file.strip_prefix(workspace).unwrap_or(&file);
        pages.push(Page::parse(relative, &fs::read_to_string(&file)?));
    }
    Ok(pages)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "md") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Page, PageError> {
        Page::parse(Path::new("a.md"), text)
    }

    #[test]
    fn headings_in_a_block_are_no_headings() {
        let page = read("# a-b\n\n## Repair\n```\n## not this\n```\nend\n\n## Cases\n").unwrap();
        assert_eq!(page.title, "a-b");
        let titles: Vec<(&str, usize)> =
            page.sections.iter().map(|it| (it.title.as_str(), it.line)).collect();
        assert_eq!(titles, [("Repair", 3), ("Cases", 9)]);
        assert_eq!(page.section("Repair").unwrap().text, "```\n## not this\n```\nend");
    }

    #[test]
    fn a_page_without_a_name_says_so() {
        assert_eq!(read("").unwrap_err().to_string(), "a.md:1: expected `# NAME-OF-THE-CAUSE`");
        let said = read("# a\ntext\n").unwrap_err().to_string();
        assert_eq!(said, "a.md:2: expected a section (`## What happens`) before any text");
    }
}
