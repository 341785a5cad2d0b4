//! Pods that are deleted so that their controllers make them anew.

use std::time::Duration;

use hopwise_snapshot::{PodName, PodObject};
use http::Method;
use tokio::time::{Instant, sleep};

use crate::{
    ApiServer,
    request::{Refusal, Requests, is_name},
};

/// How often pods are looked at.
const PACE: Duration = Duration::from_millis(300);
/// The largest list of one namespace's pods.
const LIST: u64 = 64 << 20;

/// Why a pod was not made anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// It has no controller, so that nothing would make it again.
    #[error("pod {0} has no controller: whoever deletes it has none")]
    Bare(PodName),
    /// The server refused.
    #[error("failed to delete pod {pod}: {said}")]
    Refused {
        /// Which.
        pod: PodName,
        /// What the server said.
        said: String,
    },
    /// Nothing took its place in time.
    #[error("pod {pod} is gone, and no other was ready in its place within {} s", .after.as_secs())]
    NotBack {
        /// Which.
        pod: PodName,
        /// How long it was waited for.
        after: Duration,
    },
}

impl ApiServer {
    /// Deletes a pod, and waits until its controller has another one ready, on the same node where the controller is a
    /// DaemonSet.
    pub fn restart_pod(&self, pod: &PodName, patience: Duration) -> Result<(), RestartError> {
        let refused = |it: &Refusal| RestartError::Refused { pod: pod.clone(), said: it.told() };
        if !is_name(&pod.namespace) || !is_name(&pod.name) {
            return Err(RestartError::Refused { pod: pod.clone(), said: "it has no name".to_owned() });
        }
        self.runtime.block_on(async {
            let requests = self.requests(patience + PACE);
            let before = pods(&requests, &pod.namespace).await.map_err(|it| refused(&it))?;
            let Some(old) = before.iter().find(|it| it.name() == *pod) else { return Ok(()) };
            let Some(owner) = owner(old) else { return Err(RestartError::Bare(pod.clone())) };
            let n_ready = |all: &[PodObject]| {
                let own = all.iter().filter(|it| self::owner(it) == Some(owner));
                own.filter(|it| it.is_ready() && it.metadata.uid != old.metadata.uid).count()
            };
            let wanted = before.iter().filter(|it| self::owner(it) == Some(owner) && it.is_ready()).count();
            let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
            match requests.send(Method::DELETE, &path, None, LIST).await {
                Ok(_) => {}
                Err(refusal) if refusal.code() == Some(404) => {}
                Err(refusal) => return Err(refused(&refusal)),
            }
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if let Ok(now) = pods(&requests, &pod.namespace).await {
                    let is_gone = now.iter().all(|it| it.metadata.uid != old.metadata.uid);
                    // One that was not ready is replaced by one that is.
                    if is_gone && n_ready(&now) >= wanted.max(1) {
                        return Ok(());
                    }
                }
                sleep(PACE).await;
            }
            Err(RestartError::NotBack { pod: pod.clone(), after: patience })
        })
    }
}

/// Kind and name of a pod's controller.
fn owner(pod: &PodObject) -> Option<(&str, &str)> {
    let owner = pod.metadata.owner_references.iter().find(|it| it.controller)?;
    Some((&owner.kind, &owner.name))
}

async fn pods(requests: &Requests, namespace: &str) -> Result<Vec<PodObject>, Refusal> {
    #[derive(serde::Deserialize)]
    struct List {
        items: Vec<PodObject>,
    }
    let bytes = requests.get(&format!("/api/v1/namespaces/{namespace}/pods"), LIST).await?;
    let list: List = serde_json::from_slice(&bytes)
        .map_err(|it| Refusal::NotUnderstood(format!("a list of pods: {it}")))?;
    Ok(list.items)
}
