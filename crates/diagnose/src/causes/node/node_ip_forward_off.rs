//! `HW1001`: the node does not forward IPv4.

use hopwise_repair::Repair;
use hopwise_snapshot::{Element, Place, SysctlKey};

use crate::{
    case::{Case, missing_file, switch_evidence},
    cause::{Cause, Code, Suspects},
};

const KEY: &str = "net.ipv4.ip_forward";

pub(super) static CAUSE: Cause = Cause {
    code: Code(1001),
    name: "node-ip-forward-off",
    summary: "the node drops every IPv4 packet that is not for itself",
    manual: include_str!("node_ip_forward_off.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let key = SysctlKey::from_dotted(KEY);
    for (name, node) in case.nodes().filter(|(name, _)| case.hosts_pods(name)) {
        let Some(value) =
            node.net.sysctls.known().and_then(|it| it.get(&key).known().copied().map(str::to_owned))
        else {
            continue;
        };
        if value != "0" {
            continue;
        }
        let place = Place::Node(name.clone());
        let others = case.on_other_nodes(name, &key);
        let expected = if others.is_empty() { "1".to_owned() } else { format!("1 ({others})") };
        suspects
            .report(&CAUSE, Element::sysctl(&place, &key))
            .says(format!("Node {name} drops every IPv4 packet that is not for itself."))
            .because([switch_evidence(&place, &key, &value, &expected)])
            .since(missing_file(case, name, "/etc/sysctl.d/k8s.conf"))
            .repaired_by(Repair::sysctl(&place, &key, "1", case.snapshot));
    }
}
