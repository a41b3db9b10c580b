//! What each detector sees and misses, on data whose protection is known to be wrong in one way.
//! `docs/detectors.md` prints the table that this test computes.

use std::io::Write;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::layout::Documented;
use super::scan::{Scan, xor_of_copies};
use super::search::Searcher;
use super::statistics::PAGE;
use crate::crypto::sha256;
use crate::lab::{CanarySet, Figures};

const CANARY: &str = "Kim Akers, IBAN NL91ABNA0417164300";
const PAGES: usize = 128;
const DETECTORS: [&str; 7] = [
    "canaries",
    "file structures",
    "chi-square per page",
    "chi-square of the whole",
    "deflate ratio",
    "repeated blocks",
    "XOR of neighbours",
];

/// Pages of rows, with free space at the end of each, as databases have it.
fn plain() -> Vec<u8> {
    let mut data = b"%PDF-1.7\n".to_vec();
    let mut row = 0u64;
    while data.len() < PAGES * PAGE {
        while data.len() % PAGE < PAGE - 600 {
            let amount = row.wrapping_mul(2_654_435_761) % 100_000;
            writeln!(data, "{row};2026-03-{:02};{CANARY};{amount}", row % 28 + 1).unwrap();
            row += 1;
        }
        data.resize(data.len().next_multiple_of(PAGE), 0);
    }
    data
}

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Each block on its own, as ECB does; a hash stands for the block cipher, for nobody decrypts.
fn each_block_on_its_own(data: &[u8]) -> Vec<u8> {
    let blocks = data.chunks(16);
    blocks
        .flat_map(|block| sha256(&[b"key", block])[..16].to_vec())
        .collect()
}

/// Every page under the same keystream, as counter mode gives when a nonce is used again.
fn one_keystream(data: &[u8], seed: u64) -> Vec<u8> {
    let keystream = random(PAGE, seed);
    data.iter()
        .zip(keystream.iter().cycle())
        .map(|(d, k)| d ^ k)
        .collect()
}

fn compressed(data: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(data).unwrap();
    zlib.finish().unwrap()
}

fn figures(data: &[u8]) -> Figures {
    let mut canaries = CanarySet::default();
    canaries.plant([CANARY]);
    let searcher = Searcher::new(&canaries).unwrap();
    let mut scan = Scan::new(&searcher, "twin", Documented::none(), data.len() as u64);
    data.chunks(10_000).for_each(|part| scan.feed(part));
    scan.finish()
}

#[test]
fn the_table_of_hits_and_misses_is_what_the_document_says() {
    let plain = plain();
    let twins: [(&str, Vec<u8>); 6] = [
        ("plain", plain.clone()),
        (
            "XORed with one byte",
            plain.iter().map(|b| b ^ 0x5a).collect(),
        ),
        ("compressed only (zlib)", compressed(&plain)),
        ("each block on its own (ECB)", each_block_on_its_own(&plain)),
        (
            "one keystream for all pages (CTR, nonce reused)",
            one_keystream(&plain, 1),
        ),
        ("random", random(plain.len(), 2)),
    ];
    let mut table = format!("| data | {} |\n|---|", DETECTORS.join(" | "));
    table.push_str(&"---|".repeat(DETECTORS.len()));
    table.push('\n');
    for (name, data) in &twins {
        let alarms = figures(data).alarms();
        let mark = |d: &&str| if alarms.contains(d) { "alarm" } else { "-" };
        let row: Vec<&str> = DETECTORS.iter().map(mark).collect();
        table.push_str(&format!("| {name} | {} |\n", row.join(" | ")));
    }
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/detectors.md");
    let document = std::fs::read_to_string(document).unwrap();
    assert!(
        document.contains(&table),
        "docs/detectors.md should hold:\n{table}"
    );
}

#[test]
fn every_wrong_protection_is_seen_by_some_detector_and_noise_by_none() {
    let plain = plain();
    for wrong in [
        plain.clone(),
        compressed(&plain),
        each_block_on_its_own(&plain),
        one_keystream(&plain, 3),
    ] {
        assert!(!figures(&wrong).alarms().is_empty());
    }
    for seed in 10..20 {
        assert_eq!(
            figures(&random(1 << 20, seed)).alarms(),
            Vec::<&str>::new(),
            "seed {seed}"
        );
    }
}

#[test]
fn a_page_sealed_twice_under_one_keystream_shows_between_two_copies() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, data: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, data).unwrap();
        path
    };
    let (before, mut after) = (plain(), plain());
    after.iter_mut().for_each(|b| *b = b.to_ascii_uppercase());
    let same = [&before, &after].map(|data| one_keystream(data, 4));
    let (a, b) = (write("a", &same[0]), write("b", &same[1]));
    let (pairs, flagged) = xor_of_copies(&a, &b).unwrap();
    assert_eq!((pairs, flagged), (PAGES as u64, PAGES as u64));
    let b = write("b", &one_keystream(&after, 5));
    assert_eq!(xor_of_copies(&a, &b).unwrap(), (PAGES as u64, 0));
}
