//! A cluster whose kube-proxy is in mode nftables: what is missing in its tables, foreign or different is named.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use hopwise_change::{Change, Controller};
use hopwise_diagnose::{Diagnosis, Finding, Verdict, diagnose};
use hopwise_snapshot::{Observed, Place, Snapshot};
use hopwise_testkit::sample;
use serde_json::{Value, json};

const DNS: &str = "service-FY5PMXPG-kube-system/kube-dns/udp/dns";
const ECHO: &str = "service-LAZWMU44-default/echo/tcp/";

fn healthy() -> Snapshot {
    sample("kubeadm-1.34-flannel-vxlan-nftables").unwrap()
}

/// The sample after somebody edited the table of node n2.
fn edited(edit: impl FnOnce(&mut Vec<Value>)) -> Snapshot {
    let mut snapshot = healthy();
    let netfilter = &mut snapshot.net_mut(&Place::node("n2")).unwrap().netfilter;
    let text = netfilter.nft.known_mut().unwrap();
    let mut document: Value = serde_json::from_str(text).unwrap();
    edit(document["nftables"].as_array_mut().unwrap());
    *text = document.to_string();
    snapshot
}

fn is_rule(item: &Value, chain: &str) -> bool {
    let rule = &item["rule"];
    rule["family"] == "ip" && rule["table"] == "kube-proxy" && rule["chain"] == chain
}

/// The elements of a map of IPv4.
fn elements<'a>(all: &'a mut [Value], map: &str) -> &'a mut Vec<Value> {
    let map = all.iter_mut().find(|it| it["map"]["family"] == "ip" && it["map"]["name"] == map).unwrap();
    let body = map["map"].as_object_mut().unwrap();
    body.entry("elem").or_insert_with(|| json!([])).as_array_mut().unwrap()
}

fn key(address: &str, protocol: &str, port: u16) -> Value {
    json!({"concat": [address, protocol, port]})
}

fn line(finding: &Finding) -> String {
    format!("{} {} {}", finding.cause.code, finding.kind.word(), finding.elements[0])
}

fn lines(diagnosis: &Diagnosis) -> Vec<String> {
    diagnosis.findings.iter().map(line).collect()
}

/// The finding is the only one, and a restart of kube-proxy puts it right.
#[track_caller]
fn is_resynced(snapshot: &Snapshot, expected: &str) -> Diagnosis {
    let diagnosis = diagnose(snapshot);
    assert_eq!(lines(&diagnosis), [expected]);
    let resynced = Change::Resynced { node: "n2".into(), controller: Controller::KubeProxy };
    assert_eq!(diagnosis.findings[0].repair.changes(), [resynced]);
    diagnosis
}

#[test]
fn a_healthy_cluster_has_no_finding() {
    let diagnosis = diagnose(&healthy());
    assert_eq!(lines(&diagnosis), [""; 0]);
    assert_eq!(diagnosis.verdict(), Verdict::Healthy);
}

#[test]
fn a_service_that_is_missing_in_a_map_is_named() {
    let snapshot = edited(|all| {
        elements(all, "service-ips").retain(|it| it[0] != key("10.96.0.10", "udp", 53));
    });
    let element = format!(
        r#"node/n2/nft/ip/kube-proxy/set/service-ips/element/[{{"concat":["10.96.0.10","udp",53]}},{{"goto":{{"target":"{}"}}}}]"#,
        DNS.replace('/', "%2F")
    );
    let diagnosis = is_resynced(&snapshot, &format!("HW9002 proven {element}"));
    let summary = &diagnosis.findings[0].summary;
    let expected = format!(
        "Node n2 lacks an element of nft ip kube-proxy service-ips, which should be 10.96.0.10 . udp . 53 : goto {DNS} \
         as kube-proxy writes it."
    );
    assert_eq!(*summary, expected);
}

#[test]
fn a_service_that_leads_to_another_is_named() {
    let snapshot = edited(|all| {
        let dns = elements(all, "service-ips").iter_mut().find(|it| it[0] == key("10.96.0.10", "tcp", 53));
        dns.unwrap()[1] = json!({"goto": {"target": ECHO}});
    });
    let diagnosis = diagnose(&snapshot);
    let [line] = &lines(&diagnosis)[..] else { panic!("{:?}", lines(&diagnosis)) };
    assert!(line.starts_with("HW9002 proven node/n2/nft/ip/kube-proxy/set/service-ips/element/"), "{line}");
}

#[test]
fn a_foreign_element_that_drops_is_named() {
    let snapshot = edited(|all| {
        elements(all, "firewall-ips").push(json!([key("10.109.24.14", "tcp", 80), {"drop": null}]));
    });
    let diagnosis = diagnose(&snapshot);
    let [line] = &lines(&diagnosis)[..] else { panic!("{:?}", lines(&diagnosis)) };
    let set = "node/n2/nft/ip/kube-proxy/set/firewall-ips/element/";
    assert!(line.starts_with(&format!("HW9001 proven {set}")), "{line}");
}

#[test]
fn a_jump_that_is_missing_is_named_by_its_chain() {
    let snapshot = edited(|all| all.retain(|it| !is_rule(it, "nat-prerouting")));
    is_resynced(&snapshot, "HW9002 proven node/n2/nft/ip/kube-proxy/nat-prerouting");
}

#[test]
fn a_table_whose_rules_were_flushed_is_one_finding() {
    let snapshot = edited(|all| {
        all.retain(|it| it["rule"]["family"] != "ip" || it["rule"]["table"] != "kube-proxy");
    });
    is_resynced(&snapshot, "HW1106 proven node/n2/nft/ip/kube-proxy");
}

#[test]
fn a_table_that_was_deleted_is_one_finding() {
    let snapshot = edited(|all| {
        all.retain(|it| !it.to_string().contains("\"kube-proxy\"") || it.to_string().contains("\"ip6\""));
    });
    is_resynced(&snapshot, "HW1106 proven node/n2/nft/ip/kube-proxy");
}

#[test]
fn a_map_that_was_flushed_is_one_finding() {
    let snapshot = edited(|all| elements(all, "service-ips").clear());
    is_resynced(&snapshot, "HW1106 proven node/n2/nft/ip/kube-proxy/set/service-ips");
}

#[test]
fn a_rule_that_another_wrote_is_deleted_and_no_rule_of_kube_proxy() {
    let snapshot = edited(|all| {
        let at = all.iter().position(|it| is_rule(it, "services")).unwrap();
        let rule = json!({"rule": {"family": "ip", "table": "kube-proxy", "chain": "services", "handle": 900, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "10.96.0.10"}},
            {"accept": null},
        ]}});
        all.insert(at, rule);
    });
    let diagnosis = diagnose(&snapshot);
    assert_eq!(lines(&diagnosis), ["HW9002 proven node/n2/nft/ip/kube-proxy/services/handle/900"]);
    let deleted = Change::NftRuleDeleted {
        place: Place::node("n2"),
        family: "ip".to_owned(),
        table: "kube-proxy".to_owned(),
        chain: "services".to_owned(),
        handle: 900,
    };
    assert_eq!(diagnosis.findings[0].repair.changes(), [deleted]);
}

#[test]
fn a_listing_that_is_not_wholly_understood_accuses_nobody() {
    for (from, to) in
        [("\"rule\":", "\"rule2\":"), ("\"chain\":", "\"link\":"), ("\"expr\":", "\"program\":")]
    {
        let mut snapshot = healthy();
        let netfilter = &mut snapshot.net_mut(&Place::node("n2")).unwrap().netfilter;
        let text = netfilter.nft.known_mut().unwrap();
        *text = text.replace(from, to);
        let diagnosis = diagnose(&snapshot);
        let of_table = |it: &String| it.contains("/nft/ip/kube-proxy") || it.contains("/nft/ip6/kube-proxy");
        assert!(!lines(&diagnosis).iter().any(of_table), "{from}: {:?}", lines(&diagnosis));
    }
    let mut snapshot = healthy();
    snapshot.net_mut(&Place::node("n2")).unwrap().netfilter.nft = Observed::default();
    assert_eq!(lines(&diagnose(&snapshot)), [""; 0]);
}
