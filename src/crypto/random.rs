use rand::TryRng;
use rand::rngs::SysRng;

/// Fills `bytes` from the operating system's generator.
///
/// # Panics
/// When the operating system cannot give random bytes: nothing safe can be done without them.
pub(super) fn fill(bytes: &mut [u8]) {
    SysRng
        .try_fill_bytes(bytes)
        .expect("the operating system gives random bytes");
}

/// `N` random bytes from the operating system, for salts and identifiers (keys: [`Secret::random`]).
///
/// [`Secret::random`]: super::Secret::random
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// A random identifier: `random_id(ResourceId::from_bytes)`.
pub fn random_id<T>(make: impl FnOnce([u8; 16]) -> T) -> T {
    make(random_bytes())
}
