//! `MARK` and `CONNMARK`.
//!
//! Kernel: net/netfilter/xt_mark.c, xt_connmark.c.

use crate::{
    iptables::words::{Words, masked, number},
    put,
    remark::Problem,
    xt::{Masked, conntrack},
};

/// `-j MARK`: clears the bits of the mask, then flips those of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkTarget(pub Masked);

impl MarkTarget {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let (not, option) = words.option().ok_or_else(|| words.unexpected("`--set-xmark`"))?;
        if not {
            return Err(words.unexpected("an option of `-j MARK`"));
        }
        read_change(option, words, "-j MARK").map(Self)
    }

    pub(super) fn write(self, out: &mut String) {
        put!(out, " -j MARK --set-xmark {:#x}/{:#x}", self.0.value, self.0.mask);
    }

    /// The mark after.
    pub(crate) fn apply(self, mark: u32) -> u32 {
        mark & !self.0.mask ^ self.0.value
    }
}

/// What `--set-xmark` and its shorthands say (`mark_tg_parse`, extensions/libxt_MARK.c).
fn read_change(option: &str, words: &mut Words<'_, '_>, target: &str) -> Result<Masked, Problem> {
    let narrow = |text: &str| u32::try_from(number(text)?).ok();
    Ok(match option {
        "--set-xmark" => {
            let (value, mask) = words.parse("VALUE[/MASK]", masked)?;
            Masked { value, mask: mask.unwrap_or(u32::MAX) }
        }
        "--set-mark" => {
            let (value, mask) = words.parse("VALUE[/MASK]", masked)?;
            Masked { value, mask: mask.map_or(u32::MAX, |mask| mask | value) }
        }
        "--and-mark" => Masked { value: 0, mask: !words.parse("a mark", narrow)? },
        "--or-mark" => {
            let value = words.parse("a mark", narrow)?;
            Masked { value, mask: value }
        }
        "--xor-mark" => Masked { value: words.parse("a mark", narrow)?, mask: 0 },
        _ => return Err(words.unexpected(&format!("an option of `{target}`"))),
    })
}

/// `-j CONNMARK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnmarkTarget {
    /// Changes the connection's mark as [`MarkTarget`] changes the packet's.
    Set(Masked),
    /// Copies the packet's mark to the connection.
    Save {
        /// The bits of the packet's mark that are copied.
        packet: u32,
        /// The bits of the connection's mark that are cleared before.
        connection: u32,
    },
    /// Copies the connection's mark to the packet.
    Restore {
        /// The bits of the packet's mark that are cleared before.
        packet: u32,
        /// The bits of the connection's mark that are copied.
        connection: u32,
    },
}

impl ConnmarkTarget {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut set = None;
        let mut saves = None;
        let (mut packet, mut connection) = (u32::MAX, u32::MAX);
        while let Some((not, option)) = words.option() {
            match (option, not) {
                ("--save-mark", false) => saves = Some(true),
                ("--restore-mark", false) => saves = Some(false),
                ("--nfmask", false) => packet = words.number("a mask")?,
                ("--ctmask", false) => connection = words.number("a mask")?,
                ("--mask", false) => {
                    packet = words.number("a mask")?;
                    connection = packet;
                }
                (_, false) => set = Some(read_change(option, words, "-j CONNMARK")?),
                (_, true) => return Err(words.unexpected("an option of `-j CONNMARK`")),
            }
        }
        match (set, saves) {
            (Some(change), None) => Ok(Self::Set(change)),
            (None, Some(true)) => Ok(Self::Save { packet, connection }),
            (None, Some(false)) => Ok(Self::Restore { packet, connection }),
            _ => Err(words.unexpected("one of `--set-xmark`, `--save-mark` and `--restore-mark`")),
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -j CONNMARK");
        match *self {
            Self::Set(change) => put!(out, " --set-xmark {:#x}/{:#x}", change.value, change.mask),
            Self::Save { packet, connection } => {
                out.push_str(" --save-mark");
                conntrack::write_masks(out, packet, connection);
            }
            Self::Restore { packet, connection } => {
                out.push_str(" --restore-mark");
                conntrack::write_masks(out, packet, connection);
            }
        }
    }

    /// The packet's and the connection's mark after.
    pub(crate) fn apply(&self, packet_mark: u32, connection_mark: u32) -> (u32, u32) {
        match *self {
            Self::Set(change) => (packet_mark, connection_mark & !change.mask ^ change.value),
            Self::Save { packet, connection } => {
                (packet_mark, connection_mark & !connection ^ packet_mark & packet)
            }
            Self::Restore { packet, connection } => {
                (packet_mark & !packet ^ connection_mark & connection, connection_mark)
            }
        }
    }
}
