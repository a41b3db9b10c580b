//! What is counted: each path so many times, in a process of its own.

use std::hint::black_box;
use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Arc;

use atrest::base::{ExtentId, KeyName, ResourceId, SystemClock};
use atrest::crypto::{KeyKind, Secret, TAG_LEN, random_bytes, random_id};
use atrest::envelope::{Envelope, Lease, ResourceKind};
use atrest::resource::blob::{
    BlobName, BlobPath, CHUNK_LEN, ExtentCipher, GenerationKey, StorageAccount,
};
use atrest::resource::{Protection, Wrapper};
use atrest::sqlite::{Freshness, KEY_SLOT_LEN, PageSealer, PageSize, SealedDatabase};
use atrest::vault::{KeyVault, KeyWrapper, VaultSettings};
use atrest::world::{InitOptions, WhichVault, Workspace};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, UnboundKey};
use rusqlite::{Connection, params};

use crate::key_wrapper::MemoryVault;

/// Content of a page, and its trailer.
const PAGE: usize = 4064;
const TRAILER: usize = 32;
const MEBIBYTE: usize = 1 << 20;

/// How often a path is gone, and whether every fifth time twice: the control of the check.
pub struct Pace {
    pub count: u64,
    pub slowed: bool,
}

impl Pace {
    fn go(&self, mut once: impl FnMut(u64)) {
        for n in 1..=self.count {
            once(n);
            // Other work of the same kind: SQLite sees when the same is written twice.
            if self.slowed && n.is_multiple_of(5) {
                once(self.count + n);
            }
        }
    }
}

/// One path.
pub struct HotPath {
    pub name: &'static str,
    /// What its count is held against: the same work without this program. None for such a one.
    pub to: Option<&'static str>,
    /// How often it is gone: what comes before and after is in both counts, and falls out of their difference.
    pub counts: [u64; 2],
    pub go: fn(&Pace),
    /// What the ratio must not exceed, whatever it was before: the bar that this path is held to.
    pub bar: Option<f64>,
}

impl HotPath {
    const fn new(
        name: &'static str,
        to: Option<&'static str>,
        counts: [u64; 2],
        go: fn(&Pace),
    ) -> Self {
        Self {
            name,
            to,
            counts,
            go,
            bar: None,
        }
    }

    const fn at_most(self, bar: f64) -> Self {
        Self {
            bar: Some(bar),
            ..self
        }
    }
}

const PAGE_BARE: Option<&str> = Some("page, bare aws-lc-rs");
const CHUNK_BARE: Option<&str> = Some("chunk, bare aws-lc-rs");
const CHANGE_PLAIN: Option<&str> = Some("SQL transaction, plain");
const READ_PLAIN: Option<&str> = Some("SQL point read, plain");

pub static PATHS: [HotPath; 16] = [
    HotPath::new("page, bare aws-lc-rs", None, [200, 600], |pace| {
        bare(PAGE, pace)
    }),
    HotPath::new("page, sealed", PAGE_BARE, [200, 600], page_seal).at_most(1.10),
    HotPath::new("page, opened", PAGE_BARE, [200, 600], page_open).at_most(1.10),
    HotPath::new("chunk, bare aws-lc-rs", None, [20, 60], |pace| {
        bare(CHUNK_LEN, pace)
    }),
    HotPath::new("chunk, sealed", CHUNK_BARE, [20, 60], chunk_seal),
    HotPath::new("chunk, opened", CHUNK_BARE, [20, 60], chunk_open),
    // A page takes about half a microsecond: 100 ns for each would be 20 pages.
    HotPath::new("lookups of a key, 100", PAGE_BARE, [20, 120], key_lookup).at_most(2.0),
    HotPath::new("SQL transaction, plain", None, [200, 600], |pace| {
        changes(None, pace)
    }),
    HotPath::new(
        "SQL transaction, sealed",
        CHANGE_PLAIN,
        [200, 600],
        |pace| changes(Some(Freshness::NotKept), pace),
    ),
    HotPath::new("SQL transaction, fresh", CHANGE_PLAIN, [200, 600], |pace| {
        changes(Some(Freshness::Kept), pace)
    }),
    HotPath::new("SQL point read, plain", None, [500, 1500], |pace| {
        reads(None, pace)
    }),
    HotPath::new("SQL point read, sealed", READ_PLAIN, [500, 1500], |pace| {
        reads(Some(Freshness::NotKept), pace)
    }),
    HotPath::new("blob put, a mebibyte", CHUNK_BARE, [4, 12], blob_put),
    HotPath::new("blob get, a mebibyte", CHUNK_BARE, [4, 12], blob_get),
    HotPath::new(
        "blob read, 64 KiB of a mebibyte",
        CHUNK_BARE,
        [10, 50],
        blob_read,
    ),
    HotPath::new("unwrap, with its record", CHANGE_PLAIN, [20, 60], unwrap),
];

fn bare(len: usize, pace: &Pace) {
    let key = UnboundKey::new(&AES_256_GCM, &random_bytes::<32>()).unwrap();
    let key = LessSafeKey::new(key);
    let (plain, mut sealed, mut tag) = (vec![0x5a; len], vec![0; len], [0; TAG_LEN]);
    pace.go(|n| {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&n.to_le_bytes());
        let aad = Aad::from([7; 32]);
        let nonce = (&nonce).into();
        key.seal_out_of_place_scatter(nonce, aad, black_box(&plain), &mut sealed, &[], &mut tag)
            .unwrap();
    });
}

/// The right to a key that a vault in memory wraps.
fn lease() -> (ResourceId, Arc<Lease>) {
    let vault = MemoryVault::new();
    let (kek, id) = (vault.add("customer"), random_id(ResourceId::from_bytes));
    let envelope = Envelope::seal(&*vault, &kek, ResourceKind::Sql, id, &Secret::random());
    let lease = Lease::acquire(envelope.unwrap(), ResourceKind::Sql, id, vault);
    (id, Arc::new(lease.unwrap()))
}

fn sealer() -> PageSealer {
    let (id, lease) = lease();
    PageSealer::new(id, PageSize::DEFAULT, lease)
}

fn page_seal(pace: &Pace) {
    let mut sealer = sealer();
    let (plain, mut sealed) = (vec![0x5a; PAGE], vec![0; PAGE + TRAILER]);
    pace.go(|n| sealer.seal(n, black_box(&plain), &mut sealed).unwrap());
}

fn page_open(pace: &Pace) {
    let mut sealer = sealer();
    let (mut plain, mut sealed) = (vec![0x5a; PAGE], vec![0; PAGE + TRAILER]);
    sealer.seal(1, &plain, &mut sealed).unwrap();
    pace.go(|_| assert!(sealer.open(1, black_box(&sealed), &mut plain).unwrap()));
}

fn cipher() -> ExtentCipher {
    let account = random_id(ResourceId::from_bytes);
    let extent = random_id(ExtentId::from_bytes);
    ExtentCipher::create(account, extent, &GenerationKey::random(), None)
}

fn chunk_seal(pace: &Pace) {
    let cipher = cipher();
    let (plain, mut sealed) = (vec![0x5a; CHUNK_LEN], vec![0; CHUNK_LEN + TAG_LEN]);
    pace.go(|n| cipher.seal(n, None, black_box(&plain), &mut sealed));
}

fn chunk_open(pace: &Pace) {
    let cipher = cipher();
    let (mut plain, mut sealed) = (vec![0x5a; CHUNK_LEN], vec![0; CHUNK_LEN + TAG_LEN]);
    cipher.seal(1, None, &plain, &mut sealed);
    pace.go(|_| {
        let opened = cipher.unseal(1, None, black_box(&mut sealed), &mut plain);
        assert!(opened.is_ok());
    });
}

fn key_lookup(pace: &Pace) {
    let (_, lease) = lease();
    pace.go(|_| {
        for _ in 0..100 {
            black_box(lease.check().unwrap());
        }
    });
}

/// A database with a table of so many rows of so many bytes, and a connection to it.
fn table(at: &Path, freshness: Option<Freshness>, rows: i64, bytes: usize) -> Connection {
    let path = at.join("db");
    let connection = match freshness {
        None => Connection::open(&path).unwrap(),
        Some(freshness) => {
            let (id, key) = (random_id(ResourceId::from_bytes), Secret::<32>::random());
            let (size, slot) = (PageSize::DEFAULT, [0; KEY_SLOT_LEN]);
            let made = SealedDatabase::create(&path, id, size, freshness, &slot, Arc::new(key));
            made.unwrap().connect().unwrap()
        }
    };
    // Checkpoints come so often that each count of transactions has its share of them.
    let settings =
        "PRAGMA journal_mode = wal; PRAGMA synchronous = normal; PRAGMA wal_autocheckpoint = 50;
                    CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB); BEGIN";
    connection.execute_batch(settings).unwrap();
    let mut insert = connection.prepare("INSERT INTO t VALUES (?1, ?2)").unwrap();
    for id in 0..rows {
        insert.execute(params![id, vec![id as u8; bytes]]).unwrap();
    }
    drop(insert);
    connection.execute_batch("COMMIT").unwrap();
    connection
}

/// Transactions that change one row, in a write-ahead log.
fn changes(freshness: Option<Freshness>, pace: &Pace) {
    const ROWS: i64 = 1000;
    let dir = tempfile::tempdir().unwrap();
    let connection = table(dir.path(), freshness, ROWS, 100);
    let update = "UPDATE t SET body = ?2 WHERE id = ?1";
    let mut update = connection.prepare(update).unwrap();
    pace.go(|n| {
        let row = params![n as i64 * 7 % ROWS, [n as u8; 100]];
        assert_eq!(update.execute(row).unwrap(), 1);
    });
}

/// Reads of one row, most of which find its page in no cache of SQLite's.
fn reads(freshness: Option<Freshness>, pace: &Pace) {
    const ROWS: i64 = 1500;
    let dir = tempfile::tempdir().unwrap();
    let connection = table(dir.path(), freshness, ROWS, 1000);
    let settings = "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA cache_size = 20";
    connection.execute_batch(settings).unwrap();
    let mut read = connection
        .prepare("SELECT length(body) FROM t WHERE id = ?1")
        .unwrap();
    pace.go(|n| {
        let id = [n as i64 * 691 % ROWS];
        let length: i64 = read.query_row(id, |row| row.get(0)).unwrap();
        assert_eq!(length, 1000);
    });
}

/// Goes on with an account, sealed under a customer's key, and the path of its only blob.
fn with_account(go: impl FnOnce(&StorageAccount, &BlobPath, &[u8])) {
    let dir = tempfile::tempdir().unwrap();
    let vault = MemoryVault::new();
    let (key, service) = (vault.add("customer"), vault.add("service"));
    let wrapper: Wrapper = vault;
    let (id, place) = (
        random_id(ResourceId::from_bytes),
        dir.path().join("account"),
    );
    let protection = Protection::CustomerManaged { key };
    let account = StorageAccount::create(&place, id, protection, Some(&service), &wrapper);
    let name = BlobPath::in_default(BlobName::parse("blob").unwrap());
    let (account, bytes) = (account.unwrap(), vec![0x5a; MEBIBYTE]);
    put(&account, &name, &bytes);
    go(&account, &name, &bytes);
}

fn put(account: &StorageAccount, name: &BlobPath, bytes: &[u8]) {
    let put = account.put(name, &mut Cursor::new(bytes), &mut |_| ());
    put.unwrap();
}

fn blob_put(pace: &Pace) {
    with_account(|account, name, bytes| pace.go(|_| put(account, name, bytes)));
}

fn blob_get(pace: &Pace) {
    with_account(|account, name, _| {
        pace.go(|_| {
            let got = account.get(name, None, &mut io::sink(), &mut |_| ());
            assert_eq!(got.unwrap().size, MEBIBYTE as u64);
        });
    });
}

fn blob_read(pace: &Pace) {
    let half = MEBIBYTE as u64 / 2;
    with_account(|account, name, _| {
        pace.go(|_| {
            let range = Some(half..half + CHUNK_LEN as u64);
            let got = account.get(name, range, &mut io::sink(), &mut |_| ());
            got.unwrap();
        });
    });
}

/// In a vault's directory: the key's use is in the audit log when it returns.
fn unwrap(pace: &Pace) {
    let dir = tempfile::tempdir().unwrap();
    let name: KeyName = "customer-key".parse().unwrap();
    let options = InitOptions {
        environment: "production".parse().unwrap(),
        customer_key: Some((name.clone(), KeyKind::Oct256)),
        passphrase: None,
        vault: VaultSettings::default(),
    };
    let at = dir.path().join("work");
    let workspace = Workspace::init(&at, options, Arc::new(SystemClock)).unwrap();
    let vault = workspace.vault(&WhichVault::Customer).unwrap();
    let kid = vault.key(&name, None).unwrap().kid;
    let wrapped = vault.wrap_key(&kid.key(), &Secret::random()).unwrap();
    pace.go(|_| {
        let unwrapped = vault.unwrap_key(&kid, wrapped.algorithm, &wrapped.bytes);
        unwrapped.map(drop).unwrap();
    });
}
