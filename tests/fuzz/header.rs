//! The header block: both slots, beside a reader of them that was written from docs/format.md alone.

use std::cmp::Reverse;
use std::fs;
use std::path::Path;

use atrest::crypto::{Label, derive, hmac_verify};
use atrest::sqlite::{KEY_SLOT_LEN, SealedDatabase};

use crate::corpus::Entry;
use crate::files::{BLOCK, FILE, MAIN, dek};
use crate::lives::{Life, SLOT};
use crate::oracle::{self, Outcome};
use crate::run::old_and_new;

const HALF: usize = BLOCK / 2;
/// What is written of a slot ends here; then come the freshness records.
const FIELDS: usize = 1024;

pub fn entries() -> Vec<(&'static str, Entry)> {
    let mut life = Life::new();
    life.take("new");
    let first = life.last().files.clone();
    life.db.replace_key_slot(&[0xa5; KEY_SLOT_LEN]).unwrap();
    life.take("rewrapped");
    // A power cut between the two halves.
    let mut halves = [first.main(), life.last().files.main()].map(<[u8]>::to_vec);
    let (old, new) = halves.split_at_mut(1);
    old[0][..FIELDS].copy_from_slice(&new[0][..FIELDS]);
    old[0][HALF - 32..HALF].copy_from_slice(&new[0][HALF - 32..HALF]);
    life.commit();
    life.take("state_1");
    let remembered = life.remember();
    life.db.replace_key_slot(&SLOT).unwrap();
    life.take("rewrapped_again");
    life.take("half_rewrapped");
    let half = life.last();
    half.files.0[MAIN] = Some(halves[0].clone());
    half.state = Some(0);
    life.entries(remembered)
}

/// A slot that parses.
struct Slot<'a> {
    bytes: &'a [u8],
    sequence: u64,
}

impl<'a> Slot<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let zeros = [40..64, 904..FIELDS];
        let key_before = bytes[832..872].iter().any(|&b| b != 0);
        let good = bytes[..8] == *b"atrestDB"
            && bytes[8..11] == [1, 0, 1]
            && (9..=16).contains(&bytes[11])
            && bytes[12] == 32
            && [0, 1, 2, 4, 5].contains(&bytes[13])
            && bytes[14] <= 1
            && bytes[15] <= 1
            && key_before == (bytes[13] == 4)
            && zeros
                .into_iter()
                .all(|zeros| bytes[zeros].iter().all(|&b| b == 0));
        let sequence = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
        good.then_some(Self { bytes, sequence })
    }

    fn is_authentic(&self) -> bool {
        let key = derive(&dek(), Label::SqliteHeader, &[FILE.as_bytes()]);
        let mac = self.bytes[HALF - 32..].try_into().unwrap();
        self.bytes[16..32] == *FILE.as_bytes() && hmac_verify(&key, &[&self.bytes[..FIELDS]], mac)
    }
}

/// The slots of a block, newest first.
fn slots(main: &[u8]) -> Vec<Slot<'_>> {
    let block = main.get(..BLOCK).unwrap_or_default();
    let mut slots: Vec<_> = block.chunks(HALF).filter_map(Slot::parse).collect();
    slots.sort_by_key(|slot| Reverse(slot.sequence));
    slots
}

fn judge(entry: &Entry, path: &Path) -> Result<Outcome, String> {
    entry.files.place(path);
    let main = entry.files.main();
    let expected = slots(main);
    let read = SealedDatabase::key_slots(path).unwrap_or_default();
    if !read
        .iter()
        .eq(expected.iter().map(|slot| &slot.bytes[64..832]))
    {
        return Err(format!("{} key slots were read, or other ones", read.len()));
    }
    let newest = expected.iter().find(|slot| slot.is_authentic());
    let opened = oracle::open(path).ok();
    // While it is encrypted or decrypted it is not whole without the plain file beside it.
    let whole = newest.is_some_and(|slot| ![2, 5].contains(&slot.bytes[13]));
    if opened.is_some() != whole {
        return Err("it opens, and no slot is authentic; or it does not, and one is".to_owned());
    }
    if let (Some(db), Some(newest)) = (opened, newest) {
        written_again(&db, newest, main, path)?;
    }
    oracle::sealed(entry, path)
}

/// What was parsed and is written again is what was there.
fn written_again(
    db: &SealedDatabase,
    slot: &Slot<'_>,
    main: &[u8],
    path: &Path,
) -> Result<(), String> {
    // Nobody counts further, in steps of two.
    if slot.sequence >= u64::MAX - 1 {
        return Ok(());
    }
    let key_slot = slot.bytes[64..832].try_into().unwrap();
    db.replace_key_slot(key_slot)
        .map_err(|e| format!("writing it again: {e}"))?;
    let written = fs::read(path).unwrap();
    let slots = slots(&written);
    let same = |new: &Slot<'_>| {
        new.bytes[..32] == slot.bytes[..32]
            && new.bytes[40..FIELDS] == slot.bytes[40..FIELDS]
            && new.sequence > slot.sequence
            && new.is_authentic()
    };
    if slots.len() != 2 || !slots.iter().all(same) {
        return Err("written again it is another header".to_owned());
    }
    let records = |main: &[u8]| [FIELDS, HALF + FIELDS].map(|at| main[at..at + 992].to_vec());
    match records(&written) == records(main) && written[BLOCK..] == main[BLOCK..] {
        true => Ok(()),
        false => Err("writing a header changed what is not its".to_owned()),
    }
}

#[test]
fn a_header_is_read_as_it_is_specified_or_refused_and_never_leads_to_another_state() {
    old_and_new("header", &[MAIN], 0..BLOCK, &judge);
}
