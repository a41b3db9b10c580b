//! How fast the lab's detectors go over bytes, beside a pass that does nothing but look for one byte:
//!
//!     cargo bench --bench search -- [MIB]
//!
//! It prints GB/s (10^9 bytes) of the search for 48 known texts in every encoding, compressed members
//! included, and of all detectors together; over noise, rows of text, and zeros.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use atrest::lab::{CanarySet, Documented, Scan, Search, Searcher};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// As many known texts as a run looks for, of the lengths and kinds that it draws.
fn texts() -> CanarySet {
    let mut set = CanarySet::default();
    let text = |i: usize| {
        let number = i * 7919 % 100_000;
        format!("Zoë Akers-{number}, IBAN NL{number:05}ABNA04171643")
    };
    assert_eq!(set.plant((0..CanarySet::MAX).map(text)), CanarySet::MAX);
    set
}

/// Rows that hold none of the texts, but much that is like them.
fn rows(len: usize) -> Vec<u8> {
    let mut rows = Vec::with_capacity(len + 100);
    for i in 0usize.. {
        if rows.len() >= len {
            break;
        }
        let row = format!(
            "{i};2026-03-{:02};Kim Akers;IBAN NL{:05}RABO{};{}.20\n",
            i % 28 + 1,
            i * 31 % 100_000,
            i * 7907 % 10_000_000,
            i * 37
        );
        rows.extend_from_slice(row.as_bytes());
    }
    rows.truncate(len);
    rows
}

fn speed(what: &str, len: usize, run: impl Fn()) -> f64 {
    run();
    let best = (0..3)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min);
    let speed = len as f64 / best / 1e9;
    println!("  {what:<40} {speed:>7.2} GB/s");
    speed
}

fn main() {
    let wanted = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let len = wanted.unwrap_or(128usize) << 20;
    let mut noise = vec![0; len];
    ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut noise);
    let searcher = Searcher::new(&texts()).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{threads} threads");
    for (name, data) in [
        ("noise", noise),
        ("rows", rows(len)),
        ("zeros", vec![0; len]),
    ] {
        println!("{name}");
        speed("one byte looked for, one thread", len, || {
            black_box(data.iter().filter(|b| **b == 0x5a).count());
        });
        speed("known texts, one thread", len, || {
            let mut search = Search::new(&searcher, "data");
            (data.chunks(Scan::PIECE)).for_each(|piece| search.feed(piece));
            black_box(search.finish());
        });
        speed("all detectors", len, || {
            let mut scan = Scan::new(&searcher, "data", Documented::none(), len as u64);
            data.chunks(Scan::PIECE).for_each(|piece| scan.feed(piece));
            black_box(scan.finish());
        });
    }
}
