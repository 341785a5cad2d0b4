//! A live cluster as the source: an API server over loopback that has a captured cluster's objects.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Ran, command, ran};

/// A kubeconfig for a server.
struct Cluster {
    directory: TempDir,
}

impl Cluster {
    /// A cluster whose API server says this of a path.
    fn new(says: fn(&str) -> (u16, Value)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                thread::spawn(move || answer(stream, says));
            }
        });
        Self::at(address)
    }

    fn at(address: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let document = json!({"current-context": "sample",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "jane", "user": {"token": "s3cr3t"}}],
            "contexts": [{"name": "sample", "context": {"cluster": "c", "user": "jane"}}]});
        fs::write(directory.path().join("config"), document.to_string()).unwrap();
        Self { directory }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    fn hopwise(&self, words: &[&str]) -> Ran {
        let ran = ran(command().env("KUBECONFIG", self.kubeconfig()).args(words));
        assert!(!ran.stderr.contains("s3cr3t") && !ran.stdout.contains("s3cr3t"), "{ran:?}");
        ran
    }
}

fn answer(stream: TcpStream, says: fn(&str) -> (u16, Value)) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line);
        }
        let target = head[0].split(' ').nth(1).unwrap().to_owned();
        let (code, document) = says(target.split('?').next().unwrap());
        let body = document.to_string();
        let text = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.get_mut().write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// The captured cluster.
fn sample(path: &str) -> (u16, Value) {
    let directory = "../testkit/samples/kubeadm-1.34-flannel-vxlan-iptables/api";
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let read =
        |file: &str| -> Value { serde_json::from_slice(&fs::read(directory.join(file)).unwrap()).unwrap() };
    let of_kind = |kind: &str| {
        let mut list = read("workloads.json");
        list["items"].as_array_mut().unwrap().retain(|it| it["kind"] == kind);
        list["kind"] = format!("{kind}List").into();
        list
    };
    let empty = |kind: &str| json!({"kind": format!("{kind}List"), "items": []});
    (
        200,
        match path {
            "/version" => json!({"gitVersion": "v1.34.4"}),
            "/api/v1/nodes" => read("nodes.json"),
            "/api/v1/pods" => read("pods.json"),
            "/api/v1/services" => read("services.json"),
            "/apis/discovery.k8s.io/v1/endpointslices" => read("endpointslices.json"),
            "/apis/apps/v1/daemonsets" => of_kind("DaemonSet"),
            "/apis/apps/v1/deployments" => of_kind("Deployment"),
            "/apis/networking.k8s.io/v1/networkpolicies" => empty("NetworkPolicy"),
            "/api/v1/namespaces" => empty("Namespace"),
            "/api/v1/events" => empty("Event"),
            "/api/v1/namespaces/kube-system/configmaps" => read("configmaps-kube-system.json"),
            "/api/v1/namespaces/kube-flannel/configmaps" => read("configmap-flannel.json"),
            path if path.ends_with("/log") => json!("a line"),
            other => panic!("{other} was asked for"),
        },
    )
}

fn forbidden(path: &str) -> (u16, Value) {
    match path {
        "/version" => (200, json!({"gitVersion": "v1.34.4"})),
        _ => (
            403,
            json!({"kind": "Status", "code": 403, "message": "User \"jane\" cannot list it", "reason": "Forbidden"}),
        ),
    }
}

fn unauthorized(_: &str) -> (u16, Value) {
    (401, json!({"kind": "Status", "code": 401, "message": "Unauthorized", "reason": "Unauthorized"}))
}

#[test]
fn the_objects_alone_make_no_verdict_and_accuse_nobody() {
    let cluster = Cluster::new(sample);
    let ran = cluster.hopwise(&["diagnose", "--nodes-via", "none", "-o", "json"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let document = ran.json();
    assert_eq!(document["verdict"], "incomplete");
    assert_eq!(document["findings"], json!([]));
    assert_eq!(document["snapshot"]["source"], "kubeconfig/sample");
    let unknown = document["unknown"].as_array().unwrap();
    let node = unknown.iter().find(|it| it["element"].as_str().unwrap().starts_with("node/n2")).unwrap();
    assert_eq!(node["reason"], "notAsked");
    assert_eq!(node["settledBy"], "run without --nodes-via none");
    assert!(ran.stderr.contains("read the objects of 3 nodes, 17 pods, 4 services"), "{}", ran.stderr);
}

#[test]
fn it_is_kept_in_a_file_and_read_from_there() {
    let cluster = Cluster::new(sample);
    let file = cluster.directory.path().join("cluster.hop");
    let ran = cluster.hopwise(&["collect", "--nodes-via", "none", "-o", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let snapshot = hopwise_snapshot::hop::read(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(snapshot.cluster.nodes.known().unwrap().len(), 3);
    assert_eq!(snapshot.cluster.workloads.known().unwrap().len(), 5);
    assert!(snapshot.cluster.config_map("kube-flannel", "kube-flannel-cfg").is_some());
    assert!(!snapshot.cluster.logs.known().unwrap().is_empty());
    let again = cluster.hopwise(&["diagnose", "--snapshot", file.to_str().unwrap(), "-o", "json"]);
    let live = cluster.hopwise(&["diagnose", "--nodes-via", "none", "-o", "json"]);
    assert_eq!(again.code, live.code);
    assert_eq!(again.json()["unknown"], live.json()["unknown"]);
}

#[test]
fn only_a_part_is_asked_about() {
    let cluster = Cluster::new(sample);
    let promised = |words: &[&str]| {
        let ran = cluster.hopwise(&[&["diagnose", "--nodes-via", "none", "-o", "json"], words].concat());
        ran.json()["snapshot"]["promised"].as_u64().unwrap()
    };
    let all = promised(&[]);
    assert_eq!(promised(&["-A"]), all);
    let system = promised(&["-n", "kube-system"]);
    assert!(0 < system && system < all, "{system} of {all}");
    assert_eq!(
        promised(&["-n", "kube-system", "-l", "k8s-app=kube-dns"]),
        system,
        "the only pods of it with a network"
    );
    assert_eq!(promised(&["-l", "k8s-app=nobody"]), 0);
}

#[test]
fn each_way_to_fail_is_a_document_with_its_own_words() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (gone, forbidden, unauthorized) =
        (Cluster::at(gone), Cluster::new(forbidden), Cluster::new(unauthorized));
    let failing = |cluster: &Cluster, words: &[&str]| {
        let ran = cluster.hopwise(&[&["diagnose", "--nodes-via", "none", "-o", "json"], words].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let text = if ran.stdout.is_empty() { &ran.stderr } else { &ran.stdout };
        let document: Value = serde_json::from_str(text).unwrap_or_else(|it| panic!("{it}: {ran:?}"));
        assert_eq!(document["schema"], "hopwise/error/v1");
        (document["message"].as_str().unwrap().to_owned(), document["causes"].clone())
    };
    let (message, causes) = failing(&gone, &[]);
    assert!(message.ends_with("does not answer"), "{message}");
    assert!(causes[0].as_str().unwrap().contains("Connection refused"), "{causes}");
    let (message, _) = failing(&forbidden, &[]);
    assert!(message.ends_with("lets user `jane` read nothing (403 Forbidden)"), "{message}");
    let (message, _) = failing(&unauthorized, &[]);
    assert!(
        message.ends_with("does not accept the credentials of user `jane` (401 Unauthorized)"),
        "{message}"
    );
    let (message, _) = failing(&gone, &["--context", "other"]);
    assert!(
        message.starts_with("there is no context `other` in ") && message.ends_with("expected one of sample"),
        "{message}"
    );
    let (message, _) = failing(&gone, &["--kubeconfig", "/nonexistent/config"]);
    assert_eq!(message, "failed to read the kubeconfig /nonexistent/config");
}
