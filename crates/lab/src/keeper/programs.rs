//! What runs on nodes: kubelet's part about pods, the controllers, and starting them anew.

use std::{
    io::{BufRead, BufReader},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use hopwise_controllers::{Family, Ruleset, flannel::SubnetEnv, kubelet::sync_kubelet_iptables};
use hopwise_snapshot::{Cluster, Place, PodName};
use hopwise_sys::process::poll;
use serde_json::Value;

use super::{Keeper, build::failed};
use crate::{
    LabError,
    control::{Controller, send},
    layout::{NodeLayout, member_name},
    member::NodeCommand,
    network::{Job, Wanted, batch, inside, nfacct, output_in, rules, run_all, sysctl},
    objects::{self, ContainerState},
};

/// How long a pod may take to be there, and its container to listen or to end.
const PATIENCE: Duration = Duration::from_secs(10);

impl Keeper {
    fn node(&self, name: &str) -> Result<&NodeLayout, LabError> {
        self.layout.node(name).ok_or_else(|| LabError::NoSuchMember {
            lab: self.name.to_string(),
            member: name.to_owned(),
            members: self.layout.nodes.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Starts a controller of a node anew. As the real ones do, it writes its whole state and leaves alone what is
    /// not its own.
    pub(super) fn start_controller(&mut self, controller: Controller, node: &str) -> Result<(), LabError> {
        self.start_programs(node)?;
        let cluster = self.objects.cluster()?;
        let node = self.node(node)?;
        let wanted = Wanted::of_node(&cluster, node)?;
        let pid = self.pid_of(&node.name)?;
        let name = node.name.as_str();
        match controller {
            Controller::Kubelet => rules::sync(name, pid, &Family::ALL, |family, rules| {
                sync_kubelet_iptables(family, rules);
                Ok(())
            }),
            Controller::KubeProxy => {
                inside(name, pid, || {
                    sysctl::apply(&sysctl::of_kube_proxy())?;
                    nfacct::ensure(&nfacct::KUBE_PROXY)
                        .map_err(|source| failed("make the accounting objects", name, source))
                })?;
                rules::sync(name, pid, &Family::ALL, |family, rules| wanted.sync_kube_proxy(family, rules))
            }
            Controller::Flannel => start_flannel(name, &wanted, pid),
        }
    }

    /// Starts those programs of a node that have ended.
    pub(super) fn start_programs(&mut self, node: &str) -> Result<(), LabError> {
        self.command(node, &NodeCommand::StartPrograms)?;
        self.take_reports();
        Ok(())
    }

    /// Ends a pod and starts it anew: new namespaces, the node's files as they are now, the same address.
    pub(super) fn restart_pod(&mut self, name: &PodName) -> Result<(), LabError> {
        let member = member_name(&Place::Pod(name.clone()));
        let Some((node, pod)) = self.layout.pod(name) else {
            let pods: Vec<String> = self.layout.pods().map(|(_, it)| format!("pod/{}", it.name)).collect();
            return Err(LabError::NoSuchMember {
                lab: self.name.to_string(),
                member,
                members: pods.join(", "),
            });
        };
        let (node, pod) = (node.clone(), pod.clone());
        // A network namespace dies some time after its last process; until then the cable's other end has the name.
        let node_pid = self.pid_of(&node.name)?;
        drop(run_all(&[Job::ip(&node.name, node_pid, &batch::deletions(std::slice::from_ref(&pod.veth)))]));
        self.listening.remove(&member);
        self.unready.retain(|it| it != name);
        let old_pid = self.members.get(&member).map(|it| it.pid);
        self.command(&node.name, &NodeCommand::RestartPod(name.clone()))?;
        self.wait_until(|it| it.members.get(&member).map(|it| it.pid) != old_pid, &member, "come up")?;
        self.build_pods(&node, &[&pod])?;
        self.command(&node.name, &NodeCommand::StartContainers)?;
        let pid = self.pid_of(&member)?;
        self.recorder.listen_in([(member.as_str(), pid)].into_iter())?;
        self.wait_until(
            |it| it.listening.contains_key(&member) || it.unready.contains(name),
            &member,
            "listen",
        )?;
        self.write_state()
    }

    /// Builds the network of some pods of a node that have nothing of it.
    pub(super) fn build_pods(
        &self,
        node: &NodeLayout,
        pods: &[&crate::layout::PodLayout],
    ) -> Result<(), LabError> {
        let cluster = self.objects.cluster()?;
        let wanted = Wanted::of_node(&cluster, node)?;
        let node_pid = self.pid_of(&node.name)?;
        for pod in pods {
            let member = member_name(&Place::Pod(pod.name.clone()));
            let pid = self.pid_of(&member)?;
            inside(&member, pid, || sysctl::apply(&sysctl::of_new_pod()))?;
            run_all(&[Job::ip(&member, pid, &batch::pod(pod, &wanted, self.own_pid_of(&node.name)?))])?;
            inside(&member, pid, || sysctl::apply(&sysctl::of_built_pod()))?;
        }
        let again = || pods.iter().copied();
        run_all(&[Job::ip(&node.name, node_pid, &batch::ports(again(), &wanted))])?;
        run_all(&[Job::bridge(&node.name, node_pid, &batch::port_settings(again(), &wanted))])?;
        let settings = sysctl::of_built_node(&wanted.bridge().name, again().map(|it| it.veth.as_str()), &[]);
        inside(&node.name, node_pid, || sysctl::apply(&settings))
    }

    pub(super) fn command(&self, node: &str, command: &NodeCommand) -> Result<(), LabError> {
        let line = self.nodes.get(node).ok_or_else(|| LabError::Keeper(format!("no node {node}")))?;
        let told = send(&mut &*line, command).and_then(|()| {
            line.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            BufReader::new(line).read_line(&mut answer)?;
            Ok(answer)
        });
        match told {
            Ok(answer) if answer.trim().is_empty() && !answer.is_empty() => Ok(()),
            Ok(answer) if answer.is_empty() => Err(LabError::Keeper(format!("node {node} is gone"))),
            Ok(answer) => Err(LabError::Keeper(format!("node {node}: {}", answer.trim()))),
            Err(source) => Err(failed("command the first process", node, source)),
        }
    }

    /// Takes reports until `is_done`.
    fn wait_until(
        &mut self,
        is_done: impl Fn(&Self) -> bool,
        member: &str,
        what: &'static str,
    ) -> Result<(), LabError> {
        let deadline = Instant::now() + PATIENCE;
        self.take_reports();
        while !is_done(self) {
            let ready = poll(&[self.reports.line.as_fd()], Some(deadline));
            if ready.map_err(|source| failed("wait for reports", member, source))?.is_empty() {
                return Err(LabError::TooSlow {
                    member: member.to_owned(),
                    what,
                    seconds: PATIENCE.as_secs(),
                });
            }
            self.take_reports();
        }
        Ok(())
    }

    /// What kubelet does when a container waits for packets.
    pub(super) fn container_runs(&mut self, pod: &PodName) -> Result<(), LabError> {
        self.unready.retain(|it| it != pod);
        self.note_container(pod, &ContainerState::Running, None)
    }

    /// What kubelet does when a container has ended.
    pub(super) fn container_ended(
        &mut self,
        pod: &PodName,
        exit_code: i32,
        n_restarts: u32,
        back_off: u64,
    ) -> Result<(), LabError> {
        if !self.unready.contains(pod) {
            self.unready.push(pod.clone());
        }
        let state = ContainerState::CrashLoopBackOff { exit_code, back_off };
        self.note_container(pod, &state, Some(n_restarts))
    }

    /// Writes a container's state into the objects, and where the pod's readiness changed has those follow who watch
    /// it: the EndpointSlice controller, and kube-proxy on every node where it runs.
    fn note_container(
        &mut self,
        pod: &PodName,
        state: &ContainerState,
        n_restarts: Option<u32>,
    ) -> Result<(), LabError> {
        let now = objects::seconds(jiff::Timestamp::now());
        let mut pods = self.objects.read(objects::PODS)?;
        let has_changed = objects::set_container_state(&mut pods, pod, state, n_restarts, &now);
        self.objects.write(objects::PODS, &pods)?;
        if !has_changed {
            return Ok(());
        }
        let before = self.objects.cluster()?;
        let mut slices = self.objects.read(objects::ENDPOINT_SLICES)?;
        objects::set_ready(&mut slices, pod, *state == ContainerState::Running);
        self.objects.write(objects::ENDPOINT_SLICES, &slices)?;
        let after = self.objects.cluster()?;
        for node in &self.layout.nodes {
            let runs =
                self.listening.get(&node.name).is_some_and(|it| it.iter().any(|it| it == "kube-proxy"));
            if runs {
                self.follow(node, &before, &after)?;
            }
        }
        Ok(())
    }

    /// What kube-proxy does when the objects change: it writes the chains whose content that changes, and looks at no
    /// other; only where that fails it writes everything.
    fn follow(&self, node: &NodeLayout, before: &Cluster, after: &Cluster) -> Result<(), LabError> {
        let pid = self.pid_of(&node.name)?;
        let wanted = Wanted::of_node(after, node)?;
        let wanted_before = Wanted::of_node(before, node)?;
        let mut jobs = Vec::new();
        for family in Family::ALL {
            let (mut old, mut new) = (Ruleset::default(), Ruleset::default());
            wanted_before.sync_kube_proxy(family, &mut old)?;
            wanted.sync_kube_proxy(family, &mut new)?;
            jobs.extend(rules::change(&node.name, pid, family, &old, &new));
        }
        run_all(&jobs).or_else(|_| {
            rules::sync(&node.name, pid, &Family::ALL, |family, rules| wanted.sync_kube_proxy(family, rules))
        })
    }
}

/// flannel's devices, routes, table entries, rules and file.
fn start_flannel(name: &str, wanted: &Wanted<'_>, pid: u32) -> Result<(), LabError> {
    let links = links(name, pid)?;
    let mut gone = Vec::new();
    for device in &wanted.flannel.devices {
        let found = links.iter().find(|it| it["ifname"] == device.name.as_str());
        if let Some(found) = found
            && !is_same_device(found, device)
        {
            gone.push(device.name.clone());
        }
    }
    run_all(&[Job::ip(name, pid, &batch::deletions(&gone))])?;
    let has_device =
        |it: &str| links.iter().any(|link| link["ifname"] == it) && !gone.iter().any(|gone| gone == it);
    run_all(&[Job::ip(name, pid, &batch::flannel(wanted, has_device))])?;
    run_all(&[Job::bridge(name, pid, &batch::flannel_fdb(wanted))])?;
    rules::sync(name, pid, &Family::ALL, |family, rules| wanted.sync_flannel(family, rules))?;
    let path = super::member_path(pid, SubnetEnv::PATH);
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&path, wanted.flannel.subnet_env.to_string()));
    written.map_err(|source| LabError::Write { path, source })
}

/// The interfaces of a member as `ip -j -d link` prints them.
pub(super) fn links(member: &str, pid: u32) -> Result<Vec<Value>, LabError> {
    let job = Job {
        member: member.to_owned(),
        pid,
        program: "ip",
        arguments: vec!["-j", "-d", "link", "show"],
        input: Vec::new(),
    };
    let text = output_in(&job)?;
    serde_json::from_str(&text).map_err(|error| LabError::Program {
        program: "ip -j -d link show".to_owned(),
        member: member.to_owned(),
        message: error.to_string(),
    })
}

/// Would flannel keep this device (`vxlanLinksIncompat`, flannel 0.28 `pkg/backend/vxlan/device.go`)?
fn is_same_device(found: &Value, device: &hopwise_controllers::flannel::VxlanDevice) -> bool {
    let info = &found["linkinfo"];
    let data = &info["info_data"];
    let local = if device.local.is_ipv6() { &data["local6"] } else { &data["local"] };
    info["info_kind"] == "vxlan"
        && data["id"] == device.vni
        && data["link"] == device.lower.as_str()
        && *local == device.local.to_string().as_str()
        && data["port"] == device.port
}
