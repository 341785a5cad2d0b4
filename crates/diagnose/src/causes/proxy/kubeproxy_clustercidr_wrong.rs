//! `HW1706`: kube-proxy takes pods for strangers, since its range of pods is another than theirs.

use hopwise_controllers::kube_proxy::{DetectLocal, KubeProxyConfig};
use hopwise_repair::{Action, Repair};
use hopwise_snapshot::{Element, NodeObject, Observed};
use ipnet::IpNet;

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1706),
    name: "kubeproxy-clustercidr-wrong",
    summary: "kube-proxy's range of pods is not theirs: what they send to Services comes from the node's address",
    manual: include_str!("kubeproxy_clustercidr_wrong.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let cluster = &case.snapshot.cluster;
    let Observed::Known(Ok(config)) = KubeProxyConfig::of_cluster(cluster) else { return };
    let DetectLocal::ClusterCidr(ranges) = &config.detect_local else { return };
    // Without a range kube-proxy tells nobody apart, which many clusters live with.
    let of_family = |it: &IpNet| ranges.iter().find(|range| range.addr().is_ipv4() == it.addr().is_ipv4());
    let outside: Vec<IpNet> = cluster
        .nodes
        .known()
        .into_iter()
        .flatten()
        .flat_map(NodeObject::pod_cidrs)
        .filter(|it| of_family(it).is_some_and(|range| !range.contains(it)))
        .collect();
    let Some(first) = outside.first() else { return };
    let element = Element::object("configmap", "kube-system", "kube-proxy", Some("config.conf"));
    let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    let told = "correct clusterCIDR: kubectl -n kube-system edit configmap kube-proxy; then kubectl -n kube-system \
                rollout restart daemonset kube-proxy";
    suspects
        .report(&CAUSE, element.clone())
        .says(format!(
            "kube-proxy takes {} for the pods' range, and nodes give them addresses of {first}.",
            texts.join(",")
        ))
        .because([Evidence {
            element,
            observed: format!("clusterCIDR {}", texts.join(",")),
            expected: format!("a range that holds {first}"),
            source: "kubectl -n kube-system get configmap kube-proxy -o yaml".to_owned(),
        }])
        .later(
            "whom pods reach through Services sees the node's address instead of theirs, and so do policies",
        )
        .repaired_by(Repair::one(Action::told(None, told, "iptables-save -t nat | grep MARK-MASQ")));
}
