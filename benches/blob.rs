//! Blobs in and out, sealed and plain, beside copies of the same file on the same disk. A put is
//! durable when it returns, so it is to be compared with the copy that is synced; a get leaves the
//! sync to its caller, as a copy does.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use atrest::base::ResourceId;
use atrest::crypto::random_id;
use atrest::resource::blob::{BlobName, BlobPath, StorageAccount};
use atrest::resource::{Protection, Wrapper};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../tests/common/key_wrapper.rs"]
mod key_wrapper;

const SIZES: [usize; 3] = [64 << 10, 8 << 20, 128 << 20];

fn put_and_get(c: &mut Criterion) {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let vault = key_wrapper::MemoryVault::new();
    let (key, service) = (vault.add("customer"), vault.add("service"));
    let wrapper: Wrapper = vault;
    let account = |name: &str, protection| {
        let (dir, id) = (temp.path().join(name), random_id(ResourceId::from_bytes));
        StorageAccount::create(&dir, id, protection, Some(&service), &wrapper).expect("an account")
    };
    let accounts = [
        (
            "sealed",
            account("sealed", Protection::CustomerManaged { key }),
        ),
        ("plain", account("plain", Protection::Plain)),
    ];
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    let name = BlobPath::in_default(BlobName::parse("blob").expect("a name"));
    for size in SIZES {
        fs::write(&from, vec![0x5a; size]).expect("a file");
        let open = |path: &Path| File::open(path).expect("it is there");

        let mut group = c.benchmark_group(format!("blob/{}KiB", size >> 10));
        group.throughput(Throughput::Bytes(size as u64));
        let copy = || fs::copy(&from, &to).expect("a copy");
        group.bench_function("copy", |b| b.iter(copy));
        group.bench_function("copy and sync", |b| {
            b.iter(|| {
                copy();
                open(&to).sync_all().expect("a sync");
            });
        });
        for (kind, account) in &accounts {
            let put = || {
                account
                    .put(&name, &mut open(&from), &mut |_| ())
                    .expect("a put")
            };
            group.bench_function(BenchmarkId::new("put", kind), |b| b.iter(put));
            group.bench_function(BenchmarkId::new("get", kind), |b| {
                b.iter(|| {
                    let mut to = File::create(&to).expect("a file");
                    account
                        .get(&name, None, &mut to, &mut |_| ())
                        .expect("a get")
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_secs(2));
    targets = put_and_get
}
criterion_main!(benches);
