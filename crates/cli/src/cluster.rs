//! A live cluster as the source of the state: its API server, and ways to its nodes.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    fs,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use hopwise_agent::{Local, Nodes, NodesVia as Way, Ssh, SshProgram, Target, targets};
use hopwise_api::{Access, ApiError, ApiServer, Environment, Limits, NodePodOptions};
use hopwise_snapshot::{Cluster, NodeName, Observed, Reason, Snapshot};

use crate::{
    focus::Focus,
    image::reference,
    output::complain,
    progress::Step,
    reach::{ByPods, Reach, said},
};

/// The options that name a live cluster, as kubectl has them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Live cluster")]
pub(crate) struct ClusterOptions {
    /// The kubeconfig; without it those of $KUBECONFIG, or ~/.kube/config
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lab", "snapshot"])]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it the current one
    #[arg(long, value_name = "NAME", conflicts_with_all = ["lab", "snapshot"])]
    context: Option<String>,
    /// The user to act as
    #[arg(long = "as", value_name = "USER", conflicts_with_all = ["lab", "snapshot"])]
    impersonate: Option<String>,
    /// A group to act as a member of; may be given several times
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    groups: Vec<String>,
    /// How long one answer of the API server may take, as 10s or 2m; 0 is for ever
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with_all = ["lab", "snapshot"])]
    request_timeout: Option<Duration>,
    /// How the nodes are reached: a short-lived pod on each, ssh, or not at all
    #[arg(long, value_name = "WAY", default_value = "pod", conflicts_with_all = ["lab", "snapshot"])]
    nodes_via: NodesVia,
    /// The image of the pods on nodes; it must hold this version of Hopwise
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["lab", "snapshot"])]
    node_image: Option<String>,
    /// Read this machine alone, as a node whose API server cannot be reached
    #[arg(long, conflicts_with_all = ["lab", "snapshot", "kubeconfig", "context"])]
    local: bool,
    /// What was connected to, and stays so for the next reading.
    #[arg(skip)]
    open: Open,
}

/// The connections to a cluster.
#[derive(Default)]
struct Open {
    server: OnceCell<ApiServer>,
    nodes: OnceCell<Result<Rc<RefCell<Nodes>>, Reason>>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

/// How the nodes of a live cluster are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NodesVia {
    /// By a short-lived pod on each
    Pod,
    /// By the user's own ssh
    Ssh,
    /// Not at all: only the API server is asked
    None,
}

impl NodesVia {
    /// The word of the option.
    fn word(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Ssh => "ssh",
            Self::None => "none",
        }
    }
}

impl ClusterOptions {
    /// Was a cluster named?
    pub(crate) fn is_named(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.local
    }

    /// The words that name the same cluster, and the same way to it, on another command line.
    pub(crate) fn words(&self, focus: &Focus) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut add = |option: &str, value: Option<String>| {
            if let Some(value) = value {
                let value =
                    shlex::try_quote(&value).map_or_else(|_| value.clone(), std::borrow::Cow::into_owned);
                words.push(format!("{option} {value}"));
            }
        };
        if self.local {
            return "--local".to_owned();
        }
        add("--kubeconfig", self.kubeconfig.as_ref().map(|it| it.display().to_string()));
        add("--context", self.context.clone());
        focus.words().into_iter().for_each(|(option, value)| add(option, value));
        add("--as", self.impersonate.clone());
        self.groups.iter().for_each(|it| add("--as-group", Some(it.clone())));
        add("--request-timeout", self.request_timeout.map(|it| format!("{}ms", it.as_millis())));
        add("--nodes-via", (self.nodes_via != NodesVia::Pod).then(|| self.nodes_via.word().to_owned()));
        add("--node-image", self.node_image.clone());
        words.join(" ")
    }

    /// Reads the cluster: its objects, and the state of its nodes as far as they are reached.
    pub(crate) fn read(&self, focus: &Focus) -> Result<(Snapshot, Reach), ApiError> {
        if self.local {
            return Ok(self.this_machine());
        }
        let step = Step::new("connecting to the API server");
        let server = self.server(focus)?;
        let progress = |it: hopwise_api::Progress| {
            step.says(format!("read {} of {}: {}", it.n_done, it.n_all, it.what));
        };
        let mut snapshot = Snapshot::new(jiff::Timestamp::now(), server.source());
        snapshot.cluster = server.read(&Limits::default(), &progress)?;
        let reach = self.nodes(server, &mut snapshot, &step);
        snapshot.outside_name = registry(&snapshot);
        Ok((snapshot, reach))
    }

    /// The connection to the API server, which stays open.
    pub(crate) fn server(&self, focus: &Focus) -> Result<&ApiServer, ApiError> {
        if let Some(server) = self.open.server.get() {
            return Ok(server);
        }
        let server = ApiServer::connect(&Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            namespace: focus.namespace().cloned(),
            impersonate: self.impersonate.clone(),
            groups: self.groups.clone(),
            timeout: self.request_timeout,
            environment: Environment::of_process(),
        })?;
        Ok(self.open.server.get_or_init(|| server))
    }

    /// What tells this cluster from others, as a file name.
    pub(crate) fn identity(&self, focus: &Focus) -> Result<String, ApiError> {
        if self.local {
            return Ok("local".to_owned());
        }
        let server = self.server(focus)?;
        let text = format!("{}@{}", server.source(), server.address());
        let plain = |it: char| if it.is_ascii_alphanumeric() || "-_.@".contains(it) { it } else { '_' };
        Ok(text.chars().map(plain).collect())
    }

    /// The agents on the nodes, where some are reached.
    pub(crate) fn agents(&self) -> Option<std::cell::Ref<'_, Nodes>> {
        Some(self.open.nodes.get()?.as_ref().ok()?.borrow())
    }

    /// Adds the state of the nodes, and of the pods on them.
    ///
    /// The one place where ways to nodes part: each gives the same facts, and what it does not reach is not collected.
    fn nodes(&self, server: &ApiServer, snapshot: &mut Snapshot, step: &Step) -> Reach {
        let targets = targets(&snapshot.cluster);
        let nodes = self.open.nodes.get_or_init(|| {
            let via = self.way(server)?;
            Ok(Rc::new(RefCell::new(Nodes::new(via, targets.clone()))))
        });
        match nodes {
            Err(reason) => {
                unreached(snapshot, reason);
                Reach::Nowhere
            }
            Ok(nodes) => {
                nodes.borrow_mut().set_targets(targets);
                collect(&nodes.borrow(), snapshot, step);
                Reach::Nodes(Rc::clone(nodes))
            }
        }
    }

    fn way(&self, server: &ApiServer) -> Result<Box<dyn Way>, Reason> {
        match self.nodes_via {
            NodesVia::None => Err(Reason::NotAsked("--nodes-via none".to_owned())),
            NodesVia::Ssh => {
                let program = std::env::current_exe().and_then(fs::read);
                let program =
                    program.map_err(|it| Reason::Failed(format!("this program cannot be read: {it}")))?;
                Ok(Box::new(Ssh::new(SshProgram::new(program))))
            }
            NodesVia::Pod => {
                let options = NodePodOptions::new(self.node_image.clone().unwrap_or_else(reference));
                let pods = ByPods::begin(server, options).map_err(|error| {
                    let next = error.next().map(|it| format!("; next: {it}")).unwrap_or_default();
                    complain(&format!("no node is reached: {}{next}", said(&error)));
                    error.reason()
                })?;
                Ok(Box::new(pods))
            }
        }
    }

    /// This machine alone.
    fn this_machine(&self) -> (Snapshot, Reach) {
        let step = Step::new("reading this machine");
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let mut snapshot = Snapshot::new(jiff::Timestamp::now(), format!("local/{name}"));
        let target = Target {
            name: NodeName(name.clone()),
            hosts: vec![name],
            pods: Vec::new(),
            starting: Vec::new(),
        };
        let nodes = self.open.nodes.get_or_init(|| {
            let program = std::env::current_exe()
                .map_err(|it| Reason::Failed(format!("this program cannot be found: {it}")))?;
            let via = Box::new(Local::new(program));
            Ok(Rc::new(RefCell::new(Nodes::new(via, vec![target.clone()]))))
        });
        match nodes {
            Ok(nodes) => {
                collect(&nodes.borrow(), &mut snapshot, &step);
                (snapshot, Reach::Nodes(Rc::clone(nodes)))
            }
            Err(reason) => {
                snapshot.nodes.insert(target.name, Observed::NotCollected(reason.clone()));
                (snapshot, Reach::Nowhere)
            }
        }
    }
}

/// A name that nodes must resolve: the registry of most images that name one by a domain.
fn registry(snapshot: &Snapshot) -> Option<String> {
    let pods = snapshot.cluster.pods.known().into_iter().flatten();
    let images = pods.flat_map(|it| &it.spec.containers).map(|it| it.image.as_str());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for host in images.filter_map(|it| it.split_once('/')).map(|(host, _)| host) {
        let name = host.split(':').next().unwrap_or(host);
        // `library/busybox` names no host, and an address needs no resolver.
        if name.contains('.') && name.parse::<std::net::IpAddr>().is_err() {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(name, n)| (*n, std::cmp::Reverse(*name))).map(|(name, _)| name.to_owned())
}

/// Reads nodes with their pods into a snapshot. Why one could not be read is said.
fn collect(nodes: &Nodes, snapshot: &mut Snapshot, step: &Step) {
    let progress = |node: &NodeName, it: hopwise_agent::Step| match it {
        hopwise_agent::Step::Opening => step.says(format!("reaching node {node}")),
        hopwise_agent::Step::Reading(n_done, n_all) => {
            step.says(format!("read {n_done} of {n_all} places of node {node}"));
        }
        hopwise_agent::Step::Read => step.says(format!("read node {node}")),
        hopwise_agent::Step::Failed(reason) => complain(&format!("node {node} was not read: {reason}")),
    };
    nodes.collect(&hopwise_collect::Limits::default(), &progress).add_to(snapshot);
}

/// Writes down that no node was reached, and so no pod on one.
fn unreached(snapshot: &mut Snapshot, reason: &Reason) {
    let Cluster { nodes, pods, .. } = &snapshot.cluster;
    for node in nodes.known().into_iter().flatten() {
        snapshot.nodes.insert(node.name(), Observed::NotCollected(reason.clone()));
    }
    for pod in pods.known().into_iter().flatten() {
        // A node may be named by its pods where nodes may not be listed.
        if let Some(node) = &pod.spec.node_name {
            let node = snapshot.nodes.entry(NodeName(node.clone()));
            node.or_insert_with(|| Observed::NotCollected(reason.clone()));
        }
        if pod.is_running() && !pod.spec.host_network {
            snapshot.pods.insert(pod.name(), Observed::NotCollected(reason.clone()));
        }
    }
}

/// A duration as kubectl takes it: `1m30s`, `500ms`, or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration as 10s, 1m30s or 500ms, found `{text}`");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(u64::from(seconds)));
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit()).filter(|it| *it > 0).ok_or_else(wrong)?;
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].find(|it: char| it.is_ascii_digit()).map_or(rest.len(), |it| digits + it);
        let one = match &rest[digits..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return Err(wrong()),
        };
        total = one.checked_mul(number).and_then(|it| it.checked_add(total)).ok_or_else(wrong)?;
        rest = &rest[unit..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_kubectl() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "s", "1", "5d", "1m30", "-1s", "1s s", "99999999999s"] {
            assert!(duration(wrong).is_err() != (wrong == "1"), "{wrong}");
        }
    }
}
