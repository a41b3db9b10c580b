use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::Documented;
use super::magic::is_btree_page;
use super::statistics::{CHI_SQUARE_LIMIT, CHI_SQUARE_MIN, PAGE, chi_square, entropy, histogram};
use crate::lab::LabError;
use crate::lab::theft::read_at;

/// What a page of 4 KiB looks like to somebody without a key, from what tells least to what tells most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageKind {
    /// To chi-square, noise.
    Noise,
    /// A documented header of atrest's formats.
    Header,
    /// Zeros.
    Zero,
    /// A page that SQLite's list of free pages names: old content, readable.
    Free,
    /// Patterned: its chi-square is above the limit.
    Patterned,
    /// A page of a table or an index, as SQLite lays it out.
    Tree,
}

impl PageKind {
    /// Every kind, with the letter that stands for it in [`Profile::kinds`].
    pub const ALL: [(Self, char); 6] = [
        (Self::Noise, 'n'),
        (Self::Header, 'h'),
        (Self::Zero, 'z'),
        (Self::Free, 'f'),
        (Self::Patterned, 'p'),
        (Self::Tree, 't'),
    ];
}

/// A copy page by page: each 4 KiB of each of its files, in the order of their paths. A cell stands for
/// as many neighbouring pages as it takes for a picture of at most [`Profile::CELLS`] cells, and says
/// the worst of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Pages of 4 KiB, the last one of each file maybe shorter.
    pub pages: u64,
    /// How many pages one cell stands for; the last cell may stand for fewer.
    pub pages_per_cell: u64,
    /// One letter for each cell ([`PageKind::ALL`]): what tells most among its pages.
    pub kinds: String,
    /// For each cell the highest chi-square of a page, to the nearest integer; none where there are too
    /// few bytes beside documented headers for it to mean anything.
    pub chi_square: Vec<Option<u64>>,
    /// For each cell the lowest entropy of a page, in thousandths of a bit per byte; none likewise.
    pub entropy: Vec<Option<u32>>,
}

/// How page 1 of a plain SQLite database begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What is said of one page, or of a cell.
#[derive(Clone, Copy)]
struct Cell {
    kind: PageKind,
    /// Chi-square and entropy.
    measured: Option<(f64, f64)>,
}

impl Profile {
    /// The most cells.
    pub const CELLS: u64 = 1024;

    /// Looks at each page of these files.
    ///
    /// # Errors
    /// Failures of the file system.
    pub fn of(files: &[PathBuf]) -> Result<Self, LabError> {
        let mut pages = 0;
        for path in files {
            let meta = path.metadata().map_err(|e| LabError::io(path, e))?;
            pages += meta.len().div_ceil(PAGE as u64);
        }
        let pages_per_cell = pages.div_ceil(Self::CELLS).max(1);
        let (mut cells, mut number) = (Vec::<Cell>::new(), 0u64);
        for path in files {
            each_page(path, &mut |page| {
                match cells.last_mut() {
                    Some(cell) if !number.is_multiple_of(pages_per_cell) => cell.merge(page),
                    _ => cells.push(page),
                }
                number += 1;
            })?;
        }
        let letter = |kind| PageKind::ALL.iter().find(|(k, _)| *k == kind);
        Ok(Self {
            pages,
            pages_per_cell,
            kinds: cells
                .iter()
                .filter_map(|c| letter(c.kind).map(|(_, l)| *l))
                .collect(),
            chi_square: cells
                .iter()
                .map(|c| c.measured.map(|(chi, _)| chi.round() as u64))
                .collect(),
            entropy: cells
                .iter()
                .map(|c| c.measured.map(|(_, bits)| (bits * 1000.0).round() as u32))
                .collect(),
        })
    }

    /// How many cells show `kind`.
    pub fn count(&self, kind: PageKind) -> usize {
        self.cell_kinds().filter(|k| *k == kind).count()
    }

    /// The kind of each cell.
    pub fn cell_kinds(&self) -> impl Iterator<Item = PageKind> + '_ {
        let kind = |letter| PageKind::ALL.iter().find(move |(_, l)| *l == letter);
        self.kinds
            .chars()
            .filter_map(move |letter| kind(letter).map(|(k, _)| *k))
    }
}

impl Cell {
    fn merge(&mut self, other: Self) {
        self.kind = self.kind.max(other.kind);
        self.measured = match (self.measured, other.measured) {
            (Some((chi, bits)), Some((c, b))) => Some((chi.max(c), bits.min(b))),
            (some, None) | (None, some) => some,
        };
    }
}

fn each_page(path: &Path, tell: &mut dyn FnMut(Cell)) -> Result<(), LabError> {
    let failed = |e| LabError::io(path, e);
    let documented = Documented::of(path)?;
    let free = free_pages(path)?;
    let mut file = File::open(path).map_err(failed)?;
    let (mut at, mut page) = (0u64, Vec::with_capacity(PAGE));
    loop {
        page.clear();
        let read = (&mut file).take(PAGE as u64).read_to_end(&mut page);
        if read.map_err(failed)? == 0 {
            return Ok(());
        }
        tell(look(&page, at, &documented, &free));
        at += PAGE as u64;
    }
}

fn look(page: &[u8], at: u64, documented: &Documented, free: &BTreeSet<u64>) -> Cell {
    let mut secret = Vec::with_capacity(PAGE);
    documented.secret(at, page, |piece| secret.extend_from_slice(piece));
    let counts = histogram(&secret);
    let chi = chi_square(&counts);
    let whole: Option<&[u8; PAGE]> = page.try_into().ok();
    let kind = if page.iter().all(|b| *b == 0) {
        PageKind::Zero
    } else if free.contains(&(at / PAGE as u64)) {
        PageKind::Free
    } else if whole.is_some_and(is_btree_page) || page.starts_with(SQLITE) {
        PageKind::Tree
    } else if chi > CHI_SQUARE_LIMIT {
        PageKind::Patterned
    } else if (secret.len() as u64) < CHI_SQUARE_MIN && secret.len() < page.len() {
        PageKind::Header
    } else {
        PageKind::Noise
    };
    let enough = secret.len() as u64 >= CHI_SQUARE_MIN;
    Cell {
        kind,
        measured: enough.then(|| (chi, entropy(&counts.map(u64::from)))),
    }
}

/// The 4 KiB pages of a plain SQLite database that its list of free pages names (fileformat2.html,
/// section 1.5), counted from 0. What is no such database has none; a broken list ends where it breaks.
fn free_pages(path: &Path) -> Result<BTreeSet<u64>, LabError> {
    let mut free = BTreeSet::new();
    let head = read_at(path, 0, 100)?;
    if !head.starts_with(SQLITE) || head.len() < 100 {
        return Ok(free);
    }
    let u32_at = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        u64::from(four.map_or(0, u32::from_be_bytes))
    };
    let size = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        n => u64::from(n),
    };
    let (mut trunk, count) = (u32_at(&head, 32), u32_at(&head, 36));
    let mut name = |number: u64| {
        let from = number.saturating_sub(1) * size / PAGE as u64;
        let to = (number * size).div_ceil(PAGE as u64);
        (from..to).fold(false, |new, page| free.insert(page) | new)
    };
    // Each page is named once: a list that runs in a circle ends.
    let mut named = 0;
    while trunk > 0 && named < count && name(trunk) {
        named += 1;
        let page = read_at(path, (trunk - 1) * size, size as usize)?;
        let leaves = u32_at(&page, 4).min(size / 4);
        for leaf in 0..leaves {
            name(u32_at(&page, 8 + 4 * leaf as usize));
            named += 1;
        }
        trunk = u32_at(&page, 0);
    }
    Ok(free)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn profile(bytes: &[u8]) -> Profile {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, bytes).unwrap();
        Profile::of(&[path]).unwrap()
    }

    #[test]
    fn plain_free_and_zeroed_pages_are_told_from_noise_and_none_is_lost_in_a_large_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        let fill = "CREATE TABLE t (a TEXT); CREATE TABLE gone (a TEXT);
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
            INSERT INTO t SELECT 'invoice number ' || i FROM n;
            INSERT INTO gone SELECT a FROM t; DROP TABLE gone;";
        conn.execute_batch(fill).unwrap();
        let free: u32 = conn
            .query_row("PRAGMA freelist_count", (), |r| r.get(0))
            .unwrap();
        let free = free as usize;
        let seen = Profile::of(std::slice::from_ref(&path)).unwrap();
        assert!(free > 3);
        assert_eq!(seen.count(PageKind::Free), free);
        assert!(seen.count(PageKind::Tree) > free);
        assert_eq!(seen.count(PageKind::Noise), 0);

        let mut noise = vec![0; 3000 * PAGE];
        ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut noise);
        let all = profile(&noise);
        assert_eq!((all.pages, all.pages_per_cell), (3000, 3));
        assert_eq!(
            (all.kinds.as_str(), all.kinds.len()),
            (&*"n".repeat(1000), 1000)
        );
        noise[1234 * PAGE..1235 * PAGE].fill(0);
        let one = profile(&noise);
        assert_eq!(one.count(PageKind::Zero), 1);
        assert_eq!(one.entropy[1234 / 3], Some(0));
    }

    #[test]
    fn a_list_of_free_pages_that_runs_in_a_circle_ends() {
        let mut file = vec![0; 2 * PAGE];
        file[..16].copy_from_slice(b"SQLite format 3\0");
        file[16..18].copy_from_slice(&4096u16.to_be_bytes());
        file[32..36].copy_from_slice(&2u32.to_be_bytes());
        file[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
        file[PAGE..PAGE + 4].copy_from_slice(&2u32.to_be_bytes());
        assert_eq!(profile(&file).kinds, "tf");
    }
}
