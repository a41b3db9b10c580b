use std::cell::RefCell;
use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::base::sabotage::{Sabotage, broken};

use super::random;

/// A secret of `N` bytes: boxed (moves copy a pointer), locked in memory where the system allows
/// it, wiped on drop. It has no `Clone`, `Serialize` or telling `Debug`; [`Secret::expose`] is
/// the one door to its bytes, so that one search finds every use.
pub struct Secret<const N: usize>(Box<[u8]>);

impl<const N: usize> Secret<N> {
    /// A secret that `fill` writes in place, so that no copy is left on the stack.
    pub fn init_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        // A secret from the start: what `fill` has written is wiped even when it panics.
        let mut secret = Self(room(N));
        let bytes = secret.0.first_chunk_mut().expect("room for N bytes");
        fill(bytes);
        secret
    }

    /// `N` random bytes from the operating system.
    pub fn random() -> Self {
        Self::init_with(|bytes| random::fill(bytes))
    }

    /// A copy of `bytes`, or `None` when there are not exactly `N`.
    pub fn copy_from(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == N).then(|| Self::init_with(|to| to.copy_from_slice(bytes)))
    }

    /// The bytes. Each caller has a reason to see them.
    pub fn expose(&self) -> &[u8; N] {
        self.0.first_chunk().expect("room for N bytes")
    }

    /// Whether both hold the same bytes, in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        if broken(Sabotage::KeyNotWiped) {
            // Let go of as it is; looked at, so that the compiler keeps the bytes.
            let kept = std::mem::take(&mut self.0);
            std::mem::forget(std::hint::black_box(kept));
        }
        wipe(&mut self.0);
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(redacted)")
    }
}

/// A secret whose length is known only at run time (a PKCS#8 document, a passphrase). The same
/// rules as [`Secret`].
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// Takes over `bytes`; what the vector held is wiped when the secret is dropped.
    pub fn from_vec(mut bytes: Vec<u8>) -> Self {
        // `into_boxed_slice` would copy and leave the old allocation behind unwiped.
        let mut secret = Self(room(bytes.len()));
        secret.0.copy_from_slice(&bytes);
        bytes.zeroize();
        secret
    }

    /// `len` random bytes from the operating system.
    pub fn random(len: usize) -> Self {
        let mut secret = Self::from_vec(vec![0; len]);
        random::fill(&mut secret.0);
        secret
    }

    /// The bytes. Each caller has a reason to see them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(redacted)")
    }
}

/// Rooms that a thread keeps when their secrets are gone, and the longest of them: to lock a page costs more than most
/// uses of a key, and stops all threads that want memory at that moment.
const ROOMS_KEPT: usize = 32;
const ROOM_KEPT_MAX: usize = 64;

thread_local! {
    /// Wiped, and locked still.
    static ROOMS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// `len` zeros, in memory that is locked as far as the system allows.
fn room(len: usize) -> Box<[u8]> {
    let kept = ROOMS.try_with(|rooms| {
        let mut rooms = rooms.borrow_mut();
        let at = rooms.iter().rposition(|room| room.len() == len)?;
        Some(rooms.swap_remove(at))
    });
    if let Ok(Some(room)) = kept {
        return room;
    }
    let room = vec![0; len].into_boxed_slice();
    lock(&room);
    room
}

/// Wipes a secret's room, and keeps it for the next one.
fn wipe(room: &mut Box<[u8]>) {
    room.zeroize();
    // Nothing is in a room that was taken away, or is of a secret of no bytes.
    if room.is_empty() || room.len() > ROOM_KEPT_MAX {
        return;
    }
    let room = std::mem::take(room);
    // A thread that ends keeps nothing.
    let _ = ROOMS.try_with(|rooms| {
        let mut rooms = rooms.borrow_mut();
        if rooms.len() < ROOMS_KEPT {
            rooms.push(room);
        }
    });
}

/// Keeps the pages of `bytes` out of swap, as far as the process's limit goes. They stay locked
/// until the process ends: an unlock would take a page that another secret may share.
fn lock(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if let Ok(guard) = region::lock(bytes.as_ptr(), bytes.len()) {
        std::mem::forget(guard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_of_the_wrong_length_is_refused() {
        assert!(Secret::<32>::copy_from(&[0; 31]).is_none());
        assert!(Secret::<32>::copy_from(&[0; 32]).is_some());
    }

    /// A room that is used again must not hand one secret's bytes to the next.
    #[test]
    fn next_secret_in_the_same_place_starts_from_zeros() {
        let first = Secret::<32>::init_with(|bytes| bytes.fill(0xA5));
        let place = first.expose().as_ptr();
        drop(first);
        let mut found = [1; 32];
        let second = Secret::<32>::init_with(|bytes| found = *bytes);
        assert_eq!((second.expose().as_ptr(), found), (place, [0; 32]));
        // Two at once never share one.
        let third = Secret::<32>::random();
        assert_ne!(third.expose().as_ptr(), second.expose().as_ptr());
        drop(SecretBytes::random(64));
        assert_ne!(SecretBytes::from_vec(vec![7; 64]).expose(), [0; 64]);
    }

    #[test]
    fn two_random_secrets_differ() {
        let (a, b) = (Secret::<32>::random(), Secret::<32>::random());
        assert!(!a.ct_eq(&b));
        assert!(a.ct_eq(&Secret::copy_from(a.expose()).unwrap()));
    }
}
