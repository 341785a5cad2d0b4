//! The lab's Kubernetes objects, as the API server would hold them and `kubectl get -o json` prints them.
//!
//! One file a kind below `objects/` of the lab's directory, each a `List`. They are the truth about what is
//! *wanted*: controllers and the diagnosis read them, and the keeper writes into them what a kubelet and an
//! EndpointSlice controller would.

mod config_map;
mod endpoint_slice;
mod node;
mod pod;
mod service;
mod workload;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use hopwise_snapshot::{Cluster, Observed, PodName};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use config_map::{COREFILE, cni_configuration, kubelet_configuration};
pub(crate) use endpoint_slice::set_ready;
pub(crate) use pod::{ContainerState, set_container_state};

use crate::{LabError, layout::Layout, random};

/// A kind of objects: the stem of its file's name.
pub(crate) const NODES: &str = "nodes";
pub(crate) const PODS: &str = "pods";
pub(crate) const SERVICES: &str = "services";
pub(crate) const ENDPOINT_SLICES: &str = "endpointslices";
pub(crate) const CONFIG_MAPS: &str = "configmaps";
pub(crate) const NETWORK_POLICIES: &str = "networkpolicies";
pub(crate) const NAMESPACES: &str = "namespaces";
pub(crate) const WORKLOADS: &str = "workloads";
pub(crate) const EVENTS: &str = "events";

/// Makes the objects of one lab.
pub(crate) struct Maker<'a> {
    layout: &'a Layout,
    now: String,
    /// The API server's counter of changes.
    version: u64,
    /// Identities of workloads and Services by namespace, kind and name, for those that refer to them.
    uids: BTreeMap<(String, String, String), String>,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(layout: &'a Layout, now: Timestamp) -> Self {
        Self { layout, now: seconds(now), version: 200, uids: BTreeMap::new() }
    }

    /// All objects, by kind.
    pub(crate) fn all(mut self) -> Result<BTreeMap<&'static str, Vec<Value>>, LabError> {
        Ok(BTreeMap::from([
            (NAMESPACES, self.namespaces()?),
            (NODES, self.nodes()),
            (CONFIG_MAPS, self.config_maps()?),
            (SERVICES, self.services()?),
            (WORKLOADS, self.workloads()?),
            (PODS, self.pods()?),
            (ENDPOINT_SLICES, self.endpoint_slices()?),
            (NETWORK_POLICIES, Vec::new()),
            (EVENTS, Vec::new()),
        ]))
    }

    fn namespaces(&mut self) -> Result<Vec<Value>, LabError> {
        let names = ["default", "kube-flannel", "kube-node-lease", "kube-public", "kube-system", "shop"];
        let namespace = |name: &str| {
            let labels = json!({"kubernetes.io/metadata.name": name});
            Ok(json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": self.metadata("", name, &random::uid()?, labels),
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }))
        };
        names.into_iter().map(namespace).collect()
    }

    /// What every object has. An empty namespace or `{}` for labels leaves the field out.
    fn metadata(&mut self, namespace: &str, name: &str, uid: &str, labels: Value) -> Value {
        self.version += 1;
        let mut metadata = json!({
            "creationTimestamp": self.now,
            "name": name,
            "resourceVersion": self.version.to_string(),
            "uid": uid,
        });
        if !namespace.is_empty() {
            metadata["namespace"] = namespace.into();
        }
        if labels.as_object().is_some_and(|it| !it.is_empty()) {
            metadata["labels"] = labels;
        }
        metadata
    }

    /// The identity of an object that others refer to, made when it is first asked for.
    fn uid(&mut self, namespace: &str, kind: &str, name: &str) -> Result<String, LabError> {
        let key = (namespace.to_owned(), kind.to_owned(), name.to_owned());
        if let Some(uid) = self.uids.get(&key) {
            return Ok(uid.clone());
        }
        let uid = random::uid()?;
        self.uids.insert(key, uid.clone());
        Ok(uid)
    }
}

/// A time as the API prints it: whole seconds.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The directory of a lab's objects.
#[derive(Clone, Debug)]
pub(crate) struct ObjectStore {
    directory: PathBuf,
}

impl ObjectStore {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces the objects of a kind. A reader sees the old or the new ones, never a part.
    pub(crate) fn write(&self, kind: &str, items: &[Value]) -> Result<(), LabError> {
        let list = json!({
            "apiVersion": "v1",
            "items": items,
            "kind": "List",
            "metadata": {"resourceVersion": ""},
        });
        let path = self.path(kind);
        let new = path.with_extension("json.new");
        let written = fs::write(&new, indented(&list)).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| LabError::Write { path, source })
    }

    /// The objects of a kind.
    pub(crate) fn read(&self, kind: &str) -> Result<Vec<Value>, LabError> {
        let path = self.path(kind);
        let text = fs::read(&path).map_err(|source| LabError::Read { path: path.clone(), source })?;
        let mut list: Value =
            serde_json::from_slice(&text).map_err(|source| LabError::Parse { path: path.clone(), source })?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Err(LabError::NotAList { path }),
        }
    }

    /// The objects as controllers read them.
    pub(crate) fn cluster(&self) -> Result<Cluster, LabError> {
        Ok(Cluster {
            nodes: self.typed(NODES)?,
            pods: self.typed(PODS)?,
            services: self.typed(SERVICES)?,
            endpoint_slices: self.typed(ENDPOINT_SLICES)?,
            config_maps: self.typed(CONFIG_MAPS)?,
            network_policies: self.typed(NETWORK_POLICIES)?,
            namespaces: self.typed(NAMESPACES)?,
            workloads: self.typed(WORKLOADS)?,
            ..Cluster::default()
        })
    }

    fn typed<T: DeserializeOwned>(&self, kind: &str) -> Result<Observed<Vec<T>>, LabError> {
        let parse = |it| serde_json::from_value(it);
        let items: Result<_, _> = self.read(kind)?.into_iter().map(parse).collect();
        items.map(Observed::Known).map_err(|source| LabError::Parse { path: self.path(kind), source })
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{kind}.json"))
    }
}

/// Is `object` the one called `name`?
fn is_called(object: &Value, name: &PodName) -> bool {
    object["metadata"]["namespace"] == name.namespace.as_str()
        && object["metadata"]["name"] == name.name.as_str()
}

/// The document as kubectl prints it: indented by four blanks, a line feed at the end.
fn indented(document: &Value) -> Vec<u8> {
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(document, &mut serializer).expect("a JSON document is written to memory");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Base, Shape};

    fn cluster(shape: Shape) -> (Layout, Cluster) {
        let layout = Layout::new(shape).unwrap();
        let directory = std::env::temp_dir().join(format!("hopwise-objects-{}", random::suffix().unwrap()));
        fs::create_dir(&directory).unwrap();
        let store = ObjectStore::new(directory.clone());
        for (kind, items) in Maker::new(&layout, Timestamp::now()).all().unwrap() {
            store.write(kind, &items).unwrap();
        }
        let cluster = store.cluster().unwrap();
        fs::remove_dir_all(directory).unwrap();
        (layout, cluster)
    }

    #[test]
    fn the_objects_are_read_as_the_types_of_the_snapshot() {
        let (layout, cluster) = cluster(Shape::default());
        assert_eq!(cluster.nodes.known().unwrap().len(), 3);
        // 17 pods of their own, kube-apiserver, and kube-proxy and flannel on each node.
        assert_eq!(cluster.pods.known().unwrap().len(), 17 + 1 + 6);
        assert_eq!(cluster.services.known().unwrap().len(), 5);
        for (_, pod) in layout.pods() {
            let object = cluster.pod(&pod.name).unwrap();
            assert_eq!(object.ips(), pod.addresses);
            assert!(object.is_ready() && object.is_running());
        }
    }

    #[test]
    fn every_service_has_slices_with_all_its_pods() {
        let (_, cluster) = cluster(Shape { base: Base::DualStack, n_nodes: 3 });
        let count = |namespace, name| -> Vec<usize> {
            let service = cluster.service(namespace, name).unwrap();
            cluster.slices_of(service).map(|it| it.endpoints.len()).collect()
        };
        assert_eq!(count("default", "echo"), [6, 6]);
        assert_eq!(count("kube-system", "kube-dns"), [2, 2]);
        assert_eq!(count("default", "kubernetes"), [1]);
    }

    #[test]
    fn a_list_is_printed_as_kubectl_prints_it() {
        let text = String::from_utf8(indented(&json!({"items": [], "a": {}, "b": [1]}))).unwrap();
        assert_eq!(text, "{\n    \"a\": {},\n    \"b\": [\n        1\n    ],\n    \"items\": []\n}\n");
    }
}
