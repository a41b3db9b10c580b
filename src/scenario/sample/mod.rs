//! Made-up data of a trading company's finance and operations: a database and a folder of
//! documents. The same seed and size always give the same bytes. Nobody in it exists; the country
//! `XF` and its bank are fictitious, and their check digits are right.
//!
//! Markers are planted in known rows and documents ([`Sample::canaries`]): distinctive texts that
//! a search of the bytes on disk must find in plain data, and must not find in protected data.

mod database;
mod documents;
mod people;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use documents::Document;

/// The fewest rows that make sense: one of everything.
pub const MIN_ROWS: u64 = 200;

/// How much made-up data, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    seed: u64,
    rows: u64,
}

/// What the generators draw for; each has a stream of its own, so that one does not shift another.
#[derive(Clone, Copy)]
enum Stream {
    Marker,
    Customer,
    Vendor,
    Employee,
    Payroll,
    Ledger,
    Document(u32),
}

impl Sample {
    /// Data with `rows` rows in the database (at least [`MIN_ROWS`]) and documents in proportion.
    pub fn new(seed: u64, rows: u64) -> Self {
        Self {
            seed,
            rows: rows.max(MIN_ROWS),
        }
    }

    /// Rows in the database, of all tables.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The markers that are planted, those in the database first.
    pub fn canaries(&self) -> Vec<String> {
        let database = (0..database::MARKERS).map(|i| self.marker(i));
        let documents = (0..documents::MARKERS).map(|i| self.marker(database::MARKERS + i));
        database.chain(documents).collect()
    }

    /// How many of [`Sample::canaries`] are in the database.
    pub fn markers_in_database(&self) -> usize {
        database::MARKERS
    }

    /// Marker number `i`: looks like a reference that somebody typed.
    fn marker(&self, i: usize) -> String {
        const TOPICS: [&str; 6] = [
            "Acquisition",
            "Severance",
            "Bonus",
            "Settlement",
            "Garnishment",
            "Covenant",
        ];
        let mut rng = self.rng(Stream::Marker);
        rng.set_word_pos(8 * i as u128);
        let number: [u8; 6] = rand::RngExt::random(&mut rng);
        format!(
            "{} file {}",
            TOPICS[i % TOPICS.len()],
            hex::encode_upper(number)
        )
    }

    fn rng(&self, stream: Stream) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(match stream {
            Stream::Marker => 1,
            Stream::Customer => 2,
            Stream::Vendor => 3,
            Stream::Employee => 4,
            Stream::Payroll => 5,
            Stream::Ledger => 6,
            Stream::Document(n) => 1000 + u64::from(n),
        });
        rng
    }
}

/// Which marker, if any, goes into item `at` of `of`, when `markers` are spread evenly.
fn marker_at(at: u64, of: u64, markers: std::ops::Range<usize>) -> Option<usize> {
    let count = markers.len() as u64;
    let step = (of / count).max(1);
    let number = at / step;
    (at.is_multiple_of(step) && number < count)
        .then(|| markers.start + usize::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_distinct_and_come_from_the_seed() {
        let first = Sample::new(1, 1000).canaries();
        let mut sorted = first.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), first.len());
        assert_eq!(first, Sample::new(1, 9000).canaries());
        assert!(
            Sample::new(2, 1000)
                .canaries()
                .iter()
                .all(|m| !first.contains(m))
        );
    }

    #[test]
    fn every_marker_finds_a_place_in_the_smallest_sample() {
        for of in [10, 17, 100, 101] {
            let placed: Vec<_> = (0..of).filter_map(|at| marker_at(at, of, 3..7)).collect();
            assert_eq!(placed, [3, 4, 5, 6]);
        }
    }
}
