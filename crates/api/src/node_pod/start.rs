//! How far a pod on a node is.

use hopwise_snapshot::{ContainerWaiting, PodObject};

/// How far a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It can be spoken to.
    Running,
    /// Not yet; what is known of why.
    Waiting(String),
    /// Its image is not there, and nothing that will happen by itself brings it.
    NoImage(String),
    /// It will not start any more, or has ended.
    Ended(String),
}

/// How far a pod of one container is.
pub(super) fn start(pod: &PodObject) -> Start {
    let status = &pod.status;
    let said = |reason: &str, message: &str| match (reason, message.trim()) {
        ("", "") => "nothing was said why".to_owned(),
        ("", text) | (text, "") => text.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    };
    let container = status.container_statuses.first();
    if pod.metadata.deletion_timestamp.is_some() {
        return Start::Ended("somebody deleted it".to_owned());
    }
    if matches!(status.phase.as_str(), "Failed" | "Succeeded") {
        let ended = container.and_then(|it| it.state.terminated.as_ref());
        return Start::Ended(match ended {
            Some(ended) if status.reason.is_empty() => {
                format!("exit code {}, {}", ended.exit_code, said(&ended.reason, &ended.message))
            }
            _ => said(&status.reason, &status.message),
        });
    }
    let Some(container) = container else {
        let waiting = status.conditions.iter().find(|it| it.status == "False");
        return Start::Waiting(match waiting {
            Some(condition) => {
                format!("{} is False, {}", condition.kind, said(&condition.reason, &condition.message))
            }
            None => "its kubelet has not taken notice of it".to_owned(),
        });
    };
    match &container.state.waiting {
        Some(ContainerWaiting { reason, message }) => match reason.as_str() {
            "ErrImageNeverPull"
            | "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ImageInspectError"
            | "RegistryUnavailable" => Start::NoImage(said(reason, message)),
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError" => {
                Start::Ended(said(reason, message))
            }
            _ => Start::Waiting(said(reason, message)),
        },
        None if container.state.running.is_some() => Start::Running,
        None => Start::Waiting("its container has no state yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "each test writes its status where it is used")]
    fn of(status: serde_json::Value) -> Start {
        start(&serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap())
    }

    #[test]
    fn each_way_to_fail_is_told_in_the_words_of_the_kubelet() {
        let running =
            json!({"phase": "Running", "containerStatuses": [{"name": "hopwise", "state": {"running": {}}}]});
        assert_eq!(of(running), Start::Running);
        assert!(matches!(of(json!({"phase": "Pending"})), Start::Waiting(_)));
        let waiting = |reason: &str, message: &str| {
            of(json!({"phase": "Pending", "containerStatuses": [{"name": "hopwise",
                "state": {"waiting": {"reason": reason, "message": message}}}]}))
        };
        assert_eq!(
            waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never"),
            Start::NoImage(
                "ErrImageNeverPull: Container image is not present with pull policy of Never".to_owned()
            )
        );
        assert_eq!(
            waiting("ImagePullBackOff", "Back-off pulling image"),
            Start::NoImage("ImagePullBackOff: Back-off pulling image".to_owned())
        );
        assert_eq!(waiting("ContainerCreating", ""), Start::Waiting("ContainerCreating".to_owned()));
        assert!(
            matches!(waiting("CreateContainerError", "no space left on device"), Start::Ended(it) if it.contains("no space"))
        );
        assert_eq!(
            of(
                json!({"phase": "Failed", "reason": "OutOfpods", "message": "Node didn't have enough resource: pods"})
            ),
            Start::Ended("OutOfpods: Node didn't have enough resource: pods".to_owned())
        );
        assert_eq!(
            of(
                json!({"phase": "Failed", "containerStatuses": [{"name": "hopwise", "state": {"terminated": {"exitCode": 1,
                "reason": "Error", "message": "exec format error"}}}]})
            ),
            Start::Ended("exit code 1, Error: exec format error".to_owned())
        );
    }
}
