//! What is done to an entry of a corpus: a few edits, at the borders of units as well as anywhere.
//! They are proptest's values, so a case that fails is made smaller by it.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::files::{Layout, TRAILER};

/// What a target alters.
#[derive(Clone, Debug)]
pub struct Aim {
    pub layout: Layout,
    /// Which files, the likelier ones more than once.
    pub files: &'static [usize],
    /// Which bytes of a file.
    pub within: Range<usize>,
    /// Whether units are also opened, altered inside and sealed again.
    pub forge: bool,
}

/// A case: which entry, and what is done to it.
#[derive(Clone, Debug)]
pub struct Case {
    pub base: Index,
    pub edits: Vec<Edit>,
}

#[derive(Clone, Debug)]
pub struct Edit {
    pub file: usize,
    pub place: Place,
    pub how: How,
}

/// A place in a file.
#[derive(Clone, Debug)]
pub enum Place {
    Anywhere(Index),
    /// So many bytes before or after the beginning of a part.
    Border(Index, i8),
    /// In a part's trailer.
    Trailer(Index, usize),
}

#[derive(Clone, Debug)]
pub enum How {
    Flip(u8),
    Number(Vec<u8>),
    Put(Vec<u8>),
    Insert(Vec<u8>),
    Zero(usize),
    Cut,
    Extend(Vec<u8>, usize),
    /// Parts from the place on are taken out, are there twice, or change places with others.
    Remove(usize),
    Double(usize),
    Swap(Index),
    /// Parts of another entry: at the place where they were, or at this one.
    Splice {
        from: Index,
        parts: usize,
        moved: bool,
    },
    /// The whole file of another entry.
    Exchange(Index),
    /// What lies inside the unit is altered and sealed again, SQLite's sums made to fit or not.
    Forge {
        at: Index,
        new: Vec<u8>,
        sums: bool,
    },
}

/// Numbers at which a reader may go wrong, in 1, 2, 4 or 8 bytes of either order.
fn number() -> impl Strategy<Value = Vec<u8>> {
    let borders: Vec<u64> = [0, 8, 9, 16, 31, 32, 63]
        .iter()
        .flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1])
        .chain([u64::MAX, u64::MAX - 1])
        .collect();
    (
        prop_oneof![select(borders), any::<u64>(), 0..100_u64],
        0..4_usize,
        any::<bool>(),
    )
        .prop_map(|(number, log2, big)| match big {
            true => number.to_be_bytes()[8 - (1_usize << log2)..].to_vec(),
            false => number.to_le_bytes()[..1_usize << log2].to_vec(),
        })
}

fn some_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..most)
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        any::<Index>().prop_map(Place::Anywhere),
        (any::<Index>(), -2..=2_i8).prop_map(|(part, by)| Place::Border(part, by)),
        (any::<Index>(), 0..TRAILER).prop_map(|(part, at)| Place::Trailer(part, at)),
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        4 => (0..8_u8).prop_map(How::Flip),
        3 => number().prop_map(How::Number),
        2 => some_bytes(40).prop_map(How::Put),
        1 => some_bytes(4).prop_map(How::Insert),
        2 => (1..700_usize).prop_map(How::Zero),
        2 => Just(How::Cut),
        1 => (some_bytes(3), 0..2000_usize).prop_map(|(bytes, times)| How::Extend(bytes, times)),
        1 => (1..4_usize).prop_map(How::Remove),
        1 => (1..4_usize).prop_map(How::Double),
        2 => any::<Index>().prop_map(How::Swap),
        4 => (any::<Index>(), 1..6_usize, any::<bool>())
            .prop_map(|(from, parts, moved)| How::Splice { from, parts, moved: moved && parts < 3 }),
        2 => any::<Index>().prop_map(How::Exchange),
    ]
}

fn forged() -> impl Strategy<Value = How> {
    let new = prop_oneof![number(), some_bytes(40)];
    (any::<Index>(), new, any::<bool>()).prop_map(|(at, new, sums)| How::Forge { at, new, sums })
}

pub fn case(aim: &Aim) -> impl Strategy<Value = Case> {
    let files = select(aim.files);
    let edits = move |how, most| {
        let edit = (files.clone(), place(), how);
        let edit = edit.prop_map(|(file, place, how)| Edit { file, place, how });
        prop::collection::vec(edit, 1..most)
    };
    // What the key's holder forges is judged less strictly: most cases are without.
    let edits = match aim.forge {
        true => prop_oneof![
            3 => edits(how().boxed(), 5),
            1 => edits(prop_oneof![3 => forged(), 1 => how()].boxed(), 4),
        ]
        .boxed(),
        false => edits(how().boxed(), 5).boxed(),
    };
    (any::<Index>(), edits).prop_map(|(base, edits)| Case { base, edits })
}
