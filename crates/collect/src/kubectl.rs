//! The API server's objects from what `kubectl get -o json` prints.

use std::{fs, path::Path};

use hopwise_snapshot::{
    Cluster, ConfigMap, ContainerStatus, EndpointSlice, Event, Namespace, NetworkPolicy, NodeObject,
    ObjectMeta, Observed, PodObject, Service, Workload,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    error::{Document, SourceError},
    redact,
};

/// Objects, and what there was besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// The objects. A kind that no document speaks of is not collected.
    pub cluster: Cluster,
    /// What was read and is not part of a snapshot: one line a document and kind.
    pub not_understood: Vec<String>,
}

/// The kinds that a snapshot holds.
const KINDS: [&str; 12] = [
    "Node",
    "Pod",
    "Service",
    "EndpointSlice",
    "ConfigMap",
    "NetworkPolicy",
    "Namespace",
    "DaemonSet",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "Event",
];

/// Reads documents from files, in the order of their names.
pub fn read_files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Objects, SourceError> {
    let mut paths: Vec<_> = paths.into_iter().map(|it| it.as_ref().to_owned()).collect();
    paths.sort();
    let mut objects = Objects::default();
    for path in paths {
        let bytes = fs::read(&path).map_err(|source| SourceError::Read { path: path.clone(), source })?;
        objects.add(&path.display().to_string(), &bytes)?;
    }
    Ok(objects)
}

impl Objects {
    /// Adds one document: an object, or a list of objects as `kubectl get` prints for several.
    ///
    /// `file` is the document's name in errors. If an empty list does not say what it is a list of, the
    /// name does (`networkpolicies.json`), or else nothing does.
    pub fn add(&mut self, file: &str, bytes: &[u8]) -> Result<(), SourceError> {
        let document = Document::new(file, bytes)?;
        let top = header(&document, document.text)?;
        let Some(kind) = top.kind else {
            return Err(document.error_at(0, "expected an object of the API with a `kind`"));
        };
        let Some(of_items) = kind.strip_suffix("List") else {
            return self.add_object(&document, &kind, document.text);
        };
        let items = top.items.unwrap_or_default();
        if items.is_empty() {
            self.add_empty(&document, of_items);
        }
        for item in items {
            // The API server's own lists say the kind once; kubectl's lists say it with each item.
            let kind = match header(&document, item.get())?.kind {
                Some(kind) => kind,
                None if !of_items.is_empty() => of_items.to_owned(),
                None => {
                    return Err(
                        document.error(document.position_of(item.get()), "expected an item with a `kind`")
                    );
                }
            };
            self.add_object(&document, &kind, item.get())?;
        }
        Ok(())
    }

    /// A list without items says that there are none of its kind.
    fn add_empty(&mut self, document: &Document<'_>, of_items: &str) {
        let stem = document.file.rsplit('/').next().unwrap_or_default();
        let stem = stem.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let is_named = |kind: &str| {
            let lower = kind.to_ascii_lowercase();
            let plural = lower.strip_suffix('y').map_or_else(|| format!("{lower}s"), |it| format!("{it}ies"));
            of_items == kind || (of_items.is_empty() && (stem == lower || stem == plural))
        };
        let cluster = &mut self.cluster;
        match KINDS.into_iter().find(|it| is_named(it)) {
            Some("Node") => begin(&mut cluster.nodes),
            Some("Pod") => begin(&mut cluster.pods),
            Some("Service") => begin(&mut cluster.services),
            Some("EndpointSlice") => begin(&mut cluster.endpoint_slices),
            Some("ConfigMap") => begin(&mut cluster.config_maps),
            Some("NetworkPolicy") => begin(&mut cluster.network_policies),
            Some("Namespace") => begin(&mut cluster.namespaces),
            Some("Event") => begin(&mut cluster.events),
            Some(_) => begin(&mut cluster.workloads),
            None => self.not_understood.push(format!("{}: an empty list of an unknown kind", document.file)),
        }
    }

    fn add_object(&mut self, document: &Document<'_>, kind: &str, text: &str) -> Result<(), SourceError> {
        let cluster = &mut self.cluster;
        match kind {
            "Node" => push(&mut cluster.nodes, document, kind, text),
            "Pod" => {
                push(&mut cluster.pods, document, kind, text)?;
                list(&mut cluster.pods).last_mut().into_iter().for_each(only_what_is_asked);
                Ok(())
            }
            "Event" => {
                push(&mut cluster.events, document, kind, text)?;
                if let Some(event) = list(&mut cluster.events).last_mut() {
                    cut(&mut event.message);
                }
                Ok(())
            }
            "Service" => push(&mut cluster.services, document, kind, text),
            "EndpointSlice" => push(&mut cluster.endpoint_slices, document, kind, text),
            "NetworkPolicy" => push(&mut cluster.network_policies, document, kind, text),
            "Namespace" => push(&mut cluster.namespaces, document, kind, text),
            "ConfigMap" => {
                push(&mut cluster.config_maps, document, kind, text)?;
                list(&mut cluster.config_maps).last_mut().into_iter().for_each(without_secrets);
                Ok(())
            }
            "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet" => {
                push(&mut cluster.workloads, document, kind, text)?;
                if let Some(workload) = list(&mut cluster.workloads).last_mut() {
                    kind.clone_into(&mut workload.kind);
                }
                Ok(())
            }
            other => {
                let note = format!("{}: {other} is not part of a snapshot", document.file);
                if !self.not_understood.contains(&note) {
                    self.not_understood.push(note);
                }
                Ok(())
            }
        }
    }
}

/// What an object and a list have in common.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Header<'a> {
    kind: Option<String>,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

fn header<'a>(document: &Document<'_>, text: &'a str) -> Result<Header<'a>, SourceError> {
    serde_json::from_str(text).map_err(|it| document.json_error(document.position_of(text), &it))
}

fn object<T: DeserializeOwned>(document: &Document<'_>, kind: &str, text: &str) -> Result<T, SourceError> {
    serde_json::from_str(text).map_err(|it| match document.json_error(document.position_of(text), &it) {
        SourceError::NotUnderstood { file, place, problem } => {
            SourceError::NotUnderstood { file, place, problem: format!("{kind}: {problem}") }
        }
        other => other,
    })
}

fn push<T: DeserializeOwned + Object>(
    observed: &mut Observed<Vec<T>>,
    document: &Document<'_>,
    kind: &str,
    text: &str,
) -> Result<(), SourceError> {
    let mut object: T = object(document, kind, text)?;
    object.metadata().annotations.remove(LAST_APPLIED);
    list(observed).push(object);
    Ok(())
}

fn begin<T>(observed: &mut Observed<Vec<T>>) {
    list(observed);
}

fn list<T>(observed: &mut Observed<Vec<T>>) -> &mut Vec<T> {
    if observed.known().is_none() {
        *observed = Observed::Known(Vec::new());
    }
    observed.known_mut().expect("it is known now")
}

/// The object as it was last applied, whole: with the environment of its containers, which is not collected.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What every kind has.
trait Object {
    fn metadata(&mut self) -> &mut ObjectMeta;
}

macro_rules! objects {
    ($($kind:ty),*) => {
        $(impl Object for $kind {
            fn metadata(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        })*
    };
}

objects!(NodeObject, PodObject, Service, EndpointSlice, ConfigMap, NetworkPolicy, Namespace, Workload, Event);

/// A pod without the volumes that say nothing about the network, and without secrets in what its programs said.
fn only_what_is_asked(pod: &mut PodObject) {
    pod.spec.volumes.retain(|it| it.host_path.is_some() || it.config_map.is_some());
    let status = &mut pod.status;
    for status in status.container_statuses.iter_mut().chain(&mut status.init_container_statuses) {
        without_secrets_in_messages(status);
    }
}

/// The message of a container that ended is what the program wrote.
fn without_secrets_in_messages(status: &mut ContainerStatus) {
    for state in [&mut status.state, &mut status.last_state] {
        state.waiting.iter_mut().for_each(|it| cut(&mut it.message));
        state.terminated.iter_mut().for_each(|it| cut(&mut it.message));
    }
}

fn cut(text: &mut String) {
    *text = redact::text(text).0;
}

/// A ConfigMap may hold a kubeconfig.
fn without_secrets(map: &mut ConfigMap) {
    map.data.values_mut().for_each(cut);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(documents: &[(&str, &str)]) -> Result<Objects, SourceError> {
        let mut objects = Objects::default();
        for (file, text) in documents {
            objects.add(file, text.as_bytes())?;
        }
        Ok(objects)
    }

    #[test]
    fn lists_and_single_objects_are_read_alike() {
        let service = r#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"a","namespace":"n"}}"#;
        let single = read(&[("s.json", service)]).unwrap();
        let list = read(&[("s.json", &format!(r#"{{"kind":"List","items":[{service}]}}"#))]).unwrap();
        let typed = r#"{"kind":"ServiceList","items":[{"metadata":{"name":"a","namespace":"n"}}]}"#;
        assert_eq!(single, list);
        assert_eq!(read(&[("s.json", typed)]).unwrap(), list);
        assert_eq!(list.cluster.services.known().unwrap()[0].full_name(), "n/a");
        assert!(list.cluster.pods.is_not_collected());
    }

    #[test]
    fn an_empty_list_says_that_there_are_none() {
        let empty = r#"{"apiVersion":"v1","items":[],"kind":"List"}"#;
        let objects = read(&[("api/networkpolicies.json", empty), ("api/x.json", empty)]).unwrap();
        assert_eq!(objects.cluster.network_policies, Observed::Known(Vec::new()));
        assert_eq!(objects.not_understood, ["api/x.json: an empty list of an unknown kind"]);
        let objects = read(&[("x", r#"{"kind":"PodList","items":[]}"#)]).unwrap();
        assert_eq!(objects.cluster.pods, Observed::Known(Vec::new()));
        assert!(objects.cluster.services.is_not_collected());
    }

    #[test]
    fn other_kinds_are_named_once() {
        let secret =
            r#"{"kind":"List","items":[{"kind":"Secret","data":{"a":"cGFzcw=="}},{"kind":"Secret"}]}"#;
        let objects = read(&[("all.json", secret)]).unwrap();
        assert_eq!(objects.not_understood, ["all.json: Secret is not part of a snapshot"]);
        assert_eq!(objects.cluster, Cluster::default());
    }

    #[test]
    fn an_error_names_file_line_column_and_what_was_expected() {
        let text = "{\n \"kind\": \"List\",\n \"items\": [\n  {\"kind\": \"Pod\"},\n  {\"kind\": \"Pod\",\n   \"spec\": 7}\n ]\n}";
        let error = read(&[("pods.json", text)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pods.json, line 6, column 12: Pod: invalid type: integer `7`, expected struct PodSpec"
        );
        let error = read(&[("x.json", "{\"kind\": ")]).unwrap_err();
        assert_eq!(error.to_string(), "x.json, line 1, column 9: EOF while parsing a value");
        let error = read(&[("x.json", "{}")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.json, line 1, column 1: expected an object of the API with a `kind`"
        );
    }

    #[test]
    fn a_config_map_loses_its_secrets() {
        let map = r#"{"kind":"ConfigMap","metadata":{"name":"c"},"data":{"kubeconfig.conf":"token: abc\nserver: x\n"}}"#;
        let objects = read(&[("c.json", map)]).unwrap();
        let data = &objects.cluster.config_maps.known().unwrap()[0].data;
        assert_eq!(data["kubeconfig.conf"], "token: [redacted]\nserver: x\n");
    }

    #[test]
    fn the_environment_in_an_annotation_is_not_collected() {
        let deployment = r#"{"kind":"Deployment","metadata":{"name":"d","annotations":{"a":"b",
            "kubectl.kubernetes.io/last-applied-configuration":"{\"env\":[{\"name\":\"DB\",\"value\":\"pw\"}]}"}}}"#;
        let objects = read(&[("d.json", deployment)]).unwrap();
        let workload = &objects.cluster.workloads.known().unwrap()[0];
        assert_eq!(workload.kind, "Deployment");
        assert_eq!(workload.metadata.annotations.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn how_containers_ended_is_read() {
        let pod = r#"{"kind":"Pod","metadata":{"name":"coredns-1","namespace":"kube-system"},
            "spec":{"volumes":[{"name":"cfg","configMap":{"name":"coredns"}},{"name":"cni","hostPath":{"path":"/etc/cni/net.d"}},
                {"name":"token","secret":{"secretName":"s"}},{"name":"kube-api-access","projected":{"sources":[]}}]},
            "status":{"phase":"Running","hostIP":"10.0.0.1","containerStatuses":[{"name":"coredns","ready":false,"restartCount":4,
                "state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 1m20s"}},
                "lastState":{"terminated":{"exitCode":1,"reason":"Error","message":"token: abcdef0123\nLoop detected",
                    "startedAt":"2026-11-21T10:00:00Z","finishedAt":"2026-11-21T10:00:03Z","containerID":"x"}}}]}}"#;
        let objects = read(&[("p.json", pod)]).unwrap();
        let pod = &objects.cluster.pods.known().unwrap()[0];
        let names: Vec<_> = pod.spec.volumes.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["cfg", "cni"], "other volumes are left out");
        let status = &pod.status.container_statuses[0];
        assert_eq!(status.state.waiting.as_ref().unwrap().reason, "CrashLoopBackOff");
        let ended = status.last_state.terminated.as_ref().unwrap();
        assert_eq!((ended.exit_code, ended.reason.as_str()), (1, "Error"));
        assert_eq!(ended.message, "token: [redacted]\nLoop detected");
        assert_eq!(ended.finished_at.unwrap().to_string(), "2026-11-21T10:00:03Z");
    }

    #[test]
    fn events_of_old_and_new_reporters_are_read() {
        let events = r#"{"kind":"List","items":[
            {"kind":"Event","apiVersion":"v1","metadata":{"name":"a.1","namespace":"n"},"type":"Warning","reason":"BackOff",
             "involvedObject":{"kind":"Pod","namespace":"n","name":"a","fieldPath":"spec.containers{c}"},"count":7,
             "message":"Back-off restarting; password=hunter2","source":{"component":"kubelet","host":"n1"},
             "firstTimestamp":"2026-11-21T10:00:00Z","lastTimestamp":"2026-11-21T10:09:00Z","eventTime":null},
            {"kind":"Event","apiVersion":"v1","metadata":{"name":"a.2","namespace":"n"},"type":"Normal","reason":"Scheduled",
             "involvedObject":{"kind":"Pod","namespace":"n","name":"a"},"eventTime":"2026-11-21T09:59:59.123456Z",
             "firstTimestamp":null,"lastTimestamp":null,"reportingComponent":"default-scheduler"}]}"#;
        let cluster = read(&[("events.json", events)]).unwrap().cluster;
        let [old, new] = cluster.events.known().unwrap().as_slice() else { panic!("two events") };
        assert!(old.is_warning() && !new.is_warning());
        assert!(!old.message.contains("hunter2"), "{}", old.message);
        assert_eq!(old.last_seen().unwrap().to_string(), "2026-11-21T10:09:00Z");
        assert_eq!(new.last_seen().unwrap().to_string(), "2026-11-21T09:59:59.123456Z");
        assert_eq!(old.involved_object.field_path, "spec.containers{c}");
        let empty = read(&[("events.json", r#"{"kind":"List","items":[]}"#)]).unwrap().cluster;
        assert_eq!(empty.events, Observed::Known(Vec::new()));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_files(["/nonexistent/pods.json"]).unwrap_err();
        assert_eq!(error.to_string(), "failed to read /nonexistent/pods.json");
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Objects::default().add("x", &bytes);
        }

        #[test]
        fn a_list_cut_anywhere_is_an_error(end in 0usize..70) {
            let whole = r#"{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a"}}]}"#;
            let end = end.min(whole.len() - 1);
            prop_assert!(Objects::default().add("x", &whole.as_bytes()[..end]).is_err());
        }
    }
}
