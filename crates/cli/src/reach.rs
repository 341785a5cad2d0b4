//! What can be done at the places of a source: sending packets, running commands.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use hopwise_agent::{Line, NodeError, Nodes, NodesVia, OpenError, Target};
use hopwise_api::{NodePodError, NodePodOptions, NodePods};
use hopwise_report::document::ErrorDocument;
use hopwise_snapshot::{Observation, Place, Probe};
use hopwise_sys::NetNs;
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};

/// What can be done at the places that were read.
pub(crate) enum Reach {
    /// Nothing: a file was read, or no node reached.
    Nowhere,
    /// The network namespaces of a lab.
    Lab(BTreeMap<Place, NetNs>),
    /// Agents on the nodes of a live cluster.
    Nodes(Rc<RefCell<Nodes>>),
}

/// Why a packet was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// In a lab.
    #[error(transparent)]
    Probe(#[from] hopwise_probe::ProbeError),
    /// By a node.
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl Reach {
    /// Can nothing be done anywhere?
    pub(crate) fn is_nowhere(&self) -> bool {
        match self {
            Self::Nowhere => true,
            Self::Lab(sites) => sites.is_empty(),
            Self::Nodes(_) => false,
        }
    }

    /// Sends packets, and says what was seen of each probe.
    pub(crate) fn observe(&self, probes: &[Probe]) -> Vec<Result<Vec<Observation>, SendError>> {
        match self {
            Self::Nowhere => Vec::new(),
            Self::Lab(sites) => {
                hopwise_probe::observe(sites, probes).into_iter().map(|it| it.map_err(Into::into)).collect()
            }
            Self::Nodes(nodes) => {
                nodes.borrow().observe(probes).into_iter().map(|it| it.map_err(Into::into)).collect()
            }
        }
    }
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nowhere => "Nowhere",
            Self::Lab(_) => "Lab",
            Self::Nodes(_) => "Nodes",
        })
    }
}

/// Nodes by a short-lived pod on each. The pods go when this is dropped, and when a signal ends the program.
pub(crate) struct ByPods {
    pods: NodePods,
    is_ended: Arc<Mutex<bool>>,
}

impl ByPods {
    /// Begins a run.
    pub(crate) fn begin(
        server: &hopwise_api::ApiServer,
        options: NodePodOptions,
    ) -> Result<Self, NodePodError> {
        let pods = NodePods::begin(server, options)?;
        let is_ended = Arc::new(Mutex::new(false));
        let watched = (pods.clone(), Arc::clone(&is_ended));
        // Without a watch for signals the pods end by their own deadline.
        if let Ok(mut signals) = Signals::new(TERM_SIGNALS) {
            thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    end(&watched.0, &watched.1);
                    std::process::exit(128 + signal);
                }
            });
        }
        Ok(Self { pods, is_ended })
    }
}

impl NodesVia for ByPods {
    fn open(&self, node: &Target) -> Result<Line, OpenError> {
        match self.pods.open(&node.name) {
            Ok(line) => Ok(Line::new(line.reads, line.writes)),
            Err(error) => Err(OpenError::Other(said(&error))),
        }
    }
}

impl Drop for ByPods {
    fn drop(&mut self) {
        end(&self.pods, &self.is_ended);
    }
}

/// Deletes the pods once, whoever is first.
fn end(pods: &NodePods, is_ended: &Mutex<bool>) {
    let mut is_ended = is_ended.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_ended {
        *is_ended = true;
        let left = pods.end();
        if !left.is_empty() {
            crate::output::complain(&format!(
                "pods that were not deleted yet and end by themselves: {}",
                left.join(", ")
            ));
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let ErrorDocument { message, causes, .. } = ErrorDocument::new(error);
    [vec![message], causes].concat().join(": ")
}
