//! The hot paths, one at a time, for a count of their instructions: `PATH COUNT` goes it COUNT times,
//! and `build` says with what it was compiled. benches/hot_paths.py counts and compares.
#![allow(clippy::unwrap_used)]

use std::env;
use std::hint::black_box;
use std::io::Cursor;
use std::process::exit;
use std::sync::Arc;

use atrest::base::{ExtentId, ResourceId};
use atrest::bench::Build;
use atrest::crypto::{Secret, TAG_LEN, random_bytes, random_id};
use atrest::envelope::{Envelope, Lease, ResourceKind};
use atrest::resource::blob::{
    BlobName, BlobPath, CHUNK_LEN, ExtentCipher, GenerationKey, StorageAccount,
};
use atrest::resource::{Protection, Wrapper};
use atrest::sqlite::{Freshness, KEY_SLOT_LEN, PageSealer, PageSize, SealedDatabase};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, UnboundKey};
use rusqlite::{Connection, params};

#[path = "../tests/common/key_wrapper.rs"]
mod key_wrapper;

/// Content of a page.
const PAGE: usize = 4064;

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["build"] => {
            let build = Build::this();
            println!("{}, {}", build.rustc, build.profile);
        }
        [path, count] => match (path, count.parse().unwrap()) {
            ("page-bare", count) => page_bare(count),
            ("page-seal", count) => page_seal(count, u64::MAX),
            // The control of the check: a path that does a fifth more than it has to.
            ("page-seal-slowed", count) => page_seal(count, 5),
            ("page-open", count) => page_open(count),
            ("chunk-seal", count) => chunk_seal(count),
            ("key-lookup", count) => key_lookup(count),
            ("sql-plain", count) => sql(count, None),
            ("sql-sealed", count) => sql(count, Some(Freshness::NotKept)),
            ("sql-fresh", count) => sql(count, Some(Freshness::Kept)),
            ("blob-put", count) => blob_put(count),
            _ => exit(2),
        },
        _ => exit(2),
    }
}

fn page_bare(count: u64) {
    let key = UnboundKey::new(&AES_256_GCM, &random_bytes::<32>()).unwrap();
    let key = LessSafeKey::new(key);
    let (plain, mut sealed, mut tag) = (vec![0x5a; PAGE], vec![0; PAGE], [0; TAG_LEN]);
    for n in 0..count {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&n.to_le_bytes());
        let aad = Aad::from([7; 32]);
        key.seal_out_of_place_scatter((&nonce).into(), aad, &plain, &mut sealed, &[], &mut tag)
            .unwrap();
        black_box(&sealed);
    }
}

fn sealer() -> PageSealer {
    let key = Arc::new(Secret::<32>::random());
    PageSealer::new(random_id(ResourceId::from_bytes), PageSize::DEFAULT, key)
}

fn page_seal(count: u64, twice_every: u64) {
    let mut sealer = sealer();
    let (plain, mut sealed) = (vec![0x5a; PAGE], vec![0; PAGE + 32]);
    for n in 1..=count {
        for _ in 0..1 + u64::from(n.is_multiple_of(twice_every)) {
            sealer.seal(n, black_box(&plain), &mut sealed).unwrap();
        }
    }
}

fn page_open(count: u64) {
    let mut sealer = sealer();
    let (mut plain, mut sealed) = (vec![0x5a; PAGE], vec![0; PAGE + 32]);
    sealer.seal(1, &plain, &mut sealed).unwrap();
    for _ in 0..count {
        assert!(sealer.open(1, black_box(&sealed), &mut plain).unwrap());
    }
}

fn chunk_seal(count: u64) {
    let account = random_id(ResourceId::from_bytes);
    let extent = random_id(ExtentId::from_bytes);
    let cipher = ExtentCipher::create(account, extent, &GenerationKey::random());
    let (plain, mut sealed) = (vec![0x5a; CHUNK_LEN], vec![0; CHUNK_LEN + TAG_LEN]);
    for n in 0..count {
        cipher.seal(n, None, black_box(&plain), &mut sealed);
    }
}

fn key_lookup(count: u64) {
    let vault = key_wrapper::MemoryVault::new();
    let (kek, id) = (vault.add("customer"), random_id(ResourceId::from_bytes));
    let envelope = Envelope::seal(&*vault, &kek, ResourceKind::Sql, id, &Secret::random());
    let lease = Lease::acquire(envelope.unwrap(), ResourceKind::Sql, id, vault).unwrap();
    for _ in 0..count {
        black_box(lease.check().unwrap());
    }
}

/// Transactions that change one row, in a write-ahead log.
fn sql(count: u64, freshness: Option<Freshness>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let sealed = freshness.map(|freshness| {
        let (file, key) = (
            random_id(ResourceId::from_bytes),
            Arc::new(Secret::random()),
        );
        let (size, slot) = (PageSize::DEFAULT, [0; KEY_SLOT_LEN]);
        SealedDatabase::create(&path, file, size, freshness, &slot, key).unwrap()
    });
    let connection = match &sealed {
        Some(database) => database.connect().unwrap(),
        None => Connection::open(&path).unwrap(),
    };
    let settings = "PRAGMA journal_mode = wal; PRAGMA synchronous = normal;
                    CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB); BEGIN";
    connection.execute_batch(settings).unwrap();
    let insert = "INSERT INTO t VALUES (?1, ?2)";
    for id in 0..1000 {
        connection
            .execute(insert, params![id, [0_u8; 100]])
            .unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    let update = "UPDATE t SET body = ?2 WHERE id = ?1";
    let mut update = connection.prepare(update).unwrap();
    for n in 0..count as i64 {
        update
            .execute(params![n * 7 % 1000, [n as u8; 100]])
            .unwrap();
    }
}

/// A mebibyte each.
fn blob_put(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let vault = key_wrapper::MemoryVault::new();
    let (key, service) = (vault.add("customer"), vault.add("service"));
    let wrapper: Wrapper = vault;
    let (id, protection) = (
        random_id(ResourceId::from_bytes),
        Protection::CustomerManaged { key },
    );
    let place = dir.path().join("account");
    let account = StorageAccount::create(&place, id, protection, Some(&service), &wrapper);
    let account = account.unwrap();
    let name = BlobPath::in_default(BlobName::parse("blob").unwrap());
    let bytes = vec![0x5a; 1 << 20];
    for _ in 0..count {
        account
            .put(&name, &mut Cursor::new(&bytes), &mut |_| ())
            .unwrap();
    }
}
