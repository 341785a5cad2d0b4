//! `hopwise lab up`.

use std::{process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use hopwise_lab::{Base, KeeperProgram, Lab, LabError, LabName, Shape, up};
use indicatif::{ProgressBar, ProgressStyle};

use super::KEEPER_WORDS;
use crate::failure::{Output, WRONG, complain, print, report};

/// Make a lab.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Its name.
    #[arg(default_value = "lab")]
    name: LabName,
    /// How nodes carry packets between pods.
    #[arg(long, value_enum, default_value_t = BaseWord::Vxlan)]
    base: BaseWord,
    /// How many nodes: cp, w1, w2, …
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(Shape::MOST_NODES)))]
    nodes: u8,
    /// What kube-proxy writes.
    #[arg(long, value_enum, default_value_t = Proxy::Iptables)]
    proxy: Proxy,
    /// Who answers for the cluster's names.
    #[arg(long, value_enum, default_value_t = Dns::Embedded)]
    dns: Dns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BaseWord {
    /// flannel, VXLAN, IPv4.
    Vxlan,
    /// flannel, plain routes through the other nodes.
    Hostgw,
    /// A route for each pod, no bridge.
    Routed,
    /// flannel, VXLAN, IPv4 and IPv6.
    DualStack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Proxy {
    /// iptables rules.
    Iptables,
    /// nftables rules.
    Nftables,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dns {
    /// A server that is part of this program.
    Embedded,
    /// CoreDNS, where the machine has it.
    Coredns,
}

impl Up {
    pub(crate) fn run(&self) -> ExitCode {
        let shape = match self.shape() {
            Ok(shape) => shape,
            Err(option) => {
                complain(&format!("error: {option} is not built yet"));
                return ExitCode::from(WRONG);
            }
        };
        match self.make(shape) {
            Ok(lab) => {
                print(&summary(&lab));
                ExitCode::SUCCESS
            }
            Err(error) => report(&error, Output::Text),
        }
    }

    fn shape(&self) -> Result<Shape, &'static str> {
        let base = match self.base {
            BaseWord::Vxlan => Base::Vxlan,
            BaseWord::DualStack => Base::DualStack,
            BaseWord::Hostgw => return Err("--base hostgw"),
            BaseWord::Routed => return Err("--base routed"),
        };
        if self.proxy == Proxy::Nftables {
            return Err("--proxy nftables");
        }
        if self.dns == Dns::Coredns {
            return Err("--dns coredns");
        }
        Ok(Shape { base, n_nodes: self.nodes })
    }

    fn make(&self, shape: Shape) -> Result<Lab, LabError> {
        // Hidden by itself where standard error is no terminal.
        let progress = ProgressBar::new_spinner();
        progress.set_style(
            ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        progress.enable_steady_tick(Duration::from_millis(80));
        let made = up(&self.name, shape, &KeeperProgram::this(KEEPER_WORDS), |step| {
            progress.set_message(step.to_owned());
        });
        progress.finish_and_clear();
        made
    }
}

fn summary(lab: &Lab) -> String {
    let layout = lab.layout();
    let nodes: Vec<&str> = layout.nodes.iter().map(|it| it.name.as_str()).collect();
    let mut lines = vec![format!(
        "lab `{}` is up: nodes {}, {} pods",
        lab.name(),
        nodes.join(", "),
        layout.pods().count()
    )];
    let mut lacking: Vec<String> = lab.members().iter().flat_map(|it| it.lacks.clone()).collect();
    lacking.sort();
    lacking.dedup();
    lines.extend(lacking.iter().map(|it| format!("its members do without {it}")));
    lines.join("\n")
}
