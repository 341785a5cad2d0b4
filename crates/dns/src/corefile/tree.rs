//! The structure of a Corefile: server blocks, plugins, their arguments and blocks.

use std::{collections::BTreeMap, fmt};

use super::{
    Sources,
    lexer::{Word, words, written},
    remark::{CorefileRemarkKind, Remarks, Severity},
};

/// How many imports are followed: CoreDNS itself does not end with imports that go round.
const MAX_IMPORTS: usize = 1000;
/// How deep blocks may lie inside of each other; no plugin goes deeper than two.
const MAX_DEPTH: usize = 32;
/// What must follow the block of a plugin.
const BEHIND_BLOCK: &str = "a new line behind the `}` of a plugin";
/// How many words a file may have with everything that it imports.
const MAX_WORDS: usize = 1_000_000;

/// A server block before its keys and plugins are understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) keys: Vec<Word>,
    pub(super) directives: Vec<Directive>,
}

/// A line of a server block or of a plugin's block: a name, arguments, and a block of such lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The name of a plugin or an option.
    pub name: Word,
    /// Its arguments.
    pub args: Vec<Word>,
    /// Its block, where it has one.
    pub block: Option<Vec<Directive>>,
}

impl Directive {
    /// The lines of its block.
    pub fn lines(&self) -> impl Iterator<Item = &Self> {
        self.block.iter().flatten()
    }

    /// The arguments as texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(|it| it.text.as_str())
    }

    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = "    ".repeat(depth);
        write!(f, "{indent}{}", written(&self.name.text))?;
        for word in self.texts() {
            write!(f, " {}", written(word))?;
        }
        let Some(lines) = &self.block else { return writeln!(f) };
        writeln!(f, " {{")?;
        for line in lines {
            line.write(f, depth + 1)?;
        }
        writeln!(f, "{indent}}}")
    }
}

/// Reads the structure as CoreDNS does (coredns/caddy 1.1 `caddyfile/parse.go`). It stops where CoreDNS would give up,
/// and keeps what came before.
///
/// Returns the blocks and the names of the files that their words come from.
pub(super) fn blocks(text: &str, sources: &Sources, remarks: &mut Remarks) -> (Vec<Block>, Vec<String>) {
    let mut parser = Parser {
        words: words(text, 0),
        next: 0,
        snippets: BTreeMap::new(),
        n_imports: 0,
        files: vec![String::new()],
        sources,
        remarks,
    };
    let mut blocks = Vec::new();
    while parser.peek().is_some() {
        let (block, goes_on) = parser.block();
        blocks.extend(block);
        if goes_on.is_none() {
            break;
        }
    }
    (blocks, parser.files)
}

/// None: CoreDNS would give up here, and the reason has been remarked.
type Step<T = ()> = Option<T>;

struct Parser<'a> {
    words: Vec<Word>,
    /// The index of the word that is read next.
    next: usize,
    snippets: BTreeMap<String, Vec<Word>>,
    n_imports: usize,
    files: Vec<String>,
    sources: &'a Sources,
    remarks: &'a mut Remarks,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.next)
    }

    /// The next word if it is this one.
    fn next_is(&self, text: &str) -> bool {
        self.peek().is_some_and(|it| it.text == text)
    }

    fn take(&mut self) -> Option<Word> {
        let word = self.peek()?.clone();
        self.next += 1;
        Some(word)
    }

    /// Does the next word begin a line?
    fn at_new_line(&self) -> bool {
        let before = self.next.checked_sub(1).and_then(|it| self.words.get(it));
        match (before, self.peek()) {
            (Some(before), Some(next)) => before.file != next.file || before.last_line() < next.line,
            _ => true,
        }
    }

    /// The word that a remark about the end of the file points to.
    fn last(&self) -> Word {
        let last = self.words.last().cloned();
        last.unwrap_or(Word { line: 1, column: 1, text: String::new(), file: 0 })
    }

    fn end_of_file(&mut self) -> Step {
        let last = self.last();
        self.remarks.error(&last, CorefileRemarkKind::UnexpectedEnd);
        None
    }

    fn expected(&mut self, at: &Word, expected: &'static str) {
        self.remarks.error(at, CorefileRemarkKind::Expected { expected, found: at.text.clone() });
    }

    /// One server block or snippet. What was read of a block is given also where reading ends in it.
    fn block(&mut self) -> (Option<Block>, Step) {
        let mut keys = Vec::new();
        let goes_on = self.keys(&mut keys);
        if goes_on.is_none() || self.peek().is_none() {
            let block = Block { keys, directives: Vec::new() };
            return (Some(block).filter(|it| !it.keys.is_empty()), goes_on);
        }
        if let [key] = keys.as_slice()
            && let Some(name) = key.text.strip_prefix('(').and_then(|it| it.strip_suffix(')'))
        {
            let (key, name) = (key.clone(), name.to_owned());
            return (None, self.snippet(&key, name));
        }
        let has_brace = self.next_is("{");
        if has_brace {
            self.next += 1;
        }
        let mut directives = Vec::new();
        let goes_on = self.directives(&mut directives, has_brace);
        (Some(Block { keys, directives }).filter(|it| !it.keys.is_empty()), goes_on)
    }

    /// The keys of a server block: on one line, or on more where a comma ends the line.
    fn keys(&mut self, keys: &mut Vec<Word>) -> Step {
        let mut expects_another = false;
        while let Some(mut word) = self.peek().cloned() {
            self.replace_environment(&mut word);
            if word.text == "import" && self.at_new_line() {
                self.import()?;
                continue;
            }
            if word.text == "{" {
                if expects_another {
                    self.expected(&word, "another zone behind the comma");
                    return None;
                }
                return Some(());
            }
            self.next += 1;
            if word.text == "}" {
                // CoreDNS takes a brace that closes nothing for a zone.
                let kind = CorefileRemarkKind::Expected { expected: "a zone", found: "}".to_owned() };
                self.remarks.add(&word, Severity::Warning, kind);
            }
            if !word.text.is_empty() {
                expects_another = word.text.ends_with(',');
                if expects_another {
                    word.text.pop();
                }
                keys.push(word);
            }
            if !expects_another && self.peek().is_some() && self.at_new_line() {
                return Some(());
            }
        }
        if expects_another { self.end_of_file() } else { Some(()) }
    }

    fn snippet(&mut self, key: &Word, name: String) -> Step {
        if self.snippets.contains_key(&name) {
            self.remarks.error(key, CorefileRemarkKind::SnippetTwice(name));
            return None;
        }
        let open = self.take()?;
        if open.text != "{" {
            self.expected(&open, "`{` behind a snippet's name");
            return None;
        }
        let mut depth = 1;
        let mut content = Vec::new();
        while let Some(word) = self.take() {
            match word.text.as_str() {
                "}" => depth -= 1,
                "{" => depth += 1,
                _ => {}
            }
            if depth == 0 {
                self.snippets.insert(name, content);
                return Some(());
            }
            content.push(word);
        }
        self.end_of_file()
    }

    /// The lines of a server block up to its brace, or without braces up to the end of the file.
    fn directives(&mut self, directives: &mut Vec<Directive>, has_brace: bool) -> Step {
        while let Some(word) = self.peek().cloned() {
            if word.text == "}" {
                self.next += 1;
                return Some(());
            }
            if word.text == "import" {
                self.import()?;
                continue;
            }
            if word.text == "{" {
                self.expected(&word, "a plugin");
                return None;
            }
            let words = self.directive_words()?;
            directives.extend(tree(&words));
        }
        if !has_brace {
            return Some(());
        }
        let last = self.last();
        if last.text == "}" {
            self.remarks.add(&last, Severity::Warning, CorefileRemarkKind::NotClosed);
            return Some(());
        }
        self.end_of_file()
    }

    /// The words of one line of a server block with its block.
    fn directive_words(&mut self) -> Step<Vec<Word>> {
        let mut line = vec![];
        let mut depth = 0usize;
        while let Some(mut word) = self.peek().cloned() {
            let is_first = line.is_empty();
            if !is_first {
                match word.text.as_str() {
                    "{" => {
                        if depth == 0 && self.at_new_line() {
                            self.remarks.error(&word, CorefileRemarkKind::BraceOnNewLine);
                        } else if depth == 0 && line.last().is_some_and(|it: &Word| it.text == "}") {
                            self.expected(&word, BEHIND_BLOCK);
                        }
                        depth += 1;
                        if depth > MAX_DEPTH {
                            self.expected(&word, "fewer blocks inside of each other");
                            return None;
                        }
                    }
                    _ if depth == 0 && self.at_new_line() => break,
                    "}" if depth > 0 => depth -= 1,
                    "}" => {
                        self.expected(&word, "a new line before the `}` of a server block");
                        return None;
                    }
                    "import" if self.at_new_line() => {
                        self.import()?;
                        continue;
                    }
                    // CoreDNS takes what follows for a part of the plugin before.
                    _ if depth == 0 && line.last().is_some_and(|it: &Word| it.text == "}") => {
                        self.expected(&word, BEHIND_BLOCK);
                    }
                    _ => {}
                }
            }
            self.next += 1;
            self.replace_environment(&mut word);
            line.push(word);
        }
        if depth > 0 {
            self.end_of_file()?;
        }
        Some(line)
    }

    /// Replaces `import NAME` by what it names.
    fn import(&mut self) -> Step {
        let start = self.next;
        let word = self.take()?;
        let target = self.peek().cloned().filter(|_| !self.at_new_line());
        let Some(mut target) = target else {
            self.remarks.error(&word, CorefileRemarkKind::ArgumentCount("import".to_owned()));
            return None;
        };
        self.next += 1;
        self.replace_environment(&mut target);
        if self.peek().is_some() && !self.at_new_line() {
            self.remarks.error(&word, CorefileRemarkKind::ArgumentCount("import".to_owned()));
            return None;
        }
        self.n_imports += 1;
        if self.n_imports > MAX_IMPORTS || self.words.len() > MAX_WORDS {
            self.remarks.error(&target, CorefileRemarkKind::ImportLoop(target.text.clone()));
            return None;
        }
        let imported = match self.snippets.get(&target.text) {
            Some(snippet) => snippet.clone(),
            None => self.imported_files(&target)?,
        };
        self.words.splice(start..self.next, imported);
        self.next = start;
        Some(())
    }

    fn imported_files(&mut self, target: &Word) -> Step<Vec<Word>> {
        let path = &target.text;
        let found = self.sources.matching(path);
        match found {
            None => {
                self.remarks.add(target, Severity::Unknown, CorefileRemarkKind::ImportNotRead(path.clone()));
                Some(Vec::new())
            }
            Some(files) if files.is_empty() => {
                let is_pattern = path.contains(['*', '?', '[']);
                let severity = if is_pattern { Severity::Warning } else { Severity::Error };
                self.remarks.add(target, severity, CorefileRemarkKind::ImportNotFound(path.clone()));
                is_pattern.then(Vec::new)
            }
            Some(files) => {
                let mut imported = Vec::new();
                for (path, content) in files {
                    imported.extend(words(&String::from_utf8_lossy(content), self.files.len()));
                    self.files.push(path.to_owned());
                }
                Some(imported)
            }
        }
    }

    /// Replaces `{$NAME}` and `{%NAME%}`.
    fn replace_environment(&mut self, word: &mut Word) {
        for (open, close) in [("{%", "%}"), ("{$", "}")] {
            let mut from = 0;
            while let Some(start) = word.text[from..].find(open).map(|it| it + from) {
                let inner = start + open.len();
                let Some(end) = word.text[inner..].find(close).map(|it| it + inner) else { break };
                if end == inner {
                    break;
                }
                let name = word.text[inner..end].to_owned();
                if let Some(value) = self.sources.variable(&name) {
                    word.text.replace_range(start..end + close.len(), value);
                    from = start + value.len();
                } else {
                    self.remarks.add(word, Severity::Unknown, CorefileRemarkKind::Environment(name));
                    from = end + close.len();
                }
            }
        }
    }
}

/// Turns the words of one line of a server block, with balanced braces, into a tree.
fn tree(words: &[Word]) -> Vec<Directive> {
    // The open blocks, the outermost first; the last line of each owns the next.
    let mut open: Vec<Vec<Directive>> = Vec::new();
    let mut lines: Vec<Directive> = Vec::new();
    let mut before: Option<&Word> = None;
    for word in words {
        let is_same_line = before.is_some_and(|it| it.file == word.file && it.last_line() == word.line);
        before = Some(word);
        match word.text.as_str() {
            "{" => open.push(std::mem::take(&mut lines)),
            "}" => {
                let block = std::mem::replace(&mut lines, open.pop().unwrap_or_default());
                if let Some(owner) = lines.last_mut() {
                    owner.block.get_or_insert_default().extend(block);
                }
            }
            _ => match lines.last_mut().filter(|it| is_same_line && it.block.is_none()) {
                Some(line) => line.args.push(word.clone()),
                None => lines.push(Directive { name: word.clone(), args: Vec::new(), block: None }),
            },
        }
    }
    lines
}
