//! The plugins by which others see how CoreDNS does: `health`, `ready`, `errors`, `loop`.

use std::time::Duration;

use super::Reader;

/// The plugin `health`: tells kubelet that CoreDNS lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The line, from 1.
    pub line: usize,
    /// Where it listens, as `HOST:PORT`.
    pub address: String,
    /// How long it goes on when it is asked to end.
    pub lameduck: Duration,
}

/// The plugin `ready`: tells kubelet that CoreDNS answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The line, from 1.
    pub line: usize,
    /// Where it listens, as `HOST:PORT`.
    pub address: String,
}

impl Reader<'_> {
    pub(in crate::corefile) fn health(&mut self) -> Health {
        let address = self.listen_address(":8080");
        let mut lameduck = Duration::ZERO;
        for option in self.directive.lines() {
            if option.name.text != "lameduck" {
                self.unknown_option("health", &option.name);
                continue;
            }
            let Some(word) = self.single(option) else { continue };
            lameduck = self.duration(option, word).unwrap_or(lameduck);
        }
        Health { line: self.line(), address, lameduck }
    }

    pub(in crate::corefile) fn ready(&mut self) -> Ready {
        Ready { line: self.line(), address: self.listen_address(":8181") }
    }

    fn listen_address(&mut self, default: &str) -> String {
        let name = &self.directive.name;
        match self.directive.args.as_slice() {
            [] => default.to_owned(),
            [address] => {
                if !address.text.contains(':') {
                    self.value(name, "HOST:PORT", address);
                }
                address.text.clone()
            }
            _ => {
                self.count(name);
                default.to_owned()
            }
        }
    }

    pub(in crate::corefile) fn errors(&mut self) {
        let name = &self.directive.name;
        match self.directive.args.as_slice() {
            [] => {}
            [word] if word.text == "stdout" => {}
            [word] => self.value(name, "stdout", word),
            _ => self.count(name),
        }
        for option in self.directive.lines() {
            match option.name.text.as_str() {
                "stacktrace" => {}
                "consolidate" => {
                    if !matches!(option.args.len(), 2 | 3) {
                        self.count(&option.name);
                    } else if let Some(word) = option.args.first() {
                        self.duration(option, word);
                    }
                }
                _ => self.unknown_option("errors", &option.name),
            }
        }
    }

    pub(in crate::corefile) fn loop_detection(&mut self) {
        if !self.directive.args.is_empty() {
            self.count(&self.directive.name);
        }
    }
}
