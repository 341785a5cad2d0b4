//! A text that is not understood is named, and accuses nobody.

use hopwise_diagnose::{Diagnosis, Verdict};
use hopwise_snapshot::{File, FileContent, NetNs, Observed, Place, Snapshot};

use crate::{diagnosis, healthy, line, lines, sure};

/// A healthy cluster in which one text of node w1 is another.
fn with(change: impl FnOnce(&mut NetNs)) -> Snapshot {
    let mut snapshot = healthy();
    change(snapshot.net_mut(&Place::node("w1")).unwrap());
    snapshot
}

fn half(text: &mut Observed<String>) {
    let text = text.known_mut().unwrap();
    assert!(text.len() > 1000);
    text.truncate(text.len() / 2);
}

/// The verdict may be that not all is known, and nothing may be accused.
fn is_unsure(diagnosis: &Diagnosis) {
    assert_ne!(diagnosis.verdict(), Verdict::Broken, "{:?}", lines(diagnosis));
    assert_eq!(sure(diagnosis).map(line).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_listing_cut_in_half_is_no_missing_rule() {
    for at in 0..4 {
        let snapshot = with(|net| match at {
            0 => half(&mut net.netfilter.iptables_nft.ipv4),
            1 => half(&mut net.netfilter.iptables_nft.ipv6),
            2 => half(&mut net.netfilter.nft),
            _ => {
                half(&mut net.netfilter.nft);
                half(&mut net.netfilter.iptables_nft.ipv4);
            }
        });
        let diagnosis = diagnosis(&snapshot, 11);
        is_unsure(&diagnosis);
        let named =
            |it: &hopwise_diagnose::UnknownFact| it.assumption.element.as_str().starts_with("node/w1/");
        assert!(at == 1 || diagnosis.unknown.iter().any(named), "{at}: {:?}", diagnosis.unknown);
    }
}

#[test]
fn a_listing_of_a_newer_schema_accuses_nobody() {
    let replaced = |from: &str, to: &str| {
        with(|net| {
            let text = net.netfilter.nft.known_mut().unwrap();
            assert!(text.contains(from), "{from}");
            *text = text.replace(from, to);
        })
    };
    for snapshot in [
        replaced("\"json_schema_version\": 1", "\"json_schema_version\": 2"),
        replaced("\"rule\":", "\"rule2\":"),
        replaced("\"chain\":", "\"link\":"),
        replaced("\"expr\":", "\"program\":"),
        with(|net| net.netfilter.nft = Observed::Known("{\"nftables\": {\"version\": 7}}".to_owned())),
        with(|net| net.netfilter.nft = Observed::Known(String::new())),
    ] {
        is_unsure(&diagnosis(&snapshot, 23));
    }
}

#[test]
fn other_programs_words_accuse_nobody() {
    const WORDS: [&str; 5] = [
        "iptables-save: command not found\n",
        "*filter\n:FORWARD DROP [0:0]\n",
        "\u{fffd}\u{fffd}\0\0ELF",
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m quantum --spin up -j ENTANGLE\nCOMMIT\n",
        "create a hash:quantum\nadd a x\n",
    ];
    for (at, words) in WORDS.into_iter().enumerate() {
        let text = || Observed::Known(words.to_owned());
        let snapshot = with(|net| match at {
            4 => net.netfilter.ipsets = text(),
            _ => net.netfilter.iptables_legacy.ipv4 = text(),
        });
        is_unsure(&diagnosis(&snapshot, 23));
    }
}

#[test]
fn a_resolver_file_of_other_bytes_is_blamed_for_names_and_nothing_else() {
    let mut snapshot = healthy();
    let content = FileContent::Bytes((0..=255).rev().collect());
    let file = File { content, mode: 0o644, modified: None, link_target: None, n_redacted: 0 };
    let files = snapshot.files_mut(&Place::node("w1")).unwrap();
    files.insert("/etc/resolv.conf".to_owned(), Observed::Known(file));
    let diagnosis = diagnosis(&snapshot, 1);
    let sure: Vec<String> = sure(&diagnosis).map(line).collect();
    assert!(!sure.is_empty());
    assert!(sure.iter().all(|it| it.ends_with("node/w1/file/etc/resolv.conf")), "{sure:?}");
}
