use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::base::sabotage::{Sabotage, broken};

use super::random;

/// A secret of `N` bytes: boxed (moves copy a pointer), locked in memory where the system allows
/// it, wiped on drop. It has no `Clone`, `Serialize` or telling `Debug`; [`Secret::expose`] is
/// the one door to its bytes, so that one search finds every use.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// A secret that `fill` writes in place, so that no copy is left on the stack.
    pub fn init_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        // A secret from the start: what `fill` has written is wiped even when it panics.
        let mut secret = Self(Box::new([0; N]));
        lock(&secret.0[..]);
        fill(&mut secret.0);
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
        &self.0
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
            let kept = std::mem::replace(&mut self.0, Box::new([0; N]));
            std::mem::forget(std::hint::black_box(kept));
        }
        self.0.zeroize();
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
        let mut secret = Self(vec![0; bytes.len()].into_boxed_slice());
        lock(&secret.0);
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
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(redacted)")
    }
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

    #[test]
    fn two_random_secrets_differ() {
        let (a, b) = (Secret::<32>::random(), Secret::<32>::random());
        assert!(!a.ct_eq(&b));
        assert!(a.ct_eq(&Secret::copy_from(a.expose()).unwrap()));
    }
}
