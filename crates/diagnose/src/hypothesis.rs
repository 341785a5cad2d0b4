//! What would be if: a snapshot, its network and its promises, with changes tried on them.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_change::{Change, Inapplicable};
use hopwise_dataplane::{Contract, Network, State, Verification, check};
use hopwise_snapshot::{Cluster, Node, NodeName, Observed, Place, Pod, PodName, Snapshot};

/// A world that can be changed and changed back.
#[derive(Clone, Debug)]
pub(crate) struct World<'a> {
    /// The facts.
    pub(crate) snapshot: Snapshot,
    /// The network that they make.
    pub(crate) network: Network,
    /// What is promised. It comes from the API server's objects, and no repair changes it.
    pub(crate) contract: &'a Contract,
    /// Which promises are kept.
    pub(crate) verification: Verification,
}

/// What a world's facts were at some places.
#[derive(Default)]
struct Saved {
    /// The API server's objects, where one of them was changed.
    cluster: Option<Box<Cluster>>,
    nodes: BTreeMap<NodeName, Observed<Node>>,
    pods: BTreeMap<PodName, Observed<Pod>>,
}

impl World<'_> {
    /// Changes the facts, and says what was there before.
    fn change(&mut self, changes: &[Change]) -> Result<(Saved, BTreeSet<Place>), Inapplicable> {
        let mut saved = Saved::default();
        let mut changed = BTreeSet::new();
        for change in changes {
            // A change of a link reaches the other ends of the place's pairs, and one of an object every node.
            let near: Vec<Place> = match change.place() {
                Some(place) => self.near(&place),
                None => self.snapshot.nodes.keys().cloned().map(Place::Node).collect(),
            };
            if change.changes_objects() {
                saved.cluster.get_or_insert_with(|| Box::new(self.snapshot.cluster.clone()));
            }
            for place in near {
                saved.keep(&self.snapshot, &place);
            }
            match change.apply(&mut self.snapshot) {
                Ok(places) => changed.extend(places),
                Err(error) => {
                    saved.restore(&mut self.snapshot);
                    return Err(error);
                }
            }
        }
        Ok((saved, changed))
    }

    /// A place and those that its own namespace leads to.
    fn near(&self, place: &Place) -> Vec<Place> {
        let others = self.snapshot.net(place).and_then(|it| it.namespaces.known());
        let others = others.into_iter().flat_map(|it| it.values().cloned());
        let node = place.as_pod().and_then(|it| self.snapshot.pods.get(it)?.known());
        let node = node.map(|it| Place::Node(it.node.clone()));
        others.chain(node).chain([place.clone()]).collect()
    }

    /// Tries changes, asks something of the world that they make, and takes them back.
    pub(crate) fn try_out<T>(
        &mut self,
        changes: &[Change],
        ask: impl FnOnce(&Snapshot, &Network, &BTreeSet<Place>) -> T,
    ) -> Result<T, Inapplicable> {
        let (saved, changed) = self.change(changes)?;
        let network = self.network.rebuilt(&self.snapshot, &changed);
        let answer = ask(&self.snapshot, &network, &changed);
        saved.restore(&mut self.snapshot);
        Ok(answer)
    }

    /// Makes changes for good.
    pub(crate) fn make(&mut self, changes: &[Change]) -> Result<(), Inapplicable> {
        let (_, changed) = self.change(changes)?;
        let network = self.network.rebuilt(&self.snapshot, &changed);
        self.verification =
            self.verification.again(&self.network, &network, &self.snapshot, self.contract, &changed);
        self.network = network;
        Ok(())
    }

    /// All promises in the world that changes would make.
    pub(crate) fn verification_with(&mut self, changes: &[Change]) -> Result<Verification, Inapplicable> {
        let (before, verification, contract) =
            (self.network.clone(), self.verification.clone(), self.contract);
        self.try_out(changes, |snapshot, network, changed| {
            verification.again(&before, network, snapshot, contract, changed)
        })
    }

    /// Which of some promises are kept, and which are stopped by something else than before.
    pub(crate) fn progress(
        &mut self,
        changes: &[Change],
        promises: &[usize],
    ) -> Result<Progress, Inapplicable> {
        let contract = self.contract;
        let before: Vec<_> = promises.iter().map(|it| self.verification.results[*it].clone()).collect();
        self.try_out(changes, |snapshot, network, _| {
            let mut progress = Progress::default();
            for (at, before) in promises.iter().zip(&before) {
                let after = check(network, snapshot, &contract.promises[*at]);
                match after.state {
                    State::Kept => progress.healed.push(*at),
                    _ if after.blockers != before.blockers => progress.moved.push(*at),
                    _ => {}
                }
            }
            progress
        })
    }
}

/// What a repair does for some broken promises.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Those that are kept with it.
    pub(crate) healed: Vec<usize>,
    /// Those that are stopped by something else with it.
    pub(crate) moved: Vec<usize>,
}

impl Saved {
    fn keep(&mut self, snapshot: &Snapshot, place: &Place) {
        match place {
            Place::Node(name) => {
                if let (Some(node), false) = (snapshot.nodes.get(name), self.nodes.contains_key(name)) {
                    self.nodes.insert(name.clone(), node.clone());
                }
            }
            Place::Pod(name) => {
                if let (Some(pod), false) = (snapshot.pods.get(name), self.pods.contains_key(name)) {
                    self.pods.insert(name.clone(), pod.clone());
                }
            }
        }
    }

    fn restore(self, snapshot: &mut Snapshot) {
        if let Some(cluster) = self.cluster {
            snapshot.cluster = *cluster;
        }
        snapshot.nodes.extend(self.nodes);
        snapshot.pods.extend(self.pods);
    }
}
