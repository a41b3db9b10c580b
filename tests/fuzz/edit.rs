//! Does to an entry what a case says.

use std::ops::Range;

use proptest::sample::Index;

use crate::corpus::Entry;
use crate::files::{MAIN, TRAILER};
use crate::keyed;
use crate::mutate::{Aim, Case, Edit, How, Place};

impl Case {
    /// The altered entry.
    pub fn apply(&self, aim: &Aim, corpus: &[Entry]) -> Entry {
        let base = self.base.get(corpus);
        let mut entry = Entry {
            state: None,
            ..base.clone()
        };
        for edit in &self.edits {
            edit.apply(aim, corpus, &mut entry);
        }
        entry
    }
}

impl Edit {
    fn apply(&self, aim: &Aim, corpus: &[Entry], entry: &mut Entry) {
        let Self { file, place, how } = self;
        let parts = |bytes: &[u8]| {
            let mut parts = aim.layout.parts(*file, bytes.len());
            parts.retain(|part| aim.within.contains(&part.start));
            parts
        };
        if let How::Exchange(from) = how {
            let other = &from.get(corpus).files.0[*file];
            // Without its main file there is no database.
            if *file != MAIN || other.is_some() {
                entry.files.0[*file].clone_from(other);
            }
            return;
        }
        if let How::Forge { at, new, sums } = how {
            let part = place.of_part();
            entry.forged |= keyed::forge(&mut entry.files, *file, &parts, part, (at, new), *sums);
            return;
        }
        let Some(bytes) = &mut entry.files.0[*file] else {
            return;
        };
        let all = parts(bytes);
        let (Some(at), Some(last)) = (place.resolve(&all), all.len().checked_sub(1)) else {
            return;
        };
        let part = all.iter().rposition(|part| part.start <= at).unwrap_or(0);
        match how {
            How::Flip(bit) => bytes[at] ^= 1 << bit,
            How::Number(new) | How::Put(new) => put(bytes, at, new),
            How::Insert(new) => drop(bytes.splice(at..at, new.iter().copied())),
            How::Zero(len) => put(bytes, at, &vec![0; *len]),
            How::Cut => bytes.truncate(at),
            How::Extend(new, times) => bytes.extend(new.repeat(*times)),
            How::Remove(count) => {
                let end = all[(part + count - 1).min(last)].end;
                bytes.drain(all[part].start..end);
            }
            How::Double(count) => {
                let end = all[(part + count - 1).min(last)].end;
                let doubled = bytes[all[part].start..end].to_vec();
                drop(bytes.splice(end..end, doubled));
            }
            How::Swap(other) => {
                let (one, other) = (&all[part], other.get(&all));
                let [ones, others] = [one, other].map(|part| bytes[part.clone()].to_vec());
                put(bytes, one.start, &others);
                put(bytes, other.start, &ones);
            }
            How::Splice {
                from,
                parts: count,
                moved,
            } => {
                let Some(other) = &from.get(corpus).files.0[*file] else {
                    return;
                };
                let theirs = parts(other);
                if theirs.is_empty() {
                    return;
                }
                let begin = match moved {
                    true => from.index(theirs.len()),
                    false => part.min(theirs.len() - 1),
                };
                let end = (begin + count - 1).min(theirs.len() - 1);
                let taken = &other[theirs[begin].start..theirs[end].end];
                let at = if *moved {
                    all[part].start
                } else {
                    theirs[begin].start
                };
                put(bytes, at, taken);
                // A longer file's end goes over, too.
                if at + taken.len() > bytes.len() {
                    bytes.truncate(at);
                    bytes.extend(taken);
                }
            }
            How::Exchange(_) | How::Forge { .. } => {}
        }
    }
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes
        .iter_mut()
        .skip(at)
        .zip(new)
        .for_each(|(b, n)| *b = *n);
}

impl Place {
    fn of_part(&self) -> &Index {
        match self {
            Self::Anywhere(part) | Self::Border(part, _) | Self::Trailer(part, _) => part,
        }
    }

    /// The byte that it names in a file with these parts; none in an empty file.
    fn resolve(&self, parts: &[Range<usize>]) -> Option<usize> {
        let (first, last) = (parts.first()?.start, parts.last()?.end - 1);
        Some(match self {
            Self::Anywhere(at) => first + at.index(last + 1 - first),
            Self::Border(part, by) => part
                .get(parts)
                .start
                .saturating_add_signed((*by).into())
                .min(last),
            Self::Trailer(part, at) => (part.get(parts).end.saturating_sub(TRAILER) + at).min(last),
        })
    }
}
