//! The target that changes sets.

use super::super::{SetDirection, set};
use crate::{iptables::words::Words, put, remark::Problem};

/// `-j SET`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetTarget {
    /// `--add-set`.
    pub add: Option<(String, Vec<SetDirection>)>,
    /// `--exist`: renew an entry that is there.
    pub renew: bool,
    /// `--timeout`.
    pub timeout: Option<u32>,
    /// `--del-set`.
    pub delete: Option<(String, Vec<SetDirection>)>,
    /// `--map-set`: take from the entry what follows.
    pub map: Option<(String, Vec<SetDirection>)>,
    /// `--map-mark`.
    pub map_mark: bool,
    /// `--map-prio`.
    pub map_priority: bool,
    /// `--map-queue`.
    pub map_queue: bool,
}

impl SetTarget {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let one = |words: &mut Words<'_, '_>| {
            let name = words.argument("a set's name")?.to_owned();
            Ok((name, words.parse("`src` or `dst`, for each part", set::directions)?))
        };
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match (option, not) {
                ("--add-set", false) => all.add = Some(one(words)?),
                ("--del-set", false) => all.delete = Some(one(words)?),
                ("--map-set", false) => all.map = Some(one(words)?),
                ("--exist", false) => all.renew = true,
                ("--timeout", false) => all.timeout = Some(words.number("seconds")?),
                ("--map-mark", false) => all.map_mark = true,
                ("--map-prio", false) => all.map_priority = true,
                ("--map-queue", false) => all.map_queue = true,
                _ => return Err(words.unexpected("an option of `-j SET`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        let one = |out: &mut String, option: &str, what: &Option<(String, Vec<SetDirection>)>| {
            if let Some((name, directions)) = what {
                put!(out, " {option} {name} {}", set::directions_text(directions));
            }
        };
        out.push_str(" -j SET");
        one(out, "--add-set", &self.add);
        if self.renew {
            out.push_str(" --exist");
        }
        if let Some(timeout) = self.timeout {
            put!(out, " --timeout {timeout}");
        }
        one(out, "--del-set", &self.delete);
        one(out, "--map-set", &self.map);
        let flags = [
            (self.map_mark, " --map-mark"),
            (self.map_priority, " --map-prio"),
            (self.map_queue, " --map-queue"),
        ];
        for (_, text) in flags.iter().filter(|(is_set, _)| *is_set) {
            out.push_str(text);
        }
    }
}
