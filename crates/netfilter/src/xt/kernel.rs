//! Matches on what the kernel keeps beside the packet: `owner`, `cgroup`, `socket`, `rpfilter`, `policy`,
//! `realm`.
//!
//! Kernel: net/netfilter/xt_owner.c, xt_cgroup.c, xt_socket.c, net/ipv4/netfilter/ipt_rpfilter.c,
//! net/netfilter/xt_policy.c, xt_realm.c.

use hopwise_snapshot::Observed;

use super::{Masked, Span, Test};
use crate::{
    FoundSocket, ReversePath,
    iptables::words::{Words, masked, push_quoted, span},
    put,
    remark::Problem,
    scene::Scene,
    ternary::Ternary,
};

/// `-m owner`: the socket of a local packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `--uid-owner`.
    pub uid: Option<Test<Span<u32>>>,
    /// `--gid-owner`.
    pub gid: Option<Test<Span<u32>>>,
    /// `--socket-exists`, negated or not.
    pub exists: Option<Test<()>>,
    /// `--suppl-groups`: do further groups of the socket count?
    pub with_further_groups: bool,
}

impl Owner {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        // The name of user and group 0 is the same everywhere; no other name can be known here.
        let ids = |text: &str| match text {
            "root" => Some(Span { low: 0, high: 0 }),
            _ => span(text, '-'),
        };
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--uid-owner" => all.uid = Some(Test { not, value: words.parse("UID[-UID]", ids)? }),
                "--gid-owner" => all.gid = Some(Test { not, value: words.parse("GID[-GID]", ids)? }),
                "--socket-exists" => all.exists = Some(Test { not, value: () }),
                "--suppl-groups" if !not => all.with_further_groups = true,
                _ => return Err(words.unexpected("an option of `-m owner`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m owner");
        if let Some(test) = &self.exists {
            put!(out, "{} --socket-exists", if test.not { " !" } else { "" });
        }
        for (option, test) in [("--uid-owner", &self.uid), ("--gid-owner", &self.gid)] {
            let Some(test) = test else { continue };
            let Span { low, high } = test.value;
            if low == high {
                test.write_option(out, option, low);
            } else {
                test.write_option(out, option, format_args!("{low}-{high}"));
            }
        }
        if self.with_further_groups {
            out.push_str(" --suppl-groups");
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Some(owner) = &scene.view.owner else {
            // Without a socket the whole holds if everything asked for is negated.
            let is_negated = |test: &Option<Test<Span<u32>>>| test.is_none_or(|it| it.not);
            let exists = self.exists.is_none_or(|it| it.not);
            return (is_negated(&self.uid) && is_negated(&self.gid) && exists).into();
        };
        if self.exists.is_some_and(|it| it.not) {
            return Ternary::No;
        }
        let holds = |test: &Option<Test<Span<u32>>>, id: Option<u32>, why: &'static str| match (test, id) {
            (None, _) => Ternary::Yes,
            (Some(test), Some(id)) => test.check(test.value.contains(id)),
            (Some(_), None) => Ternary::unknown(why),
        };
        holds(&self.uid, owner.uid, "the user of the sending socket is not known").and(|| {
            let by_own = holds(&self.gid, owner.gid, "the group of the sending socket is not known");
            match (self.with_further_groups, &self.gid) {
                (true, Some(test)) if by_own == test.check(false) => {
                    Ternary::unknown("the further groups of the sending socket are not known")
                }
                _ => by_own,
            }
        })
    }
}

/// `-m cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// `--cgroup`: the classifier's number.
    Class(Test<u32>),
    /// `--path`: at or below this path.
    Path(Test<String>),
}

impl Cgroup {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let expected = "`--cgroup` or `--path`";
        let (not, option) = words.option().ok_or_else(|| words.unexpected(expected))?;
        match option {
            "--cgroup" => Ok(Self::Class(Test { not, value: words.number("a class number")? })),
            "--path" => Ok(Self::Path(Test { not, value: words.argument("a path")?.to_owned() })),
            _ => Err(words.unexpected(expected)),
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m cgroup");
        match self {
            Self::Class(test) => test.write_option(out, "--cgroup", test.value),
            Self::Path(test) => {
                out.push_str(if test.not { " ! --path" } else { " --path" });
                push_quoted(out, &test.value);
            }
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Some(owner) = &scene.view.owner else { return Ternary::No };
        match self {
            Self::Class(test) => match owner.class_id {
                Some(class) => test.check(class == test.value),
                None => Ternary::unknown("the control group class of the sending socket is not known"),
            },
            Self::Path(test) => match &owner.cgroup {
                Some(path) => test.check(is_below(path, &test.value)),
                None => Ternary::unknown("the control group of the sending socket is not known"),
            },
        }
    }
}

/// Is the control group at `path` the one at `top`, or below it?
pub(crate) fn is_below(path: &str, top: &str) -> bool {
    let (path, top) = (path.trim_matches('/'), top.trim_matches('/'));
    top.is_empty() || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `-m socket`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// `--transparent`: only sockets that take packets for foreign addresses.
    pub transparent: bool,
    /// `--nowildcard`: sockets bound to any address count too.
    pub any_address: bool,
    /// `--restore-skmark`: the packet gets the socket's mark.
    pub restore_mark: bool,
}

impl Socket {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match (option, not) {
                ("--transparent", false) => all.transparent = true,
                ("--nowildcard", false) => all.any_address = true,
                ("--restore-skmark", false) => all.restore_mark = true,
                _ => return Err(words.unexpected("an option of `-m socket`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m socket");
        let flags = [
            (self.transparent, " --transparent"),
            (self.any_address, " --nowildcard"),
            (self.restore_mark, " --restore-skmark"),
        ];
        for (_, text) in flags.iter().filter(|(is_set, _)| *is_set) {
            out.push_str(text);
        }
    }

    fn accepts(self, socket: FoundSocket) -> bool {
        (self.any_address || !socket.wildcard) && (!self.transparent || socket.transparent)
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        Ternary::observed(scene.around.socket(scene.view), "the local socket of a packet", |it| {
            self.accepts(it)
        })
    }

    /// The mark that the packet gets, where the match holds and says so.
    pub(crate) fn restored_mark(self, scene: &Scene<'_>) -> Option<u32> {
        match scene.around.socket(scene.view) {
            Observed::Known(socket) if self.restore_mark && self.accepts(socket) => Some(socket.mark),
            _ => None,
        }
    }
}

/// `-m rpfilter`: does an answer leave by the device that the packet came in by?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rpfilter {
    /// How to look.
    pub flags: ReversePath,
    /// `--invert`.
    pub not: bool,
}

impl Rpfilter {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match (option, not) {
                ("--loose", false) => all.flags.loose = true,
                ("--validmark", false) => all.flags.with_mark = true,
                ("--accept-local", false) => all.flags.accept_local = true,
                ("--invert", false) => all.not = true,
                _ => return Err(words.unexpected("an option of `-m rpfilter`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m rpfilter");
        let flags = [
            (self.flags.loose, " --loose"),
            (self.flags.with_mark, " --validmark"),
            (self.flags.accept_local, " --accept-local"),
            (self.not, " --invert"),
        ];
        for (_, text) in flags.iter().filter(|(is_set, _)| *is_set) {
            out.push_str(text);
        }
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        // Packets from this host pass unseen (`rpfilter_is_loopback`), as do those without a source that
        // look for one.
        if scene.view.input.as_ref().is_some_and(|it| it.name == "lo") {
            return (!self.not).into();
        }
        let why = "the way back to the source of a packet";
        Ternary::observed(scene.around.reverse_path(scene.view, self.flags), why, |it| it).not_if(self.not)
    }
}

/// `-m policy`: IPsec transforms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyMatch {
    /// `--dir out`: looks at the transform to come, not at those that were.
    pub outward: bool,
    /// `--pol none`: there must be no transform.
    pub none: bool,
    /// `--strict`, and what the transforms must be like, as words. Not modelled.
    pub details: Vec<String>,
}

impl PolicyMatch {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match (option, not) {
                ("--dir", false) => all.outward = words.argument("`in` or `out`")? == "out",
                ("--pol", false) => all.none = words.argument("`none` or `ipsec`")? == "none",
                ("--strict" | "--next", false) => all.details.push(option.to_owned()),
                ("--reqid" | "--spi" | "--proto" | "--mode" | "--tunnel-src" | "--tunnel-dst", _) => {
                    if not {
                        all.details.push("!".to_owned());
                    }
                    all.details.push(option.to_owned());
                    all.details.push(words.argument("a value")?.to_owned());
                }
                _ => return Err(words.unexpected("an option of `-m policy`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        let direction = if self.outward { "out" } else { "in" };
        let kind = if self.none { "none" } else { "ipsec" };
        put!(out, " -m policy --dir {direction} --pol {kind}");
        for word in &self.details {
            put!(out, " {word}");
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let is_transformed = if self.outward {
            let route = scene.around.route(scene.view);
            Ternary::observed(route, "the route of a packet", |it| it.is_transformed)
        } else {
            scene.view.was_transformed.into()
        };
        is_transformed.not_if(self.none).and(|| {
            if self.details.is_empty() {
                Ternary::Yes
            } else {
                Ternary::unknown("the details of IPsec transforms are not modelled")
            }
        })
    }
}

/// `-m realm`: the realms of the packet's route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Realm(pub Test<Masked>);

impl Realm {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        super::quantity::read_one(words, "--realm", |words| {
            words.parse("VALUE[/MASK]", |text| {
                let (value, mask) = masked(text)?;
                Some(Masked { value, mask: mask.unwrap_or(u32::MAX) })
            })
        })
        .map(Self)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m realm");
        let Masked { value, mask } = self.0.value;
        match mask {
            u32::MAX => self.0.write_option(out, "--realm", format_args!("{value:#x}")),
            _ => self.0.write_option(out, "--realm", format_args!("{value:#x}/{mask:#x}")),
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Masked { value, mask } = self.0.value;
        let route = scene.around.route(scene.view);
        Ternary::observed(route, "the realm of a packet's route", |it| it.class_id & mask == value)
            .not_if(self.0.not)
    }
}
