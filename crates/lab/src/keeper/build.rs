//! Building a lab: its members, their networks, their programs.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use hopwise_sys::process::{Forked, fork_as_init, poll};

use super::{Keeper, Member, say};
use crate::{
    LabError,
    lab::MemberKind,
    layout::{NodeLayout, member_name},
    member::{
        NodeCommand, and_end,
        report::{Event, Report, Reporter},
        run_fabric, run_node, run_outside,
    },
    network::{Job, Wanted, batch, inside, nfacct, rules, run_all, sysctl},
};

/// How long members may take to be there, and their programs to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The names of the members that are no part of the cluster.
pub(super) const FABRIC: &str = "fab";
pub(super) const OUTSIDE: &str = "outside";

impl Keeper {
    /// Builds everything. Whoever wants it is on the other side of `line`; without him there is no lab.
    pub(super) fn build(&mut self, line: &UnixStream) -> Result<(), LabError> {
        say(line, "making namespaces")?;
        let mut gate = self.start_members()?;
        self.wait_for("come up", line, Keeper::absent)?;
        self.write_state()?;
        say(line, "building the underlay")?;
        self.build_underlay()?;
        say(line, "building nodes and pods")?;
        self.build_nodes()?;
        for node in self.layout.nodes.clone() {
            self.command(&node.name, &NodeCommand::StartContainers)?;
        }
        gate.write_all(b"+").map_err(|source| failed("open the gate", OUTSIDE, source))?;
        say(line, "writing rules")?;
        self.write_rules()?;
        self.recorder.listen_in(self.members.iter().map(|(name, it)| (name.as_str(), it.pid)))?;
        say(line, "waiting for pods")?;
        self.wait_for("listen", line, Keeper::silent)?;
        self.write_state()
    }

    /// Forks all members. The outside waits to serve until a byte comes through the returned gate.
    fn start_members(&mut self) -> Result<io::PipeWriter, LabError> {
        let (gate, opener) = io::pipe().map_err(|source| failed("make a pipe", FABRIC, source))?;
        self.start_member(FABRIC, MemberKind::Fab, run_fabric)?;
        let gate = File::from(std::os::fd::OwnedFd::from(gate));
        self.start_member(OUTSIDE, MemberKind::Outside, |common, reporter| {
            run_outside(common, reporter, gate)
        })?;
        for node in self.layout.nodes.clone() {
            let (here, there) =
                UnixStream::pair().map_err(|source| failed("make a line", &node.name, source))?;
            self.nodes.insert(node.name.clone(), here);
            let name = node.name.clone();
            self.start_member(&name, MemberKind::Node, |common, reporter| {
                run_node(common, &node, reporter, there)
            })?;
        }
        Ok(opener)
    }

    fn start_member(
        &mut self,
        name: &str,
        kind: MemberKind,
        work: impl FnOnce(&crate::member::Common, &Reporter) -> io::Result<()>,
    ) -> Result<(), LabError> {
        let line = self
            .common
            .line
            .try_clone()
            .map_err(|source| failed("copy the line of reports", name, source))?;
        let reporter = Reporter { member: name.to_owned(), line };
        match fork_as_init().map_err(|source| failed("start the first process", name, source))? {
            Forked::Child => and_end(&reporter, || work(&self.common, &reporter)),
            Forked::Parent(own_pid) => {
                let member = Member { kind, pid: 0, own_pid: Some(own_pid), lacks: Vec::new() };
                self.members.insert(name.to_owned(), member);
                Ok(())
            }
        }
    }

    /// Members of which a program does not wait for packets yet.
    fn silent(&self) -> Vec<String> {
        let listens = |member: &str, program: &str| {
            self.listening.get(member).is_some_and(|it| it.iter().any(|it| it == program))
        };
        let pods = self.layout.pods().map(|(_, pod)| {
            (member_name(&hopwise_snapshot::Place::Pod(pod.name.clone())), vec![pod.app.name()])
        });
        let nodes = self.layout.nodes.iter().map(|it| (it.name.clone(), crate::member::programs(it)));
        let all = pods.chain(nodes).chain([(OUTSIDE.to_owned(), vec!["web"])]);
        all.filter(|(member, programs)| !programs.iter().all(|it| listens(member, it)))
            .map(|(member, _)| member)
            .collect()
    }

    /// Members that are not there yet.
    fn absent(&self) -> Vec<String> {
        let pods =
            self.layout.pods().map(|(_, pod)| member_name(&hopwise_snapshot::Place::Pod(pod.name.clone())));
        let nodes = self.layout.nodes.iter().map(|it| it.name.clone());
        let all = pods.chain(nodes).chain([FABRIC.to_owned(), OUTSIDE.to_owned()]);
        all.filter(|it| self.members.get(it).is_none_or(|it| it.pid == 0)).collect()
    }

    /// Takes reports until none is missing any more.
    fn wait_for(
        &mut self,
        what: &'static str,
        line: &UnixStream,
        missing: impl Fn(&Self) -> Vec<String>,
    ) -> Result<(), LabError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let members = missing(self);
            if members.is_empty() {
                return Ok(());
            }
            let files = [self.reports.line.as_fd(), line.as_fd()];
            let ready =
                poll(&files, Some(deadline)).map_err(|source| failed("wait", "the keeper", source))?;
            if ready.contains(&1) {
                return Err(LabError::Abandoned);
            }
            if ready.is_empty() {
                let member = members.join(", ");
                return Err(LabError::TooSlow { member, what, seconds: PATIENCE.as_secs() });
            }
            self.take_build_reports()?;
        }
    }

    fn take_build_reports(&mut self) -> Result<(), LabError> {
        loop {
            let report =
                self.reports.next().map_err(|source| failed("read reports", "the keeper", source))?;
            let Some(Report { member, event }) = report else { return Ok(()) };
            match event {
                Event::SandboxEnded => {
                    return Err(LabError::Keeper(format!("the sandbox of {member} ended")));
                }
                Event::Failed { message } => {
                    return Err(LabError::Keeper(format!("{member} could not be made: {message}")));
                }
                Event::Ended { exit_code, .. } => {
                    return Err(LabError::Keeper(format!(
                        "the container of {member} ended with {exit_code}"
                    )));
                }
                Event::Gone { program } => {
                    return Err(LabError::Keeper(format!("{program} of {member} ended")));
                }
                Event::Up { pid, lacks } => self.is_up(member, pid, lacks),
                Event::Listening { program } => self.listening.entry(member).or_default().push(program),
            }
        }
    }

    pub(super) fn is_up(&mut self, name: String, pid: u32, lacks: Vec<String>) {
        let new = Member { kind: MemberKind::Pod, pid, own_pid: None, lacks: Vec::new() };
        let member = self.members.entry(name).or_insert(new);
        member.pid = pid;
        member.lacks = lacks;
    }

    fn build_underlay(&mut self) -> Result<(), LabError> {
        let fabric = self.pid_of(FABRIC)?;
        inside(FABRIC, fabric, || sysctl::apply(&sysctl::of_fabric()))?;
        let outside = self.pid_of(OUTSIDE)?;
        inside(OUTSIDE, outside, || sysctl::apply(&sysctl::of_outside()))?;
        // Before they have interfaces: what interfaces are born with.
        for node in &self.layout.nodes {
            self.prepare_node(node)?;
        }
        let mut ends = vec![(OUTSIDE.to_owned(), self.layout.gateway_mac, self.own_pid_of(OUTSIDE)?)];
        for node in &self.layout.nodes {
            ends.push((node.name.clone(), node.uplink_mac, self.own_pid_of(&node.name)?));
        }
        run_all(&[Job::ip(FABRIC, fabric, &batch::fabric(&self.layout, &ends))])?;
        run_all(&[Job::ip(OUTSIDE, outside, &batch::outside(&self.layout))])
    }

    /// Sets what a node's interfaces are to be born with.
    pub(super) fn prepare_node(&self, node: &NodeLayout) -> Result<(), LabError> {
        inside(&node.name, self.pid_of(&node.name)?, || sysctl::apply(&sysctl::of_new_node(self.layout.base)))
    }

    fn build_nodes(&mut self) -> Result<(), LabError> {
        let nodes: Vec<&NodeLayout> = self.layout.nodes.iter().collect();
        self.build_networks(&nodes)
    }

    /// Gives nodes with nothing but their uplinks, and their pods with nothing at all, their networks.
    pub(super) fn build_networks(&self, nodes: &[&NodeLayout]) -> Result<(), LabError> {
        let cluster = self.objects.cluster()?;
        let wanted = nodes.iter().map(|node| Wanted::of_node(&cluster, node));
        let wanted: Vec<Wanted<'_>> = wanted.collect::<Result<_, _>>()?;
        let (mut first, mut pods, mut then) = (Vec::new(), Vec::new(), Vec::new());
        let mut ports = Vec::new();
        for (node, wanted) in nodes.iter().zip(&wanted) {
            let pid = self.pid_of(&node.name)?;
            first.push(Job::ip(&node.name, pid, &batch::node(&self.layout, node, wanted)));
            then.push(Job::bridge(&node.name, pid, &batch::flannel_fdb(wanted)));
            for pod in &node.pods {
                let name = member_name(&hopwise_snapshot::Place::Pod(pod.name.clone()));
                let pod_pid = self.pid_of(&name)?;
                inside(&name, pod_pid, || sysctl::apply(&sysctl::of_new_pod()))?;
                pods.push(Job::ip(&name, pod_pid, &batch::pod(pod, wanted, self.own_pid_of(&node.name)?)));
            }
            ports.push(Job::ip(&node.name, pid, &batch::ports(node.pods.iter(), wanted)));
            then.push(Job::bridge(&node.name, pid, &batch::port_settings(node.pods.iter(), wanted)));
        }
        run_all(&first)?;
        run_all(&pods)?;
        run_all(&ports)?;
        then.retain(|it| !it.input.is_empty());
        run_all(&then)?;
        for (node, wanted) in nodes.iter().zip(&wanted) {
            self.settle_network(node, wanted)?;
        }
        Ok(())
    }

    /// Sets what the real programs set once interfaces are there.
    fn settle_network(&self, node: &NodeLayout, wanted: &Wanted<'_>) -> Result<(), LabError> {
        let veths = node.pods.iter().map(|it| it.veth.as_str());
        let devices = wanted.flannel.devices.iter().map(|it| it.name.replace('.', "/"));
        let devices: Vec<String> = devices.chain([crate::network::UPLINK.to_owned()]).collect();
        let others: Vec<&str> = devices.iter().map(String::as_str).collect();
        let settings = sysctl::of_built_node(&wanted.bridge().name, veths, &others);
        inside(&node.name, self.pid_of(&node.name)?, || sysctl::apply(&settings))?;
        for pod in &node.pods {
            let name = member_name(&hopwise_snapshot::Place::Pod(pod.name.clone()));
            inside(&name, self.pid_of(&name)?, || sysctl::apply(&sysctl::of_built_pod()))?;
        }
        Ok(())
    }

    fn write_rules(&mut self) -> Result<(), LabError> {
        let nodes: Vec<&NodeLayout> = self.layout.nodes.iter().collect();
        self.write_rules_of(&nodes)
    }

    /// Gives nodes without rules theirs, in the order in which the real controllers come: kubelet, kube-proxy, flannel.
    pub(super) fn write_rules_of(&self, nodes: &[&NodeLayout]) -> Result<(), LabError> {
        let cluster = self.objects.cluster()?;
        let mut jobs = Vec::new();
        for node in nodes {
            let wanted = Wanted::of_node(&cluster, node)?;
            let pid = self.pid_of(&node.name)?;
            inside(&node.name, pid, || {
                nfacct::ensure(&nfacct::KUBE_PROXY)
                    .map_err(|source| failed("make the accounting objects", &node.name, source))
            })?;
            let mut all = Vec::new();
            // kube-proxy keeps both families on a cluster with one, too.
            for family in hopwise_controllers::Family::ALL {
                let mut rules = hopwise_controllers::Ruleset::default();
                hopwise_controllers::kubelet::sync_kubelet_iptables(family, &mut rules);
                wanted.sync_kube_proxy(family, &mut rules)?;
                wanted.sync_flannel(family, &mut rules)?;
                all.push((family, rules));
            }
            jobs.extend(rules::restore_all(&node.name, pid, &all));
        }
        run_all(&jobs)
    }

    /// The number of a member's first process, as whoever made the lab counts.
    pub(super) fn pid_of(&self, member: &str) -> Result<u32, LabError> {
        let member = self.members.get(member).map(|it| it.pid).filter(|it| *it != 0);
        member.ok_or_else(|| LabError::Keeper("a member is gone".to_owned()))
    }

    /// The same as the keeper counts.
    pub(super) fn own_pid_of(&self, member: &str) -> Result<u32, LabError> {
        let own = self.members.get(member).and_then(|it| it.own_pid);
        own.ok_or_else(|| LabError::Keeper(format!("{member} is none of the keeper's own")))
    }
}

pub(super) fn failed(step: &'static str, member: &str, source: io::Error) -> LabError {
    LabError::Kernel { step, member: member.to_owned(), source }
}
