//! Wrapping and unwrapping a data encryption key, by kind of key encryption key: what opening a
//! resource and rewrapping it cost, the vault's own work aside. HKDF stands beside as the cheapest
//! thing that is done with a key.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use atrest::crypto::{AeadKey, KeyEncryptionKey, KeyKind, Label, Secret, derive};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn wrap_and_unwrap(c: &mut Criterion) {
    let dek = Secret::random();
    let mut group = c.benchmark_group("wrap");
    for kind in KeyKind::WRAPPING {
        let kek = KeyEncryptionKey::generate(kind);
        let wrapped = kek.wrap(&dek).unwrap();
        group.bench_function(BenchmarkId::new("wrap", kind), |b| {
            b.iter(|| kek.wrap(&dek))
        });
        group.bench_function(BenchmarkId::new("unwrap", kind), |b| {
            b.iter(|| kek.unwrap(kind.wrap_algorithm().unwrap(), black_box(&wrapped)));
        });
    }
    group.finish();
}

fn derivation(c: &mut Criterion) {
    let dek = Secret::random();
    let mut group = c.benchmark_group("derive");
    group.bench_function("hkdf", |b| {
        b.iter(|| derive(&dek, Label::SqlitePage, black_box(&[&[1; 16], &[2; 4]])));
    });
    group.bench_function("aead key", |b| b.iter(|| AeadKey::new(black_box(&dek))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500));
    targets = wrap_and_unwrap, derivation
}
criterion_main!(benches);
