//! What a computation with a key leaves on its thread's stack.

use std::hint::black_box;

use zeroize::Zeroize;

/// So much of the stack below the caller is written over, in 64-bit words: 16 KiB, several times what
/// AES, RSA and elliptic curves of the library use (`tests/lab.rs` looks at a server's memory).
const WORDS: usize = 2048;

/// Does `work`, and then writes over the stack that it used. Libraries keep key schedules there, and
/// do not wipe them: they would stay until the thread's stack grows over them again.
///
/// What `work` returns is the caller's: keys in it must be on the heap.
#[inline(never)]
pub(super) fn scrubbed<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    overwrite();
    result
}

/// A frame of its own: what is inlined into it lies where [`overwrite`]'s frame will.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn overwrite() {
    let mut words = [0_u64; WORDS];
    words.zeroize();
    black_box(&words);
}
