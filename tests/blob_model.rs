//! A storage account does what a model in memory does, whatever is asked of it in whatever order, opened anew
//! in between; and a process that is killed leaves states that were committed, and no garbage for good.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use accounts::{Fixture, bytes, name};
use atrest::base::{KeyRef, KeyVersion, ResourceId, VaultId};
use atrest::crypto::KeyEncryptionKey;
use atrest::resource::blob::{
    AppendConditions, Attributes, BlobAt, BlobInfo, BlobStatus, Block, BlockId, CHUNK_LEN,
    Conditions, CopySource, Encryption, Leasable, LeaseAction, Matching, Pairs, Refusal, Snapshot,
    Snapshots, StorageAccount,
};
use atrest::resource::{ProtectedResource, Protection, ResourceError, Wrapper};
use key_wrapper::MemoryVault;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put {
        blob: u8,
        seed: u8,
        len: usize,
        only_new: bool,
    },
    Stage {
        blob: u8,
        id: u8,
        seed: u8,
        len: usize,
    },
    Commit {
        blob: u8,
        list: Vec<(u8, u8)>,
    },
    Metadata {
        blob: u8,
        value: u8,
    },
    Delete {
        blob: u8,
        snapshots: Snapshots,
    },
    Snapshot {
        blob: u8,
        own: Option<u8>,
    },
    Copy {
        from: u8,
        snapshot: Option<usize>,
        into: u8,
    },
    Begin {
        blob: u8,
    },
    Append {
        blob: u8,
        seed: u8,
        len: usize,
    },
    Lease {
        blob: u8,
    },
    Range {
        blob: u8,
        from: usize,
        to: usize,
    },
    Reopen,
    Verify,
}

/// What a blob is in the model: its bytes, its blocks, its metadata.
#[derive(Clone, Default)]
struct Modelled {
    whole: Option<(Vec<u8>, Pairs)>,
    committed: Vec<(u8, Vec<u8>)>,
    waiting: BTreeMap<u8, Vec<u8>>,
    append: bool,
    snapshots: Vec<Kept>,
    leased: bool,
}

/// A snapshot: what it is called, its bytes, its metadata, its blocks, and whether it is of an append blob.
type Kept = (Snapshot, Vec<u8>, Pairs, Vec<(u8, Vec<u8>)>, bool);

impl Modelled {
    /// Another blob in its place, by one who shows no lease.
    fn replaced_by(&self, whole: Vec<u8>) -> Self {
        Self {
            whole: Some((whole, Pairs::new())),
            snapshots: self.snapshots.clone(),
            ..Self::default()
        }
    }
}

/// Whether it was refused for want of the lease, as it must be where there is one.
fn refused_for_lease<T>(modelled: &Modelled, result: &Result<T, ResourceError>) -> bool {
    let refused = matches!(result, Err(ResourceError::Refused(Refusal::LeaseIdMissing)));
    assert_eq!(refused, modelled.leased && modelled.whole.is_some());
    refused
}

fn content(seed: u8, len: usize) -> Vec<u8> {
    bytes(len).into_iter().map(|b| b ^ seed).collect()
}

fn step() -> impl Strategy<Value = Step> {
    let blob = 0..3_u8;
    let len = prop_oneof![0..40_usize, CHUNK_LEN - 2..CHUNK_LEN + 3];
    let list = vec((0..3_u8, 0..4_u8), 0..6);
    prop_oneof![
        2 => (blob.clone(), any::<u8>(), len.clone(), any::<bool>())
            .prop_map(|(blob, seed, len, only_new)| Step::Put { blob, seed, len, only_new }),
        4 => (blob.clone(), 0..4_u8, any::<u8>(), len.clone())
            .prop_map(|(blob, id, seed, len)| Step::Stage { blob, id, seed, len }),
        3 => (blob.clone(), list).prop_map(|(blob, list)| Step::Commit { blob, list }),
        1 => (blob.clone(), any::<u8>()).prop_map(|(blob, value)| Step::Metadata { blob, value }),
        2 => (blob.clone(), 0..3_u8).prop_map(|(blob, n)| Step::Delete {
            blob,
            snapshots: [Snapshots::Refuse, Snapshots::Include, Snapshots::Only][n as usize],
        }),
        2 => (blob.clone(), proptest::option::of(any::<u8>()))
            .prop_map(|(blob, own)| Step::Snapshot { blob, own }),
        2 => (blob.clone(), proptest::option::of(0..3_usize), blob.clone())
            .prop_map(|(from, snapshot, into)| Step::Copy { from, snapshot, into }),
        1 => blob.clone().prop_map(|blob| Step::Begin { blob }),
        3 => (blob.clone(), any::<u8>(), len.clone())
            .prop_map(|(blob, seed, len)| Step::Append { blob, seed, len }),
        1 => blob.clone().prop_map(|blob| Step::Lease { blob }),
        2 => (blob, 0..CHUNK_LEN + 40, 0..CHUNK_LEN + 40)
            .prop_map(|(blob, a, b)| Step::Range { blob, from: a.min(b), to: a.max(b) }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Verify),
    ]
}

fn block_id(id: u8) -> BlockId {
    BlockId::from_bytes(&[b'#', id]).unwrap()
}

fn blob_name(blob: u8) -> String {
    format!("blob-{blob}")
}

fn pairs(value: u8) -> Pairs {
    [("value".to_owned(), value.to_string())].into()
}

/// Does a step in both, and compares what they say to it.
fn take(fixture: &Fixture, model: &mut [Modelled; 3], step: &Step) {
    let (account, any) = (&fixture.account, Conditions::default());
    match step {
        Step::Put {
            blob,
            seed,
            len,
            only_new,
        } => {
            let data = content(*seed, *len);
            let conditions = Conditions {
                if_none_match: only_new.then_some(Matching::Any),
                ..Conditions::default()
            };
            let mut said = || Ok(Attributes::default());
            let put = account.put_with(
                &name(&blob_name(*blob)),
                &mut &data[..],
                Encryption::default(),
                &conditions,
                &mut said,
                &mut |_| (),
            );
            let modelled = &mut model[*blob as usize];
            if refused_for_lease(modelled, &put) {
                return;
            }
            if *only_new && modelled.whole.is_some() {
                assert!(matches!(put, Err(ResourceError::Exists(_))));
                return;
            }
            put.unwrap();
            *modelled = modelled.replaced_by(data);
        }
        Step::Stage {
            blob,
            id,
            seed,
            len,
        } => {
            let data = content(*seed, *len);
            let path = name(&blob_name(*blob));
            let put = account.put_block(
                &path,
                &block_id(*id),
                &mut &data[..],
                Encryption::default(),
                &mut || Ok(()),
            );
            let modelled = &mut model[*blob as usize];
            if modelled.append {
                assert!(matches!(
                    put,
                    Err(ResourceError::Refused(Refusal::BlobType))
                ));
            } else if !refused_for_lease(modelled, &put) {
                put.unwrap();
                modelled.waiting.insert(*id, data);
            }
        }
        Step::Commit { blob, list } => {
            let modelled = &mut model[*blob as usize];
            let found = |id: &u8| {
                let mut blocks = modelled.committed.iter();
                blocks.find(|(other, _)| other == id).map(|(_, data)| data)
            };
            let (mut blocks, mut expected) = (Vec::new(), Some(Vec::new()));
            for (kind, id) in list {
                let (make, data): (fn(BlockId) -> Block, _) = match kind {
                    0 => (Block::Committed, found(id)),
                    1 => (Block::Uncommitted, modelled.waiting.get(id)),
                    _ => (Block::Latest, modelled.waiting.get(id).or(found(id))),
                };
                blocks.push(make(block_id(*id)));
                match (&mut expected, data) {
                    (Some(all), Some(data)) => all.push((*id, data.clone())),
                    _ => expected = None,
                }
            }
            let path = name(&blob_name(*blob));
            let said = Attributes::default();
            let put = account.put_block_list(&path, &blocks, &said, Encryption::default(), &any);
            if refused_for_lease(modelled, &put) {
                return;
            }
            if modelled.append {
                assert!(matches!(
                    put,
                    Err(ResourceError::Refused(Refusal::BlobType))
                ));
                return;
            }
            let Some(committed) = expected else {
                assert!(matches!(put, Err(ResourceError::BadBlock(_))));
                return;
            };
            put.unwrap();
            let whole = committed
                .iter()
                .flat_map(|(_, data)| data.clone())
                .collect();
            *modelled = Modelled {
                committed,
                ..modelled.replaced_by(whole)
            };
        }
        Step::Metadata { blob, value } => {
            let path = name(&blob_name(*blob));
            let set = account.set_metadata(&path, &pairs(*value), Encryption::default(), &any);
            if refused_for_lease(&model[*blob as usize], &set) {
                return;
            }
            match &mut model[*blob as usize].whole {
                Some((_, metadata)) => {
                    set.unwrap();
                    *metadata = pairs(*value);
                }
                None => assert!(matches!(set, Err(ResourceError::NotFound(_)))),
            }
        }
        Step::Delete { blob, snapshots } => {
            let path = name(&blob_name(*blob));
            let deleted = account.delete_with((&path).into(), *snapshots, &any);
            let modelled = &mut model[*blob as usize];
            let only = *snapshots == Snapshots::Only;
            if modelled.whole.is_none() {
                assert!(matches!(deleted, Err(ResourceError::NotFound(_))));
            } else if only {
                deleted.unwrap();
                modelled.snapshots.clear();
            } else if !refused_for_lease(modelled, &deleted) {
                if *snapshots == Snapshots::Refuse && !modelled.snapshots.is_empty() {
                    assert!(matches!(
                        deleted,
                        Err(ResourceError::Refused(Refusal::SnapshotsPresent))
                    ));
                    return;
                }
                deleted.unwrap();
                *modelled = Modelled::default();
            }
        }
        Step::Snapshot { blob, own } => {
            let own = own.map(pairs);
            let taken = account.snapshot(
                &name(&blob_name(*blob)),
                own.as_ref(),
                Encryption::default(),
                &any,
            );
            let modelled = &mut model[*blob as usize];
            let Some((whole, metadata)) = modelled.whole.clone() else {
                assert!(matches!(taken, Err(ResourceError::NotFound(_))));
                return;
            };
            let (blocks, append) = (modelled.committed.clone(), modelled.append);
            let taken = taken.unwrap().snapshot.unwrap();
            let kept = (taken, whole, own.unwrap_or(metadata), blocks, append);
            modelled.snapshots.push(kept);
        }
        Step::Copy {
            from,
            snapshot,
            into,
        } => {
            let (source, path) = (name(&blob_name(*from)), name(&blob_name(*into)));
            let of = &model[*from as usize];
            let kept = snapshot.and_then(|n| of.snapshots.get(n).cloned());
            let of_copy = CopySource {
                account,
                blob: BlobAt {
                    path: &source,
                    snapshot: kept.as_ref().map(|kept| kept.0),
                },
                conditions: &any,
                encryption: Encryption::default(),
            };
            let mut said = |blob: &BlobInfo, said: Attributes| Ok((said, blob.status.clone()));
            let copied = account.copy(&of_copy, &path, Encryption::default(), &any, &mut said);
            if refused_for_lease(&model[*into as usize], &copied) {
                return;
            }
            let (whole, metadata, committed, append) = match (kept, &of.whole) {
                (Some((_, whole, metadata, blocks, append)), _) => {
                    (whole, metadata, blocks, append)
                }
                (None, Some((whole, metadata))) => (
                    whole.clone(),
                    metadata.clone(),
                    of.committed.clone(),
                    of.append,
                ),
                (None, None) => {
                    let missing = ResourceError::Refused(Refusal::SourceMissing);
                    assert_eq!(copied.unwrap_err().to_string(), missing.to_string());
                    return;
                }
            };
            copied.unwrap();
            let modelled = &mut model[*into as usize];
            *modelled = Modelled {
                whole: Some((whole, metadata)),
                committed,
                append,
                ..modelled.replaced_by(Vec::new())
            };
        }
        Step::Begin { blob } => {
            let (path, said) = (name(&blob_name(*blob)), Attributes::default());
            let made = account.create_append_blob(&path, &said, Encryption::default(), &any);
            let modelled = &mut model[*blob as usize];
            if !refused_for_lease(modelled, &made) {
                made.unwrap();
                *modelled = Modelled {
                    append: true,
                    ..modelled.replaced_by(Vec::new())
                };
            }
        }
        Step::Append { blob, seed, len } => {
            let data = content(*seed, *len);
            let path = name(&blob_name(*blob));
            let (check, anywhere) = (&mut || Ok(()), AppendConditions::default());
            let appended = account.append(
                &path,
                &mut &data[..],
                Encryption::default(),
                check,
                &anywhere,
                &any,
            );
            let modelled = &mut model[*blob as usize];
            let append = modelled.append;
            if refused_for_lease(modelled, &appended) {
                return;
            }
            match &mut modelled.whole {
                None => assert!(matches!(appended, Err(ResourceError::NotFound(_)))),
                Some(_) if !append => assert!(matches!(
                    appended,
                    Err(ResourceError::Refused(Refusal::BlobType))
                )),
                Some((whole, _)) => {
                    assert_eq!(appended.unwrap().1, whole.len() as u64);
                    whole.extend(data);
                }
            }
        }
        Step::Lease { blob } => {
            let path = name(&blob_name(*blob));
            let modelled = &mut model[*blob as usize];
            let id = "00000000-0000-0000-0000-000000000001".parse().unwrap();
            let action = match modelled.leased {
                true => LeaseAction::Release(id),
                false => LeaseAction::Acquire {
                    seconds: None,
                    proposed: Some(id),
                },
            };
            let done = account.lease(Leasable::Blob(&path), action, &any);
            match modelled.whole {
                Some(_) => {
                    done.unwrap();
                    modelled.leased = !modelled.leased;
                }
                None => assert!(matches!(done, Err(ResourceError::NotFound(_)))),
            }
        }
        Step::Range { blob, from, to } => {
            let Some((whole, _)) = &model[*blob as usize].whole else {
                return;
            };
            let (from, to) = ((*from).min(whole.len()), (*to).min(whole.len()));
            let mut got = Vec::new();
            let range = Some(from as u64..to as u64);
            account
                .get(&name(&blob_name(*blob)), range, &mut got, &mut |_| ())
                .unwrap();
            assert!(got == whole[from..to]);
        }
        Step::Verify => drop(account.verify(&mut |_, _| ()).unwrap()),
        Step::Reopen => unreachable!("done by who has the fixture"),
    }
}

/// All that there is, is as the model has it, and nothing else is there.
fn compare(fixture: &Fixture, model: &[Modelled; 3]) {
    let account = &fixture.account;
    for (blob, modelled) in (0..).zip(model) {
        let path = name(&blob_name(blob));
        match &modelled.whole {
            None => assert!(matches!(
                fixture.get(&blob_name(blob)),
                Err(ResourceError::NotFound(_))
            )),
            Some((whole, metadata)) => {
                assert!(fixture.get(&blob_name(blob)).unwrap() == *whole);
                let (info, said) = account
                    .attributes(&path, Encryption::default(), &Conditions::default())
                    .unwrap();
                assert_eq!((info.size, &said.metadata), (whole.len() as u64, metadata));
            }
        }
        for (snapshot, whole, metadata, ..) in &modelled.snapshots {
            let at = BlobAt {
                path: &path,
                snapshot: Some(*snapshot),
            };
            let (any, mut got) = (Conditions::default(), Vec::new());
            let reader =
                account.reader(
                    at,
                    Encryption::default(),
                    &any,
                    &mut |blob| Ok(0..blob.size),
                );
            reader.unwrap().read(&mut got, &mut |_| ()).unwrap();
            assert!(got == *whole);
            let (_, said) = account.attributes(at, Encryption::default(), &any).unwrap();
            assert_eq!(said.metadata, *metadata);
        }
        let listed = account.block_list(&path);
        if modelled.whole.is_none() && modelled.waiting.is_empty() {
            assert!(matches!(listed, Err(ResourceError::NotFound(_))));
            continue;
        }
        let listed = listed.unwrap();
        let sizes = |blocks: &[atrest::resource::blob::ListedBlock]| -> Vec<(BlockId, u64)> {
            blocks.iter().map(|b| (b.id.clone(), b.size)).collect()
        };
        let modelled_sizes = |blocks: Vec<(&u8, &Vec<u8>)>| -> Vec<(BlockId, u64)> {
            let sizes = blocks.into_iter();
            sizes
                .map(|(id, data)| (block_id(*id), data.len() as u64))
                .collect()
        };
        let committed = modelled.committed.iter().map(|(id, data)| (id, data));
        assert_eq!(
            sizes(&listed.committed),
            modelled_sizes(committed.collect())
        );
        let waiting = modelled_sizes(modelled.waiting.iter().collect());
        assert_eq!(sizes(&listed.uncommitted), waiting);
    }
    account.verify(&mut |_, _| ()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_a_model_in_memory_says_the_same(
        steps in vec(step(), 1..40),
        protected in any::<bool>(),
    ) {
        let mut fixture = match protected {
            true => Fixture::protected(),
            false => Fixture::plain(),
        };
        let mut model: [Modelled; 3] = Default::default();
        for step in &steps {
            match step {
                Step::Reopen => fixture = fixture.reopen().unwrap(),
                step => take(&fixture, &mut model, step),
            }
        }
        compare(&fixture, &model);
        let fixture = fixture.reopen().unwrap();
        compare(&fixture, &model);
        // No extent is left that nothing refers to. A child of the other test may hold a copy of a lock
        // until it runs: then the next opening finds them.
        if model.iter().all(|m| m.whole.is_none() && m.waiting.is_empty()) {
            let mut fixture = fixture;
            while !fixture.extents().is_empty() {
                fixture = fixture.reopen().unwrap();
            }
        }
    }
}

/// Names the account to a child that is going to be killed.
const KILLED: &str = "ATREST_TEST_BLOB_KILLED";
const ID: ResourceId = ResourceId::from_bytes([0x42; 16]);

fn vault() -> (std::sync::Arc<MemoryVault>, KeyRef, KeyRef) {
    let id = VaultId::from_bytes([0xaa; 16]);
    let vault = MemoryVault::with_id(id);
    let version = KeyVersion::from_bytes([0xbb; 16]);
    for name in ["customer", "service"] {
        let key = KeyEncryptionKey::from_oct(&[0x88; 32]).unwrap();
        vault.add_version(name, version, key);
    }
    let key = |name: &str| KeyRef {
        vault: id,
        name: name.parse().unwrap(),
    };
    (vault, key("customer"), key("service"))
}

fn open(dir: &Path) -> StorageAccount {
    let (vault, key, _) = vault();
    let wrapper: Wrapper = vault;
    StorageAccount::open(dir, ID, Protection::CustomerManaged { key }, &wrapper).unwrap()
}

const ROUND_LEN: usize = CHUNK_LEN + 9;
const LOG_LEN: usize = 10;

/// What the child does, for ever; it tells each round that was acknowledged.
fn rounds(account: &StorageAccount) {
    let (any, said) = (Conditions::default(), Attributes::default());
    for n in 0_u8..=255 {
        let data = vec![n; ROUND_LEN];
        account
            .put(&name("put"), &mut &data[..], &mut |_| ())
            .unwrap();
        for at in 0..3 {
            let part = &data[..ROUND_LEN / 3];
            let path = name("blocks");
            account
                .put_block(
                    &path,
                    &block_id(at),
                    &mut &part[..],
                    Encryption::default(),
                    &mut || Ok(()),
                )
                .unwrap();
        }
        let list: Vec<Block> = (0..3).map(|at| Block::Uncommitted(block_id(at))).collect();
        account
            .put_block_list(&name("blocks"), &list, &said, Encryption::default(), &any)
            .unwrap();
        let (put, log) = (name("put"), name("log"));
        account
            .snapshot(&put, None, Encryption::default(), &any)
            .unwrap();
        let source = CopySource {
            account,
            blob: (&put).into(),
            conditions: &any,
            encryption: Encryption::default(),
        };
        let mut same = |_: &BlobInfo, said: Attributes| Ok((said, BlobStatus::default()));
        account
            .copy(
                &source,
                &name("copy"),
                Encryption::default(),
                &any,
                &mut same,
            )
            .unwrap();
        if n % 3 == 2 {
            account
                .delete_with((&put).into(), Snapshots::Only, &any)
                .unwrap();
        }
        if n == 0 {
            account
                .create_append_blob(&log, &said, Encryption::default(), &any)
                .unwrap();
        }
        let (check, anywhere) = (&mut || Ok(()), AppendConditions::default());
        account
            .append(
                &log,
                &mut &[n; LOG_LEN][..],
                Encryption::default(),
                check,
                &anywhere,
                &any,
            )
            .unwrap();
        println!("\nround {n}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn a_process_that_is_killed_leaves_whole_blobs_and_no_garbage() {
    if let Some(dir) = std::env::var_os(KILLED) {
        return rounds(&open(Path::new(&dir)));
    }
    for run in 0..6_u64 {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("account");
        let (vault, key, service) = vault();
        let wrapper: Wrapper = vault;
        let protection = Protection::CustomerManaged { key };
        StorageAccount::create(&dir, ID, protection, Some(&service), &wrapper).unwrap();
        let test = "a_process_that_is_killed_leaves_whole_blobs_and_no_garbage";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(KILLED, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut told = None;
        for line in out.lines() {
            let line = line.unwrap();
            let round = line
                .strip_prefix("round ")
                .and_then(|n| n.parse::<u8>().ok());
            told = round.or(told);
            if told.is_some_and(|n| u64::from(n) > run) {
                break;
            }
        }
        // Wherever it is by now.
        std::thread::sleep(std::time::Duration::from_micros(run * 1700));
        child.kill().unwrap();
        child.wait().unwrap();
        let told = told.unwrap();

        let account = open(&dir);
        account.verify(&mut |_, _| ()).unwrap();
        let whole = [("put", ROUND_LEN), ("copy", ROUND_LEN)];
        for (blob, len) in [&whole[..], &[("blocks", ROUND_LEN / 3 * 3)]].concat() {
            let mut got = Vec::new();
            account
                .get(&name(blob), None, &mut got, &mut |_| ())
                .unwrap();
            assert!(got[0] >= told, "{blob}: an acknowledged write is gone");
            assert!(got == vec![got[0]; len], "{blob}: a part of one");
        }
        let mut log = Vec::new();
        account
            .get(&name("log"), None, &mut log, &mut |_| ())
            .unwrap();
        assert!(
            log.len() > usize::from(told) * LOG_LEN,
            "an appended block is gone"
        );
        for (n, block) in (0_u8..).zip(log.chunks(LOG_LEN)) {
            assert_eq!(block, [n; LOG_LEN]);
        }
        // What nothing refers to is no more there, and what something refers to was (it was verified).
        for blob in account.blobs().unwrap() {
            if blob.snapshot.is_none() {
                let (path, any) = (blob.path(), Conditions::default());
                account
                    .delete_with((&path).into(), Snapshots::Include, &any)
                    .unwrap();
            }
        }
        assert_eq!(std::fs::read_dir(dir.join("extents")).unwrap().count(), 0);
    }
}
