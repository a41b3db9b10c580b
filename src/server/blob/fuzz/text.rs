//! Edits of a text, as bytes.

use proptest::prelude::*;
use proptest::sample::{Index, select};

#[derive(Clone, Debug)]
pub(super) enum Edit {
    Put(Index, &'static str),
    Any(Index, String),
    Drop(Index, usize),
    Twice(Index, usize),
    Flip(Index, u8),
}

/// Edits that put one of `tokens` in, take up to `dropped` bytes out, or repeat up to `repeated`.
pub(super) fn edits(
    tokens: &'static [&'static str],
    dropped: usize,
    repeated: usize,
) -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let edit = prop_oneof![
        6 => (at(), select(tokens)).prop_map(|(at, token)| Edit::Put(at, token)),
        1 => (at(), "\\PC{0,4}").prop_map(|(at, text)| Edit::Any(at, text)),
        3 => (at(), 1..=dropped).prop_map(|(at, n)| Edit::Drop(at, n)),
        2 => (at(), 1..=repeated).prop_map(|(at, n)| Edit::Twice(at, n)),
        2 => (at(), 1..=255_u8).prop_map(|(at, bits)| Edit::Flip(at, bits)),
    ];
    prop::collection::vec(edit, 0..4)
}

pub(super) fn altered(good: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = good.as_bytes().to_vec();
    for edit in edits {
        let len = bytes.len();
        match edit {
            Edit::Put(at, token) => put(&mut bytes, *at, token),
            Edit::Any(at, text) => put(&mut bytes, *at, text),
            Edit::Drop(at, n) => {
                let at = at.index(len + 1);
                bytes.drain(at..len.min(at + n));
            }
            Edit::Twice(at, n) => {
                let at = at.index(len + 1);
                let again = bytes[at..len.min(at + n)].to_vec();
                bytes.splice(at..at, again);
            }
            Edit::Flip(at, bits) if len > 0 => bytes[at.index(len)] ^= bits,
            Edit::Flip(..) => {}
        }
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, at: Index, text: &str) {
    let at = at.index(bytes.len() + 1);
    bytes.splice(at..at, text.bytes());
}
