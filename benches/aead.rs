//! AES-256-GCM by backend and size, beside a copy of the same bytes: what a core that only moved
//! the data would reach.

use std::hint::black_box;
use std::time::Duration;

use atrest::crypto::{AeadKey, Backend, Secret};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// From a short record to the batch that blobs are sealed in; 4064 is a database page.
const SIZES: [usize; 6] = [64, 512, 4064, 65_536, 1 << 20, 4 << 20];

fn seal_and_open(c: &mut Criterion) {
    let key = Secret::random();
    let keys = Backend::ALL.map(|backend| (backend, AeadKey::with_backend(backend, &key)));
    for size in SIZES {
        let plain = vec![0x5a; size];
        let mut out = vec![0; size];

        let mut group = c.benchmark_group(format!("aead/{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("copy", |b| {
            b.iter(|| black_box(&mut out).copy_from_slice(black_box(&plain)));
        });
        for (backend, key) in &keys {
            let mut count = 0_u64;
            // Each nonce once, as in use.
            let mut nonce = move || {
                count += 1;
                let mut nonce = [0; 12];
                nonce[..8].copy_from_slice(&count.to_le_bytes());
                nonce
            };
            group.bench_function(BenchmarkId::new("seal", backend), |b| {
                b.iter(|| key.seal(&nonce(), b"aad", black_box(&plain), &mut out));
            });
            let mut sealed = vec![0; size];
            let tag = key.seal(&[0xff; 12], b"aad", &plain, &mut sealed);
            group.bench_function(BenchmarkId::new("open", backend), |b| {
                b.iter(|| key.open(&[0xff; 12], b"aad", black_box(&sealed), &tag, &mut out));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    targets = seal_and_open
}
criterion_main!(benches);
