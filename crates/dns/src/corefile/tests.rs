//! Corefiles of every shape.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// The Corefile of kubeadm 1.34.
const KUBEADM: &str = r".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
";

fn remarks(text: &str) -> Vec<String> {
    let corefile = Corefile::parse(text.as_bytes());
    corefile.remarks.iter().map(|it| format!("{:?} {it}", it.severity)).collect()
}

#[test]
fn the_corefile_of_kubeadm() {
    let corefile = Corefile::parse(KUBEADM.as_bytes());
    assert_eq!(corefile.remarks, []);
    let [block] = corefile.blocks.as_slice() else { panic!("one block") };
    assert_eq!(block.keys[0].to_string(), "dns://.:53");
    let names: Vec<&str> = block.directives.iter().map(|it| it.name.text.as_str()).collect();
    assert_eq!(
        names,
        [
            "errors",
            "health",
            "ready",
            "kubernetes",
            "prometheus",
            "forward",
            "cache",
            "loop",
            "reload",
            "loadbalance"
        ]
    );
    let [kubernetes] = block.kubernetes().try_into().unwrap();
    assert_eq!(kubernetes.line, 7);
    assert_eq!(kubernetes.zones, ["cluster.local.", "in-addr.arpa.", "ip6.arpa."]);
    assert_eq!((kubernetes.pods, kubernetes.ttl), (PodMode::Insecure, 30));
    assert_eq!(kubernetes.fallthrough.unwrap(), ["in-addr.arpa.", "ip6.arpa."]);

    let [forward] = block.forward().try_into().unwrap();
    assert_eq!((forward.from.as_str(), forward.max_concurrent), (".", 1000));
    assert_eq!(forward.upstreams, [Upstream::File("/etc/resolv.conf".to_owned())]);

    let [cache] = block.cache().try_into().unwrap();
    assert_eq!((cache.success_ttl, cache.denial_ttl, cache.zones), (30, 30, vec![".".to_owned()]));
    assert_eq!(cache.without_denial, ["cluster.local."]);
    assert_eq!(block.health()[0].lameduck, Duration::from_secs(5));
    assert_eq!(block.health()[0].address, ":8080");
    assert_eq!(block.ready()[0].address, ":8181");
    assert!(block.detects_loops() && block.logs_errors() && !block.has("hosts"));
}

#[test]
fn the_removed_plugin_proxy_is_an_error_that_says_so() {
    assert_eq!(
        remarks(".:53 {\n    errors\n    proxy . /etc/resolv.conf\n}\n"),
        ["Error line 3, column 5: plugin `proxy` is gone since CoreDNS 1.5.0; use `forward`"]
    );
    let corefile = Corefile::parse(b".:53 {\n proxy . /etc/resolv.conf\n forward . 8.8.8.8\n}\n");
    assert!(corefile.is_refused());
    assert_eq!(corefile.blocks[0].forward().len(), 1, "what stands behind is read all the same");
}

#[test]
fn a_missing_blank_behind_forward_says_what_was_meant() {
    assert_eq!(
        remarks(".:53 {\n    forward .8.8.8.8\n}\n"),
        [
            "Error line 2, column 5: `forward` has too few or too many arguments",
            "Error line 2, column 13: `.8.8.8.8` is not a zone",
            "Error line 2, column 13: probably `forward . 8.8.8.8` was meant"
        ]
    );
    for (text, meant) in [
        ("forward ./etc/resolv.conf", "forward . /etc/resolv.conf"),
        ("forward 8.8.8.8", "forward . 8.8.8.8"),
        ("forward /etc/resolv.conf", "forward . /etc/resolv.conf"),
        ("forward . 8.8.8.8,8.8.4.4", "8.8.8.8 8.8.4.4"),
    ] {
        let all = remarks(&format!(".:53 {{\n{text}\n}}"));
        assert!(
            all.iter().any(|it| it.ends_with(&format!("probably `{meant}` was meant"))),
            "{text}: {all:?}"
        );
    }
    assert_eq!(
        remarks(".:53 {\nforward . dns.google\n}"),
        ["Error line 2, column 11: `dns.google` is neither an address nor a file"]
    );
}

#[test]
fn blocks_may_have_several_zones_ports_and_schemes() {
    let corefile = Corefile::parse(
        b"example.test:53, example.org:1053 tls://example.net {\n errors\n}\n10.244.0.0/15 {\n whoami\n}\n",
    );
    assert_eq!(corefile.remarks, []);
    let keys: Vec<String> = corefile.blocks.iter().flat_map(|it| &it.keys).map(ToString::to_string).collect();
    assert_eq!(
        keys,
        [
            "dns://example.test.:53",
            "dns://example.org.:1053",
            "tls://example.net.:853",
            "dns://244.10.in-addr.arpa.:53",
            "dns://245.10.in-addr.arpa.:53",
        ]
    );
    assert_eq!(corefile.block_for("www.Example.test", 53).unwrap().line, 1);
    assert_eq!(corefile.block_for("1.0.245.10.in-addr.arpa.", 53).unwrap().line, 4);
    assert_eq!(corefile.block_for("example.org", 53), None);
}

#[test]
fn a_comma_lets_zones_go_on_in_the_next_line() {
    let corefile = Corefile::parse(b"a.test,\nb.test {\n whoami\n}\n");
    assert_eq!(corefile.blocks[0].zones(), ["a.test.", "b.test."]);
    assert_eq!(
        remarks("a.test, {\n whoami\n}\n"),
        ["Error line 1, column 9: expected another zone behind the comma, found `{`"]
    );
}

#[test]
fn one_block_needs_no_braces() {
    let corefile = Corefile::parse(b". \nforward . 8.8.8.8\ncache\n");
    assert_eq!(corefile.remarks, []);
    assert_eq!(corefile.blocks[0].directives.len(), 2);
}

#[test]
fn the_longest_zone_answers() {
    let corefile =
        Corefile::parse(b". {\n whoami\n}\nexample.test {\n whoami\n}\nsub.example.test {\n whoami\n}\n");
    assert_eq!(corefile.block_for("a.sub.example.test", 53).unwrap().line, 7);
    assert_eq!(corefile.block_for("notexample.test", 53).unwrap().line, 1);
}

#[test]
fn snippets_are_imported() {
    let corefile = Corefile::parse(
        b"(common) {\n    errors\n    cache 10 {\n        keepttl\n    }\n}\n.:53 {\n    import common\n    forward . 1.1.1.1\n}\n",
    );
    assert_eq!(corefile.remarks, []);
    let [block] = corefile.blocks.as_slice() else { panic!("a snippet is no block") };
    assert_eq!(block.directives.len(), 3);
    assert_eq!(block.cache()[0].success_ttl, 10);
}

#[test]
fn files_are_imported_where_they_are_known() {
    let text = b"import custom/*.server\n.:53 {\n    errors\n    import /etc/coredns/custom/*.override\n}\n";
    let unknown = Corefile::parse(text);
    assert_eq!(unknown.remarks.len(), 2);
    assert!(unknown.remarks.iter().all(|it| it.severity == Severity::Unknown));
    assert!(!unknown.is_refused());

    let file =
        |name: &str, content: &str| (format!("/etc/coredns/custom/{name}"), content.as_bytes().to_vec());
    let sources = Sources {
        files: Some(
            [file("a.server", "corp.test {\n forward . 10.0.0.1\n}\n"), file("b.override", "log\nproxy x\n")]
                .into(),
        ),
        environment: None,
        directory: "/etc/coredns".to_owned(),
    };
    let corefile = Corefile::parse_with(text, &sources);
    assert_eq!(corefile.blocks.len(), 2);
    assert_eq!(corefile.blocks[0].zones(), ["corp.test."]);
    assert!(corefile.blocks[1].has("log"));
    let [remark] = corefile.remarks.as_slice() else { panic!("proxy") };
    assert_eq!(corefile.files[remark.file], "/etc/coredns/custom/b.override");
    assert_eq!(remark.line, 2);

    let empty = Sources { files: Some(BTreeMap::new()), ..sources };
    assert_eq!(Corefile::parse_with(text, &empty).remarks.len(), 2);
    assert!(!Corefile::parse_with(text, &empty).is_refused(), "a pattern may match nothing");
    assert!(Corefile::parse_with(b".:53 {\n import missing\n}\n", &empty).is_refused());
}

#[test]
fn imports_that_go_round_end() {
    let corefile = Corefile::parse(b"(a) {\n import a\n import a\n}\n. {\n import a\n}\n");
    assert!(matches!(corefile.remarks[0].kind, CorefileRemarkKind::ImportLoop(_)));
}

#[test]
fn environment_variables_are_replaced_where_they_are_known() {
    let text = b"{$ZONE}:{%PORT%} {\n forward . {$UPSTREAM}\n}\n";
    let unknown = Corefile::parse(text);
    assert!(
        unknown.remarks.iter().any(|it| it.kind == CorefileRemarkKind::Environment("UPSTREAM".to_owned()))
    );
    let environment = [("ZONE", "a.test"), ("PORT", "1053"), ("UPSTREAM", "1.1.1.1")];
    let environment =
        environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let corefile =
        Corefile::parse_with(text, &Sources { environment: Some(environment), ..Sources::default() });
    assert_eq!(corefile.remarks, []);
    assert_eq!(corefile.blocks[0].keys[0].to_string(), "dns://a.test.:1053");
    assert_eq!(corefile.blocks[0].forward()[0].upstreams.len(), 1);
}

#[test]
fn hosts_entries_may_stand_in_the_corefile() {
    let corefile = Corefile::parse(
        b". {\n hosts /etc/coredns/hosts a.test {\n  10.0.0.1 x.a.test y.a.test\n  fallthrough\n }\n}\n",
    );
    assert_eq!(corefile.remarks, []);
    let [hosts] = corefile.blocks[0].hosts().try_into().unwrap();
    assert_eq!((hosts.path.as_str(), hosts.zones), ("/etc/coredns/hosts", vec!["a.test.".to_owned()]));
    assert_eq!(hosts.entries.lookup("y.a.test").len(), 1);
    assert_eq!(hosts.fallthrough.unwrap(), ["."]);
    assert_eq!(
        remarks(". {\n hosts {\n  fallthrough\n  10.0.0.1 x\n }\n}\n"),
        ["Error line 4, column 3: `hosts` has no option `10.0.0.1`"]
    );
}

#[test]
fn what_coredns_refuses_is_named() {
    for (text, expected) in [
        (". {\n errors\n", "Error line 2, column 2: the file ends before a block is closed"),
        (". {\n cache {\n  success 1\n }\n", "Warning line 4, column 2: the server block is not closed"),
        (
            ". {\n errors }\n",
            "Error line 2, column 9: expected a new line before the `}` of a server block, found `}`",
        ),
        (". {\n errors\n}\n}\n", "Warning line 4, column 1: expected a zone, found `}`"),
        (". {\n loop\n loop\n}\n", "Error line 3, column 2: `loop` may stand only once in a server block"),
        (
            ". {\n errors\n}\n.:53 {\n errors\n}\n",
            "Error line 4, column 1: `dns://.:53` is served by a block before",
        ),
        (". {\n frobnicate\n}\n", "Error line 2, column 2: CoreDNS 1.12 has no plugin `frobnicate`"),
        ("a..b {\n errors\n}\n", "Error line 1, column 1: `a..b` is not a zone"),
        (
            ". {\n kubernetes cluster.local {\n  upstream\n }\n}\n",
            "Error line 3, column 3: option `upstream` of `kubernetes` is gone since CoreDNS 1.7.0",
        ),
        (
            ". {\n kubernetes cluster.local {\n  pods maybe\n }\n}\n",
            "Error line 3, column 8: `pods`: expected disabled, verified or insecure, found `maybe`",
        ),
        (
            ". {\n kubernetes 10.in-addr.arpa\n}\n",
            "Error line 2, column 2: `kubernetes`: expected a zone that is not a reverse zone, found `10.in-addr.arpa.`",
        ),
        (
            ". {\n kubernetes cluster.local {\n  ttl 4000\n }\n}\n",
            "Error line 3, column 7: `ttl`: expected a number in its range, found `4000`",
        ),
        (
            ". {\n forward . 8.8.8.8 {\n  max_fail 3\n }\n}\n",
            "Error line 3, column 3: `forward` has no option `max_fail`",
        ),
        (
            ". {\n forward . 8.8.8.8 {\n  policy first\n }\n}\n",
            "Error line 3, column 10: `policy`: expected random, round_robin or sequential, found `first`",
        ),
        (". {\n cache 0\n}\n", "Error line 2, column 8: `cache`: expected a number in its range, found `0`"),
        (". {\n health 8080\n}\n", "Error line 2, column 9: `health`: expected HOST:PORT, found `8080`"),
        (
            ". {\n health {\n  lameduck 5\n }\n}\n",
            "Error line 3, column 12: `lameduck`: expected a duration as `5s`, found `5`",
        ),
        (
            ". {\n errors\n {\n  stacktrace\n }\n}\n",
            "Error line 3, column 2: `{` must stand on the line of its plugin",
        ),
        (". {\n import\n}\n", "Error line 2, column 2: `import` has too few or too many arguments"),
        (". {\n {\n }\n}\n", "Error line 2, column 2: expected a plugin, found `{`"),
        ("(s)\nerrors\n", "Error line 2, column 1: expected `{` behind a snippet's name, found `errors`"),
    ] {
        let all = remarks(text);
        assert!(all.iter().any(|it| it == expected), "{text}\n{all:#?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_remarked() {
    let corefile = Corefile::parse(b". {\n errors # \xff\n}\n");
    assert_eq!(corefile.remarks[0].kind, CorefileRemarkKind::NotUtf8);
    assert_eq!(corefile.blocks.len(), 1);
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    let text = format!(". {{\n a{}\n", " {".repeat(100_000));
    assert!(Corefile::parse(text.as_bytes()).is_refused());
}

#[test]
fn patterns_match_within_one_directory() {
    for (pattern, path, expected) in [
        ("/a/*.server", "/a/x.server", true),
        ("/a/*.server", "/a/b/x.server", false),
        ("/a/?", "/a/x", true),
        ("/a/?", "/a/xy", false),
        ("/a/*", "/a/", true),
        ("/a/*x*y", "/a/1x2x3y", true),
        ("/a/x", "/a/x", true),
    ] {
        assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
    }
}

/// A tree without places.
#[derive(Debug, PartialEq, Eq)]
struct Plain(String, Vec<String>, Option<Vec<Plain>>);

fn plain(directive: &Directive) -> Plain {
    let block = directive.block.as_ref().map(|it| it.iter().map(plain).collect());
    Plain(directive.name.text.clone(), directive.texts().map(str::to_owned).collect(), block)
}

fn plain_file(corefile: &Corefile) -> Vec<(Vec<String>, Vec<Plain>)> {
    let blocks = corefile.blocks.iter();
    blocks
        .map(|it| {
            (it.words.iter().map(|it| it.text.clone()).collect(), it.directives.iter().map(plain).collect())
        })
        .collect()
}

prop_compose! {
    fn any_line()(name in "[a-z]{1,8}", args in proptest::collection::vec("[a-z0-9.:/_%-]{1,10}|[a-z \"#]{0,8}[a-z]", 0..4)) -> String {
        let args: Vec<String> = args.iter().map(|it| lexer::written(it)).collect();
        format!("{name} {}", args.join(" "))
    }
}

prop_compose! {
    fn any_plugin()(line in any_line(), block in proptest::option::of(proptest::collection::vec(any_line(), 0..3))) -> String {
        match block {
            None => line,
            Some(lines) => format!("{line} {{\n{}\n}}", lines.join("\n")),
        }
    }
}

prop_compose! {
    fn any_file()(blocks in proptest::collection::vec(("[a-z.]{1,10}(:[0-9]{1,5})?", proptest::collection::vec(any_plugin(), 0..4)), 0..4)) -> String {
        let blocks: Vec<String> = blocks.iter().map(|(key, plugins)| format!("{key} {{\n{}\n}}\n", plugins.join("\n"))).collect();
        blocks.concat()
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = Corefile::parse(&bytes).to_string();
    }

    #[test]
    fn no_words_in_any_order_panic(words in proptest::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("\n"), Just("."), Just("import"), Just("a"), Just("(a)"), Just("\""), Just("{$X}"),
        Just("forward"), Just("kubernetes"), Just("cache"), Just("hosts"), Just("8.8.8.8"), Just(","), Just("#"),
    ], 0..40)) {
        let corefile = Corefile::parse(words.join(" ").as_bytes());
        for block in &corefile.blocks {
            let _ = (block.forward(), block.kubernetes(), block.hosts(), block.cache(), block.health(), block.ready());
        }
        let _ = corefile.to_string();
    }

    #[test]
    fn what_is_written_is_read_back(text in any_file()) {
        let read = Corefile::parse(text.as_bytes());
        let again = Corefile::parse(read.to_string().as_bytes());
        prop_assert_eq!(plain_file(&again), plain_file(&read));
    }
}
