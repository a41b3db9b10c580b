/// The page that statistics are made of, in bytes, whatever the file's own page size.
pub const PAGE: usize = 4096;

/// Chi-square of the byte distribution above which a page is flagged, at 255 degrees of freedom:
/// random bytes exceed it once in about 10^9 pages (mean 255, standard deviation 22.6).
pub const CHI_SQUARE_LIMIT: f64 = 415.0;

/// Compressed size over size below which data is flagged: random bytes do not shrink at all.
pub const DEFLATE_LIMIT: f64 = 0.99;

/// Fewer bytes than this and chi-square means nothing: each of the 256 values has to be expected
/// five times (the usual rule for Pearson's test).
pub(super) const CHI_SQUARE_MIN: u64 = 5 * 256;

/// Pearson's chi-square of `counts` against the uniform distribution; 0 when there are too few
/// bytes for it to mean anything.
pub(super) fn chi_square<N: Copy + Into<u64>>(counts: &[N; 256]) -> f64 {
    let (mut total, mut squares) = (0u64, 0f64);
    for &count in counts {
        let count: u64 = count.into();
        total += count;
        squares += (count as f64) * (count as f64);
    }
    if total < CHI_SQUARE_MIN {
        return 0.0;
    }
    squares * 256.0 / total as f64 - total as f64
}

/// Shannon entropy of a byte distribution, in bits per byte.
pub(in crate::lab) fn entropy(counts: &[u64; 256]) -> f64 {
    let total: u64 = counts.iter().sum();
    let part = |&count: &u64| {
        let p = count as f64 / total as f64;
        if count == 0 { 0.0 } else { -p * p.log2() }
    };
    counts.iter().map(part).sum()
}

/// How often each byte value occurs.
pub(super) fn histogram(bytes: &[u8]) -> [u32; 256] {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    count(words.map(word), rest.iter().copied())
}

/// How often each value occurs of the XOR of two strings of the same length.
pub(super) fn histogram_of_xor(a: &[u8], b: &[u8]) -> [u32; 256] {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));
    let (a, b) = (a.chunks_exact(8).remainder(), b.chunks_exact(8).remainder());
    let rest = a.iter().zip(b).map(|(a, b)| a ^ b);
    count(words.map(|(a, b)| word(a) ^ word(b)), rest)
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// Four tables, so that equal bytes in a row do not wait for each other.
fn count(words: impl Iterator<Item = u64>, rest: impl Iterator<Item = u8>) -> [u32; 256] {
    let mut tables = [[0u32; 256]; 4];
    for word in words {
        for (i, byte) in word.to_le_bytes().into_iter().enumerate() {
            tables[i & 3][usize::from(byte)] += 1;
        }
    }
    rest.for_each(|byte| tables[0][usize::from(byte)] += 1);
    let mut sum = [0; 256];
    for (value, count) in sum.iter_mut().enumerate() {
        *count = tables.iter().map(|t| t[value]).sum();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chi_square_is_what_the_textbook_says() {
        assert_eq!(chi_square(&[16u32; 256]), 0.0);
        let mut lopsided = [0u32; 256];
        lopsided[0] = 4096;
        assert_eq!(chi_square(&lopsided), 4096.0 * 255.0);
        assert_eq!(chi_square(&[4u32; 256]), 0.0, "too few bytes");
    }

    #[test]
    fn every_byte_is_counted_once_whatever_the_length() {
        for len in [0, 1, 7, 8, 9, 300] {
            let a: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let b: Vec<u8> = (0..len).map(|i| (i * 3 + 1) as u8).collect();
            let xor: Vec<u8> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
            let mut expected = [0; 256];
            xor.iter().for_each(|b| expected[usize::from(*b)] += 1);
            assert_eq!(histogram(&xor), expected);
            assert_eq!(histogram_of_xor(&a, &b), expected);
        }
    }

    #[test]
    fn entropy_runs_from_nothing_to_eight_bits() {
        assert_eq!(entropy(&[1; 256]), 8.0);
        let mut one = [0; 256];
        one[7] = 99;
        assert_eq!(entropy(&one), 0.0);
    }
}
