//! A whole diagnosis of a snapshot of a lab: three nodes, seventeen pods, 1519 promises.
#![allow(clippy::unwrap_used, reason = "what a bench cannot go on without fails it")]
#![allow(missing_docs, reason = "criterion makes the entry")]

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use hopwise_diagnose::{diagnose, prove};
use hopwise_snapshot::hop;

fn diagnosis(bench: &mut Criterion) {
    let healthy = hop::read(include_bytes!("../../cli/tests/snapshots/healthy.hop")).unwrap();
    let broken = hop::read(include_bytes!("../../cli/tests/snapshots/broken.hop")).unwrap();
    let mut group = bench.benchmark_group("diagnose");
    group.sample_size(10).measurement_time(Duration::from_secs(15));
    group.bench_function("healthy", |bench| bench.iter(|| diagnose(&healthy)));
    group.bench_function("broken", |bench| bench.iter(|| diagnose(&broken)));
    let repair = diagnose(&broken).findings.swap_remove(0).repair;
    group.bench_function("prove", |bench| bench.iter(|| prove(&broken, &repair)));
}

criterion_group!(benches, diagnosis);
criterion_main!(benches);
