//! What is read where the server answers.

use std::time::{Duration, Instant};

use hopwise_api::{ApiServer, Limits};
use hopwise_snapshot::{Cluster, Observed, Reason};
use serde_json::{Value, json};

use crate::fake::{Answer, Fake, Request, empty, forbidden, kind, list, named, status};

fn read(server: &ApiServer) -> Cluster {
    server.read(&Limits::default(), &|_| {}).unwrap()
}

fn pods(cluster: &Cluster) -> Vec<String> {
    cluster.pods.known().unwrap().iter().map(|it| it.name().to_string()).collect()
}

/// Pages of one pod each, named by the token for the page.
fn paged(request: &Request) -> Answer {
    if request.path != "/api/v1/pods" {
        return empty(request);
    }
    match request.asks("continue") {
        None => list("Pod", &[named("n", "a")], "page=2&x"),
        Some("page%3D2%26x") => list("Pod", &[named("n", "b")], "3"),
        Some("3") => list("Pod", &[named("n", "c")], ""),
        other => status(400, "BadRequest", &format!("{other:?} is no token")),
    }
}

#[test]
fn lists_are_read_page_by_page() {
    let fake = Fake::new(paged);
    let cluster = read(&fake.connect());
    assert_eq!(pods(&cluster), ["n/a", "n/b", "n/c"]);
    assert_eq!(cluster.services, Observed::Known(Vec::new()), "an empty list says that there are none");
    let asked = fake.asked("/api/v1/pods");
    assert!(asked.iter().all(|it| it.asks("limit") == Some("500")), "{asked:?}");
    assert_eq!(fake.connect().source(), "kubeconfig/here");
}

#[test]
fn only_lists_and_logs_are_asked_for_and_no_secret() {
    let fake = Fake::new(paged);
    read(&fake.connect());
    for request in fake.requests() {
        assert_eq!(request.method, "GET", "{request:?}");
        assert!(!request.path.contains("secret"), "{request:?}");
        assert_eq!(request.header("authorization"), Some("Bearer t"));
    }
}

#[test]
fn a_list_whose_next_page_is_too_old_is_read_whole() {
    let fake =
        Fake::new(|request| match (request.path.as_str(), request.asks("continue"), request.asks("limit")) {
            ("/api/v1/pods", None, Some(_)) => list("Pod", &[named("n", "old")], "2"),
            ("/api/v1/pods", Some("2"), _) => {
                status(410, "Expired", "The provided continue parameter is too old")
            }
            ("/api/v1/pods", None, None) => list("Pod", &[named("n", "a"), named("n", "b")], ""),
            _ => empty(request),
        });
    assert_eq!(pods(&read(&fake.connect())), ["n/a", "n/b"], "nothing of the first reading is left");
}

#[test]
fn a_server_that_never_ends_a_list_is_not_followed_for_ever() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/api/v1/pods" => list("Pod", &[named("n", "a")], "again"),
        _ => empty(request),
    });
    let cluster = read(&fake.connect());
    assert!(
        matches!(&cluster.pods, Observed::NotCollected(Reason::Failed(why)) if why.contains("leads nowhere"))
    );
    assert!(cluster.services.known().is_some(), "the rest goes on");
}

#[test]
fn hostile_answers_are_named_and_the_rest_is_read() {
    let deep = "[".repeat(100_000);
    let bodies: [Vec<u8>; 6] = [
        b"{\"kind\":\"PodList\",\"items\":[{\"metadata\":7}]}".to_vec(),
        b"{\"kind\":\"PodList\",\"items\":".to_vec(),
        vec![0xff; 50],
        b"[]".to_vec(),
        deep.into_bytes(),
        b"<html>login first</html>".to_vec(),
    ];
    for body in bodies {
        let said = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let fake = Fake::new(move |request| match request.path.as_str() {
            "/api/v1/pods" => Answer::Says(200, body.clone()),
            _ => empty(request),
        });
        let cluster = read(&fake.connect());
        let Observed::NotCollected(Reason::Failed(why)) = &cluster.pods else {
            panic!("{said}: {:?}", cluster.pods)
        };
        assert!(why.contains("/api/v1/pods, page 1, line 1, column"), "{said}: {why}");
        assert!(cluster.nodes.known().is_some());
    }
}

#[test]
fn an_answer_that_is_too_large_is_given_up() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/api/v1/pods" => Answer::Says(200, vec![b' '; 50_000]),
        _ => empty(request),
    });
    let limits = Limits { list: 10_000, ..Limits::default() };
    let cluster = fake.connect().read(&limits, &|_| {}).unwrap();
    assert_eq!(cluster.pods, Observed::NotCollected(Reason::TooLarge { limit: 10_000 }));
}

#[test]
fn a_list_that_does_not_come_is_given_up_and_the_rest_is_read() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/api/v1/pods" => Answer::Nothing,
        _ => empty(request),
    });
    let access = hopwise_api::Access { timeout: Some(Duration::from_secs(2)), ..fake.access() };
    let start = Instant::now();
    let cluster = read(&ApiServer::connect(&access).unwrap());
    assert_eq!(cluster.pods, Observed::NotCollected(Reason::TimedOut));
    assert!(cluster.nodes.known().is_some());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_busy_server_is_asked_again() {
    let n_asked = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::new(move |request| match request.path.as_str() {
        "/api/v1/nodes" if n_asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => Answer::Busy(1),
        "/api/v1/nodes" => list("Node", &[json!({"metadata": {"name": "w1"}})], ""),
        _ => empty(request),
    });
    assert_eq!(read(&fake.connect()).nodes.known().unwrap().len(), 1);
}

#[test]
fn what_is_forbidden_is_not_collected_and_names_the_right() {
    let fake = Fake::new(|request| match request.path.as_str() {
        path if path.ends_with("/networkpolicies") || path.ends_with("/nodes") => forbidden(request),
        path if path.ends_with("/configmaps") => forbidden(request),
        "/api/v1/pods" => list("Pod", &[named("n", "a")], ""),
        _ => empty(request),
    });
    let cluster = read(&fake.connect());
    let needs = |right: &str| Reason::NotPermitted(right.to_owned());
    assert_eq!(cluster.nodes, Observed::NotCollected(needs("list nodes")));
    let policies = "list networkpolicies.networking.k8s.io in all namespaces";
    assert_eq!(cluster.network_policies, Observed::NotCollected(needs(policies)));
    let maps = "list configmaps in namespace kube-system";
    assert_eq!(cluster.config_maps, Observed::NotCollected(needs(maps)));
    assert_eq!(pods(&cluster), ["n/a"]);
    assert!(cluster.has_all("pods"));
}

#[test]
fn who_may_read_one_namespace_gets_that() {
    let fake = Fake::new(|request| match request.path.strip_prefix("/api/v1/namespaces/shop/") {
        Some(resource) => list(kind(resource), &[named("shop", "x")], ""),
        None if request.path == "/version" => empty(request),
        None => forbidden(request),
    });
    let cluster = read(&fake.connect());
    assert_eq!(pods(&cluster), ["shop/x"]);
    assert!(!cluster.has_all("pods"), "pods of other namespaces may be there");
    let right = Reason::NotPermitted("list pods in all namespaces".to_owned());
    assert_eq!(cluster.partly["pods"], right);
    assert_eq!(cluster.nodes, Observed::NotCollected(Reason::NotPermitted("list nodes".to_owned())));
    assert!(cluster.endpoint_slices.is_not_collected());
}

/// A cluster with a network plugin, whose containers have logs.
pub(crate) fn with_plugin(request: &Request) -> Answer {
    let flannel = json!({"metadata": {"namespace": "my-cni", "name": "flannel-1", "ownerReferences": [{"kind": "DaemonSet", "name": "f"}]},
        "spec": {"volumes": [{"name": "cni", "hostPath": {"path": "/etc/cni/net.d"}}]},
        "status": {"containerStatuses": [{"name": "flannel", "restartCount": 1, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1, "message": "no subnet"}}}]}});
    match (request.path.as_str(), request.asks("previous")) {
        ("/api/v1/pods", _) => list("Pod", &[flannel], ""),
        ("/api/v1/namespaces/my-cni/configmaps", _) => list(
            "ConfigMap",
            &[json!({"metadata": {"namespace": "my-cni", "name": "cfg"}, "data": {"a": "token: x1"}})],
            "",
        ),
        ("/api/v1/namespaces/my-cni/pods/flannel-1/log", Some("true")) => Answer::Says(
            200,
            b"2026-11-21T10:00:00Z E1121 no subnet\n2026-11-21T10:00:01Z password=hunter2\n".to_vec(),
        ),
        ("/api/v1/namespaces/my-cni/pods/flannel-1/log", _) => {
            status(400, "BadRequest", "container \"flannel\" in pod \"flannel-1\" is waiting to start")
        }
        _ => empty(request),
    }
}

#[test]
fn the_network_plugins_settings_and_logs_are_read_where_it_lives() {
    let fake = Fake::new(with_plugin);
    let cluster = read(&fake.connect());
    assert_eq!(cluster.config_map("my-cni", "cfg").unwrap().data["a"], "token: [redacted]");
    let [now, before] = cluster.logs.known().unwrap().as_slice() else { panic!("{:?}", cluster.logs) };
    assert_eq!((now.is_previous, &now.lines), (false, &Observed::Absent));
    let lines = before.lines.known().unwrap();
    assert_eq!(lines[0].text, "E1121 no subnet");
    assert!(!lines[1].text.contains("hunter2"), "{lines:?}");
    let asked = fake.asked("/api/v1/namespaces/my-cni/pods/flannel-1/log");
    assert_eq!(asked[0].asks("tailLines"), Some("200"));
    assert_eq!(asked[0].asks("limitBytes"), Some("65536"));
    assert!(
        fake.asked("/api/v1/configmaps").is_empty(),
        "ConfigMaps of other namespaces are nobody's business"
    );
    let bytes = serde_json::to_vec(&cluster).unwrap();
    assert_eq!(serde_json::from_slice::<Cluster>(&bytes).unwrap(), cluster);
}

#[test]
fn logs_that_may_not_be_read_name_the_right() {
    let fake =
        Fake::new(
            |request| {
                if request.path.ends_with("/log") { forbidden(request) } else { with_plugin(request) }
            },
        );
    let cluster = read(&fake.connect());
    let right = Reason::NotPermitted("get pods/log in namespace my-cni".to_owned());
    for log in cluster.logs.known().unwrap() {
        assert_eq!(log.lines, Observed::NotCollected(right.clone()));
    }
}

#[test]
fn names_that_lead_elsewhere_are_not_followed() {
    let fake = Fake::new(|request| match request.path.as_str() {
        "/api/v1/pods" => {
            let pod = |namespace: &str, name: &str, container: &str| {
                json!({"metadata": {"namespace": namespace, "name": name},
                    "spec": {"volumes": [{"name": "cni", "hostPath": {"path": "/opt/cni/bin"}}]},
                    "status": {"containerStatuses": [{"name": container, "state": {"running": {}}}]}})
            };
            list(
                "Pod",
                &[
                    pod("n", "../secrets/x", "c"),
                    pod("../../secrets", "p", "c"),
                    pod("n", "p", "c&previous=x"),
                    pod("n", "%2e%2e", "c"),
                ],
                "",
            )
        }
        path if path.contains("secrets") || path.contains("%2e") || path.ends_with("/log") => {
            panic!("{request:?}")
        }
        _ => empty(request),
    });
    let cluster = read(&fake.connect());
    let logs = cluster.logs.known().unwrap();
    assert_eq!(logs.len(), 4);
    assert!(logs.iter().all(|it| it.lines.is_not_collected()), "{logs:?}");
    let known = ["/version", "/api/v1/", "/apis/"];
    assert!(fake.requests().iter().all(|it| known.iter().any(|known| it.path.starts_with(known))));
    assert!(fake.requests().iter().all(|it| !it.path.contains("secret")));
}

#[test]
fn of_many_events_the_newest_warnings_are_kept() {
    let event = |n: u32, kind: &str| {
        json!({"metadata": {"namespace": "n", "name": format!("e{n:03}")}, "type": kind, "involvedObject": {"kind": "Pod", "name": "p"},
            "lastTimestamp": format!("2026-11-21T10:{:02}:{:02}Z", n / 60, n % 60)})
    };
    let events: Vec<Value> =
        (0..200).map(|n| event(n, if n % 2 == 0 { "Warning" } else { "Normal" })).collect();
    let fake = Fake::new(move |request| match request.path.as_str() {
        "/api/v1/events" => list("Event", &events, ""),
        _ => empty(request),
    });
    let limits = Limits { events: 10, ..Limits::default() };
    let cluster = fake.connect().read(&limits, &|_| {}).unwrap();
    let names: Vec<&str> =
        cluster.events.known().unwrap().iter().map(|it| it.metadata.name.as_str()).collect();
    assert_eq!(names, ["e180", "e182", "e184", "e186", "e188", "e190", "e192", "e194", "e196", "e198"]);
    assert!(!cluster.has_all("events"));
}

#[test]
fn a_user_is_acted_as() {
    let fake = Fake::new(empty);
    let access = hopwise_api::Access {
        impersonate: Some("bob".to_owned()),
        groups: vec!["ops".to_owned(), "dev".to_owned()],
        ..fake.access()
    };
    read(&ApiServer::connect(&access).unwrap());
    let requests = fake.requests();
    assert!(requests.iter().all(|it| it.header("impersonate-user") == Some("bob")), "{:?}", requests[0]);
    assert_eq!(requests[0].header("impersonate-group"), Some("ops"));
}

#[test]
fn a_snapshot_of_it_is_written_and_read_back() {
    let fake = Fake::new(with_plugin);
    let mut snapshot =
        hopwise_snapshot::Snapshot::new("2026-11-21T10:00:00Z".parse().unwrap(), "kubeconfig/here");
    snapshot.cluster = read(&fake.connect());
    let bytes = hopwise_snapshot::hop::write(&snapshot);
    assert_eq!(hopwise_snapshot::hop::read(&bytes).unwrap(), snapshot);
}
