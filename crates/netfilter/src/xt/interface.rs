//! Matches on devices: `-i`, `-o`, `physdev`, `devgroup`.
//!
//! Kernel: include/linux/netfilter/x_tables.h (`ifname_compare_aligned`), net/netfilter/xt_physdev.c,
//! xt_devgroup.c.

use std::fmt;

use super::{Masked, Test};
use crate::{
    iptables::words::{Words, masked},
    packet::Device,
    put,
    remark::Problem,
    scene::Scene,
    ternary::Ternary,
};

/// A device's name, or with `+` at its end the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfacePattern(pub String);

impl InterfacePattern {
    /// Is the device called `name` meant? No device is the empty name, which only `+` covers.
    pub fn covers(&self, name: &str) -> bool {
        match self.0.strip_suffix('+') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.0,
        }
    }
}

impl fmt::Display for InterfacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `-m physdev`: the bridge ports of a packet that passes a bridge and the IP hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Physdev {
    /// `--physdev-in`.
    pub input: Option<Test<InterfacePattern>>,
    /// `--physdev-out`.
    pub output: Option<Test<InterfacePattern>>,
    /// `--physdev-is-in`, negated or not.
    pub is_in: Option<Test<()>>,
    /// `--physdev-is-out`, negated or not.
    pub is_out: Option<Test<()>>,
    /// `--physdev-is-bridged`, negated or not.
    pub is_bridged: Option<Test<()>>,
}

impl Physdev {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self::default();
        let pattern = |text: &str| Some(InterfacePattern(text.to_owned()));
        while let Some((not, option)) = words.option() {
            match option {
                "--physdev-in" => {
                    all.input = Some(Test { not, value: words.parse("a bridge port", pattern)? });
                }
                "--physdev-out" => {
                    all.output = Some(Test { not, value: words.parse("a bridge port", pattern)? });
                }
                "--physdev-is-in" => all.is_in = Some(Test { not, value: () }),
                "--physdev-is-out" => all.is_out = Some(Test { not, value: () }),
                "--physdev-is-bridged" => all.is_bridged = Some(Test { not, value: () }),
                _ => return Err(words.unexpected("an option of `-m physdev`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m physdev");
        let flag = |out: &mut String, test: &Option<Test<()>>, option: &str| {
            if let Some(test) = test {
                put!(out, "{} {option}", if test.not { " !" } else { "" });
            }
        };
        flag(out, &self.is_in, "--physdev-is-in");
        if let Some(test) = &self.input {
            test.write_option(out, "--physdev-in", &test.value);
        }
        flag(out, &self.is_out, "--physdev-is-out");
        if let Some(test) = &self.output {
            test.write_option(out, "--physdev-out", &test.value);
        }
        flag(out, &self.is_bridged, "--physdev-is-bridged");
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let (input, output) = (scene.view.physical_input, scene.view.physical_output);
        let is = |test: &Option<Test<()>>, is_so: bool| test.is_none_or(|it| is_so != it.not);
        if !is(&self.is_bridged, output.is_some())
            || !is(&self.is_in, input.is_some())
            || !is(&self.is_out, output.is_some())
        {
            return Ternary::No;
        }
        if input.is_none() && output.is_none() {
            // Not a bridged packet at all: only what is negated holds.
            let is_negated = |test: &Option<Test<InterfacePattern>>| test.as_ref().is_none_or(|it| it.not);
            return (is_negated(&self.input) && is_negated(&self.output)).into();
        }
        // A packet without an input port is not asked for it; one without an output port fails the test.
        let input_holds = match (&self.input, input) {
            (Some(test), Some(name)) => test.value.covers(name) != test.not,
            _ => true,
        };
        let output_holds = match (&self.output, output) {
            (Some(test), Some(name)) => test.value.covers(name) != test.not,
            (Some(_), None) => false,
            (None, _) => true,
        };
        (input_holds && output_holds).into()
    }
}

/// `-m devgroup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Devgroup {
    /// `--src-group`: of the input device.
    pub source: Option<Test<Masked>>,
    /// `--dst-group`: of the output device.
    pub destination: Option<Test<Masked>>,
}

impl Devgroup {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        // Group 0 has a name in every /etc/iproute2/group.
        let group = |text: &str| {
            if text == "default" {
                return Some(Masked { value: 0, mask: u32::MAX });
            }
            masked(text).map(|(value, mask)| Masked { value, mask: mask.unwrap_or(u32::MAX) })
        };
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--src-group" => {
                    all.source = Some(Test { not, value: words.parse("GROUP[/MASK]", group)? });
                }
                "--dst-group" => {
                    all.destination = Some(Test { not, value: words.parse("GROUP[/MASK]", group)? });
                }
                _ => return Err(words.unexpected("an option of `-m devgroup`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m devgroup");
        for (option, test) in [("--src-group", &self.source), ("--dst-group", &self.destination)] {
            let Some(test) = test else { continue };
            let Masked { value, mask } = test.value;
            match mask {
                u32::MAX => test.write_option(out, option, format_args!("{value:#x}")),
                _ => test.write_option(out, option, format_args!("{value:#x}/{mask:#x}")),
            }
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let holds = |test: &Option<Test<Masked>>, device: Option<&Device<'_>>| match (test, device) {
            (None, _) => Ternary::Yes,
            // The kernel allows the test only at hooks that have the device.
            (Some(_), None) => Ternary::No,
            (Some(test), Some(device)) => match device.group {
                Some(group) => test.check((group ^ test.value.value) & test.value.mask == 0),
                None => Ternary::unknown("the group of a device is not known"),
            },
        };
        holds(&self.source, scene.view.input.as_ref())
            .and(|| holds(&self.destination, scene.view.output.as_ref()))
    }
}
