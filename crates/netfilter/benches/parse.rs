//! Reading large listings: what kube-proxy writes for thousands of Services.
#![allow(missing_docs, reason = "criterion makes the entry")]

use std::{fmt::Write as _, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hopwise_netfilter::{Source, iptables};

/// The nat table of a node for so many Services with three endpoints each: ten rules a Service.
fn listing(n_services: usize) -> String {
    let mut text = String::from(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         :KUBE-MARK-MASQ - [0:0]\n:KUBE-SERVICES - [0:0]\n",
    );
    let mut rules = String::from(
        "[0:0] -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n",
    );
    for service in 0..n_services {
        let address = format!("10.{}.{}.{}", 96 + service / 65536, service / 256 % 256, service % 256);
        let _ = writeln!(text, ":KUBE-SVC-{service:016X} - [0:0]");
        let about = format!("-m comment --comment \"ns-{}/service-{service}:http cluster IP\"", service % 97);
        let _ = writeln!(
            rules,
            "[0:0] -A KUBE-SERVICES -d {address}/32 -p tcp {about} -m tcp --dport 80 -j KUBE-SVC-{service:016X}"
        );
        for endpoint in 0..3 {
            let chain = format!("KUBE-SEP-{service:014X}{endpoint:02X}");
            let pod = format!("10.{}.{}.{}", 240 + endpoint, service / 256 % 256, service % 256);
            let _ = writeln!(text, ":{chain} - [0:0]");
            let about =
                format!("-m comment --comment \"ns-{}/service-{service}:http -> {pod}:8080\"", service % 97);
            let chance = ["0.33333333349", "0.50000000000"].get(endpoint);
            let chance =
                chance.map_or(String::new(), |it| format!("-m statistic --mode random --probability {it} "));
            let _ = writeln!(rules, "[0:0] -A KUBE-SVC-{service:016X} {about} {chance}-j {chain}");
            let _ = writeln!(rules, "[0:0] -A {chain} -s {pod}/32 {about} -j KUBE-MARK-MASQ");
            let _ =
                writeln!(rules, "[0:0] -A {chain} -p tcp {about} -m tcp -j DNAT --to-destination {pod}:8080");
        }
    }
    text + &rules + "COMMIT\n"
}

fn parse(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("iptables-save");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for n_services in [1_000, 5_000] {
        let text = listing(n_services);
        let (tables, remarks) = iptables::parse(&text, Source::IptablesNft);
        assert_eq!(remarks, []);
        let n_rules: usize = tables.iter().flat_map(|it| &it.chains).map(|it| it.rules.len()).sum();
        group.throughput(Throughput::Elements(n_rules as u64));
        group.bench_with_input(BenchmarkId::new("parse", n_rules), &text, |bench, text| {
            bench.iter(|| iptables::parse(text, Source::IptablesNft));
        });
        group.bench_with_input(BenchmarkId::new("emit", n_rules), &tables, |bench, tables| {
            bench.iter(|| iptables::emit(tables));
        });
    }
}

criterion_group!(benches, parse);
criterion_main!(benches);
