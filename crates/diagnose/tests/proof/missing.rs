//! A fact that nobody read accuses nobody.

use std::collections::BTreeMap;

use hopwise_diagnose::{Diagnosis, Verdict};
use hopwise_snapshot::{NodeName, Observed, PodName, Reason, Snapshot, SysctlKey};
use serde_json::{Value, json};

use crate::{broken, diagnosis, healthy, injected, line, lines, step, sure};

/// A fact by its place in the document of a snapshot: `nodes w1 known net routes`.
type Path = Vec<String>;

/// The places of all facts that were observed, whole nodes and pods included.
fn facts(snapshot: &Snapshot) -> Vec<Path> {
    let mut facts = Vec::new();
    walk(&serde_json::to_value(snapshot).unwrap(), &mut Vec::new(), &mut facts);
    facts
}

fn walk(value: &Value, path: &mut Path, facts: &mut Vec<Path>) {
    match value {
        Value::Object(fields) => {
            if fields.len() == 1 && fields.contains_key("known") {
                facts.push(path.clone());
            }
            for (name, value) in fields {
                path.push(name.clone());
                // What is known to be absent is as much of a fact, but for files: there are many.
                if *value == json!("absent") && !path.iter().any(|it| it == "files" || it == "directories") {
                    facts.push(path.clone());
                }
                walk(value, path, facts);
                path.pop();
            }
        }
        // Members of a fact's list are no facts of their own.
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The snapshot without one fact.
fn without(document: &Value, path: &Path) -> Snapshot {
    let mut document = document.clone();
    let pointer: String =
        path.iter().flat_map(|it| ["/".to_owned(), it.replace('~', "~0").replace('/', "~1")]).collect();
    *document.pointer_mut(&pointer).unwrap() = json!({"notCollected": {"failed": "nobody looked"}});
    serde_json::from_value(document).unwrap()
}

/// Facts of two nodes and of a pod of each kind; with optimisation all.
fn sampled(all: Vec<Path>) -> Vec<Path> {
    let is_quick = |path: &Path| match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["cluster", ..] | ["nodes" | "pods", _] => true,
        ["nodes", "w1", "known", "files", name] => name.contains("resolv") || name.contains("sysctl.d/k8s"),
        ["nodes", "w2", "known", "net", ..] => true,
        ["pods", name, "known", "net", what] => {
            *name == "kube-system/coredns-a" && ["links", "routes", "sysctls", "neighbours"].contains(what)
        }
        ["pods", "kube-system/coredns-a", "known", "files", name] => name.contains("resolv"),
        _ => false,
    };
    let n_all = all.len();
    let kept: Vec<Path> = all.into_iter().filter(|it| step(2) == 1 || is_quick(it)).collect();
    assert!(kept.len() > 30 && (step(2) == 1 || kept.len() < n_all / 4), "{} of {n_all}", kept.len());
    kept
}

/// Takes each fact away in turn, and collects what is wrong with what is said then.
fn each_taken_away(snapshot: &Snapshot, wrong: impl Fn(&Diagnosis) -> Option<String> + Sync) {
    let document = serde_json::to_value(snapshot).unwrap();
    let facts = sampled(facts(snapshot));
    let mut all_wrong = BTreeMap::new();
    for path in &facts {
        let changed = without(&document, path);
        assert_ne!(changed, *snapshot, "{path:?}");
        if let Some(what) = wrong(&diagnosis(&changed, 23)) {
            all_wrong.insert(path.join(" "), what);
        }
    }
    let told: Vec<String> = all_wrong.iter().map(|(path, what)| format!("{path}: {what}")).collect();
    assert!(told.is_empty(), "{} of {} facts:\n{}", told.len(), facts.len(), told.join("\n"));
}

fn accuses_in_health(diagnosis: &Diagnosis) -> Option<String> {
    let is_wrong = diagnosis.verdict() == Verdict::Broken || sure(diagnosis).next().is_some();
    is_wrong
        .then(|| format!("{} of {} broken, {:?}", diagnosis.n_broken, diagnosis.n_promised, lines(diagnosis)))
}

fn accuses_others(diagnosis: &Diagnosis) -> Option<String> {
    if diagnosis.verdict() == Verdict::Healthy {
        return Some("healthy".to_owned());
    }
    let injected = injected();
    let wrong: Vec<String> =
        sure(diagnosis).filter(|it| !injected.contains(&it.elements[0])).map(line).collect();
    (!wrong.is_empty()).then(|| format!("{wrong:?}"))
}

#[test]
fn nobody_is_accused_in_a_healthy_cluster_for_want_of_a_fact() {
    each_taken_away(&healthy(), accuses_in_health);
}

#[test]
fn nobody_else_is_accused_in_a_broken_cluster_for_want_of_a_fact() {
    each_taken_away(&broken(), accuses_others);
}

/// Makes one kernel switch unreadable.
fn unreadable(mut snapshot: Snapshot, node: &str, key: &str) -> Snapshot {
    let key = SysctlKey::from_dotted(key);
    let node = snapshot.nodes.get_mut(&NodeName::from(node)).and_then(Observed::known_mut).unwrap();
    let sysctls = node.net.sysctls.known_mut().unwrap();
    sysctls.values.remove(&key).unwrap_or_else(|| panic!("{key} was read"));
    sysctls.unreadable.insert(key, Reason::NotPermitted("reading it".to_owned()));
    snapshot
}

#[test]
fn a_switch_that_could_not_be_read_accuses_nobody() {
    for key in [
        "net.ipv4.ip_forward",
        "net.ipv4.conf.all.rp_filter",
        "net.ipv4.conf.cni0.forwarding",
        "net.ipv4.conf.eth0.rp_filter",
        "net.ipv4.conf.cni0.arp_ignore",
        "net.bridge.bridge-nf-call-iptables",
    ] {
        let wrong = accuses_in_health(&diagnosis(&unreadable(healthy(), "w1", key), 23));
        assert_eq!(wrong, None, "{key}");
    }
}

#[test]
fn without_the_deciding_switch_the_cause_is_not_claimed() {
    let snapshot = unreadable(broken(), "w2", "net.ipv4.ip_forward");
    let diagnosis = diagnosis(&snapshot, 23);
    // The kernel switches off every interface with it, and these could be read.
    let others: Vec<_> = sure(&diagnosis).filter(|it| !injected().contains(&it.elements[0])).collect();
    for other in others {
        let element = other.elements[0].as_str();
        assert!(element.starts_with("node/w2/sysctl/net.ipv4.conf."), "{}", line(other));
        assert!(element.ends_with(".forwarding"), "{}", line(other));
        assert!(!other.summary.contains("although it forwards"), "{}", other.summary);
    }
    let claims = sure(&diagnosis).any(|it| it.elements[0].as_str() == "node/w2/sysctl/net.ipv4.ip_forward");
    assert!(!claims, "{:?}", lines(&diagnosis));
}

#[test]
fn with_nothing_but_the_objects_nothing_is_known() {
    let mut snapshot = healthy();
    for node in snapshot.nodes.values_mut() {
        *node = Observed::NotCollected(Reason::TimedOut);
    }
    for pod in snapshot.pods.values_mut() {
        *pod = Observed::NotCollected(Reason::TimedOut);
    }
    assert!(snapshot.pods.contains_key(&PodName::new("default", "echo-w2")));
    let diagnosis = diagnosis(&snapshot, 23);
    assert_eq!(diagnosis.verdict(), Verdict::Incomplete, "{:?}", lines(&diagnosis));
    assert_eq!(lines(&diagnosis), [""; 0]);
}
