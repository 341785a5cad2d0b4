//! Short-lived pods on nodes, to speak to a program there.
//!
//! Read [`NodePods::begin`] first, then [`NodePods::open`]. What is said over a line is no business of this module. Each
//! pod is deleted at the end; where this program is killed it ends at its deadline, and the next run on the same machine
//! deletes it at once. [`manifest`] says what such a pod is and why.

mod error;
mod line;
mod manifest;
mod stale;
mod start;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hopwise_collect::kubectl::Objects;
use hopwise_snapshot::{NodeName, NodeObject, PodObject};
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::AttachParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    ApiServer,
    node_pod::{
        error::is_rbac,
        manifest::{CONTAINER, OWNED},
        start::{Start, start},
    },
    request::{Refusal, Requests, encoded, is_name},
};

pub use error::NodePodError;
pub use line::NodeLine;

/// How pods on nodes are made.
#[derive(Clone, Debug)]
pub struct NodePodOptions {
    /// Their image: the program at `/hopwise`.
    pub image: String,
    /// Their namespace.
    pub namespace: String,
    /// What is run in them to speak to.
    pub command: Vec<String>,
    /// How long each lives at most.
    pub life: Duration,
    /// How long its start is waited for.
    pub patience: Duration,
}

impl NodePodOptions {
    /// Pods of this image, otherwise as they usually are.
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            namespace: "hopwise".to_owned(),
            command: vec!["/hopwise".to_owned(), "on-node".to_owned()],
            life: Duration::from_mins(15),
            patience: Duration::from_mins(1),
        }
    }
}

/// The pods of one run. Cloned, it is the same run.
#[derive(Clone, Debug)]
pub struct NodePods {
    server: ApiServer,
    options: Arc<NodePodOptions>,
    run: String,
    owner: String,
    n_made: Arc<AtomicUsize>,
    /// The pods that are there, by name.
    there: Arc<Mutex<BTreeSet<String>>>,
}

/// How often a pod is looked at until it runs.
const PACE: Duration = Duration::from_millis(250);
/// How long the end of pods is waited for.
const FAREWELL: Duration = Duration::from_secs(10);
/// The largest object.
const OBJECT: u64 = 4 << 20;

impl NodePods {
    /// Begins a run: makes the namespace where it is missing, and removes what earlier runs left.
    pub fn begin(server: &ApiServer, options: NodePodOptions) -> Result<Self, NodePodError> {
        let now = jiff::Timestamp::now();
        let run = format!("{:x}{:x}", now.as_nanosecond() & 0xffff_ffff, std::process::id() & 0xffff);
        let pods = Self {
            server: server.clone(),
            options: Arc::new(options),
            run,
            owner: stale::owner(),
            n_made: Arc::new(AtomicUsize::new(0)),
            there: Arc::default(),
        };
        pods.server.runtime.block_on(async {
            let requests = pods.requests(pods.options.patience);
            pods.make_namespace(&requests).await?;
            pods.remove_stale(&requests, now).await;
            Ok(pods.clone())
        })
    }

    /// Makes a pod on a node, waits until it runs, and starts the program to speak to. May be called from several
    /// threads.
    pub fn open(&self, node: &NodeName) -> Result<NodeLine, NodePodError> {
        let process = self.server.runtime.block_on(async {
            let requests = self.requests(self.options.patience + FAREWELL);
            let name = self.create(&requests, node).await?;
            self.wait(&requests, node, &name).await?;
            let pods: Api<Pod> = Api::namespaced(self.server.client.clone(), &self.options.namespace);
            let parameters = AttachParams::default()
                .container(CONTAINER)
                .stdin(true)
                .stdout(true)
                .stderr(true)
                .max_stdin_buf_size(64 << 10)
                .max_stdout_buf_size(64 << 10);
            let attached = pods.exec(&name, &self.options.command, &parameters);
            match tokio::time::timeout(self.options.patience, attached).await {
                Ok(Ok(process)) => Ok(process),
                Ok(Err(error)) => Err(self.no_line(node, &error)),
                Err(_) => {
                    Err(NodePodError::NoLine { node: node.clone(), said: "no answer in time".to_owned() })
                }
            }
        })?;
        let no_streams = || NodePodError::NoLine { node: node.clone(), said: "it has no streams".to_owned() };
        line::line(process, Arc::clone(&self.server.runtime)).ok_or_else(no_streams)
    }

    /// Deletes the pods of this run, and waits a while until they are gone. Gives those that are not.
    pub fn end(&self) -> Vec<String> {
        let names: Vec<String> = {
            let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *there).into_iter().collect()
        };
        self.server.runtime.block_on(async {
            let requests = self.requests(FAREWELL);
            for name in &names {
                self.delete(&requests, name).await;
            }
            let mut left = names;
            while !left.is_empty() && Instant::now() < requests.deadline {
                let mut still = Vec::new();
                for name in left {
                    let got = requests.get(&self.path(&name), OBJECT).await;
                    if got.err().and_then(|it| it.code()) != Some(404) {
                        still.push(name);
                    }
                }
                left = still;
                if !left.is_empty() {
                    sleep(PACE).await;
                }
            }
            left
        })
    }

    fn requests(&self, whole: Duration) -> Requests {
        self.server.requests(whole)
    }

    fn path(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}", self.options.namespace)
    }

    async fn make_namespace(&self, requests: &Requests) -> Result<(), NodePodError> {
        let namespace = &self.options.namespace;
        let no_namespace = |said: String| NodePodError::NoNamespace { namespace: namespace.clone(), said };
        if !is_name(namespace) {
            return Err(no_namespace("that is no name of a namespace".to_owned()));
        }
        match requests.get(&format!("/api/v1/namespaces/{namespace}"), OBJECT).await {
            Err(refusal) if refusal.code() == Some(404) => {}
            // Whether it is there, the creation of a pod will say.
            _ => return Ok(()),
        }
        let document = manifest::namespace(namespace).to_string().into_bytes();
        match requests.send(Method::POST, "/api/v1/namespaces", Some(document), OBJECT).await {
            Ok(_) => Ok(()),
            // Somebody else was faster.
            Err(refusal) if refusal.code() == Some(409) => Ok(()),
            Err(refusal) => Err(no_namespace(refusal.told())),
        }
    }

    /// Removes pods that earlier runs left. Where that cannot be done, they end by themselves.
    async fn remove_stale(&self, requests: &Requests, now: jiff::Timestamp) {
        let selector = encoded(&format!("{}={}", OWNED.0, OWNED.1));
        let path = format!("/api/v1/namespaces/{}/pods?labelSelector={selector}", self.options.namespace);
        let Ok(bytes) = requests.get(&path, OBJECT * 16).await else { return };
        let mut objects = Objects::default();
        if objects.add("pods", &bytes).is_err() {
            return;
        }
        for pod in objects.cluster.pods.known().into_iter().flatten() {
            if is_name(&pod.metadata.name) && stale::is_stale(pod, self.options.life, now) {
                self.delete(requests, &pod.metadata.name).await;
            }
        }
    }

    async fn delete(&self, requests: &Requests, name: &str) {
        let document = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 1});
        let document = Some(document.to_string().into_bytes());
        // What cannot be deleted ends at its deadline.
        let _ = requests.send(Method::DELETE, &self.path(name), document, OBJECT).await;
    }

    /// Creates a pod on a node, and gives its name.
    async fn create(&self, requests: &Requests, node: &NodeName) -> Result<String, NodePodError> {
        let name = format!("hopwise-{}-{}", self.run, self.n_made.fetch_add(1, Ordering::Relaxed));
        let path = format!("/api/v1/namespaces/{}/pods", self.options.namespace);
        // Before it is there: whoever ends the run meanwhile deletes it.
        self.there.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        for is_critical in [true, false] {
            let whose = (self.run.as_str(), self.owner.as_str());
            let document = manifest::pod(&name, node, whose, &self.options, is_critical).to_string();
            match requests.send(Method::POST, &path, Some(document.into_bytes()), OBJECT).await {
                Ok(_) => return Ok(name),
                // A quota may keep that class for others.
                Err(Refusal::Status(status))
                    if is_critical && status.code == 403 && is_about_priority(&status.message) => {}
                Err(refusal) => return Err(NodePodError::creating(node, &self.options.namespace, &refusal)),
            }
        }
        Err(NodePodError::Failed { node: node.clone(), said: "its priority is refused".to_owned() })
    }

    /// Waits until a pod runs.
    async fn wait(&self, requests: &Requests, node: &NodeName, name: &str) -> Result<(), NodePodError> {
        let limit = Instant::now() + self.options.patience;
        loop {
            let pod = match requests.get(&self.path(name), OBJECT).await {
                Ok(bytes) => serde_json::from_slice::<PodObject>(&bytes).map_err(|error| error.to_string()),
                Err(refusal) if refusal.code() == Some(404) => {
                    return Err(NodePodError::Ended {
                        node: node.clone(),
                        said: "somebody deleted it".to_owned(),
                    });
                }
                Err(refusal) => Err(refusal.told()),
            };
            let waits = match pod.as_ref().map(start) {
                Ok(Start::Running) => return Ok(()),
                Ok(Start::Ended(said)) => return Err(NodePodError::Ended { node: node.clone(), said }),
                Ok(Start::NoImage(said)) => {
                    let image = self.options.image.clone();
                    return Err(NodePodError::NoImage { node: node.clone(), image, said });
                }
                Ok(Start::Waiting(said)) => said,
                Err(said) => said.clone(),
            };
            if Instant::now() >= limit {
                let said = match self.not_ready(requests, node).await {
                    Some(ready) => format!("{ready}; {waits}"),
                    None => waits,
                };
                return Err(NodePodError::NotStarted {
                    node: node.clone(),
                    after: self.options.patience,
                    said,
                });
            }
            sleep(PACE).await;
        }
    }

    /// Why the node is not ready, where it is not.
    async fn not_ready(&self, requests: &Requests, node: &NodeName) -> Option<String> {
        if !is_name(node.as_str()) {
            return None;
        }
        let bytes = requests.get(&format!("/api/v1/nodes/{node}"), OBJECT).await.ok()?;
        let node: NodeObject = serde_json::from_slice(&bytes).ok()?;
        let ready = node.status.conditions.iter().find(|it| it.kind == "Ready" && it.status != "True")?;
        Some(format!("the node is not ready ({}: {})", ready.reason, ready.message))
    }

    fn no_line(&self, node: &NodeName, error: &kube::Error) -> NodePodError {
        let said = match error {
            kube::Error::Api(status) => {
                if status.code == 403 && is_rbac(&status.message) {
                    let right = format!("get and create pods/exec in namespace {}", self.options.namespace);
                    return NodePodError::NotPermitted {
                        node: node.clone(),
                        right,
                        said: status.message.clone(),
                    };
                }
                status.message.clone()
            }
            other => crate::request::transport(other),
        };
        NodePodError::NoLine { node: node.clone(), said }
    }
}

/// Is it the priority class that admission does not like?
fn is_about_priority(message: &str) -> bool {
    message.contains("PriorityClass") || message.contains("priority class") || message.contains("quota")
}
