//! What each detector sees and misses, on data whose protection is known to be wrong in one way.
//! `docs/detectors.md` prints the table that this test computes.

use std::io::Write;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::layout::Documented;
use super::neighbours::xor_of_copies;
use super::scan::Scan;
use super::search::Searcher;
use super::statistics::{PAGE, chi_square, histogram};
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

/// How many times each twin is made, each time with other rows and other keys.
const SEEDS: u64 = 20;

/// Pages of rows, with free space at the end of each, as databases have it.
fn plain(seed: u64) -> Vec<u8> {
    let mut data = b"%PDF-1.7\n".to_vec();
    let mut row = seed * 100_000;
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
fn each_block_on_its_own(data: &[u8], key: u64) -> Vec<u8> {
    let (blocks, key) = (data.chunks(16), key.to_le_bytes());
    blocks
        .flat_map(|block| sha256(&[&key, block])[..16].to_vec())
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

/// The same rows under each wrong protection, and noise.
fn twins(seed: u64) -> [(&'static str, Vec<u8>); 6] {
    let plain = plain(seed);
    let byte = 1 + (seed * 89 % 255) as u8;
    [
        (
            "XORed with one byte",
            plain.iter().map(|b| b ^ byte).collect(),
        ),
        ("compressed only (zlib)", compressed(&plain)),
        (
            "each block on its own (ECB)",
            each_block_on_its_own(&plain, seed),
        ),
        (
            "one keystream for all pages (CTR, nonce reused)",
            one_keystream(&plain, seed),
        ),
        ("random", random(plain.len(), 1000 + seed)),
        ("plain", plain),
    ]
}

#[test]
fn the_table_of_hits_and_misses_is_what_the_document_says() {
    let all: Vec<Vec<(&str, Vec<&str>)>> = (0..SEEDS)
        .into_par_iter()
        .map(|seed| {
            let seen = twins(seed)
                .into_iter()
                .map(|(name, data)| (name, figures(&data).alarms()));
            seen.collect()
        })
        .collect();
    let mut table = format!("| data | {} |\n|---|", DETECTORS.join(" | "));
    table.push_str(&"---|".repeat(DETECTORS.len()));
    table.push('\n');
    let names = all[0].iter().map(|(name, _)| *name);
    for (row, name) in names.enumerate() {
        let mark = |detector: &&str| {
            let alarms = all.iter().filter(|twins| twins[row].1.contains(detector));
            match alarms.count() as u64 {
                0 => "-".to_owned(),
                SEEDS => "alarm".to_owned(),
                some => format!("{some} of {SEEDS}"),
            }
        };
        let cells: Vec<String> = DETECTORS.iter().map(mark).collect();
        table.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/detectors.md");
    let document = std::fs::read_to_string(document).unwrap();
    assert!(
        document.contains(&table),
        "docs/detectors.md should hold:\n{table}"
    );
}

/// False alarms, over as many MiB of noise as `NOISE_MIB` says.
#[test]
fn noise_raises_no_alarm_and_its_pages_are_spread_as_chi_square_says() {
    let wanted = std::env::var("NOISE_MIB").ok();
    let count = wanted.map_or(64, |n| n.parse().unwrap());
    /// What chi-square with 255 degrees of freedom exceeds once in a thousand.
    const ONE_IN_A_THOUSAND: f64 = 330.52;
    let look = |seed: u64| {
        let noise = random(1 << 20, 5000 + seed);
        let high = noise.chunks(PAGE).filter(|page| {
            let chi = chi_square(&histogram(page));
            chi > ONE_IN_A_THOUSAND
        });
        (figures(&noise), high.count() as u64)
    };
    let seen: Vec<_> = (0..count).into_par_iter().map(look).collect();
    let alarms: Vec<&str> = seen.iter().flat_map(|(f, _)| f.alarms()).collect();
    let pages: u64 = seen.iter().map(|(f, _)| f.pages).sum();
    let high: u64 = seen.iter().map(|(_, high)| high).sum();
    let worst = seen.iter().map(|(f, _)| f.worst_page).fold(0.0, f64::max);
    println!(
        "{count} MiB, {pages} pages: {} alarms; {high} pages above {ONE_IN_A_THOUSAND}; the highest {worst:.0}",
        alarms.len()
    );
    assert_eq!(alarms, Vec::<&str>::new());
    // Four standard deviations of such a count.
    let expected = pages as f64 / 1000.0;
    assert!((high as f64 - expected).abs() < 4.0 * expected.sqrt());
}

#[test]
fn a_page_sealed_twice_under_one_keystream_shows_between_two_copies() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, data: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, data).unwrap();
        path
    };
    let (before, mut after) = (plain(1), plain(1));
    after.iter_mut().for_each(|b| *b = b.to_ascii_uppercase());
    let same = [&before, &after].map(|data| one_keystream(data, 4));
    let (a, b) = (write("a", &same[0]), write("b", &same[1]));
    let (pairs, flagged) = xor_of_copies(&a, &b).unwrap();
    assert_eq!((pairs, flagged), (PAGES as u64, PAGES as u64));
    let b = write("b", &one_keystream(&after, 5));
    assert_eq!(xor_of_copies(&a, &b).unwrap(), (PAGES as u64, 0));
}
