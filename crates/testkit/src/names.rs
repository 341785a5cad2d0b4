//! Names that a base has given, by what they belong to.

use std::str::FromStr;

use hopwise_snapshot::{Link, Mac, NodeName, Place, PodName, Snapshot};

/// A text in which `{pod/NS/NAME}` (the node's end of a pod's veth pair) and `{vtep NODE}` (the Ethernet address that
/// a node's tunnel end has published) are filled in.
pub(crate) fn filled(snapshot: &Snapshot, text: &str) -> Result<String, String> {
    let mut all = String::new();
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once('{') {
        let (name, after) = inner.split_once('}').ok_or_else(|| format!("`{text}` lacks a closing brace"))?;
        all.push_str(before);
        if let Some(pod) = name.strip_prefix("pod/") {
            all.push_str(&veth(snapshot, &PodName::from_str(pod)?)?.name);
        } else if let Some(node) = name.strip_prefix("vtep ") {
            all.push_str(&vtep(snapshot, node)?.to_string());
        } else {
            return Err(format!("expected {{pod/NS/NAME}} or {{vtep NODE}}, found `{{{name}}}`"));
        }
        rest = after;
    }
    Ok(all + rest)
}

/// The node's end of a pod's veth pair.
pub(crate) fn veth<'a>(snapshot: &'a Snapshot, pod: &PodName) -> Result<&'a Link, String> {
    let missing = || format!("pod/{pod} has no link to its node in this base");
    let read = snapshot.pods.get(pod).and_then(|it| it.known()).ok_or_else(missing)?;
    let index = read.net.link("eth0").and_then(|it| it.lower).ok_or_else(missing)?;
    let node = snapshot.net(&Place::Node(read.node.clone())).ok_or_else(missing)?;
    node.links.known().into_iter().flatten().find(|it| it.index == index).ok_or_else(missing)
}

/// The Ethernet address of a node's tunnel end.
pub(crate) fn vtep(snapshot: &Snapshot, node: &str) -> Result<Mac, String> {
    let missing = || format!("node {node} has no tunnel end in this base");
    let net = snapshot.net(&Place::Node(NodeName::from(node))).ok_or_else(missing)?;
    net.link("flannel.1").and_then(|it| it.mac).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base;

    #[test]
    fn names_of_a_base_are_filled_in() {
        let base = base("vxlan").unwrap();
        let text = filled(&base, "node/w1/link/{pod/default/echo-w1}/up").unwrap();
        assert!(text.starts_with("node/w1/link/veth") && text.ends_with("/up"), "{text}");
        let text = filled(&base, "fdb/{vtep w2}").unwrap();
        assert_eq!(text.matches(':').count(), 5, "{text}");
    }

    #[test]
    fn a_name_that_is_not_there_is_named() {
        let base = base("vxlan").unwrap();
        for (text, said) in [
            ("{pod/default/x}", "pod/default/x has no link to its node in this base"),
            ("{vtep w9}", "node w9 has no tunnel end in this base"),
            ("{w9}", "expected {pod/NS/NAME} or {vtep NODE}, found `{w9}`"),
            ("{w9", "`{w9` lacks a closing brace"),
        ] {
            assert_eq!(filled(&base, text).unwrap_err(), said);
        }
    }
}
