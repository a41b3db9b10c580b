//! Blocks, containers, and conditions of a storage account: what was committed is what was named, in
//! that order, and nothing of it is lost to another writer, a reader, or a crash.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::base::Clock;
use atrest::resource::blob::{
    Attributes, BlobPath, Block, BlockId, CHUNK_LEN, Conditions, ContainerName, Encryption,
    Matching, Pairs, Properties, StorageAccount,
};
use atrest::resource::{ProtectedResource, ResourceError};
use jiff::Timestamp;

fn id(n: u32) -> BlockId {
    BlockId::from_bytes(&n.to_be_bytes()).unwrap()
}

fn stage(account: &StorageAccount, blob: &str, n: u32, data: &[u8]) {
    let put = account.put_block(
        &name(blob),
        &id(n),
        &mut &data[..],
        Encryption::default(),
        &mut || Ok(()),
    );
    assert_eq!(put.unwrap().size, data.len() as u64);
}

fn commit(account: &StorageAccount, blob: &str, blocks: &[Block]) -> Result<(), ResourceError> {
    let (said, any) = (Attributes::default(), Conditions::default());
    account
        .put_block_list(&name(blob), blocks, &said, Encryption::default(), &any)
        .map(drop)
}

fn pairs(all: &[(&str, &str)]) -> Pairs {
    let owned = all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    owned.collect()
}

use Block::{Committed, Latest, Uncommitted};

#[test]
fn blocks_come_back_in_the_order_of_their_list_and_not_of_their_arrival() {
    for fixture in [Fixture::protected(), Fixture::plain()] {
        let account = &fixture.account;
        let parts: Vec<Vec<u8>> = [3, CHUNK_LEN + 1, 0, 70].map(bytes).into();
        for n in [2, 0, 3, 1_u32] {
            stage(account, "a", n, &parts[n as usize]);
        }
        assert!(matches!(fixture.get("a"), Err(ResourceError::NotFound(_))));
        let listed = account.block_list(&name("a")).unwrap();
        assert!(listed.blob.is_none() && listed.committed.is_empty());
        let sizes: Vec<u64> = listed.uncommitted.iter().map(|b| b.size).collect();
        assert_eq!(
            sizes,
            parts.iter().map(|p| p.len() as u64).collect::<Vec<_>>()
        );
        account.verify(&mut |_, _| ()).unwrap();

        let before = fixture.snapshot();
        commit(account, "a", &[1, 3, 1, 0].map(|n| Uncommitted(id(n)))).unwrap();
        let expected = [&parts[1], &parts[3], &parts[1], &parts[0]]
            .map(|p| &p[..])
            .concat();
        assert!(fixture.get("a").unwrap() == expected);
        // No byte of a block was rewritten, and the one that was not named is gone.
        assert_eq!(fixture.extents().len(), 3);
        for path in fixture.extents() {
            assert!(before.contains(&(path.clone(), std::fs::read(&path).unwrap())));
        }
        // Again, from what is committed and what came since.
        stage(account, "a", 9, b"new");
        stage(account, "a", 3, b"newer");
        let list = [
            Latest(id(3)),
            Committed(id(3)),
            Committed(id(0)),
            Latest(id(9)),
        ];
        commit(account, "a", &list).unwrap();
        let expected = [b"newer", &parts[3][..], &parts[0], b"new"].concat();
        assert!(fixture.get("a").unwrap() == expected);
        let listed = account.block_list(&name("a")).unwrap();
        assert_eq!((listed.committed.len(), listed.uncommitted.len()), (4, 0));
        account.verify(&mut |_, _| ()).unwrap();
        let fixture = fixture.reopen().unwrap();
        assert!(fixture.get("a").unwrap() == expected);
        // An empty list is an empty blob.
        commit(&fixture.account, "a", &[]).unwrap();
        assert_eq!(fixture.get("a").unwrap(), b"");
        assert_eq!(fixture.extents().len(), 0);
    }
}

#[test]
fn block_that_is_not_there_or_does_not_fit_changes_nothing() {
    let fixture = Fixture::protected();
    let account = &fixture.account;
    put_bytes(account, "a", b"old");
    stage(account, "a", 1, b"one");
    for list in [[Uncommitted(id(2))], [Committed(id(1))], [Latest(id(2))]] {
        let refused = commit(account, "a", &list).unwrap_err();
        assert!(matches!(refused, ResourceError::BadBlock(_)), "{refused}");
    }
    let longer = BlockId::from_bytes(b"longer").unwrap();
    let put = account.put_block(
        &name("a"),
        &longer,
        &mut &b"x"[..],
        Encryption::default(),
        &mut || Ok(()),
    );
    assert!(matches!(put, Err(ResourceError::BadBlock(_))));
    let refuses = &mut || Err(ResourceError::BadBlock("another digest".into()));
    let put = account.put_block(
        &name("a"),
        &id(2),
        &mut &b"x"[..],
        Encryption::default(),
        refuses,
    );
    assert!(matches!(put, Err(ResourceError::BadBlock(_))));
    let many = vec![Uncommitted(id(1)); BlockId::COMMITTED_MAX + 1];
    assert!(commit(account, "a", &many).is_err());
    assert_eq!(fixture.get("a").unwrap(), b"old");
    assert_eq!(fixture.extents().len(), 2);
    commit(account, "a", &[Uncommitted(id(1))]).unwrap();
    assert_eq!(fixture.get("a").unwrap(), b"one");
}

#[test]
fn fifty_thousand_blocks_are_one_blob_and_only_the_asked_ones_are_read() {
    let fixture = Fixture::protected();
    let account = &fixture.account;
    // Few are staged, and each is named often.
    for n in 0..100_u32 {
        stage(account, "a", n, &n.to_be_bytes());
    }
    let order = |i: usize| (i * 7 % 100) as u32;
    let list: Vec<Block> = (0..BlockId::COMMITTED_MAX)
        .map(|i| Uncommitted(id(order(i))))
        .collect();
    commit(account, "a", &list).unwrap();
    let whole: Vec<u8> = (0..list.len())
        .flat_map(|i| order(i).to_be_bytes())
        .collect();
    assert!(fixture.get("a").unwrap() == whole);
    let mut got = Vec::new();
    account
        .get(&name("a"), Some(399..405), &mut got, &mut |_| ())
        .unwrap();
    assert_eq!(got, whole[399..405]);
}

/// Each is written and synced by itself, which takes minutes.
#[test]
#[ignore = "takes minutes: cargo test --release --test blob_blocks -- --ignored --nocapture distinct"]
fn fifty_thousand_distinct_blocks_are_staged_committed_and_read_back() {
    let fixture = Fixture::protected();
    let account = &fixture.account;
    let count = u32::try_from(BlockId::COMMITTED_MAX).unwrap();
    let started = std::time::Instant::now();
    let told = |what: &str| println!("{what}: {:.1} s", started.elapsed().as_secs_f64());
    std::thread::scope(|scope| {
        for part in 0..8 {
            scope.spawn(move || {
                for n in (part..count).step_by(8) {
                    stage(account, "a", n, &n.to_be_bytes());
                }
            });
        }
    });
    told("staged");
    let list: Vec<Block> = (0..count).rev().map(|n| Uncommitted(id(n))).collect();
    commit(account, "a", &list).unwrap();
    told("committed");
    let whole: Vec<u8> = (0..count).rev().flat_map(u32::to_be_bytes).collect();
    assert!(fixture.get("a").unwrap() == whole);
    told("read");
    let mut got = Vec::new();
    account
        .get(&name("a"), Some(100_001..100_007), &mut got, &mut |_| ())
        .unwrap();
    assert_eq!(got, whole[100_001..100_007]);
    account.verify(&mut |_, _| ()).unwrap();
    told("verified");
}

#[test]
fn block_of_another_blob_is_not_taken_for_one_of_this() {
    // Rows of the catalog are moved about by one who has the service's key.
    let fixture = Fixture::protected();
    stage(&fixture.account, "a", 1, b"of a");
    stage(&fixture.account, "b", 1, b"of b");
    let swap = "UPDATE blocks SET blob = 'x' WHERE blob = 'a'; UPDATE blocks SET blob = 'a' WHERE blob = 'b';
                UPDATE blocks SET blob = 'b' WHERE blob = 'x'";
    fixture.tamper(swap);
    let refused = commit(&fixture.account, "a", &[Uncommitted(id(1))]).unwrap_err();
    assert!(
        matches!(refused, ResourceError::Unauthentic { .. }),
        "{refused}"
    );
    fixture.tamper(swap);
    commit(&fixture.account, "a", &[Uncommitted(id(1))]).unwrap();
    assert_eq!(fixture.get("a").unwrap(), b"of a");
}

#[test]
fn long_blob_that_is_replaced_while_it_is_read_is_read_to_its_end() {
    struct Replaces<'a>(&'a Fixture, Vec<u8>);
    impl Write for Replaces<'_> {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            if self.1.is_empty() {
                // By another process, which also looks for garbage.
                let other = self.0.open().unwrap();
                put_bytes(&other, "a", b"new");
                self.0.open().unwrap();
            }
            self.1.extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let fixture = Fixture::protected();
    let (mut list, mut whole) = (Vec::new(), Vec::new());
    for n in 0..80_u32 {
        stage(&fixture.account, "a", n, &bytes(n as usize));
        list.push(Uncommitted(id(n)));
        whole.extend(bytes(n as usize));
    }
    commit(&fixture.account, "a", &list).unwrap();
    let mut sink = Replaces(&fixture, Vec::new());
    fixture
        .account
        .get(&name("a"), None, &mut sink, &mut |_| ())
        .unwrap();
    assert!(sink.1 == whole);
    assert_eq!(fixture.get("a").unwrap(), b"new");
    // What was kept for the reader goes with the next removal, or at the next opening.
    let fixture = fixture.reopen().unwrap();
    assert_eq!(fixture.extents().len(), 1);
}

#[test]
fn blocks_that_nobody_commits_are_forgotten_and_others_are_not() {
    let fixture = Fixture::protected();
    stage(&fixture.account, "old", 1, b"x");
    stage(&fixture.account, "both", 1, b"x");
    let between = Timestamp::now();
    stage(&fixture.account, "both", 2, b"y");
    fixture.account.forget_blocks(between).unwrap();
    assert!(matches!(
        fixture.account.block_list(&name("old")),
        Err(ResourceError::NotFound(_))
    ));
    let kept = fixture.account.block_list(&name("both")).unwrap();
    assert_eq!(kept.uncommitted.len(), 2);
    assert_eq!(fixture.extents().len(), 2);
    let fixture = fixture.reopen().unwrap();
    commit(&fixture.account, "both", &[Latest(id(1)), Latest(id(2))]).unwrap();
    assert_eq!(fixture.get("both").unwrap(), b"xy");
}

#[test]
fn of_two_writers_with_one_condition_one_wins() {
    for if_match in [true, false] {
        let fixture = Fixture::protected();
        let path = name("a");
        let mut conditions = Conditions::default();
        if if_match {
            put_bytes(&fixture.account, "a", b"old");
            let etag = fixture.account.info(&path).unwrap().etag.to_string();
            conditions.if_match = Some(Matching::Tags(vec![etag]));
        } else {
            conditions.if_none_match = Some(Matching::Any);
        }
        let accounts: Vec<_> = (0..4).map(|_| fixture.open().unwrap()).collect();
        let won: Vec<u8> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0_u8..8)
                .map(|n| {
                    let (account, conditions) = (&accounts[n as usize % 4], &conditions);
                    let path = &path;
                    scope.spawn(move || {
                        let mut said = || Ok(Attributes::default());
                        let data = [n; 9];
                        account
                            .put_with(
                                path,
                                &mut &data[..],
                                Encryption::default(),
                                conditions,
                                &mut said,
                                &mut |_| (),
                            )
                            .map(|_| n)
                    })
                })
                .collect();
            let ended = writers.into_iter().map(|writer| writer.join().unwrap());
            ended
                .filter_map(|done| match done {
                    Ok(n) => Some(n),
                    Err(ResourceError::ConditionNotMet { .. } | ResourceError::Exists(_)) => None,
                    Err(e) => panic!("{e}"),
                })
                .collect()
        });
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(fixture.get("a").unwrap(), [won[0]; 9]);
        // One who removes waits for no other: what he leaves goes at the next opening.
        drop(accounts);
        assert_eq!(fixture.reopen().unwrap().extents().len(), 1);
    }
}

#[test]
fn commits_at_once_from_the_same_blocks_leave_a_whole_blob() {
    let fixture = Fixture::protected();
    for n in 0..4 {
        stage(&fixture.account, "a", n, &[n as u8; 5]);
    }
    commit(&fixture.account, "a", &[0, 1, 2, 3].map(|n| Latest(id(n)))).unwrap();
    let orders = [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1], [0, 2, 1, 3]];
    std::thread::scope(|scope| {
        for order in orders {
            let account = fixture.open().unwrap();
            scope.spawn(move || {
                for _ in 0..5 {
                    commit(&account, "a", &order.map(|n| Latest(id(n)))).unwrap();
                }
            });
        }
        for _ in 0..20 {
            assert_eq!(fixture.get("a").unwrap().len(), 20);
        }
    });
    let last = fixture.get("a").unwrap();
    assert!(orders.iter().any(|o| {
        o.iter()
            .flat_map(|&n| [n as u8; 5])
            .eq(last.iter().copied())
    }));
    assert_eq!(fixture.extents().len(), 4);
}

#[test]
fn what_is_said_of_a_blob_is_kept_and_metadata_goes_with_the_customers_key() {
    let fixture = Fixture::protected();
    let (account, path, any) = (&fixture.account, name("a"), Conditions::default());
    let said = Attributes {
        properties: Properties {
            content_type: Some("text/plain".into()),
            ..Properties::default()
        },
        tags: pairs(&[("project", "x")]),
        metadata: pairs(&[("author", "Rosalind")]),
        content_md5: Some([7; 16]),
        tier: None,
    };
    let mut attributes = || Ok(said.clone());
    let put = account
        .put_with(
            &path,
            &mut &b"data"[..],
            Encryption::default(),
            &any,
            &mut attributes,
            &mut |_| (),
        )
        .unwrap();
    let (info, got) = account
        .attributes(&path, Encryption::default(), &any)
        .unwrap();
    assert_eq!((&info, &got), (&put, &said));
    let other = pairs(&[("author", "Franklin")]);
    let changed = account
        .set_metadata(&path, &other, Encryption::default(), &any)
        .unwrap();
    assert_ne!(changed.etag, put.etag);
    let tagged = account.set_tags(&path, &pairs(&[]), &any).unwrap();
    assert_eq!(tagged.etag, changed.etag, "tags are not part of the state");
    let old = Conditions {
        if_match: Some(Matching::Tags(vec![put.etag.to_string()])),
        ..Conditions::default()
    };
    let refused = account
        .set_metadata(&path, &said.metadata, Encryption::default(), &old)
        .unwrap_err();
    assert!(
        matches!(refused, ResourceError::ConditionNotMet { .. }),
        "{refused}"
    );
    assert!(account.delete(&path, &old).is_err());

    fixture.vault.enable("customer", false);
    let refused = [
        account
            .attributes(&path, Encryption::default(), &any)
            .map(drop),
        account
            .set_metadata(&path, &other, Encryption::default(), &any)
            .map(drop),
        account
            .put_block(
                &path,
                &id(1),
                &mut &b"x"[..],
                Encryption::default(),
                &mut || Ok(()),
            )
            .map(drop),
    ];
    for refused in refused {
        assert!(
            matches!(refused, Err(ResourceError::KeyUnavailable { .. })),
            "{refused:?}"
        );
    }
    let html = Properties {
        content_type: Some("text/html".into()),
        ..Properties::default()
    };
    assert_eq!(
        account
            .set_properties(&path, &html, &any)
            .unwrap()
            .properties,
        html
    );
    account.set_tags(&path, &said.tags, &any).unwrap();
    assert_eq!(
        account.list(&path.container, "").unwrap()[0].tags,
        said.tags
    );
    fixture.vault.enable("customer", true);
    let fixture = fixture.reopen().unwrap();
    let (info, got) = fixture
        .account
        .attributes(&path, Encryption::default(), &any)
        .unwrap();
    assert_eq!((info.properties, got.metadata), (html, other));
    assert_eq!(got.content_md5, Some([7; 16]));
}

#[test]
fn container_holds_its_own_blobs_and_takes_them_along() {
    let fixture = Fixture::protected();
    let account = &fixture.account;
    let reports: ContainerName = "reports".parse().unwrap();
    let in_reports = BlobPath {
        container: reports.clone(),
        name: name("a").name,
    };
    let missing = account.put(&in_reports, &mut &b"x"[..], &mut |_| ());
    assert!(matches!(missing, Err(ResourceError::NoContainer(_))));
    let made = account
        .create_container(&reports, &pairs(&[("k", "v")]))
        .unwrap();
    let again = account.create_container(&reports, &Pairs::new());
    assert!(matches!(again, Err(ResourceError::Exists(_))));
    put_bytes(account, "a", b"in default");
    account
        .put(&in_reports, &mut &b"in reports"[..], &mut |_| ())
        .unwrap();
    stage(account, "b", 1, b"waits");
    assert_eq!(account.list(&reports, "").unwrap().len(), 1);
    assert_eq!(account.blobs().unwrap().len(), 2);
    // The manifest of one is not the other's, though both have the name.
    fixture.tamper(
        "UPDATE blobs SET manifest = (SELECT manifest FROM blobs WHERE container = 'default'),
             generation = generation WHERE container = 'reports'",
    );
    let moved = account.get(&in_reports, None, &mut io::sink(), &mut |_| ());
    assert!(matches!(moved, Err(ResourceError::Unauthentic { .. })));
    // Putting blobs into it is no change of the container.
    assert_eq!(account.container(&reports).unwrap(), made);
    assert_eq!(
        account.containers("rep", "", 9).unwrap(),
        std::slice::from_ref(&made)
    );
    assert_eq!(account.containers("", "default", 1).unwrap(), [made]);
    account
        .delete_container(&reports, &Conditions::default())
        .unwrap();
    account
        .delete_container(&ContainerName::default(), &Conditions::default())
        .unwrap();
    assert!(account.blobs().unwrap().is_empty());
    assert_eq!(fixture.extents().len(), 0);
    assert!(matches!(
        fixture.get("a"),
        Err(ResourceError::NoContainer(_))
    ));
}

#[test]
fn access_keys_are_the_accounts_own_and_lie_in_no_file_in_clear() {
    let fixture = Fixture::protected();
    let keys = fixture.account.access_keys().unwrap();
    assert_ne!(keys[0].expose(), keys[1].expose());
    let bare = |haystack: &[u8], key: &[u8]| haystack.windows(key.len()).any(|w| w == key);
    for (_, bytes) in fixture.snapshot() {
        assert!(!bare(&bytes, keys[0].expose()) && !bare(&bytes, keys[1].expose()));
    }
    fixture.account.renew_access_key(1).unwrap();
    let renewed = fixture.open().unwrap().access_keys().unwrap();
    assert_ne!(renewed[0].expose(), keys[0].expose());
    assert_eq!(renewed[1].expose(), keys[1].expose());
    assert!(fixture.account.renew_access_key(3).is_err());
    // The control: a plain account's are seen.
    let plain = Fixture::plain();
    let keys = plain.account.access_keys().unwrap();
    assert!(
        plain
            .snapshot()
            .iter()
            .any(|(_, bytes)| bare(bytes, keys[0].expose()))
    );
}

/// A clock that does something the second time that it is asked.
struct Meanwhile {
    asked: AtomicUsize,
    what: Box<dyn Fn() + Send + Sync>,
}

impl Clock for Meanwhile {
    fn now(&self) -> Timestamp {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 1 {
            (self.what)();
        }
        Timestamp::now()
    }
}

#[test]
fn blocks_of_a_blob_that_was_replaced_meanwhile_do_not_come_back() {
    for meanwhile in [false, true] {
        let fixture = Fixture::protected();
        let account = &fixture.account;
        stage(account, "a", 1, b"old");
        commit(account, "a", &[Latest(id(1))]).unwrap();
        // Its bytes stay.
        let (any, encryption) = (Conditions::default(), Encryption::default());
        account
            .snapshot(&name("a"), None, encryption, &any)
            .unwrap();
        let other = fixture.open().unwrap();
        // Once the blocks are found, and before the list is committed.
        let clock = Meanwhile {
            asked: AtomicUsize::new(0),
            what: Box::new(move || {
                if meanwhile {
                    put_bytes(&other, "a", b"new");
                }
            }),
        };
        let slow = fixture.open().unwrap().with_clock(Arc::new(clock));
        let committed = commit(&slow, "a", &[Committed(id(1))]);
        match meanwhile {
            false => committed.unwrap(),
            true => assert!(
                matches!(committed, Err(ResourceError::BadBlock(_))),
                "{committed:?}"
            ),
        }
        let expected: &[u8] = if meanwhile { b"new" } else { b"old" };
        assert_eq!(fixture.get("a").unwrap(), expected);
    }
}
