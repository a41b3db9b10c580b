//! Storage accounts as their users see them: what was put comes back, whatever happens meanwhile;
//! nothing comes back once the key is refused.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::fs;
use std::io::{self, Read, Write};
use std::sync::Arc;

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::base::{ExtentId, ResourceId};
use atrest::crypto::{Secret, random_id};
use atrest::envelope::{Envelope, ResourceKind};
use atrest::resource::blob::{CHUNK_LEN, Conditions, Encryption, StorageAccount};
use atrest::resource::{ProtectedResource, Protection, ResourceError};
use proptest::prelude::*;

const MIB: usize = 1 << 20;

#[test]
fn every_size_around_a_border_comes_back_whole() {
    let sizes = [
        0,
        1,
        CHUNK_LEN - 1,
        CHUNK_LEN,
        CHUNK_LEN + 1,
        MIB - 1,
        MIB,
        MIB + 1,
        5 * MIB,
    ];
    for fixture in [Fixture::protected(), Fixture::plain()] {
        for size in sizes {
            let data = bytes(size);
            let mut seen = 0;
            let put = fixture
                .account
                .put(&name("a"), &mut &data[..], &mut |n| seen = n)
                .unwrap();
            assert_eq!((put.size, seen), (size as u64, size as u64));
            let (mut got, mut given) = (Vec::new(), 0);
            let info = fixture
                .account
                .get(&name("a"), None, &mut got, &mut |n| given = n)
                .unwrap();
            assert!(got == data, "{size}");
            assert_eq!((info, given), (put, size as u64));
        }
        // Each put replaced the one before, and its extent went with it.
        assert_eq!(fixture.extents().len(), 1);
        fixture.account.verify(&mut |_, _| ()).unwrap();
    }
}

#[test]
fn source_that_gives_a_byte_at_a_time_makes_the_same_blob() {
    struct Dribble<'a>(&'a [u8]);
    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(self.0.len()).min(4097);
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }
    let fixture = Fixture::protected();
    let data = bytes(2 * CHUNK_LEN + 7);
    fixture
        .account
        .put(&name("a"), &mut Dribble(&data), &mut |_| ())
        .unwrap();
    assert!(fixture.get("a").unwrap() == data);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_range_gives_those_bytes(
        size in 0..3 * MIB,
        from in 0.0..=1.0_f64,
        to in 0.0..=1.0_f64,
    ) {
        let fixture = Fixture::protected();
        let data = bytes(size);
        put_bytes(&fixture.account, "a", &data);
        let (a, b) = ((size as f64 * from) as usize, (size as f64 * to) as usize);
        let (a, b) = (a.min(b), a.max(b));
        let mut got = Vec::new();
        let range = a as u64..b as u64;
        fixture.account.get(&name("a"), Some(range), &mut got, &mut |_| ()).unwrap();
        prop_assert!(got == data[a..b]);
    }
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "the mistake under test")]
fn range_outside_the_blob_is_refused() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", &bytes(10));
    let get = |range| {
        let mut got = Vec::new();
        let info = fixture
            .account
            .get(&name("a"), Some(range), &mut got, &mut |_| ());
        info.map(|_| got)
    };
    assert_eq!(get(3..7).unwrap(), &bytes(10)[3..7]);
    assert_eq!(get(10..10).unwrap(), b"");
    for range in [0..11, 11..11, 7..3, 0..u64::MAX] {
        assert!(matches!(get(range), Err(ResourceError::Usage(_))));
    }
}

#[test]
fn ranged_read_touches_no_other_chunk() {
    let fixture = Fixture::protected();
    let data = bytes(3 * CHUNK_LEN);
    put_bytes(&fixture.account, "a", &data);
    let path = fixture.extents().remove(0);
    let mut extent = fs::read(&path).unwrap();
    // The first and the last chunk are spoilt.
    extent[200] ^= 1;
    let end = extent.len() - 1;
    extent[end] ^= 1;
    fs::write(&path, extent).unwrap();
    let mut got = Vec::new();
    let middle = CHUNK_LEN as u64..2 * CHUNK_LEN as u64;
    fixture
        .account
        .get(&name("a"), Some(middle), &mut got, &mut |_| ())
        .unwrap();
    assert!(got == data[CHUNK_LEN..2 * CHUNK_LEN]);
    fixture.get("a").unwrap_err();
}

#[test]
fn list_is_in_order_and_keeps_to_the_prefix() {
    for fixture in [Fixture::protected(), Fixture::plain()] {
        for n in ["b/2", "a", "b/10", "b", "c%_", "ü"] {
            put_bytes(&fixture.account, n, n.as_bytes());
        }
        let list = |prefix| -> Vec<String> {
            let blobs = fixture.account.list(&Default::default(), prefix).unwrap();
            blobs.into_iter().map(|b| b.name.to_string()).collect()
        };
        assert_eq!(list(""), ["a", "b", "b/10", "b/2", "c%_", "ü"]);
        assert_eq!(list("b/"), ["b/10", "b/2"]);
        assert_eq!(list("%"), [""; 0]);
        assert_eq!(list("ü"), ["ü"]);
    }
}

#[test]
fn deleted_blob_is_gone_with_its_bytes() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"one");
    put_bytes(&fixture.account, "b", b"two");
    fixture
        .account
        .delete(&name("a"), &Conditions::default())
        .unwrap();
    assert_eq!(fixture.extents().len(), 1);
    assert_eq!(fixture.get("b").unwrap(), b"two");
    for gone in [
        fixture.get("a").unwrap_err(),
        fixture.account.info(&name("a")).unwrap_err(),
        fixture
            .account
            .delete(&name("a"), &Conditions::default())
            .unwrap_err(),
    ] {
        assert!(matches!(gone, ResourceError::NotFound(_)), "{gone}");
    }
}

#[test]
fn failed_put_leaves_the_old_blob() {
    struct Breaks(usize);
    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(self.0);
            self.0 -= len;
            match len {
                0 => Err(io::Error::other("the cable was pulled")),
                n => Ok(n),
            }
        }
    }
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"old");
    let failed = fixture
        .account
        .put(&name("a"), &mut Breaks(3 * MIB), &mut |_| ())
        .unwrap_err();
    assert!(failed.to_string().contains("the cable was pulled"));
    assert_eq!(fixture.get("a").unwrap(), b"old");
    assert_eq!(fixture.extents().len(), 1);
}

#[test]
fn what_a_dead_put_left_behind_is_collected_at_open() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"kept");
    let dir = fixture.account.dir().join("extents");
    let orphan = random_id(ExtentId::from_bytes).to_string();
    let foreign = "notes.txt";
    for file in [&orphan, foreign] {
        fs::write(dir.join(file), b"left behind").unwrap();
    }
    let fixture = fixture.reopen().unwrap();
    assert_eq!(fixture.extents().len(), 2);
    assert!(dir.join(foreign).exists());
    assert_eq!(fixture.get("a").unwrap(), b"kept");
}

#[test]
fn put_under_way_is_not_collected_by_another_opener() {
    struct OpensMeanwhile<'a>(&'a Fixture, bool);
    impl Read for OpensMeanwhile<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.1, true) {
                return Ok(0);
            }
            self.0.open().unwrap();
            buffer[0] = b'x';
            Ok(1)
        }
    }
    let fixture = Fixture::protected();
    fixture
        .account
        .put(
            &name("a"),
            &mut OpensMeanwhile(&fixture, false),
            &mut |_| (),
        )
        .unwrap();
    assert_eq!(fixture.get("a").unwrap(), b"x");
}

#[test]
fn puts_at_once_leave_one_whole_winner() {
    let fixture = Fixture::protected();
    let blobs: Vec<Vec<u8>> = (0..8).map(|n| vec![n; 2 * CHUNK_LEN + 1]).collect();
    std::thread::scope(|scope| {
        for data in &blobs {
            scope.spawn(|| put_bytes(&fixture.account, "a", data));
        }
        for _ in 0..8 {
            scope.spawn(|| match fixture.get("a") {
                Ok(got) => assert!(blobs.contains(&got)),
                Err(e) => assert!(matches!(e, ResourceError::NotFound(_)), "{e}"),
            });
        }
    });
    assert!(blobs.contains(&fixture.get("a").unwrap()));
    assert_eq!(fixture.extents().len(), 1);
}

#[test]
fn disabled_key_stops_reads_and_writes_but_not_list_and_delete() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"one");
    put_bytes(&fixture.account, "b", b"two");
    fixture.vault.enable("customer", false);
    let put = fixture.account.put(&name("c"), &mut &b"x"[..], &mut |_| ());
    let refused = [
        fixture.get("a").unwrap_err(),
        fixture
            .account
            .attributes(&name("a"), Encryption::default(), &Conditions::default())
            .unwrap_err(),
        put.unwrap_err(),
        fixture.account.verify(&mut |_, _| ()).unwrap_err(),
    ];
    for error in refused {
        assert!(
            matches!(&error, ResourceError::KeyUnavailable { why, .. } if why.contains("KeyDisabled")),
            "{error}"
        );
    }
    assert_eq!(fixture.account.blobs().unwrap().len(), 2);
    fixture
        .account
        .delete(&name("b"), &Conditions::default())
        .unwrap();
    // Also for whoever opens it only now.
    let reopened = fixture.reopen().unwrap();
    assert_eq!(reopened.account.blobs().unwrap().len(), 1);
    reopened.get("a").unwrap_err();
    reopened.vault.enable("customer", true);
    assert_eq!(reopened.get("a").unwrap(), b"one");
}

#[test]
fn account_whose_service_key_is_refused_does_not_open() {
    let fixture = Fixture::protected();
    fixture.vault.enable("service", false);
    let refused = fixture.open().map(|_| ()).unwrap_err();
    assert!(
        matches!(refused, ResourceError::KeyUnavailable { .. }),
        "{refused}"
    );
    fixture.vault.enable("service", true);
    fixture.open().unwrap();
}

#[test]
fn revocation_stops_a_put_half_way() {
    struct Revokes<'a>(&'a Fixture, usize);
    impl Read for Revokes<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += buffer.len();
            assert!(self.1 < 8 * MIB, "the put went on");
            if self.1 > 3 * MIB {
                self.0.vault.enable("customer", false);
            }
            buffer.fill(7);
            Ok(buffer.len())
        }
    }
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"old");
    let refused = fixture
        .account
        .put(&name("a"), &mut Revokes(&fixture, 0), &mut |_| ())
        .unwrap_err();
    assert!(
        matches!(refused, ResourceError::KeyUnavailable { .. }),
        "{refused}"
    );
    fixture.vault.enable("customer", true);
    assert_eq!(fixture.get("a").unwrap(), b"old");
    assert_eq!(fixture.extents().len(), 1);
}

#[test]
fn revocation_stops_a_get_half_way() {
    struct Revokes<'a>(&'a Fixture, usize, bool);
    impl Write for Revokes<'_> {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.1 += data.len();
            self.0.vault.enable("customer", self.2);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", &bytes(8 * MIB));
    let mut goes_on = Revokes(&fixture, 0, true);
    fixture
        .account
        .get(&name("a"), None, &mut goes_on, &mut |_| ())
        .unwrap();
    assert_eq!(goes_on.1, 8 * MIB);
    let mut stops = Revokes(&fixture, 0, false);
    let refused = fixture
        .account
        .get(&name("a"), None, &mut stops, &mut |_| ())
        .unwrap_err();
    assert!(
        matches!(refused, ResourceError::KeyUnavailable { .. }),
        "{refused}"
    );
    assert_eq!(
        stops.1,
        MIB / 4,
        "no batch after the one that was being written"
    );
}

#[test]
fn put_reads_no_further_ahead_than_its_few_buffers() {
    struct Counts<'a> {
        extents: &'a std::path::Path,
        given: u64,
        most_ahead: u64,
    }
    impl Read for Counts<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.given == 64 * MIB as u64 {
                return Ok(0);
            }
            // It is made when it is known to be a long one.
            let file = fs::read_dir(self.extents).unwrap().next();
            let written = file.map_or(0, |file| file.unwrap().metadata().unwrap().len());
            let ahead = self.given.saturating_sub(written);
            self.most_ahead = self.most_ahead.max(ahead);
            self.given += buffer.len() as u64;
            Ok(buffer.len())
        }
    }
    let fixture = Fixture::protected();
    let extents = fixture.account.dir().join("extents");
    let mut source = Counts {
        extents: &extents,
        given: 0,
        most_ahead: 0,
    };
    fixture
        .account
        .put(&name("a"), &mut source, &mut |_| ())
        .unwrap();
    assert_eq!(source.given, 64 * MIB as u64);
    assert!(source.most_ahead <= 4 * MIB as u64, "{}", source.most_ahead);
}

#[test]
fn rewrap_changes_the_header_file_alone() {
    let mut fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", &bytes(CHUNK_LEN + 1));
    let before = fixture.snapshot();
    let old = fixture.account.envelope().unwrap();
    fixture.vault.add("customer");
    let to = fixture.account.protection().clone();
    let done = fixture.account.rewrap(&to).unwrap();
    let new = fixture.account.envelope().unwrap();
    assert_ne!(old.key.version, new.key.version);
    assert_eq!(
        (done.from, done.to),
        (old.key.to_string(), new.key.to_string())
    );
    assert_eq!(done.bytes_rewritten, 16 + 2 * 768);
    let changed: Vec<_> = fixture
        .snapshot()
        .into_iter()
        .filter(|file| !before.contains(file))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(changed, [fixture.account.dir().join("account.atrest")]);
    assert_eq!(fixture.get("a").unwrap(), bytes(CHUNK_LEN + 1));
    assert_eq!(
        fixture.reopen().unwrap().get("a").unwrap(),
        bytes(CHUNK_LEN + 1)
    );
}

#[test]
fn account_open_elsewhere_survives_a_rewrap_to_another_key() {
    let mut fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"one");
    let elsewhere = fixture.open().unwrap();
    let key = fixture.vault.add("other");
    fixture
        .account
        .rewrap(&Protection::CustomerManaged { key: key.clone() })
        .unwrap();
    fixture.vault.enable("customer", false);
    let mut got = Vec::new();
    elsewhere
        .get(&name("a"), None, &mut got, &mut |_| ())
        .unwrap();
    assert_eq!(got, b"one");
    // And whoever still believes in the old key is told the new one.
    assert_eq!(fixture.open().unwrap().protection().key(), Some(&key));
}

/// As a server does that was running when the account was put under the customer's key.
#[test]
fn disabling_the_new_key_stops_an_account_that_was_open_before_the_rewrap() {
    let mut fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"one");
    let elsewhere = fixture.open().unwrap();
    let read = || {
        let mut got = Vec::new();
        let read = elsewhere.get(&name("a"), None, &mut got, &mut |_| ());
        read.map(|_| got)
    };
    let write = || elsewhere.put(&name("b"), &mut &b"two"[..], &mut |_| ());
    assert_eq!(read().unwrap(), b"one", "it holds a lease by the old key");
    let key = fixture.vault.add("other");
    let to = Protection::CustomerManaged { key };
    fixture.account.rewrap(&to).unwrap();
    fixture.vault.enable("other", false);
    for refused in [read().map(|_| ()), write().map(|_| ())] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ResourceError::KeyUnavailable { .. }),
            "{refused}"
        );
    }
    // Lists need the catalog's key, which stands.
    assert_eq!(elsewhere.blobs().unwrap().len(), 1);
    fixture.vault.enable("other", true);
    assert_eq!(read().unwrap(), b"one");
    // The old key counts for nothing any more.
    fixture.vault.enable("customer", false);
    assert_eq!(read().unwrap(), b"one");
    write().unwrap();
}

/// Who can write files, and wrap with the public half of a key, ends nothing and gets nothing.
#[test]
fn an_open_account_does_not_take_over_a_key_that_a_forger_wrapped() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"one");
    let header = fixture.account.dir().join("account.atrest");
    let original = fs::read(&header).unwrap();
    let (id, key) = (fixture.account.id(), fixture.vault.add("customer"));
    let kind = ResourceKind::Storage;
    let seal = |dek: &Secret<32>| Envelope::seal(&*fixture.vault, &key, kind, id, dek).unwrap();
    let mut forged = original.clone();
    forged[16..16 + Envelope::LEN].copy_from_slice(&seal(&Secret::random()).to_bytes());
    fs::write(&header, &forged).unwrap();
    // The vault is asked again, and what is written is under the account's own key.
    fixture.vault.add("unrelated");
    assert_eq!(fixture.get("a").unwrap(), b"one");
    put_bytes(&fixture.account, "b", b"two");
    // Once the key before is refused, too, there is no other.
    fixture.vault.enable_version("customer", 0, false);
    let refused = fixture.get("a").unwrap_err();
    assert!(
        matches!(refused, ResourceError::Unauthentic { .. }),
        "{refused}"
    );
    fixture.vault.enable_version("customer", 0, true);
    fs::write(&header, &original).unwrap();
    let fixture = fixture.reopen().unwrap();
    assert_eq!(fixture.get("b").unwrap(), b"two");
}

#[test]
fn account_does_not_open_as_another_resource_or_as_a_plain_one() {
    let fixture = Fixture::protected();
    let wrapper = fixture.wrapper();
    let open = |id, protection| {
        let account = StorageAccount::open(fixture.account.dir(), id, protection, &wrapper);
        account.map(|_| ())
    };
    let (id, protection) = (fixture.account.id(), fixture.account.protection().clone());
    open(id, protection.clone()).unwrap();
    let other = open(ResourceId::from_bytes([9; 16]), protection).unwrap_err();
    assert!(
        matches!(other, ResourceError::Unauthentic { .. }),
        "{other}"
    );
    let plain = open(id, Protection::Plain).unwrap_err();
    assert!(matches!(plain, ResourceError::Usage(_)), "{plain}");
}

#[test]
fn account_is_not_made_where_something_is() {
    let fixture = Fixture::protected();
    let (dir, wrapper) = (fixture.account.dir(), fixture.wrapper());
    let again =
        StorageAccount::create(dir, fixture.account.id(), Protection::Plain, None, &wrapper);
    assert!(matches!(again.map(|_| ()), Err(ResourceError::Exists(_))));
    let protection = fixture.account.protection().clone();
    let elsewhere = fixture.temp.path().join("elsewhere");
    let keyless =
        StorageAccount::create(&elsewhere, fixture.account.id(), protection, None, &wrapper);
    assert!(matches!(keyless.map(|_| ()), Err(ResourceError::Usage(_))));
    assert!(!elsewhere.exists());
}

#[test]
fn protected_files_show_no_canary_and_plain_ones_do() {
    let canary = b"CANARY-0451-payroll";
    let found = |fixture: &Fixture| {
        put_bytes(&fixture.account, "CANARY-0451-payroll", canary);
        let files = fixture.account.files().unwrap();
        let hits = files.iter().filter(|path| {
            let bytes = fs::read(path).unwrap();
            bytes.windows(canary.len()).any(|w| w == canary)
        });
        hits.count()
    };
    // One in the catalog or its log, one in the extent.
    assert!(found(&Fixture::plain()) >= 2);
    assert_eq!(found(&Fixture::protected()), 0);
}

#[test]
fn account_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>(_: &Arc<T>) {}
    let fixture = Fixture::plain();
    shared(&Arc::new(fixture.account));
}

#[test]
fn catalog_of_another_version_is_refused() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"one");
    for (version, says) in [(1, "before the first release"), (7, "newer than")] {
        fixture.tamper(&format!("PRAGMA user_version = {version}"));
        let refused = fixture.open().map(|_| ()).unwrap_err();
        assert!(
            matches!(&refused, ResourceError::Format { why, .. } if why.contains(says)),
            "{refused}"
        );
    }
    fixture.tamper("PRAGMA user_version = 6");
    fixture.open().unwrap();
}
