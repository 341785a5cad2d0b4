//! Rulesets of real clusters: kubeadm 1.34 with flannel, kube-proxy in iptables and in nftables mode.

use hopwise_netfilter::{Source, iptables};

/// The nodes whose state is below `data`.
const NODES: [&str; 6] =
    ["iptables-n1", "iptables-n2", "iptables-n3", "nftables-n1", "nftables-n2", "nftables-n3"];

fn read(node: &str, file: &str) -> String {
    let path = format!("{}/tests/samples/data/{node}/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|it| !it.starts_with('#')).flat_map(|it| [it, "\n"]).collect()
}

#[test]
fn iptables_is_understood_and_written_back_as_it_was() {
    for node in NODES {
        for (file, source) in
            [("iptables-save.txt", Source::IptablesNft), ("ip6tables-save.txt", Source::Ip6tablesNft)]
        {
            let text = read(node, file);
            let (tables, remarks) = iptables::parse(&text, source);
            assert_eq!(remarks, [], "{node} {file}");
            assert_eq!(iptables::emit(&tables), without_comments(&text), "{node} {file}");
        }
    }
}
