//! Checksums as an oracle. SQLite puts a running checksum of all pages into each frame of its log, and
//! into the log's index; and into its rollback journal one of some bytes of each page. Where these are in clear,
//! a page that is known but for a few digits gives them away: the thief computes the checksum for each guess and
//! compares.

use std::collections::HashMap;
use std::path::Path;

use crate::base::beside;
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::sqlite::PageSize;

use super::alter::read_all;
use super::bout::{Bout, Reading, both_arms};
use super::database::{Database, Files};
use super::past::{PLAIN_JOURNAL, PLAIN_LOG, PagedLayout, SEALED_JOURNAL, log_layout};
use super::sql::page_size;
use super::vault::Arm;

/// What the thief does not know: four digits of one row.
const SECRET: u32 = 4711;
const GUESSES: u32 = 10_000;

/// Attack 11.
pub(in crate::lab) fn checksums(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let size = page_size(exhibit)?;
    let evidence = both_arms(lab, exhibit, |arm, dir| guessed(dir, arm, size))?;
    let part =
        "four digits on a page of a specimen, by the checksums of its log and of the log's index";
    let journal = both_arms(lab, exhibit, |arm, dir| guessed_by_journal(dir, arm, size))?;
    let of_journal = "two letters on two pages of a specimen, by the checksums of its journal";
    Ok(vec![
        Attack::number(11).outcome(Some(part), exhibit, evidence),
        Attack::number(11).outcome(Some(of_journal), exhibit, journal),
    ])
}

fn guessed(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    // A plain twin of the same rows has the same pages: what the thief knows of the sealed one's.
    let twin = Database::specimen(dir, "twin", &Arm::plain(), size, 12)?;
    let known = Logged::of(&twin, &PLAIN_LOG)?;
    let database = Database::specimen(dir, "stolen", arm, size, 12)?;
    let stolen = Logged::of(&database, log_layout(arm))?;
    let last = known.frames() - 1;
    let guesses = Guesses::of(
        &known.frame(last)[..8],
        &known.frame(last)[PLAIN_LOG.around_page..],
    );
    let mut windows = 0;
    let mut found = None;
    for (before, after) in stolen.pairs() {
        windows += 1;
        found = found.or(guesses.that_fits(before, after));
    }
    let mut bout = Bout::new(&database.path, "");
    let reading = match found {
        Some(digits) => Reading::Data(digits.to_string()),
        None => Reading::Refused("no guess fits any pair of numbers".to_owned()),
    };
    let right = found == Some(SECRET);
    bout.record(reading, None, || match right {
        true => format!("the digits are {SECRET}"),
        false => "a guess fits, and it is wrong".to_owned(),
    });
    Ok(bout.finish(&format!(
        "{GUESSES} guesses compared with {windows} pairs of numbers in log and index"
    )))
}

/// A log, and its index, as a killed process leaves them.
struct Logged {
    log: Vec<u8>,
    index: Vec<u8>,
    header: usize,
    before_page: usize,
    frame: usize,
}

impl Logged {
    /// Two commits of one page each, of which the last one wrote the digits.
    fn of(database: &Database, layout: &PagedLayout) -> Result<Self, LabError> {
        let page = usize::try_from(database.page_size).expect("at most 64 KiB");
        let open = database.open()?;
        let connection = open.connect()?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        for memo in ["PIN 0000".to_owned(), format!("PIN {SECRET}")] {
            connection.execute("UPDATE ledger SET memo = ?1 WHERE id = 80", [memo])?;
        }
        let index = beside(&database.path, "-shm");
        Ok(Self {
            log: Files::of(&database.path)?.get("-wal").to_vec(),
            index: read_all(&index)?,
            header: layout.header,
            before_page: layout.around_page,
            frame: layout.around_page + page,
        })
    }

    fn frames(&self) -> usize {
        (self.log.len() - self.header) / self.frame
    }

    fn frame(&self, n: usize) -> &[u8] {
        &self.log[self.header + n * self.frame..][..self.frame]
    }

    /// All pairs of numbers of which the first may be the checksum before the last frame, and the second
    /// the one after it: at the same place before the last two pages, or in the index.
    fn pairs(&self) -> Vec<(Pair, Pair)> {
        let last = self.frames() - 1;
        let head = |n: usize| &self.frame(n)[..self.before_page];
        let mut pairs = Vec::new();
        for (before, after) in head(last - 1).windows(8).zip(head(last).windows(8)) {
            for order in ORDERS {
                let before = order(before);
                pairs.push((before, order(after)));
                let of_index = self.index.windows(8).step_by(4);
                pairs.extend(of_index.flat_map(|after| ORDERS.map(|order| (before, order(after)))));
            }
        }
        pairs
    }
}

/// A checksum: two numbers of 32 bits.
type Pair = (u32, u32);

/// A log has them in one order of bytes, its index in the other.
const ORDERS: [fn(&[u8]) -> Pair; 2] = [
    |b| {
        (
            u32::from_be_bytes(word(b, 0)),
            u32::from_be_bytes(word(b, 4)),
        )
    },
    |b| {
        (
            u32::from_le_bytes(word(b, 0)),
            u32::from_le_bytes(word(b, 4)),
        )
    },
];

fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes[at..at + 4].try_into().expect("4 bytes")
}

/// SQLite's checksum (its file format, section 4.2) from `start` on.
fn checksum(start: Pair, parts: [&[u8]; 2]) -> Pair {
    let (mut a, mut b) = start;
    for part in parts {
        for pair in part.chunks_exact(8) {
            a = a
                .wrapping_add(u32::from_le_bytes(word(pair, 0)))
                .wrapping_add(b);
            b = b
                .wrapping_add(u32::from_le_bytes(word(pair, 4)))
                .wrapping_add(a);
        }
    }
    (a, b)
}

/// What each guess adds to a checksum. The sum is linear: what it makes of the checksum before does not
/// depend on the page.
struct Guesses {
    added: HashMap<Pair, u32>,
    /// What (1, 0) and (0, 1) become over a page of zeros.
    carried: [Pair; 2],
}

impl Guesses {
    /// Of a frame that is known but for its digits.
    fn of(head: &[u8], page: &[u8]) -> Self {
        let digits = SECRET.to_string();
        let at = page
            .windows(8)
            .position(|w| w == format!("PIN {digits}").as_bytes());
        let at = at.expect("the thief knows the page") + 4;
        let mut page = page.to_vec();
        let mut added = HashMap::new();
        for guess in 0..GUESSES {
            page[at..at + 4].copy_from_slice(format!("{guess:04}").as_bytes());
            added.insert(checksum((0, 0), [head, &page]), guess);
        }
        let zeros = vec![0; head.len() + page.len()];
        Self {
            added,
            carried: [(1, 0), (0, 1)].map(|start| checksum(start, [&zeros, &[]])),
        }
    }

    /// The guess with which the checksum `before` becomes `after`.
    fn that_fits(&self, before: Pair, after: Pair) -> Option<u32> {
        let [one, other] = self.carried;
        let carried = |one: u32, other: u32| {
            let (a, b) = (before.0.wrapping_mul(one), before.1.wrapping_mul(other));
            a.wrapping_add(b)
        };
        let added = (
            after.0.wrapping_sub(carried(one.0, other.0)),
            after.1.wrapping_sub(carried(one.1, other.1)),
        );
        self.added.get(&added).copied()
    }
}

/// What the thief does not know of two pages: the letter that a row is filled with on each.
const LETTERS: [(u32, u8); 2] = [(20, b'q'), (80, b'd')];
/// A row's length. It takes in one of the bytes that a checksum counts, wherever it lies.
const FILLED: usize = 230;
/// A checksum in a journal is a random number, and each byte so far from the last one counted (SQLite's file
/// format, section 3).
const STRIDE: usize = 200;
/// Where the random number stands in a journal's header.
const NONCE: usize = 12;

fn guessed_by_journal(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let twin = Database::specimen(dir, "journal-twin", &Arm::plain(), size, 13)?;
    fill(&twin)?;
    let known = Known::of(&twin)?;
    let database = Database::specimen(dir, "journaled", arm, size, 13)?;
    fill(&database)?;
    let journal = match arm.is_protected() {
        false => under_way(&database)?,
        // A chunk without its trailer is as long as the sector that SQLite wrote.
        true => {
            let sealed = under_way(&database)?;
            let chunks = sealed.chunks(SEALED_JOURNAL.unit);
            chunks
                .flat_map(|c| &c[..c.len().min(PLAIN_JOURNAL.header)])
                .copied()
                .collect()
        }
    };
    let page = usize::try_from(database.page_size).expect("at most 64 KiB");
    let unit = PLAIN_JOURNAL.of_pages(page).unit;
    let number = |at: usize| Some(u32::from_be_bytes(word(journal.get(at..at + 4)?, 0)));
    let ends = (PLAIN_JOURNAL.header..)
        .step_by(unit)
        .map(|at| at + unit - 4);
    let sums: Vec<u32> = ends.map_while(number).collect();
    let nonce = number(NONCE).ok_or_else(|| LabError::Report("there is no journal".to_owned()))?;
    let mut found = None;
    for (first, second) in sums.iter().flat_map(|a| sums.iter().map(move |b| (*a, *b))) {
        let letters = known[0]
            .that_fits(nonce, first)
            .zip(known[1].that_fits(nonce, second));
        found = found.or(letters);
    }
    let mut bout = Bout::new(&database.path, "");
    let reading = match found {
        Some((a, b)) => Reading::Data(format!("{}{}", char::from(a), char::from(b))),
        None => Reading::Refused("no letters fit any two numbers".to_owned()),
    };
    let right = found == Some((LETTERS[0].1, LETTERS[1].1));
    bout.record(reading, None, || match right {
        true => "the letters are the right ones".to_owned(),
        false => "letters fit, and they are wrong".to_owned(),
    });
    Ok(bout.finish(&format!(
        "each letter compared with {} numbers where a journal has its checksums",
        sums.len()
    )))
}

/// Fills a row on each of two pages with its letter.
fn fill(database: &Database) -> Result<(), LabError> {
    let open = database.open()?;
    let connection = open.connect()?;
    for (id, letter) in LETTERS {
        let memo = String::from(char::from(letter)).repeat(FILLED);
        connection.execute("UPDATE ledger SET memo = ?1 WHERE id = ?2", (memo, id))?;
    }
    Ok(())
}

/// The journal of a transaction under way that changes first the two rows, and then so much that it is on the disk.
fn under_way(database: &Database) -> Result<Vec<u8>, LabError> {
    let open = database.open()?;
    let connection = open.connect()?;
    let [(one, _), (other, _)] = LETTERS;
    connection.execute_batch(&format!(
        "BEGIN; UPDATE ledger SET amount = 1 WHERE id IN ({one}, {other});
         PRAGMA cache_size = 2; UPDATE ledger SET amount = 2"
    ))?;
    Ok(Files::of(&database.path)?.get("-journal").to_vec())
}

/// What the thief knows of a page: what the other bytes that count add up to, and how many are the letter.
struct Known {
    sum: u32,
    letters: u32,
}

impl Known {
    /// Of each of the two pages; which bytes the letter fills is known, and not the letter.
    fn of(twin: &Database) -> Result<[Self; 2], LabError> {
        let file = read_all(&twin.path)?;
        let page_len = usize::try_from(twin.page_size).expect("at most 64 KiB");
        let of = |letter: u8| -> Result<Self, LabError> {
            let filled = [letter; FILLED];
            let page = file.chunks(page_len).find_map(|page| {
                let at = page.windows(FILLED).position(|w| w == filled)?;
                Some((page, at..at + FILLED))
            });
            let (page, letters) = page.ok_or_else(|| {
                LabError::Report("a row is not on one page of the twin".to_owned())
            })?;
            let mut known = Self { sum: 0, letters: 0 };
            for at in (1..page_len).rev().skip(STRIDE - 1).step_by(STRIDE) {
                match letters.contains(&at) {
                    true => known.letters += 1,
                    false => known.sum += u32::from(page[at]),
                }
            }
            Ok(known)
        };
        Ok([of(LETTERS[0].1)?, of(LETTERS[1].1)?])
    }

    /// The letter with which a page has the checksum `sum`.
    fn that_fits(&self, nonce: u32, sum: u32) -> Option<u8> {
        let letters = sum.wrapping_sub(nonce).wrapping_sub(self.sum);
        let letter = u8::try_from(letters.checked_div(self.letters)?).ok()?;
        let fits = letters.is_multiple_of(self.letters) && letter.is_ascii_lowercase();
        fits.then_some(letter)
    }
}
