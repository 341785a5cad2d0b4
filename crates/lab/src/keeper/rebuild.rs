//! Taking a member's network away and building it anew, whatever was done to it.

use std::{fs, io, path::Path};

use hopwise_snapshot::Place;

use super::{
    Keeper,
    build::{FABRIC, OUTSIDE},
    programs::links,
};
use crate::{
    LabError,
    layout::{NodeLayout, member_name},
    network::{Job, batch, inside, run_all, sysctl},
};

impl Keeper {
    /// Gives a member the network that it was built with. A node's pods get theirs anew with it.
    pub(super) fn rebuild(&mut self, member: &str) -> Result<(), LabError> {
        let layout = self.layout.clone();
        if member == FABRIC {
            let nodes: Vec<&NodeLayout> = layout.nodes.iter().collect();
            self.clear(FABRIC)?;
            self.rebuild_fabric(&nodes)
        } else if member == OUTSIDE {
            self.clear(OUTSIDE)?;
            self.rebuild_outside()
        } else if let Some(node) = layout.node(member) {
            self.rebuild_nodes(&[node])
        } else {
            let found = layout.pods().find(|(_, pod)| member_name(&Place::Pod(pod.name.clone())) == member);
            let (node, pod) = found.ok_or_else(|| LabError::Keeper(format!("no member {member}")))?;
            self.clear(member)?;
            self.build_pods(node, &[pod])
        }
    }

    fn rebuild_fabric(&mut self, nodes: &[&NodeLayout]) -> Result<(), LabError> {
        let pid = self.pid_of(FABRIC)?;
        inside(FABRIC, pid, || sysctl::apply(&sysctl::of_fabric()))?;
        // With the cables the uplinks of all members are gone.
        run_all(&[Job::ip(FABRIC, pid, &batch::fabric(&self.layout, &[]))])?;
        self.clear(OUTSIDE)?;
        self.rebuild_outside()?;
        self.rebuild_nodes(nodes)
    }

    fn rebuild_outside(&mut self) -> Result<(), LabError> {
        let pid = self.pid_of(OUTSIDE)?;
        inside(OUTSIDE, pid, || sysctl::apply(&sysctl::of_outside()))?;
        let end = (OUTSIDE.to_owned(), self.layout.gateway_mac, self.own_pid_of(OUTSIDE)?);
        run_all(&[Job::ip(FABRIC, self.pid_of(FABRIC)?, &batch::cables(&[end]))])?;
        run_all(&[Job::ip(OUTSIDE, pid, &batch::outside(&self.layout))])
    }

    fn rebuild_nodes(&mut self, nodes: &[&NodeLayout]) -> Result<(), LabError> {
        for node in nodes {
            self.clear(&node.name)?;
            for pod in &node.pods {
                self.clear(&member_name(&Place::Pod(pod.name.clone())))?;
            }
            self.prepare_node(node)?;
            let end = (node.name.clone(), node.uplink_mac, self.own_pid_of(&node.name)?);
            run_all(&[Job::ip(FABRIC, self.pid_of(FABRIC)?, &batch::cables(&[end]))])?;
        }
        self.build_networks(nodes)?;
        self.write_rules_of(nodes)
    }

    /// Takes away all interfaces, routes, rules and filters of a member.
    fn clear(&self, member: &str) -> Result<(), LabError> {
        let pid = self.pid_of(member)?;
        let names = links(member, pid)?;
        let names = names.iter().filter_map(|it| it["ifname"].as_str()).filter(|it| *it != "lo");
        let names: Vec<String> = names.map(str::to_owned).collect();
        // The end of one may be the end of another: a veth takes its peer along. What is left then is an error.
        drop(run_all(&[forced(Job::ip(member, pid, &batch::deletions(&names)), "-4")]));
        for (family, is_v6) in [("-4", false), ("-6", true)] {
            drop(run_all(&[forced(Job::ip(member, pid, &batch::emptying(is_v6)), family)]));
        }
        run_all(&[job("nft", member, pid, &["flush", "ruleset"])])?;
        for (program, tables) in
            [("iptables-legacy-restore", "ip_tables_names"), ("ip6tables-legacy-restore", "ip6_tables_names")]
        {
            let tables = inside(member, pid, || Ok(legacy_tables(tables)))?;
            for table in tables.unwrap_or_default().lines() {
                let empty = format!("*{table}\nCOMMIT\n");
                run_all(&[Job { input: empty.into_bytes(), ..job(program, member, pid, &[]) }])?;
            }
        }
        Ok(())
    }
}

/// The tables of the xtables back end that the calling thread's network namespace has.
fn legacy_tables(file: &str) -> io::Result<String> {
    fs::read_to_string(Path::new("/proc/thread-self/net").join(file))
}

/// For one family, and with the lines behind one that fails, too.
fn forced(mut job: Job, family: &'static str) -> Job {
    job.arguments.splice(0..0, [family, "-force"]);
    job
}

fn job(program: &'static str, member: &str, pid: u32, arguments: &[&'static str]) -> Job {
    Job { member: member.to_owned(), pid, program, arguments: arguments.to_vec(), input: Vec::new() }
}
