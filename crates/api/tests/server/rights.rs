//! The rights of deploy/rbac.yaml against what is asked of an API server.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use hopwise_api::{Limits, NodePods};
use hopwise_snapshot::{NodeName, PodName};
use serde_json::Value;

use crate::{
    fake::{Fake, Request},
    node_pods::{Cluster, options},
    objects::with_plugin,
    restart::one_pod,
};

/// A right: what may be done to which resource of which group, and where (empty: everywhere).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    verb: String,
    group: String,
    resource: String,
    namespace: String,
}

/// What reading takes, and what repairing takes besides.
const MANIFESTS: [&str; 2] = ["rbac.yaml", "rbac-repair.yaml"];

fn manifest(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
    serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// The rights that all manifests grant.
fn granted() -> BTreeSet<Right> {
    MANIFESTS.iter().flat_map(|it| granted_by(it)).collect()
}

fn granted_by(name: &str) -> BTreeSet<Right> {
    let mut granted = BTreeSet::new();
    for role in manifest(name).iter().filter(|it| it["kind"] == "ClusterRole" || it["kind"] == "Role") {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().unwrap() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        let (group, resource, namespace) =
                            (group.clone(), resource.clone(), namespace.to_owned());
                        granted.insert(Right { verb, group, resource, namespace });
                    }
                }
            }
        }
    }
    granted
}

/// The right that a request takes, as the API server's RBAC sees it; none for what everybody may do.
fn needed(request: &Request) -> Option<Right> {
    let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["version"] => return None,
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        other => panic!("{other:?} is no path of the API"),
    };
    // A namespace itself counts as lying in itself.
    let (namespace, resource, is_named) = match rest {
        ["namespaces", name] => (*name, "namespaces".to_owned(), true),
        ["namespaces", namespace, resource] => (*namespace, (*resource).to_owned(), false),
        ["namespaces", namespace, resource, _] => (*namespace, (*resource).to_owned(), true),
        ["namespaces", namespace, resource, _, part] => (*namespace, format!("{resource}/{part}"), true),
        [resource] => ("", (*resource).to_owned(), false),
        [resource, _] => ("", (*resource).to_owned(), true),
        other => panic!("{other:?} is no path of the API"),
    };
    let verb = match request.method.as_str() {
        "GET" if is_named => "get",
        "GET" => "list",
        "POST" => "create",
        "DELETE" => "delete",
        other => panic!("{other} is sent"),
    };
    let (verb, group, namespace) = (verb.to_owned(), group.to_owned(), namespace.to_owned());
    Some(Right { verb, group, resource, namespace })
}

fn is_granted(right: &Right) -> bool {
    let everywhere = Right { namespace: String::new(), ..right.clone() };
    granted().contains(right) || granted().contains(&everywhere)
}

#[test]
fn what_is_asked_is_granted_and_nothing_is_granted_that_nobody_asks() {
    let mut asked = BTreeSet::new();
    // The plugin of this cluster lives where the manifest says.
    let reading = Fake::new(|request| {
        let there = |text: &str| text.replace("kube-flannel", "my-cni");
        let moved = Request { path: there(&request.path), ..request.clone() };
        match with_plugin(&moved) {
            crate::fake::Answer::Says(code, body) => {
                let body = String::from_utf8(body).unwrap().replace("my-cni", "kube-flannel");
                crate::fake::Answer::Says(code, body.into_bytes())
            }
            other => other,
        }
    });
    reading.connect().read(&Limits::default(), &|_| {}).unwrap();
    asked.extend(reading.requests().iter().filter_map(needed));
    let cluster = Cluster::default();
    cluster.has_namespace();
    let speaking = Fake::new(cluster.serve(Cluster::running()));
    let pods = NodePods::begin(&speaking.connect(), options()).unwrap();
    drop(pods.open(&NodeName::from("w1")).unwrap());
    pods.end();
    asked.extend(speaking.requests().iter().filter_map(needed));
    for namespace in ["kube-system", "kube-flannel", "shop"] {
        let repairing = Fake::new(one_pod(namespace, true));
        let pod = PodName::new(namespace, "kube-proxy-a");
        repairing.connect().restart_pod(&pod, Duration::from_secs(20)).unwrap();
        asked.extend(repairing.requests().iter().filter_map(needed));
    }
    assert!(
        asked.iter().any(|it| it.resource == "pods/exec") && asked.iter().any(|it| it.resource == "pods/log")
    );

    let refused: Vec<&Right> = asked.iter().filter(|it| !is_granted(it)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let is_asked = |right: &Right| {
        let covers = |it: &Right| {
            (it.namespace == right.namespace || right.namespace.is_empty())
                && (&it.verb, &it.group, &it.resource) == (&right.verb, &right.group, &right.resource)
        };
        asked.iter().any(covers)
    };
    // kube-proxy and CoreDNS have logs, too. A node is looked at where a pod does not start. A websocket takes `create`
    // with newer API servers.
    let spared = ["get pods/log kube-system", "get nodes ", "create pods/exec hopwise"];
    let idle: Vec<String> = granted()
        .iter()
        .filter(|it| !is_asked(it))
        .map(|it| format!("{} {} {}", it.verb, it.resource, it.namespace))
        .filter(|it| !spared.contains(&it.as_str()))
        .collect();
    assert!(idle.is_empty(), "{idle:?}");
}

#[test]
fn no_secret_and_no_wildcard_is_granted() {
    for right in granted() {
        let told = format!("{right:?}");
        assert!(!told.contains("secret") && !told.contains('*'), "{told}");
        assert!(
            !["impersonate", "escalate", "bind", "update", "patch"].contains(&right.verb.as_str()),
            "{told}"
        );
    }
    let changes = |it: &Right| it.verb != "get" && it.verb != "list";
    for right in granted_by("rbac.yaml").into_iter().filter(changes) {
        assert_eq!(right.namespace, "hopwise", "{right:?}");
    }
    for right in granted_by("rbac-repair.yaml") {
        assert_eq!((right.verb.as_str(), right.resource.as_str()), ("delete", "pods"), "{right:?}");
    }
}

#[test]
fn each_role_is_bound_where_it_is() {
    let manifest: Vec<Value> = MANIFESTS.iter().flat_map(|it| manifest(it)).collect();
    let of = |kind: &str| -> BTreeSet<(String, String)> {
        let all = manifest.iter().filter(|it| it["kind"] == kind);
        let name = |it: &Value| {
            let reference = it.get("roleRef").map_or(&it["metadata"]["name"], |it| &it["name"]);
            reference.as_str().unwrap().to_owned()
        };
        all.map(|it| (it["metadata"]["namespace"].as_str().unwrap_or_default().to_owned(), name(it)))
            .collect()
    };
    assert_eq!(of("Role"), of("RoleBinding"));
    assert_eq!(of("ClusterRole"), of("ClusterRoleBinding"));
    assert!(!of("Role").is_empty() && !of("ClusterRole").is_empty());
}
