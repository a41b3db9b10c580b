//! SQLite's sums over a log, made to fit what was forged in it.

use crate::files::{FRAME_HEADER, PAGE};
use crate::keyed::{Place, bound};

/// Makes SQLite's sums over header and frames fit (its file format, section 4.2).
pub fn sum_frames(bytes: &mut [u8]) {
    let Some((first, frames)) = bytes.split_at_mut_checked(64) else {
        return;
    };
    let place = Place::new(2, 0);
    let Some(mut header) = place.open(first) else {
        return;
    };
    let big = header[3] & 1 != 0;
    let mut sums = add([0; 2], &header[..24], big);
    header[24..].copy_from_slice(&sums.map(u32::to_be_bytes).concat());
    place.seal(&header, first);
    for (index, frame) in frames.chunks_exact_mut(FRAME_HEADER + PAGE).enumerate() {
        let (head, page) = frame.split_at_mut(FRAME_HEADER);
        let place = Place::new(3, index);
        let Some(mut header) = place.open(head) else {
            return;
        };
        let mut body = Place::new(4, index);
        body.bound = bound(&header);
        let Some(mut plain) = body.open(page) else {
            return;
        };
        plain.resize(PAGE, 0);
        sums = add(add(sums, &header[..8], big), &plain, big);
        header[16..24].copy_from_slice(&sums.map(u32::to_be_bytes).concat());
        place.seal(&header, head);
    }
}

fn add([mut a, mut b]: [u32; 2], bytes: &[u8], big: bool) -> [u32; 2] {
    let word = |bytes: &[u8]| {
        let word = bytes.try_into().unwrap();
        if big {
            u32::from_be_bytes(word)
        } else {
            u32::from_le_bytes(word)
        }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
    }
    [a, b]
}
