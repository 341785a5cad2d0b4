//! Why there is no pod on a node.

use std::time::Duration;

use hopwise_snapshot::{NodeName, Reason};

use crate::request::Refusal;

/// Why there is no pod on a node, or none to speak to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodePodError {
    /// A right is missing.
    #[error("a pod on node {node} needs the right to {right}: {said}")]
    NotPermitted {
        /// The node.
        node: NodeName,
        /// What is missing, as `create pods in namespace hopwise`.
        right: String,
        /// What the API server said.
        said: String,
    },
    /// Pod Security, or an admission webhook, refuses such pods.
    #[error("the cluster refuses a privileged pod in namespace {namespace}: {said}")]
    Refused {
        /// Where.
        namespace: String,
        /// What it said.
        said: String,
    },
    /// The namespace is not there and may not be made.
    #[error("namespace {namespace} is not there, and making it needs the right to create namespaces: {said}")]
    NoNamespace {
        /// Which.
        namespace: String,
        /// What the API server said.
        said: String,
    },
    /// The node has no such image and cannot get it.
    #[error("node {node} has no image {image} and cannot get it: {said}")]
    NoImage {
        /// The node.
        node: NodeName,
        /// The image.
        image: String,
        /// What its kubelet said.
        said: String,
    },
    /// The node's kubelet does not start it.
    #[error("node {node} did not start the pod within {} s: {said}", .after.as_secs())]
    NotStarted {
        /// The node.
        node: NodeName,
        /// How long was waited.
        after: Duration,
        /// What is known of why.
        said: String,
    },
    /// It was started, or was to be, and ended.
    #[error("the pod on node {node} ended: {said}")]
    Ended {
        /// The node.
        node: NodeName,
        /// Why.
        said: String,
    },
    /// It runs, and its program cannot be reached.
    #[error("the pod on node {node} runs and cannot be spoken to: {said}")]
    NoLine {
        /// The node.
        node: NodeName,
        /// Why.
        said: String,
    },
    /// The API server did something else.
    #[error("failed to make a pod on node {node}: {said}")]
    Failed {
        /// The node.
        node: NodeName,
        /// What it said.
        said: String,
    },
}

impl NodePodError {
    /// The reason that the node's facts are missing for.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotPermitted { right, .. } => Reason::NotPermitted(right.clone()),
            Self::NoNamespace { .. } => Reason::NotPermitted("create namespaces".to_owned()),
            other => Reason::Failed(other.to_string()),
        }
    }

    /// What to do about it, where that is known.
    pub fn next(&self) -> Option<String> {
        match self {
            Self::NotPermitted { .. } | Self::NoNamespace { .. } => {
                Some("`kubectl apply -f deploy/rbac.yaml` grants it, and makes the namespace".to_owned())
            }
            Self::Refused { namespace, .. } => Some(format!(
                "`kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged`, or --nodes-via ssh"
            )),
            Self::NoImage { node, .. } => Some(format!(
                "`hopwise image -o hopwise.tar`, then on {node} `ctr -n k8s.io images import hopwise.tar`; or name one in a \
                 registry as --node-image"
            )),
            _ => None,
        }
    }

    /// What it means that a pod could not be created.
    pub(super) fn creating(node: &NodeName, namespace: &str, refusal: &Refusal) -> Self {
        let (node, said) = (node.clone(), refusal.told());
        match refusal {
            // RBAC names the user; admission says what it does not like.
            Refusal::Status(status) if status.code == 403 && is_rbac(&status.message) => {
                Self::NotPermitted { node, right: format!("create pods in namespace {namespace}"), said }
            }
            Refusal::Status(status) if matches!(status.code, 400 | 403 | 422) => {
                Self::Refused { namespace: namespace.to_owned(), said }
            }
            _ => Self::Failed { node, said },
        }
    }
}

/// Is it RBAC that refuses? Its message is `User "…" cannot create resource "pods" …`.
pub(super) fn is_rbac(message: &str) -> bool {
    message.contains(" cannot ") && message.contains(" resource ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Status;

    fn creating(code: u16, message: &str) -> NodePodError {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        NodePodError::creating(&NodeName::from("w1"), "hopwise", &Refusal::Status(status))
    }

    #[test]
    fn a_right_is_told_from_what_admission_does_not_like() {
        let rbac = "pods is forbidden: User \"jane\" cannot create resource \"pods\" in API group \"\" in the namespace \"hopwise\"";
        assert_eq!(
            creating(403, rbac).reason(),
            Reason::NotPermitted("create pods in namespace hopwise".to_owned())
        );
        let security = "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)";
        let refused = creating(403, security);
        assert!(matches!(refused, NodePodError::Refused { .. }), "{refused}");
        assert!(refused.next().unwrap().contains("pod-security.kubernetes.io/enforce=privileged"));
        assert!(matches!(creating(500, "etcd is gone"), NodePodError::Failed { .. }));
    }
}
