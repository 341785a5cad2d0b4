//! Each rule of NetworkPolicy, and the mistakes that people make with them.

use hopwise_snapshot::{Namespace, NodeObject};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Two nodes; namespaces `shop` (team a) and `other` (team b); a pod in its node's network on n2.
fn cluster(policies: serde_json::Value) -> Cluster {
    let pod = |namespace: &str, name: &str, app: &str, node: &str, ip: &str| {
        json!({
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
            "spec": {"nodeName": node, "containers": [
                {"name": "c", "ports": [{"name": "http", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
                {"name": "d", "ports": [{"name": "admin", "containerPort": 9000}]}
            ], "initContainers": [
                {"name": "side", "restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9090}]},
                {"name": "init", "ports": [{"name": "gone", "containerPort": 9091}]}
            ]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}, {"ip": format!("fd00::{}", ip.replace('.', ":"))}]}
        })
    };
    let mut pods = vec![
        pod("shop", "web", "web", "n1", "10.244.1.2"),
        pod("shop", "api", "api", "n1", "10.244.1.3"),
        pod("shop", "db", "db", "n2", "10.244.2.2"),
        pod("other", "web", "web", "n2", "10.244.2.3"),
        pod("other", "tool", "tool", "n1", "10.244.1.4"),
    ];
    pods.push(json!({
        "metadata": {"namespace": "shop", "name": "host", "labels": {"app": "web"}},
        "spec": {"nodeName": "n2", "hostNetwork": true, "containers": []},
        "status": {"phase": "Running", "podIP": "192.168.50.12"}
    }));
    pods.push(json!({
        "metadata": {"namespace": "shop", "name": "done", "labels": {"app": "db"}},
        "spec": {"nodeName": "n2", "containers": []},
        "status": {"phase": "Succeeded", "podIP": "10.244.2.3"}
    }));
    let node = |name: &str, ip: &str| json!({"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": ip}]}});
    let namespace = |name: &str, team: &str| json!({"metadata": {"name": name, "labels": {"team": team}}});
    let nodes: Vec<NodeObject> =
        serde_json::from_value(json!([node("n1", "192.168.50.11"), node("n2", "192.168.50.12")])).unwrap();
    let namespaces: Vec<Namespace> =
        serde_json::from_value(json!([namespace("shop", "a"), namespace("other", "b")])).unwrap();
    Cluster {
        nodes: Observed::Known(nodes),
        pods: Observed::Known(serde_json::from_value(json!(pods)).unwrap()),
        namespaces: Observed::Known(namespaces),
        network_policies: Observed::Known(serde_json::from_value(policies).unwrap()),
        ..Cluster::default()
    }
}

/// A policy of namespace `shop`.
fn policy(name: &str, spec: &serde_json::Value) -> serde_json::Value {
    json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec})
}

fn peer(text: &str) -> Peer {
    match text.parse() {
        Ok(address) => Peer::Address(address),
        Err(_) => Peer::Pod(text.parse().unwrap()),
    }
}

fn traffic(from: &str, to: &str, port: &str) -> Traffic {
    let port = port.split_once('/').map(|(number, protocol)| {
        let protocol = match protocol {
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        (protocol, number.parse().unwrap())
    });
    let is_ipv6 = [from, to].iter().any(|it| it.contains(':'));
    Traffic { from: peer(from), to: peer(to), port, is_ipv6 }
}

fn said(verdict: &Verdict) -> String {
    let denied = |denials: &[Denial]| {
        let parts = denials.iter().map(|it| {
            let by: Vec<String> = it.by.iter().map(|it| it.name.clone()).collect();
            format!("{:?} {} by {}", it.direction, it.pod, by.join("+"))
        });
        parts.collect::<Vec<_>>().join(", ")
    };
    match verdict {
        Verdict::NotSelected => "not selected".to_owned(),
        Verdict::Allowed { by } => {
            let rules: Vec<String> = by.iter().map(|it| format!("{}#{}", it.policy.name, it.rule)).collect();
            format!("allowed {}", rules.join(" "))
        }
        Verdict::Exempt(exemption) => format!("{exemption:?}"),
        Verdict::Denied { denials } => format!("denied {}", denied(denials)),
        Verdict::Undefined { denials } => format!("undefined {}", denied(denials)),
        Verdict::Unknown { because } => format!("unknown {because:?}"),
    }
}

/// Asks for each connection `from to port` what the policies of namespace `shop` say.
#[track_caller]
fn check(policies: &[(&str, serde_json::Value)], cases: &[(&str, &str, &str, &str)]) {
    let policies: Vec<_> = policies.iter().map(|(name, spec)| policy(name, spec)).collect();
    let cluster = cluster(json!(policies));
    let policies = Policies::new(&cluster);
    for (from, to, port, expected) in cases {
        assert_eq!(said(&policies.verdict(&traffic(from, to, port))), *expected, "{from} → {to} {port}");
    }
}

#[test]
fn without_policies_everything_is_allowed() {
    check(
        &[],
        &[
            ("shop/web", "shop/api", "8080/tcp", "not selected"),
            ("203.0.113.1", "shop/api", "1/udp", "not selected"),
        ],
    );
}

#[test]
fn a_policy_isolates_only_the_pods_it_selects_in_its_own_namespace() {
    check(
        &[("deny", json!({"podSelector": {"matchLabels": {"app": "web"}}}))],
        &[
            ("shop/api", "shop/web", "80/tcp", "denied Ingress shop/web by deny"),
            ("shop/web", "shop/api", "80/tcp", "not selected"),
            ("shop/api", "other/web", "80/tcp", "not selected"),
        ],
    );
}

#[test]
fn an_empty_pod_selector_selects_all_pods_of_the_namespace() {
    check(
        &[("deny", json!({"podSelector": {}}))],
        &[
            ("other/web", "shop/api", "80/tcp", "denied Ingress shop/api by deny"),
            ("shop/api", "other/web", "80/tcp", "not selected"),
        ],
    );
}

#[test]
fn policy_types_default_to_ingress_and_to_egress_where_there_is_an_egress_rule() {
    let everything = json!([{}]);
    check(
        &[("ingress", json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": everything}))],
        &[
            ("shop/api", "shop/db", "80/tcp", "not selected"),
            ("shop/db", "shop/api", "80/tcp", "allowed ingress#0"),
        ],
    );
    check(
        &[("egress", json!({"podSelector": {"matchLabels": {"app": "api"}}, "egress": everything}))],
        &[
            ("shop/api", "shop/db", "80/tcp", "allowed egress#0"),
            ("shop/db", "shop/api", "80/tcp", "denied Ingress shop/api by egress"),
        ],
    );
    check(
        &[(
            "egress-only",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Egress"]}),
        )],
        &[
            ("shop/api", "shop/db", "80/tcp", "denied Egress shop/api by egress-only"),
            ("shop/db", "shop/api", "80/tcp", "not selected"),
        ],
    );
    check(
        &[(
            "types-win",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress"], "egress": []}),
        )],
        &[("shop/api", "shop/db", "80/tcp", "not selected")],
    );
}

#[test]
fn both_ends_must_permit() {
    let to_db = json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]}]});
    let deny_db = json!({"podSelector": {"matchLabels": {"app": "db"}}});
    check(&[("out", to_db.clone())], &[("shop/api", "shop/db", "80/tcp", "allowed out#0")]);
    check(
        &[("out", to_db.clone()), ("in", deny_db.clone())],
        &[
            ("shop/api", "shop/db", "80/tcp", "denied Ingress shop/db by in"),
            ("shop/api", "shop/web", "80/tcp", "denied Egress shop/api by out"),
        ],
    );
    let deny_out = json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Egress"]});
    check(
        &[("out", deny_out), ("in", deny_db)],
        &[("shop/api", "shop/db", "80/tcp", "denied Egress shop/api by out, Ingress shop/db by in")],
    );
    let allow_db = json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{}]});
    check(&[("out", to_db), ("in", allow_db)], &[("shop/api", "shop/db", "80/tcp", "allowed out#0 in#0")]);
}

#[test]
fn policies_add_up() {
    let from = |app: &str| json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app}}}]}]});
    check(
        &[("b-web", from("web")), ("a-api", from("api"))],
        &[
            ("shop/web", "shop/db", "80/tcp", "allowed b-web#0"),
            ("shop/api", "shop/db", "80/tcp", "allowed a-api#0"),
            ("other/tool", "shop/db", "80/tcp", "denied Ingress shop/db by a-api+b-web"),
        ],
    );
}

#[test]
fn one_entry_with_two_selectors_means_both() {
    check(
        &[(
            "and",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [
                {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"app": "web"}}}
            ]}]}),
        )],
        &[
            ("other/web", "shop/api", "80/tcp", "allowed and#0"),
            ("other/tool", "shop/api", "80/tcp", "denied Ingress shop/api by and"),
            ("shop/web", "shop/api", "80/tcp", "denied Ingress shop/api by and"),
        ],
    );
}

#[test]
fn two_entries_with_one_selector_each_mean_either() {
    check(
        &[(
            "or",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [
                {"namespaceSelector": {"matchLabels": {"team": "b"}}},
                {"podSelector": {"matchLabels": {"app": "web"}}}
            ]}]}),
        )],
        &[
            ("other/web", "shop/api", "80/tcp", "allowed or#0"),
            ("other/tool", "shop/api", "80/tcp", "allowed or#0"),
            ("shop/web", "shop/api", "80/tcp", "allowed or#0"),
            ("shop/db", "shop/api", "80/tcp", "denied Ingress shop/api by or"),
        ],
    );
}

#[test]
fn a_pod_selector_alone_means_pods_of_the_policys_own_namespace() {
    check(
        &[(
            "own",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [{"podSelector": {}}]}]}),
        )],
        &[
            ("shop/web", "shop/api", "80/tcp", "allowed own#0"),
            ("other/web", "shop/api", "80/tcp", "denied Ingress shop/api by own"),
        ],
    );
}

#[test]
fn an_empty_namespace_selector_means_all_pods_and_no_addresses() {
    check(
        &[(
            "pods",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [{"namespaceSelector": {}}]}]}),
        )],
        &[
            ("other/tool", "shop/api", "80/tcp", "allowed pods#0"),
            ("203.0.113.1", "shop/api", "80/tcp", "denied Ingress shop/api by pods"),
        ],
    );
}

#[test]
fn an_empty_list_of_peers_means_everyone_and_no_rules_mean_nobody() {
    check(
        &[("all", json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": []}]}))],
        &[("203.0.113.1", "shop/api", "80/tcp", "allowed all#0")],
    );
    check(
        &[("none", json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": []}))],
        &[("203.0.113.1", "shop/api", "80/tcp", "denied Ingress shop/api by none")],
    );
}

#[test]
fn an_ip_block_has_holes() {
    check(
        &[(
            "block",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [
                {"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.128/25", "203.0.113.7/32"]}}
            ]}]}),
        )],
        &[
            ("203.0.113.1", "shop/api", "80/tcp", "allowed block#0"),
            ("203.0.113.7", "shop/api", "80/tcp", "denied Ingress shop/api by block"),
            ("203.0.113.200", "shop/api", "80/tcp", "denied Ingress shop/api by block"),
            ("198.51.100.1", "shop/api", "80/tcp", "denied Ingress shop/api by block"),
            ("2001:db8::1", "shop/api", "80/tcp", "denied Ingress shop/api by block"),
        ],
    );
}

#[test]
fn whether_an_ip_block_chooses_pods_is_the_plugins_choice() {
    let spec = json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.244.0.0/16"}}]}]});
    let cluster = cluster(json!([policy("block", &spec)]));
    let question = traffic("shop/db", "shop/api", "80/tcp");
    assert_eq!(said(&Policies::new(&cluster).verdict(&question)), "allowed block#0");
    let cilium = Policies::new(&cluster).with_ip_block_for_pods(false);
    assert_eq!(said(&cilium.verdict(&question)), "denied Ingress shop/api by block");
}

#[test]
fn ports_are_those_of_the_pod_with_protocol_and_range() {
    check(
        &[(
            "ports",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"ports": [
                {"port": 80}, {"protocol": "UDP", "port": 53}, {"port": 32000, "endPort": 32768}, {"protocol": "SCTP"}
            ]}]}),
        )],
        &[
            ("shop/db", "shop/api", "80/tcp", "allowed ports#0"),
            ("shop/db", "shop/api", "80/udp", "denied Ingress shop/api by ports"),
            ("shop/db", "shop/api", "53/udp", "allowed ports#0"),
            ("shop/db", "shop/api", "31999/tcp", "denied Ingress shop/api by ports"),
            ("shop/db", "shop/api", "32000/tcp", "allowed ports#0"),
            ("shop/db", "shop/api", "32768/tcp", "allowed ports#0"),
            ("shop/db", "shop/api", "32769/tcp", "denied Ingress shop/api by ports"),
            ("shop/db", "shop/api", "7/sctp", "allowed ports#0"),
        ],
    );
}

#[test]
fn peers_and_ports_of_a_rule_must_both_match_and_rules_are_alternatives() {
    let rule = |app: &str, port: u16| json!({"from": [{"podSelector": {"matchLabels": {"app": app}}}], "ports": [{"port": port}]});
    check(
        &[(
            "rules",
            json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [rule("web", 80), rule("api", 5432)]}),
        )],
        &[
            ("shop/web", "shop/db", "80/tcp", "allowed rules#0"),
            ("shop/api", "shop/db", "5432/tcp", "allowed rules#1"),
            ("shop/web", "shop/db", "5432/tcp", "denied Ingress shop/db by rules"),
            ("shop/api", "shop/db", "80/tcp", "denied Ingress shop/db by rules"),
        ],
    );
}

#[test]
fn a_named_port_is_the_called_pods_own() {
    let named = |name: &str, protocol: &str| json!([{"ports": [{"port": name, "protocol": protocol}]}]);
    let ingress =
        |name: &str| json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": named(name, "TCP")});
    check(
        &[("http", ingress("http"))],
        &[
            ("shop/db", "shop/api", "8080/tcp", "allowed http#0"),
            ("shop/db", "shop/api", "80/tcp", "denied Ingress shop/api by http"),
        ],
    );
    check(&[("second", ingress("admin"))], &[("shop/db", "shop/api", "9000/tcp", "allowed second#0")]);
    check(&[("side", ingress("metrics"))], &[("shop/db", "shop/api", "9090/tcp", "allowed side#0")]);
    check(
        &[("init", ingress("gone"))],
        &[("shop/db", "shop/api", "9091/tcp", "denied Ingress shop/api by init")],
    );
    check(
        &[("wrong", ingress("dns"))],
        &[("shop/db", "shop/api", "53/tcp", "denied Ingress shop/api by wrong")],
    );
    let egress = json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Egress"], "egress": named("dns", "UDP")});
    check(
        &[("out", egress)],
        &[
            ("shop/api", "other/web", "53/udp", "allowed out#0"),
            ("shop/api", "203.0.113.1", "53/udp", "denied Egress shop/api by out"),
        ],
    );
}

#[test]
fn the_own_node_is_always_let_through_both_ways() {
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    check(
        &[("deny", deny)],
        &[
            ("192.168.50.12", "shop/db", "80/tcp", "OwnNode"),
            ("shop/db", "192.168.50.12", "10250/tcp", "OwnNode"),
            ("192.168.50.11", "shop/db", "80/tcp", "denied Ingress shop/db by deny"),
            ("shop/db", "192.168.50.11", "10250/tcp", "denied Egress shop/db by deny"),
            ("shop/host", "shop/db", "80/tcp", "OwnNode"),
        ],
    );
}

#[test]
fn a_node_may_have_more_addresses_than_its_object_says() {
    let cluster = cluster(json!([policy("deny", &json!({"podSelector": {}}))]));
    let question = traffic("10.244.2.1", "shop/db", "80/tcp");
    assert_eq!(said(&verdict(&cluster, &question)), "denied Ingress shop/db by deny");
    let policies =
        Policies::new(&cluster).with_node_addresses(&NodeName::from("n2"), ["10.244.2.1".parse().unwrap()]);
    assert_eq!(said(&policies.verdict(&question)), "OwnNode");
}

#[test]
fn a_pod_reaches_itself() {
    check(
        &[("deny", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))],
        &[("shop/db", "shop/db", "80/tcp", "Itself"), ("shop/db", "10.244.2.2", "80/tcp", "Itself")],
    );
}

#[test]
fn a_pod_in_its_nodes_network_is_its_node() {
    let from_web = json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]});
    let from_node = json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [{"ipBlock": {"cidr": "192.168.50.12/32"}}]}]});
    check(
        &[("from-web", from_web)],
        &[
            ("shop/web", "shop/api", "80/tcp", "allowed from-web#0"),
            ("shop/host", "shop/api", "80/tcp", "denied Ingress shop/api by from-web"),
        ],
    );
    check(&[("from-node", from_node)], &[("shop/host", "shop/api", "80/tcp", "allowed from-node#0")]);
    check(
        &[(
            "deny-web",
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress", "Egress"]}),
        )],
        &[
            ("shop/api", "shop/host", "80/tcp", "not selected"),
            ("shop/host", "shop/api", "80/tcp", "not selected"),
        ],
    );
}

#[test]
fn an_address_of_a_pod_is_that_pod_and_an_ended_pod_has_none() {
    check(
        &[(
            "from-other",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [
                {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"app": "web"}}}
            ]}]}),
        )],
        &[("10.244.2.3", "10.244.1.3", "80/tcp", "allowed from-other#0")],
    );
}

#[test]
fn other_protocols_are_the_plugins_choice_unless_a_rule_without_ports_permits_them() {
    check(
        &[(
            "web",
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]},
                {"from": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": 80}]}
            ]}),
        )],
        &[
            ("shop/web", "shop/api", "icmp", "allowed web#0"),
            ("shop/db", "shop/api", "icmp", "undefined Ingress shop/api by web"),
            ("shop/api", "shop/db", "icmp", "not selected"),
        ],
    );
}

#[test]
fn the_family_tells_which_address_of_a_pod_counts() {
    let spec = json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [{"ipBlock": {"cidr": "fd00::/16"}}]}]});
    let cluster = cluster(json!([policy("v6", &spec)]));
    let mut question = traffic("shop/db", "shop/api", "80/tcp");
    assert_eq!(said(&verdict(&cluster, &question)), "denied Ingress shop/api by v6");
    question.is_ipv6 = true;
    assert_eq!(said(&verdict(&cluster, &question)), "allowed v6#0");
}

#[test]
fn what_was_not_collected_is_said() {
    let by_team = json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]});
    let question = traffic("other/web", "shop/api", "80/tcp");
    let healthy = cluster(json!([policy("team", &by_team)]));
    assert_eq!(said(&verdict(&healthy, &question)), "allowed team#0");

    let mut blind = healthy.clone();
    blind.namespaces = Observed::default();
    assert!(matches!(verdict(&blind, &question), Verdict::Unknown { .. }));
    let mut blind = healthy.clone();
    blind.network_policies = Observed::default();
    assert!(matches!(verdict(&blind, &question), Verdict::Unknown { .. }));
    let unknown = traffic("other/nobody", "shop/api", "80/tcp");
    assert_eq!(
        verdict(&healthy, &unknown),
        Verdict::Unknown { because: vec![Unknown::Pod(PodName::new("other", "nobody"))] }
    );
}

#[test]
fn a_permission_that_is_known_outweighs_what_is_not() {
    let by_team = json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]});
    let all = json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]});
    let mut cluster = cluster(json!([policy("team", &by_team), policy("all", &all)]));
    cluster.namespaces = Observed::default();
    assert_eq!(said(&verdict(&cluster, &traffic("other/web", "shop/api", "80/tcp"))), "allowed all#0");
    assert!(matches!(
        verdict(&cluster, &traffic("other/web", "shop/api", "81/tcp")),
        Verdict::Unknown { .. }
    ));
}

#[test]
fn what_the_api_does_not_allow_decides_nothing() {
    for rule in [
        json!({"from": [{}]}),
        json!({"from": [{"ipBlock": {"cidr": "nonsense"}}]}),
        json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}),
        json!({"ports": [{"port": "http", "endPort": 90}]}),
    ] {
        let spec = json!({"podSelector": {}, "ingress": [rule]});
        let cluster = cluster(json!([policy("odd", &spec)]));
        let odd = PolicyName { namespace: "shop".to_owned(), name: "odd".to_owned() };
        assert_eq!(
            verdict(&cluster, &traffic("shop/db", "shop/api", "80/tcp")),
            Verdict::Unknown { because: vec![Unknown::Policy(odd)] },
            "{rule}"
        );
    }
}

const PODS: [&str; 6] = ["shop/web", "shop/api", "shop/db", "other/web", "other/tool", "shop/host"];

fn any_spec() -> impl Strategy<Value = serde_json::Value> {
    let selector = prop_oneof![
        Just(json!({})),
        Just(json!({"matchLabels": {"app": "web"}})),
        Just(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]})),
    ];
    let peer = prop_oneof![
        selector.clone().prop_map(|it| json!({"podSelector": it})),
        Just(json!({"namespaceSelector": {"matchLabels": {"team": "b"}}})),
        Just(json!({"ipBlock": {"cidr": "10.244.1.0/24", "except": ["10.244.1.3/32"]}})),
    ];
    let port = prop_oneof![
        Just(json!({"port": 80})),
        Just(json!({"port": "http"})),
        Just(json!({"port": 70, "endPort": 90}))
    ];
    let rule = (proptest::collection::vec(peer, 0..3), proptest::collection::vec(port, 0..2));
    let rules = proptest::collection::vec(rule, 0..3);
    (selector, rules, any::<bool>()).prop_map(|(selector, rules, is_egress)| {
        let (types, name, peers) =
            if is_egress { ("Egress", "egress", "to") } else { ("Ingress", "ingress", "from") };
        let rules: Vec<_> = rules.into_iter().map(|(of, ports)| json!({peers: of, "ports": ports})).collect();
        json!({"podSelector": selector, "policyTypes": [types], name: rules})
    })
}

proptest! {
    /// One more policy that selects a pod may isolate it, and after that it only permits more: once some policy
    /// isolates both ends, nothing that was allowed becomes denied.
    #[test]
    fn adding_a_policy_to_isolated_pods_takes_nothing_away(specs in proptest::collection::vec(any_spec(), 0..4), from in 0usize..6, to in 0usize..6, port in prop_oneof![Just("80/tcp"), Just("8080/tcp"), Just("1/tcp")]) {
        let isolate = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
        let deny = |namespace: &str| json!({"metadata": {"namespace": namespace, "name": "deny"}, "spec": isolate});
        let mut policies = vec![deny("shop"), deny("other")];
        let question = traffic(PODS[from], PODS[to], port);
        let mut was_allowed = false;
        for (index, spec) in specs.iter().enumerate() {
            policies.push(policy(&format!("p{index}"), spec));
            let cluster = cluster(json!(policies));
            let is_allowed = !matches!(verdict(&cluster, &question), Verdict::Denied { .. });
            prop_assert!(is_allowed || !was_allowed);
            was_allowed = is_allowed;
        }
    }

    /// The order of policies means nothing.
    #[test]
    fn policies_have_no_order(specs in proptest::collection::vec(any_spec(), 0..4), from in 0usize..6, to in 0usize..6) {
        let mut policies: Vec<_> = specs.iter().enumerate().map(|(index, spec)| policy(&format!("p{index}"), spec)).collect();
        let question = traffic(PODS[from], PODS[to], "80/tcp");
        let forward = verdict(&cluster(json!(policies)), &question);
        policies.reverse();
        prop_assert_eq!(verdict(&cluster(json!(policies)), &question), forward);
    }
}
