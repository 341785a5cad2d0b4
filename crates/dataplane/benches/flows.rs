//! Following flows through a snapshot of a lab: three nodes, seventeen pods.
#![allow(clippy::unwrap_used, reason = "what a bench cannot go on without fails it")]
#![allow(missing_docs, reason = "criterion makes the entry")]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hopwise_dataplane::{Check, Flow, Network, PromiseKind, contract, trace, verify};
use hopwise_snapshot::{Snapshot, hop};

fn snapshots() -> [(&'static str, Snapshot); 2] {
    [
        ("healthy", hop::read(include_bytes!("../../cli/tests/snapshots/healthy.hop")).unwrap()),
        ("broken", hop::read(include_bytes!("../../cli/tests/snapshots/broken.hop")).unwrap()),
    ]
}

/// The longest flow of a kind: between two nodes.
fn flow(snapshot: &Snapshot, kind: PromiseKind) -> Flow {
    let flows = contract(snapshot).promises.into_iter().filter(|it| it.kind == kind);
    let flows = flows.filter_map(|it| match it.check {
        Check::Flow { flow, .. } => Some(flow),
        Check::Name { .. } | Check::Duty(_) => None,
    });
    let network = Network::new(snapshot);
    flows.max_by_key(|it| trace(&network, it).representative().hops.len()).unwrap()
}

fn one_flow(bench: &mut Criterion) {
    let [(_, snapshot), _] = snapshots();
    let network = Network::new(&snapshot);
    let mut group = bench.benchmark_group("trace");
    for kind in [PromiseKind::PodToPod, PromiseKind::Service, PromiseKind::Outside] {
        let flow = flow(&snapshot, kind);
        group.bench_function(kind.word(), |bench| bench.iter(|| trace(&network, &flow)));
    }
}

fn all_promises(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("verify");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for (name, snapshot) in snapshots() {
        let network = Network::new(&snapshot);
        let contract = contract(&snapshot);
        group.throughput(Throughput::Elements(contract.promises.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &contract, |bench, contract| {
            bench.iter(|| verify(&network, &snapshot, contract));
        });
    }
}

fn reading(bench: &mut Criterion) {
    let [(_, snapshot), _] = snapshots();
    let mut group = bench.benchmark_group("snapshot");
    group.sample_size(10);
    let bytes = hop::write(&snapshot);
    group.bench_function("read", |bench| bench.iter(|| hop::read(&bytes).unwrap()));
    group.bench_function("network", |bench| bench.iter(|| Network::new(&snapshot)));
    group.bench_function("contract", |bench| bench.iter(|| contract(&snapshot)));
}

criterion_group!(benches, one_flow, all_promises, reading);
criterion_main!(benches);
