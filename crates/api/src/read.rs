//! Every object that a snapshot holds, as far as it may be read.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_snapshot::{Cluster, Observed, PodObject, Reason};
use tokio::task::JoinSet;

use crate::{
    Limits, Progress,
    list::{
        CONFIG_MAPS, DAEMON_SETS, DEPLOYMENTS, ENDPOINT_SLICES, EVENTS, Listed, NAMESPACES, NETWORK_POLICIES,
        NODES, PODS, Resource, SERVICES, Where, list,
    },
    logs,
    request::{Refusal, Requests},
};

/// What is listed of the whole cluster. ConfigMaps are not among them: many are none of Hopwise's business.
const EVERYWHERE: [Resource; 9] =
    [NODES, NAMESPACES, PODS, SERVICES, ENDPOINT_SLICES, NETWORK_POLICIES, DAEMON_SETS, DEPLOYMENTS, EVENTS];

const KUBE_SYSTEM: &str = "kube-system";

/// Namespaces that network plugins bring along. Others are found by what their pods mount.
const OF_CNI: [&str; 5] = ["kube-flannel", "calico-system", "cilium", "kube-router", "antrea"];

/// What was read, and what was refused.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) cluster: Cluster,
    /// What was refused, by resource.
    pub(crate) refused: BTreeMap<&'static str, Refusal>,
}

/// Reads everything. `namespace` is the one to look into where all of them together may not be listed.
pub(crate) async fn read(
    requests: &Requests,
    namespace: &str,
    limits: &Limits,
    progress: &(dyn Fn(Progress) + Sync),
) -> Whole {
    let mut whole = Whole::default();
    let mut running = JoinSet::new();
    for resource in EVERYWHERE {
        let (requests, limits) = (requests.clone(), limits.clone());
        running
            .spawn(async move { (resource, list(&requests, resource, &Where::Everywhere, &limits).await) });
    }
    let (mut n_done, n_all) = (0, EVERYWHERE.len() + 2);
    let mut step = |what| {
        n_done += 1;
        progress(Progress { n_done, n_all, what });
    };
    while let Some(ended) = running.join_next().await {
        // A task ends early only where it panicked, which none does.
        let Ok((resource, listed)) = ended else { continue };
        step(resource.name);
        whole.take(resource, &Where::Everywhere, listed);
    }
    whole.in_namespaces(requests, namespace, limits).await;
    whole.config_maps(requests, limits).await;
    step(CONFIG_MAPS.name);
    whole.logs(requests, limits).await;
    step("logs");
    whole.newest_events(limits);
    if whole.cluster.workloads.is_not_collected() {
        // That no list of them is whole goes without saying.
        whole.cluster.partly.retain(|it, _| it != DAEMON_SETS.name && it != DEPLOYMENTS.name);
    }
    whole
}

impl Whole {
    /// Takes in what was listed of a kind.
    fn take(&mut self, resource: Resource, place: &Where, listed: Result<Listed, Refusal>) {
        match listed {
            Ok(Listed { objects, cut }) => {
                if let Some(reason) = cut {
                    self.cluster.partly.insert(resource.name.to_owned(), reason);
                }
                add(&mut self.cluster, objects.cluster);
            }
            Err(refusal) => {
                let reason = refusal.reason(&resource.right(place));
                not_collected(&mut self.cluster, resource, reason);
                self.refused.insert(resource.name, refusal);
            }
        }
    }

    /// What may not be listed in all namespaces together may be in some of them.
    async fn in_namespaces(&mut self, requests: &Requests, namespace: &str, limits: &Limits) {
        let refused: Vec<Resource> = EVERYWHERE
            .into_iter()
            .filter(|it| it.is_namespaced && self.refused.get(it.name).and_then(Refusal::code) == Some(403))
            .collect();
        for resource in refused {
            let mut is_read = false;
            for namespace in BTreeSet::from([namespace, KUBE_SYSTEM, OF_CNI[0]]) {
                let place = Where::Namespace(namespace.to_owned());
                if let Ok(Listed { objects, .. }) = list(requests, resource, &place, limits).await {
                    add(&mut self.cluster, objects.cluster);
                    is_read = true;
                }
            }
            if is_read {
                let reason = Reason::NotPermitted(resource.right(&Where::Everywhere));
                self.cluster.partly.insert(resource.name.to_owned(), reason);
            }
        }
    }

    /// The ConfigMaps of kube-system and of the network plugin.
    async fn config_maps(&mut self, requests: &Requests, limits: &Limits) {
        // Whatever mounts /etc/cni on one node may be anybody's; a DaemonSet's is the plugin's.
        let is_plugin = |it: &&PodObject| {
            logs::is_of_cni(it) && it.metadata.owner_references.iter().any(|it| it.kind == "DaemonSet")
        };
        let pods = self.cluster.pods.known().into_iter().flatten();
        let mut wanted: BTreeSet<String> =
            pods.filter(is_plugin).map(|it| it.metadata.namespace.clone()).collect();
        match self.cluster.namespaces.known() {
            Some(there) => {
                let names = there.iter().map(|it| it.metadata.name.as_str());
                wanted.extend(names.filter(|it| OF_CNI.contains(it)).map(str::to_owned));
            }
            None => wanted.extend([OF_CNI[0].to_owned()]),
        }
        wanted.insert(KUBE_SYSTEM.to_owned());
        let mut missing: Option<Reason> = None;
        for namespace in wanted {
            let place = Where::Namespace(namespace);
            match list(requests, CONFIG_MAPS, &place, limits).await {
                Ok(Listed { objects, .. }) => add(&mut self.cluster, objects.cluster),
                Err(refusal) => {
                    missing.get_or_insert(refusal.reason(&CONFIG_MAPS.right(&place)));
                    self.refused.insert(CONFIG_MAPS.name, refusal);
                }
            }
        }
        match (missing, self.cluster.config_maps.known().is_some()) {
            (Some(reason), true) => {
                self.cluster.partly.insert(CONFIG_MAPS.name.to_owned(), reason);
            }
            (Some(reason), false) => self.cluster.config_maps = Observed::NotCollected(reason),
            (None, _) => {}
        }
    }

    async fn logs(&mut self, requests: &Requests, limits: &Limits) {
        let pods: &[PodObject] = match &self.cluster.pods {
            Observed::Known(pods) => pods,
            Observed::Absent => &[],
            Observed::NotCollected(reason) => {
                self.cluster.logs = Observed::NotCollected(reason.clone());
                return;
            }
        };
        let (logs, n_left) = logs::read(requests, pods, limits).await;
        if n_left > 0 {
            let reason = Reason::Failed(format!("{n_left} more logs were left out"));
            self.cluster.partly.insert("logs".to_owned(), reason);
        }
        self.cluster.logs = Observed::Known(logs);
    }

    /// Keeps the newest events, those that warn first.
    fn newest_events(&mut self, limits: &Limits) {
        let Some(events) = self.cluster.events.known_mut() else { return };
        let n_all = events.len();
        if n_all <= limits.events {
            return;
        }
        events.sort_by_key(|it| std::cmp::Reverse((it.is_warning(), it.last_seen())));
        events.truncate(limits.events);
        events.sort_by(|a, b| {
            let key =
                |it: &hopwise_snapshot::Event| (it.metadata.namespace.clone(), it.metadata.name.clone());
            key(a).cmp(&key(b))
        });
        let reason = Reason::Failed(format!("the newest {} of {n_all} are kept", limits.events));
        self.cluster.partly.entry(EVENTS.name.to_owned()).or_insert(reason);
    }
}

/// Adds the objects of one list to those of others.
fn add(cluster: &mut Cluster, more: Cluster) {
    extend(&mut cluster.nodes, more.nodes);
    extend(&mut cluster.pods, more.pods);
    extend(&mut cluster.services, more.services);
    extend(&mut cluster.endpoint_slices, more.endpoint_slices);
    extend(&mut cluster.config_maps, more.config_maps);
    extend(&mut cluster.network_policies, more.network_policies);
    extend(&mut cluster.namespaces, more.namespaces);
    extend(&mut cluster.workloads, more.workloads);
    extend(&mut cluster.events, more.events);
}

fn extend<T>(all: &mut Observed<Vec<T>>, more: Observed<Vec<T>>) {
    let Observed::Known(more) = more else { return };
    match all {
        Observed::Known(all) => all.extend(more),
        other => *other = Observed::Known(more),
    }
}

/// Writes down why a kind is not there.
fn not_collected(cluster: &mut Cluster, resource: Resource, reason: Reason) {
    fn put<T>(fact: &mut Observed<Vec<T>>, reason: Reason) {
        if fact.known().is_none() {
            *fact = Observed::NotCollected(reason);
        }
    }
    match resource.name {
        "nodes" => put(&mut cluster.nodes, reason),
        "pods" => put(&mut cluster.pods, reason),
        "services" => put(&mut cluster.services, reason),
        "endpointslices" => put(&mut cluster.endpoint_slices, reason),
        "networkpolicies" => put(&mut cluster.network_policies, reason),
        "namespaces" => put(&mut cluster.namespaces, reason),
        "events" => put(&mut cluster.events, reason),
        // DaemonSets and Deployments are one list in a snapshot.
        workloads => {
            cluster.partly.insert(workloads.to_owned(), reason.clone());
            put(&mut cluster.workloads, reason);
        }
    }
}
