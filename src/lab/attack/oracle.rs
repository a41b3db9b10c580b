//! Checksums as an oracle. SQLite puts a running checksum of all pages into each frame of its log, and
//! into the log's index. Where these are in clear, a page that is known but for a few digits gives them
//! away: the thief computes the checksum for each guess and compares.

use std::collections::HashMap;
use std::path::Path;

use crate::base::beside;
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::sqlite::PageSize;

use super::alter::read_all;
use super::bout::{Bout, Reading, both_arms};
use super::database::{Database, Files};
use super::past::{PLAIN_LOG, log_layout};
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
    Ok(vec![Attack::number(11).outcome(
        Some(part),
        exhibit,
        evidence,
    )])
}

fn guessed(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    // A plain twin of the same rows has the same pages: what the thief knows of the sealed one's.
    let twin = Database::specimen(dir, "twin", &Arm::plain(), size, 12)?;
    let known = Logged::of(&twin, PLAIN_LOG)?;
    let database = Database::specimen(dir, "stolen", arm, size, 12)?;
    let stolen = Logged::of(&database, log_layout(arm))?;
    let last = known.frames() - 1;
    let guesses = Guesses::of(&known.frame(last)[..8], &known.frame(last)[PLAIN_LOG.1..]);
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
    fn of(database: &Database, (header, before_page): (usize, usize)) -> Result<Self, LabError> {
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
            header,
            before_page,
            frame: before_page + usize::try_from(database.page_size).expect("at most 64 KiB"),
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
