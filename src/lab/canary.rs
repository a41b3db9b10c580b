use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use super::LabError;
use super::theft::read_at;

/// Where a canary comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryOrigin {
    /// Put into the data in order to be looked for.
    Planted,
    /// A distinctive piece of the data itself; says where it lay.
    Drawn(String),
}

/// Bytes that lie in the data, and must not be found in a protected copy of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    bytes: Vec<u8>,
    /// Where it comes from.
    pub origin: CanaryOrigin,
}

impl Canary {
    /// The shortest that is looked for, in bytes: by chance it does not turn up.
    pub const MIN_LEN: usize = 12;
    /// The longest part of a text that is looked for, in bytes.
    pub const MAX_LEN: usize = 48;
    /// Fewer different bytes than this and it is a filler that any file may hold.
    const MIN_DISTINCT: usize = 7;

    /// `None` when the bytes are too short or too monotonous to prove anything.
    pub fn new(bytes: &[u8], origin: CanaryOrigin) -> Option<Self> {
        let mut end = bytes.len().min(Self::MAX_LEN);
        if let Ok(text) = std::str::from_utf8(bytes) {
            while !text.is_char_boundary(end) {
                end -= 1;
            }
        }
        let bytes = &bytes[..end];
        let mut seen = [false; 256];
        bytes.iter().for_each(|&b| seen[usize::from(b)] = true);
        let distinct = seen.iter().filter(|s| **s).count();
        (bytes.len() >= Self::MIN_LEN && distinct >= Self::MIN_DISTINCT).then(|| Self {
            bytes: bytes.to_vec(),
            origin,
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if !text.chars().any(char::is_control) => write!(f, "{text:?}"),
            _ => write!(f, "bytes {}", hex::encode(&self.bytes)),
        }
    }
}

/// A canary in a file.
#[derive(Serialize, Deserialize)]
struct Kept {
    hex: String,
    origin: CanaryOrigin,
}

impl From<&Canary> for Kept {
    fn from(canary: &Canary) -> Self {
        Self {
            hex: hex::encode(&canary.bytes),
            origin: canary.origin.clone(),
        }
    }
}

/// The canaries of one run.
#[derive(Clone, Debug, Default)]
pub struct CanarySet {
    canaries: Vec<Canary>,
}

/// How many rows of a table are looked at; a table may be of any size.
const ROWS_LOOKED_AT: usize = 20_000;
/// How many candidates are kept for each source.
const CANDIDATES: usize = 256;

impl CanarySet {
    /// More than this many make the search slower and prove no more.
    pub const MAX: usize = 48;

    /// As a file, for whoever shall search again: **pieces of the data in plain**.
    pub fn to_json(&self) -> Vec<u8> {
        let kept: Vec<_> = self.canaries.iter().map(Kept::from).collect();
        serde_json::to_vec_pretty(&kept).expect("text and numbers")
    }

    /// What [`CanarySet::to_json`] wrote.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_json(json: &[u8]) -> Result<Self, LabError> {
        let failed = |e: String| LabError::Report(format!("the known texts: {e}"));
        let kept: Vec<Kept> = serde_json::from_slice(json).map_err(|e| failed(e.to_string()))?;
        let canary = |kept: Kept| {
            let bytes = hex::decode(&kept.hex).map_err(|e| failed(e.to_string()))?;
            Ok(Canary {
                bytes,
                origin: kept.origin,
            })
        };
        let canaries = kept
            .into_iter()
            .map(canary)
            .collect::<Result<_, LabError>>()?;
        Ok(Self { canaries })
    }

    /// The canaries, in the order that they were added.
    pub fn all(&self) -> &[Canary] {
        &self.canaries
    }

    /// Adds texts or other bytes that were put into the data. Returns how many were accepted: short
    /// or monotonous ones prove nothing, and there is room for [`CanarySet::MAX`].
    pub fn plant<S: AsRef<[u8]>>(&mut self, texts: impl IntoIterator<Item = S>) -> usize {
        let found = texts
            .into_iter()
            .filter_map(|t| Canary::new(t.as_ref(), CanaryOrigin::Planted))
            .collect();
        self.add(found, usize::MAX)
    }

    /// Draws up to `wanted` canaries from the text columns of a plain database, of any schema:
    /// long, varied values that occur once among the rows looked at. The same seed draws the same.
    pub fn draw_from_database(
        &mut self,
        connection: &rusqlite::Connection,
        wanted: usize,
        seed: u64,
    ) -> Result<usize, LabError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tables = connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND (sql IS NULL OR sql NOT LIKE 'CREATE VIRTUAL%') ORDER BY name",
        )?;
        let tables = tables.query_map([], |row| row.get::<_, String>(0))?;
        let mut reservoir = Reservoir::default();
        for table in tables {
            let table = table?;
            let quoted = table.replace('"', "\"\"");
            let mut rows = connection.prepare(&format!("SELECT * FROM \"{quoted}\""))?;
            let columns: Vec<String> = rows.column_names().map(str::to_owned).collect();
            let mut rows = rows.query([])?;
            for _ in 0..ROWS_LOOKED_AT {
                let Some(row) = rows.next()? else { break };
                for (at, column) in columns.iter().enumerate() {
                    if let ValueRef::Text(text) = row.get_ref(at)? {
                        reservoir.offer(text, &mut rng, || format!("{table}.{column}"));
                    }
                }
            }
        }
        Ok(self.add(reservoir.rare(), wanted))
    }

    /// Draws up to `wanted` canaries from the bytes of files: printable runs where there are any,
    /// else any varied bytes. The same seed draws the same.
    pub fn draw_from_files(
        &mut self,
        files: &[impl AsRef<Path>],
        wanted: usize,
        seed: u64,
    ) -> Result<usize, LabError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut reservoir = Reservoir::default();
        for file in files {
            let file = file.as_ref();
            let name = || {
                file.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            };
            let size = file.metadata().map_err(|e| LabError::io(file, e))?.len();
            // Samples that do not overlap, else a run would seem to repeat.
            const SAMPLE: u64 = 4096;
            const SAMPLES: u64 = 4;
            let stretch = (size / SAMPLES).max(SAMPLE);
            for start in (0..size).step_by(usize::try_from(stretch).expect("a file's length")) {
                let len = SAMPLE.min(size - start);
                let slack = (stretch - len).min(size - start - len);
                let at = start + rng.random_range(0..=slack);
                let sample = read_at(file, at, len as usize)?;
                let printable = |b: &u8| !matches!(b, b' '..=b'~');
                let mut runs = sample
                    .split(printable)
                    .filter(|r| r.len() >= Canary::MIN_LEN)
                    .peekable();
                if runs.peek().is_none() && sample.len() >= 24 {
                    let at = rng.random_range(0..=sample.len() - 24);
                    reservoir.offer(&sample[at..at + 24], &mut rng, name);
                }
                for run in runs {
                    reservoir.offer(run, &mut rng, name);
                }
            }
        }
        Ok(self.add(reservoir.rare(), wanted))
    }

    fn add(&mut self, found: Vec<Canary>, wanted: usize) -> usize {
        let before = self.canaries.len();
        let room = wanted.min(Self::MAX.saturating_sub(before));
        for canary in found {
            let known = self.canaries.iter().any(|c| c.bytes == canary.bytes);
            if !known && self.canaries.len() - before < room {
                self.canaries.push(canary);
            }
        }
        self.canaries.len() - before
    }
}

/// A fair sample of what was offered (Vitter's algorithm R), which counts repeats.
#[derive(Default)]
struct Reservoir {
    offered: usize,
    kept: Vec<Canary>,
    seen: HashMap<Vec<u8>, usize>,
}

impl Reservoir {
    /// Different values remembered, so that repeats are known; past it, new ones are taken as they
    /// come and may repeat.
    const REMEMBERED: usize = 100_000;

    fn offer(&mut self, bytes: &[u8], rng: &mut ChaCha8Rng, from: impl Fn() -> String) {
        let Some(canary) = Canary::new(bytes, CanaryOrigin::Drawn(String::new())) else {
            return;
        };
        if self.seen.len() < Self::REMEMBERED || self.seen.contains_key(&canary.bytes) {
            let count = self.seen.entry(canary.bytes.clone()).or_default();
            *count += 1;
            if *count > 1 {
                return;
            }
        }
        self.offered += 1;
        let slot = if self.kept.len() < CANDIDATES {
            self.kept.push(canary);
            self.kept.len() - 1
        } else {
            let at = rng.random_range(0..self.offered);
            if at >= CANDIDATES {
                return;
            }
            self.kept[at] = canary;
            at
        };
        self.kept[slot].origin = CanaryOrigin::Drawn(from());
    }

    /// Those that occurred once, the most varied first.
    fn rare(self) -> Vec<Canary> {
        let mut rare: Vec<Canary> = self.kept;
        rare.retain(|c| self.seen.get(&c.bytes).is_none_or(|&n| n == 1));
        rare.sort_by_key(|c| std::cmp::Reverse(variety(&c.bytes)));
        rare
    }
}

/// Shannon entropy of the bytes' distribution times their number, in whole bits.
fn variety(bytes: &[u8]) -> u64 {
    let mut counts = [0u64; 256];
    bytes.iter().for_each(|&b| counts[usize::from(b)] += 1);
    (super::detect::entropy(&counts) * bytes.len() as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> rusqlite::Connection {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE \"odd \"\"name\" (k TEXT PRIMARY KEY, v, n INT) WITHOUT ROWID;
             CREATE TABLE memo (note TEXT, flag TEXT);",
        )
        .unwrap();
        for i in 0..500 {
            db.execute(
                "INSERT INTO \"odd \"\"name\" VALUES (?1, ?2, ?3)",
                (format!("customer-{i:04}-{:x}", i * 7919), [1u8, 2, 3], i),
            )
            .unwrap();
            db.execute(
                "INSERT INTO memo VALUES ('the same standard memo text', 'no')",
                [],
            )
            .unwrap();
        }
        db
    }

    #[test]
    fn drawn_canaries_are_rare_repeatable_and_of_any_schema() {
        let draw = |seed| {
            let mut set = CanarySet::default();
            assert_eq!(set.draw_from_database(&shop(), 16, seed).unwrap(), 16);
            set.all().to_vec()
        };
        let first = draw(7);
        assert_eq!(first, draw(7));
        assert!(first.iter().all(|c| c.bytes().starts_with(b"customer-")));
        assert!(matches!(&first[0].origin, CanaryOrigin::Drawn(from) if from == "odd \"name.k"));
    }

    #[test]
    fn a_filler_that_any_file_may_hold_is_no_canary() {
        let mut set = CanarySet::default();
        let planted = [
            "aaaaaaaaaaaaaaaaaaaaaa",
            "short",
            "                      ",
            "PAYROLL-7f3a91-CANARY",
        ];
        assert_eq!(set.plant(planted), 1);
        assert_eq!(set.all()[0].to_string(), "\"PAYROLL-7f3a91-CANARY\"");
    }

    #[test]
    fn files_without_text_still_give_canaries() {
        let dir = tempfile::tempdir().unwrap();
        let (text, binary) = (dir.path().join("a.txt"), dir.path().join("b.bin"));
        std::fs::write(&text, "Invoice 4711 to Contoso Entertainment System USA\n").unwrap();
        let noise: Vec<u8> = (0..9000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80)
            .collect();
        std::fs::write(&binary, noise).unwrap();
        let mut set = CanarySet::default();
        assert!(set.draw_from_files(&[text, binary], 9, 1).unwrap() >= 2);
        assert!(
            set.all()
                .iter()
                .any(|c| c.to_string().starts_with("\"Invoice 4711"))
        );
        assert!(
            set.all()
                .iter()
                .any(|c| c.to_string().starts_with("bytes "))
        );
    }
}
