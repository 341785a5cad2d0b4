//! What the containers that make the network wrote last.

use std::collections::BTreeSet;

use hopwise_collect::redact;
use hopwise_snapshot::{ContainerLog, ContainerStatus, LogLine, Observed, PodName, PodObject, Reason};
use tokio::task::JoinSet;

use crate::{
    Limits,
    request::{Refusal, Requests, is_name},
};

/// How many logs are asked for at a time.
const AT_ONCE: usize = 8;

/// A log to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    pod: PodName,
    container: String,
    is_previous: bool,
    /// Containers that are well come last where not all can be asked.
    is_well: bool,
}

/// Does this pod write the CNI's configuration or its programs to nodes?
pub(crate) fn is_of_cni(pod: &PodObject) -> bool {
    pod.spec.volumes.iter().filter_map(|it| it.host_path.as_ref()).any(|it| {
        let path = it.path.trim_end_matches('/');
        // Some mount the directory above.
        ["/etc/cni", "/opt/cni"].iter().any(|cni| path == *cni || path.starts_with(&format!("{cni}/")))
    })
}

/// Is it one of those whose word counts when the network is broken?
fn makes_the_network(pod: &PodObject) -> bool {
    let label = |key: &str| pod.metadata.labels.get(key).map(String::as_str);
    let is_system = pod.metadata.namespace == "kube-system";
    let is_named = matches!(label("k8s-app"), Some("kube-proxy" | "kube-dns"))
        || matches!(label("app.kubernetes.io/name"), Some("kube-proxy" | "coredns"));
    (is_system && is_named) || is_of_cni(pod)
}

/// The logs worth asking for: of those that are not well first, then by name.
fn asked(pods: &[PodObject]) -> Vec<Asked> {
    let mut all = Vec::new();
    for pod in pods.iter().filter(|it| makes_the_network(it)) {
        let statuses = pod.status.init_container_statuses.iter().map(|it| (it, true));
        for (status, is_init) in statuses.chain(pod.status.container_statuses.iter().map(|it| (it, false))) {
            let ask = |is_previous| Asked {
                pod: pod.name(),
                container: status.name.clone(),
                is_previous,
                is_well: is_well(status, is_init),
            };
            if status.state.running.is_some() || status.state.terminated.is_some() {
                all.push(ask(false));
            }
            if status.restart_count > 0 || status.last_state.terminated.is_some() {
                all.push(ask(true));
            }
        }
    }
    all.sort_by(|a, b| {
        (a.is_well, &a.pod, &a.container, a.is_previous).cmp(&(
            b.is_well,
            &b.pod,
            &b.container,
            b.is_previous,
        ))
    });
    all
}

fn is_well(status: &ContainerStatus, is_init: bool) -> bool {
    let has_succeeded = status.state.terminated.as_ref().is_some_and(|it| it.exit_code == 0);
    status.restart_count == 0 && (status.ready || (is_init && has_succeeded))
}

/// Reads the last lines of the containers that make the network, and says how many were left out.
pub(crate) async fn read(
    requests: &Requests,
    pods: &[PodObject],
    limits: &Limits,
) -> (Vec<ContainerLog>, usize) {
    let mut asked = asked(pods);
    let n_left = asked.len().saturating_sub(limits.logs);
    asked.truncate(limits.logs);
    let mut logs: Vec<ContainerLog> = Vec::new();
    let mut forbidden: BTreeSet<String> = BTreeSet::new();
    let mut running = JoinSet::new();
    let mut waiting = asked.into_iter();
    loop {
        while running.len() < AT_ONCE {
            let Some(next) = waiting.next() else { break };
            if forbidden.contains(&next.pod.namespace) {
                let reason = Reason::NotPermitted(right(&next.pod.namespace));
                logs.push(next.log(Observed::NotCollected(reason)));
                continue;
            }
            let (requests, limits) = (requests.clone(), limits.clone());
            running.spawn(async move {
                let lines = one(&requests, &next, &limits).await;
                (next, lines)
            });
        }
        let Some(ended) = running.join_next().await else { break };
        // A task ends early only where it panicked, which none does.
        let Ok((asked, lines)) = ended else { continue };
        if matches!(&lines, Observed::NotCollected(Reason::NotPermitted(_))) {
            forbidden.insert(asked.pod.namespace.clone());
        }
        logs.push(asked.log(lines));
    }
    logs.sort_by(|a, b| (&a.pod, &a.container, a.is_previous).cmp(&(&b.pod, &b.container, b.is_previous)));
    (logs, n_left)
}

impl Asked {
    fn log(self, lines: Observed<Vec<LogLine>>) -> ContainerLog {
        ContainerLog { pod: self.pod, container: self.container, is_previous: self.is_previous, lines }
    }
}

/// The right that reading logs takes.
fn right(namespace: &str) -> String {
    format!("get pods/log in namespace {namespace}")
}

async fn one(requests: &Requests, asked: &Asked, limits: &Limits) -> Observed<Vec<LogLine>> {
    let PodName { namespace, name } = &asked.pod;
    if ![namespace, name, &asked.container].iter().all(|it| is_name(it)) {
        return Observed::NotCollected(Reason::Failed(format!("`{namespace}/{name}` is no name of a pod")));
    }
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{name}/log?container={}&timestamps=true&tailLines={}&limitBytes={}&previous={}",
        asked.container, limits.log_lines, limits.log, asked.is_previous,
    );
    // The server may ignore the limit by a line.
    match requests.get(&path, limits.log * 2).await {
        Ok(bytes) => Observed::Known(lines(&bytes)),
        // The runtime has removed it already, or the container was never started.
        Err(Refusal::Status(status)) if status.code == 400 || status.code == 404 => Observed::Absent,
        Err(refusal) => Observed::NotCollected(refusal.reason(&right(namespace))),
    }
}

/// The lines of a log that was read with times, without secrets.
fn lines(bytes: &[u8]) -> Vec<LogLine> {
    let text = String::from_utf8_lossy(bytes);
    let split = text.lines().map(|line| {
        let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
        time.parse().map_or_else(|_| (None, line), |at| (Some(at), rest))
    });
    let (times, texts): (Vec<_>, Vec<_>) = split.unzip();
    // A key goes over several lines, so that the text is searched as a whole.
    let clean = redact::text(&texts.join("\n")).0;
    let clean: Vec<&str> = clean.split('\n').collect();
    // Where lines were cut, nobody knows any more which time belongs to which.
    let is_whole = clean.len() == times.len();
    let at = |n: usize| if is_whole { times.get(n).copied().flatten() } else { None };
    let line =
        |(n, text): (usize, &&str)| LogLine { at: at(n), text: text.trim_end_matches('\r').to_owned() };
    if times.is_empty() { Vec::new() } else { clean.iter().enumerate().map(line).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(value: serde_json::Value) -> PodObject {
        serde_json::from_value(value).unwrap()
    }

    fn container(name: &str, ready: bool, restarts: u32) -> serde_json::Value {
        json!({"name": name, "ready": ready, "restartCount": restarts, "state": {"running": {}}})
    }

    #[test]
    fn those_that_are_not_well_are_asked_first_and_what_ran_before_too() {
        let proxy = pod(
            json!({"metadata": {"name": "kube-proxy-a", "namespace": "kube-system", "labels": {"k8s-app": "kube-proxy"}},
            "status": {"containerStatuses": [container("kube-proxy", true, 0)]}}),
        );
        let flannel = pod(json!({"metadata": {"name": "kube-flannel-ds-a", "namespace": "kube-flannel"},
            "spec": {"volumes": [{"name": "cni", "hostPath": {"path": "/etc/cni/net.d"}}]},
            "status": {"containerStatuses": [{"name": "kube-flannel", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1}}}],
                "initContainerStatuses": [{"name": "install-cni", "ready": true, "state": {"terminated": {"exitCode": 0}}}]}}));
        let other = pod(
            json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"k8s-app": "kube-proxy"}},
            "status": {"containerStatuses": [container("web", true, 0)]}}),
        );
        let told: Vec<String> = asked(&[proxy, other, flannel])
            .iter()
            .map(|it| {
                format!("{}/{}{}", it.pod.name, it.container, if it.is_previous { " before" } else { "" })
            })
            .collect();
        assert_eq!(
            told,
            [
                "kube-flannel-ds-a/kube-flannel before",
                "kube-flannel-ds-a/install-cni",
                "kube-proxy-a/kube-proxy"
            ]
        );
    }

    #[test]
    fn a_line_has_its_time_and_no_secret() {
        let lines = lines(b"2026-11-21T10:00:00.123456789Z E1121 failed to watch\r\n\n2026-11-21T10:00:01Z token: abcdef.0123456789abcdef\nno time\n");
        assert_eq!(lines[0].text, "E1121 failed to watch");
        assert_eq!(lines[0].at.unwrap().to_string(), "2026-11-21T10:00:00.123456789Z");
        assert_eq!(lines[1], LogLine::default());
        assert_eq!(lines[2].text, "token: [redacted]");
        assert_eq!((lines[3].at, lines[3].text.as_str()), (None, "no time"));
    }

    #[test]
    fn lines_of_a_key_are_cut_and_no_time_is_given_to_another_line() {
        let lines = lines(
            b"2026-11-21T10:00:00Z -----BEGIN RSA PRIVATE KEY-----\n2026-11-21T10:00:01Z MIIEow\n2026-11-21T10:00:02Z AAAA\n\
              2026-11-21T10:00:03Z -----END RSA PRIVATE KEY-----\n2026-11-21T10:00:04Z after\n",
        );
        let texts: Vec<&str> = lines.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(
            texts,
            ["-----BEGIN RSA PRIVATE KEY-----", "[redacted]", "-----END RSA PRIVATE KEY-----", "after"]
        );
        assert!(lines.iter().all(|it| it.at.is_none()));
    }

    proptest! {
        #[test]
        fn no_log_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = lines(&bytes);
        }
    }
}
