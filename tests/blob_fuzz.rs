//! Fuzz targets for what an account's files say: extents' headers and manifests. A good one is
//! altered; it is refused, or it is the same.
//!
//! `ATREST_TEST_FUZZ` is the number of cases of each target.

#![allow(clippy::unwrap_used)]

use atrest::base::{ExtentId, GenerationId, ResourceId};
use atrest::crypto::Secret;
use atrest::resource::blob::{
    BlobName, BlobPath, BlockId, Extent, ExtentCipher, ExtentHeader, Generation, GenerationKey,
    InfrastructureKey, Manifest, Subject, UnderKey,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

const ACCOUNT: ResourceId = ResourceId::from_bytes([1; 16]);
const EXTENT: ExtentId = ExtentId::from_bytes([2; 16]);
const GENERATION: GenerationId = GenerationId::from_bytes([3; 16]);

fn config() -> Config {
    let cases = std::env::var("ATREST_TEST_FUZZ").map_or(2_000, |n| n.parse().unwrap());
    Config::with_cases(cases)
}

#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Number(Index, u32),
    Cut(Index),
    Add(Vec<u8>),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let number = prop_oneof![
        Just(0),
        Just(1),
        Just(u32::MAX),
        Just(i32::MAX as u32),
        any::<u32>()
    ];
    let edit = prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        4 => (at(), number).prop_map(|(at, n)| Edit::Number(at, n)),
        1 => at().prop_map(Edit::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..70).prop_map(Edit::Add),
    ];
    prop::collection::vec(edit, 1..4)
}

fn altered(good: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match edit {
            Edit::Set(at, byte) => bytes[at.index(len)] = *byte,
            Edit::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Edit::Number(at, number) => {
                let at = at.index(len);
                let taken = bytes[at..].iter_mut().zip(number.to_le_bytes());
                taken.for_each(|(byte, new)| *byte = new);
            }
            Edit::Cut(at) => bytes.truncate(at.index(len)),
            Edit::Add(more) => bytes.extend(more),
        }
    }
    bytes
}

fn key() -> GenerationKey {
    GenerationKey::new(GENERATION, Secret::copy_from(&[4; 32]).unwrap())
}

fn path() -> BlobPath {
    BlobPath::in_default(BlobName::parse("invoices/july.pdf").unwrap())
}

fn manifest(account_key: &Secret<32>) -> Manifest {
    let extent = |n: u8, len| Extent {
        id: ExtentId::from_bytes([n; 16]),
        generation: 0,
        len,
        block: (n > 0).then(|| BlockId::from_bytes(&[n; 3]).unwrap()),
    };
    let wrapped: Generation = key().wrap(account_key, ACCOUNT);
    Manifest {
        size: 70_001,
        created_micros: 1_785_000_000_000_000,
        metadata: [("team", "payroll"), ("year", "2026")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        content_md5: Some([9; 16]),
        generations: vec![wrapped],
        extents: vec![extent(0, 70_000), extent(1, 0), extent(2, 1)],
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn extents_header_that_was_altered_opens_nothing(edits in edits()) {
        let second = InfrastructureKey::of(&Secret::copy_from(&[6; 32]).unwrap(), ACCOUNT);
        for (layers, other) in [(None, Some(&second)), (Some(&second), None)] {
            let good = ExtentCipher::create(ACCOUNT, EXTENT, &key(), layers).header().to_bytes();
            let open = |bytes, layers| ExtentCipher::open(bytes, ACCOUNT, EXTENT, &key(), layers);
            prop_assert!(open(&good, other).is_err(), "with a layer more or less");
            let bytes = altered(&good, &edits);
            let Ok(bytes) = <[u8; ExtentHeader::LEN]>::try_from(bytes) else {
                continue;
            };
            if let Ok(header) = ExtentHeader::parse(&bytes) {
                prop_assert_eq!(header.to_bytes(), bytes, "each has one form");
            }
            prop_assert_eq!(open(&bytes, layers).is_ok(), bytes == good);
            prop_assert!(open(&bytes, other).is_err());
        }
    }

    #[test]
    fn manifest_that_was_altered_is_refused_or_has_one_form(edits in edits()) {
        let account_key = Secret::copy_from(&[5; 32]).unwrap();
        let (manifest, path) = (manifest(&account_key), path());
        let subject = Subject::Blob(&path);
        // The body, which whoever has the key may write: it must not be read as two things.
        let body = manifest.to_bytes();
        let parsed = Manifest::parse(&body);
        prop_assert_eq!(parsed.as_ref(), Some(&manifest));
        let bytes = altered(&body, &edits);
        if let Some(parsed) = Manifest::parse(&bytes) {
            prop_assert_eq!(parsed.to_bytes(), bytes);
        }
        // And sealed, which nobody else may.
        for under in [UnderKey::Account, UnderKey::Provided([7; 32]), UnderKey::Scope(ACCOUNT)] {
            let sealed = manifest.seal(&account_key, under, ACCOUNT, GENERATION, subject);
            let bytes = altered(&sealed, &edits);
            let opened = Manifest::open(&bytes, &account_key, ACCOUNT, GENERATION, subject);
            prop_assert_eq!(opened.is_ok(), bytes == sealed);
        }
    }
}
