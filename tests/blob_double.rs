//! Infrastructure encryption: a second layer, with another algorithm and under a key of the service's.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::fs;

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::crypto::Secret;
use atrest::envelope::ResourceKind;
use atrest::resource::blob::{
    AccountHeader, Attributes, BlobInfo, BlobStatus, CHUNK_LEN, Conditions, CopySource, Encryption,
    InfrastructureKey, Layers, ScopeName, StorageAccount,
};
use atrest::resource::{ProtectedResource, Protection, ResourceError};

/// Sizes about the borders of a chunk.
const SIZES: [usize; 5] = [0, 1, CHUNK_LEN, CHUNK_LEN + 1, 20 * CHUNK_LEN + 7];

fn is_unauthentic<T>(result: Result<T, ResourceError>) -> bool {
    matches!(result, Err(ResourceError::Unauthentic { .. }))
}

fn newest_extent(fixture: &Fixture, before: &[std::path::PathBuf]) -> std::path::PathBuf {
    let mut new = fixture.extents();
    new.retain(|path| !before.contains(path));
    new.remove(0)
}

#[test]
fn what_is_sealed_twice_reads_back_whole_and_in_every_part_and_says_so_on_disk() {
    let fixture = Fixture::double();
    assert!(fixture.account.has_infrastructure_encryption());
    for size in SIZES {
        let data = bytes(size);
        let before = fixture.extents();
        put_bytes(&fixture.account, "a", &data);
        assert!(fixture.get("a").unwrap() == data, "{size}");
        let extent = fs::read(newest_extent(&fixture, &before)).unwrap();
        // The algorithm, and two tags for each chunk.
        assert_eq!(extent[10], 2);
        let chunks = size.div_ceil(CHUNK_LEN).max(1);
        assert_eq!(extent.len(), 128 + size + 32 * chunks);
        for range in [
            0..size,
            0..size / 2,
            size / 2..size,
            size.saturating_sub(1)..size,
        ] {
            let mut got = Vec::new();
            let part = range.start as u64..range.end as u64;
            (fixture.account)
                .get(&name("a"), Some(part), &mut got, &mut |_| ())
                .unwrap();
            assert!(got == data[range.clone()], "{size} {range:?}");
        }
    }
    fixture.account.verify(&mut |_, _| ()).unwrap();
    let fixture = fixture.reopen().unwrap();
    assert!(fixture.account.has_infrastructure_encryption());
    assert!(fixture.get("a").unwrap() == bytes(SIZES[4]));
    // The control.
    let one = Fixture::protected();
    put_bytes(&one.account, "a", b"data");
    assert_eq!(fs::read(&one.extents()[0]).unwrap()[10], 1);
    assert!(!one.account.has_infrastructure_encryption());
}

/// A part touches the chunks that hold it and no others: every other one may be broken.
#[test]
fn a_part_of_what_is_sealed_twice_reads_only_its_chunks() {
    let fixture = Fixture::double();
    let data = bytes(3 * CHUNK_LEN);
    put_bytes(&fixture.account, "a", &data);
    let path = &fixture.extents()[0];
    let sealed = CHUNK_LEN + 32;
    let good = fs::read(path).unwrap();
    for broken in 0..3 {
        let mut bad = good.clone();
        bad[128 + broken * sealed] ^= 1;
        fs::write(path, &bad).unwrap();
        for chunk in 0..3 {
            let part = (chunk * CHUNK_LEN) as u64..((chunk + 1) * CHUNK_LEN) as u64;
            let mut got = Vec::new();
            let read = (fixture.account).get(&name("a"), Some(part), &mut got, &mut |_| ());
            match chunk == broken {
                true => assert!(is_unauthentic(read) && got.is_empty()),
                false => {
                    read.unwrap();
                    assert!(got == data[chunk * CHUNK_LEN..][..CHUNK_LEN]);
                }
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_either_layer_is_refused() {
    let fixture = Fixture::double();
    put_bytes(&fixture.account, "a", b"a small blob");
    let path = &fixture.extents()[0];
    let good = fs::read(path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(path, &bad).unwrap();
        assert!(is_unauthentic(fixture.get("a")), "{at}");
    }
    fs::write(path, good).unwrap();
    assert_eq!(fixture.get("a").unwrap(), b"a small blob");
}

/// Who has every key of the customer's chain, and the files, has nothing without the service's.
#[test]
fn the_customers_chain_alone_opens_nothing_of_what_is_sealed_twice() {
    use atrest::resource::blob::{Extent, ExtentReader, GenerationKey};
    let (account, id) = (random_account(), random_extent());
    let generation = GenerationKey::random();
    let service = InfrastructureKey::of(&Secret::random(), account);
    let cipher =
        atrest::resource::blob::ExtentCipher::create(account, id, &generation, Some(&service));
    let plain = b"twelve bytes";
    let mut sealed = vec![0; plain.len() + 32];
    cipher.seal(0, Some(12), plain, &mut sealed);
    let whole = [&cipher.header().to_bytes()[..], &sealed].concat();
    let file = tempfile::NamedTempFile::new().unwrap();
    let extent = Extent {
        id,
        generation: 0,
        len: 12,
        block: None,
    };
    let read = |bytes: &[u8], infrastructure: Option<&InfrastructureKey>| {
        fs::write(file.path(), bytes).unwrap();
        let mut got = Vec::new();
        let (path, generation) = (file.path(), Some(&generation));
        let reader = ExtentReader::open(
            file.as_file(),
            path,
            account,
            &extent,
            generation,
            infrastructure,
        )?;
        reader.read(0..12, &mut got, &|| Ok(()), &mut |_| ())?;
        Ok::<_, ResourceError>(got)
    };
    assert_eq!(read(&whole, Some(&service)).unwrap(), plain);
    let other = InfrastructureKey::of(&Secret::random(), account);
    assert!(is_unauthentic(read(&whole, Some(&other))));
    assert!(is_unauthentic(read(&whole, None)));
    // Not by saying that there is one layer, either: what is below is not there to be read.
    let mut said = whole.clone();
    said[10] = 1;
    assert!(is_unauthentic(read(&said[..said.len() - 16], None)));
}

fn random_account() -> atrest::base::ResourceId {
    atrest::crypto::random_id(atrest::base::ResourceId::from_bytes)
}

fn random_extent() -> atrest::base::ExtentId {
    atrest::crypto::random_id(atrest::base::ExtentId::from_bytes)
}

/// The catalog is the service's: who has its key could say that an account has no second layer.
#[test]
fn an_account_that_is_said_to_have_no_second_layer_reads_nothing() {
    let fixture = Fixture::double();
    put_bytes(&fixture.account, "a", b"data");
    let fixture = fixture.reopen().unwrap();
    fixture.tamper("UPDATE account SET infrastructure = 0");
    let fixture = fixture.reopen().unwrap();
    assert!(is_unauthentic(fixture.get("a")));
    fixture.tamper("UPDATE account SET infrastructure = 1");
    let fixture = fixture.reopen().unwrap();
    assert_eq!(fixture.get("a").unwrap(), b"data");
}

fn copy(account: &StorageAccount, from: &str, to: &str, encryption: Encryption<'_>) -> BlobInfo {
    let (from, any) = (name(from), Conditions::default());
    let source = CopySource {
        account,
        blob: (&from).into(),
        conditions: &any,
        encryption: Encryption::Unspecified,
    };
    let mut said = |_: &BlobInfo, said: Attributes| Ok((said, BlobStatus::default()));
    account
        .copy(&source, &name(to), encryption, &any, &mut said)
        .unwrap()
}

/// A copy within the account shares its source's extents, but not with one that must be sealed otherwise.
#[test]
fn a_copy_into_a_scope_that_is_sealed_twice_is_sealed_twice_and_back_once() {
    let fixture = Fixture::protected();
    let account = &fixture.account;
    let [once, twice]: [ScopeName; 2] = ["once", "twice"].map(|name| name.parse().unwrap());
    let protection = Protection::CustomerManaged {
        key: fixture.vault.add("payroll"),
    };
    for (scope, layers) in [(&once, Layers::One), (&twice, Layers::Two)] {
        let made = account.create_scope(scope, &protection, layers).unwrap();
        assert_eq!(made.infrastructure_encryption, layers == Layers::Two);
    }
    let data = bytes(CHUNK_LEN + 9);
    put_bytes(account, "a", &data);
    let algorithms = |fixture: &Fixture| {
        let of = |path: &std::path::PathBuf| fs::read(path).unwrap()[10];
        let mut all: Vec<u8> = fixture.extents().iter().map(of).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(algorithms(&fixture), [1]);
    copy(account, "a", "shared", Encryption::Scope(&once));
    assert_eq!(algorithms(&fixture), [1], "it shares the bytes");
    copy(account, "a", "double", Encryption::Scope(&twice));
    assert_eq!(algorithms(&fixture), [1, 2]);
    copy(account, "double", "back", Encryption::Unspecified);
    assert_eq!(algorithms(&fixture), [1, 1, 2]);
    for blob in ["a", "shared", "double", "back"] {
        assert!(fixture.get(blob).unwrap() == data, "{blob}");
    }
    fixture.account.verify(&mut |_, _| ()).unwrap();
    fixture.vault.enable("payroll", false);
    for (blob, readable) in [
        ("a", true),
        ("shared", false),
        ("double", false),
        ("back", true),
    ] {
        assert_eq!(fixture.get(blob).is_ok(), readable, "{blob}");
    }
}

/// Without the service's key nothing opens, whatever the customer's says; without the customer's nothing is read.
#[test]
fn both_keys_are_needed() {
    let fixture = Fixture::double();
    put_bytes(&fixture.account, "a", b"data");
    for key in ["customer", "service"] {
        fixture.vault.enable(key, false);
        assert!(
            matches!(fixture.get("a"), Err(ResourceError::KeyUnavailable { .. })),
            "{key}"
        );
        fixture.vault.enable(key, true);
        assert_eq!(fixture.get("a").unwrap(), b"data");
    }
    // The second layer's key is none of the customer's chain.
    let header = fs::read(fixture.account.dir().join("account.atrest")).unwrap();
    let header = AccountHeader::parse(&header).unwrap();
    let (id, vault) = (fixture.account.id(), &*fixture.vault);
    let account = header
        .account
        .open(vault, ResourceKind::Storage, id)
        .unwrap();
    let catalog = header
        .catalog
        .open(vault, ResourceKind::StorageCatalog, id)
        .unwrap();
    assert!(!account.ct_eq(&catalog));
}

#[test]
fn a_plain_account_has_no_second_layer() {
    let temp = tempfile::tempdir().unwrap();
    let vault: atrest::resource::Wrapper = key_wrapper::MemoryVault::new();
    let dir = temp.path().join("account");
    let made = StorageAccount::create_with(
        &dir,
        random_account(),
        Protection::Plain,
        None,
        &vault,
        Layers::Two,
        None,
    );
    assert!(matches!(made, Err(ResourceError::Usage(_))));
    assert!(!dir.exists());
}
