//! What is done to one of several blobs that share a file.

use std::ops::Range;

use rand::RngExt;

use crate::lab::{Lab, LabError};

use super::account::{Account, text};
use super::alter::{patched, read_all, with_tail};
use super::bout::Bout;

/// Blobs of a pack, of equal length.
const BLOBS: u32 = 4;
const BLOB_LEN: usize = 9000;
/// Length of a slot's head.
const HEAD: usize = crate::resource::blob::Slot::HEAD_LEN;

/// Attack 13, on a specimen's pack.
pub(super) fn rearranged(lab: &Lab, account: &Account) -> Result<Bout, LabError> {
    let blobs: Vec<(String, Vec<u8>)> = (0..BLOBS)
        .map(|n| (format!("packed/{n}.txt"), text(10 + n, BLOB_LEN)))
        .collect();
    let blobs = account.put_together(blobs)?;
    let slots: Vec<Range<usize>> = blobs.iter().map(|(_, slot)| slot.clone()).collect();
    let (blob, own) = &blobs[0];
    let good = read_all(&blob.extent)?;
    let mut bout = Bout::new(&blob.extent, &blob.truth());
    for (what, altered) in alterations(&good, own, &slots[1]) {
        let reading = with_tail(&blob.extent, 0, &altered, || account.read(blob))?;
        bout.record(reading, Some(own.start as u64), || what.to_owned());
    }
    let mut rng = lab.rng("slot flips");
    let front = own.start..own.start + HEAD + account.layout().0;
    let sampled = (0..16).map(|_| rng.random_range(front.end..own.end));
    let offsets: Vec<usize> = front.clone().chain(sampled).collect();
    for at in offsets {
        let byte = [good[at] ^ (1 << rng.random_range(0..8))];
        let at = at as u64;
        let reading = patched(&blob.extent, &[(at, &byte)], || account.read(blob))?;
        bout.record(reading, Some(at), || "one bit of a slot flipped".to_owned());
    }
    Ok(bout)
}

/// By name. A slot is its head and its extent.
fn alterations(
    good: &[u8],
    own: &Range<usize>,
    other: &Range<usize>,
) -> Vec<(&'static str, Vec<u8>)> {
    let with = |from: &Range<usize>, to: &Range<usize>| {
        let mut bytes = good.to_vec();
        bytes[to.clone()].copy_from_slice(&good[from.clone()]);
        bytes
    };
    let behind = |slot: &Range<usize>| slot.start + HEAD..slot.end;
    let mut exchanged = with(other, own);
    exchanged[other.clone()].copy_from_slice(&good[own.clone()]);
    let mut zeroed = good.to_vec();
    zeroed[own.clone()].fill(0);
    vec![
        ("two slots exchanged", exchanged),
        ("another slot in its place", with(other, own)),
        (
            "another extent behind its head",
            with(&behind(other), &behind(own)),
        ),
        ("a slot zeroed, as if it had been given back", zeroed),
        ("cut within its slot", good[..own.end - 1].to_vec()),
        ("cut before its slot", good[..own.start].to_vec()),
    ]
}
