//! The devices of nft's chains, where its JSON listing leaves them out.
//!
//! nft 1.0.6 (Debian 12) prints the device of an ingress or egress chain in its text listing and not in its JSON
//! one. Without it nobody can say whose packets the chain sees.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Which chain: family, table, name.
type ChainName = (String, String, String);

/// The families with chains that belong to devices.
const FAMILIES: [&str; 2] = ["netdev", "inet"];

/// The families whose chains in a JSON listing lack their devices.
pub(super) fn families_without_devices(listing: &Value) -> Vec<&'static str> {
    let lacks =
        |family: &&str| chains(listing).any(|chain| lacks_devices(chain) && chain["family"] == **family);
    FAMILIES.into_iter().filter(lacks).collect()
}

/// Writes into a JSON listing what a text listing says of its chains' devices.
pub(super) fn add_devices(listing: &mut Value, text: &str) {
    let devices = devices(text);
    let objects = listing.get_mut("nftables").and_then(Value::as_array_mut);
    for chain in objects.into_iter().flatten().filter_map(|it| it.get_mut("chain")) {
        if !lacks_devices(chain) {
            continue;
        }
        let part = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
        if let Some(devices) = devices.get(&(part("family"), part("table"), part("name"))) {
            chain["dev"] = json!(devices);
        }
    }
}

fn chains(listing: &Value) -> impl Iterator<Item = &Value> {
    let objects = listing.get("nftables").and_then(Value::as_array);
    objects.into_iter().flatten().filter_map(|it| it.get("chain"))
}

fn lacks_devices(chain: &Value) -> bool {
    matches!(chain["hook"].as_str(), Some("ingress" | "egress")) && chain.get("dev").is_none()
}

/// The devices of chains by the text listing: `type filter hook ingress device "eth0" priority filter;` and
/// `type filter hook ingress devices = { "eth0", "lo" } priority filter;`.
fn devices(text: &str) -> BTreeMap<ChainName, Vec<String>> {
    let mut found = BTreeMap::new();
    let (mut table, mut chain) = (None, None);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, name, "{"] => table = Some((family.to_owned(), name.to_owned())),
            ["chain", name, "{"] => chain = Some(name.to_owned()),
            ["type", _, "hook", "ingress" | "egress", "device" | "devices", ..] => {
                let head = line.split(" priority ").next().unwrap_or(line);
                let names = head.split('"').skip(1).step_by(2).map(str::to_owned).collect();
                if let (Some((family, table)), Some(chain)) = (table.clone(), chain.clone()) {
                    found.insert((family, table, chain), names);
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"table netdev zz {
	chain i {
		type filter hook ingress device "eth0" priority filter; policy accept;
		udp dport 8472 drop
	}

	chain two {
		type filter hook ingress devices = { "eth1", "lo" } priority 10; policy accept;
	}
}
"#;

    fn listing() -> Value {
        json!({"nftables": [
            {"table": {"family": "netdev", "name": "zz"}},
            {"chain": {"family": "netdev", "table": "zz", "name": "i", "hook": "ingress"}},
            {"chain": {"family": "netdev", "table": "zz", "name": "two", "hook": "ingress"}},
            {"chain": {"family": "netdev", "table": "zz", "name": "own", "hook": "ingress", "dev": "eth9"}},
            {"chain": {"family": "netdev", "table": "zz", "name": "plain"}},
            {"chain": {"family": "inet", "table": "zz", "name": "input", "hook": "input"}},
        ]})
    }

    #[test]
    fn devices_come_from_the_text_where_the_json_lacks_them() {
        let mut listing = listing();
        add_devices(&mut listing, TEXT);
        let devices: Vec<&Value> = chains(&listing).map(|it| it.get("dev").unwrap_or(&Value::Null)).collect();
        let expected = [json!(["eth0"]), json!(["eth1", "lo"]), json!("eth9"), Value::Null, Value::Null];
        assert_eq!(devices, expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_text_is_needed_only_for_families_that_lack_devices() {
        assert_eq!(families_without_devices(&listing()), ["netdev"]);
        assert_eq!(families_without_devices(&json!({"nftables": []})), Vec::<&str>::new());
    }
}
