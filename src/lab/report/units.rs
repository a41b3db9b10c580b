//! Numbers as people read them.

/// To the nearest integer, with commas between thousands.
pub(super) fn number(x: f64) -> String {
    let digits = format!("{x:.0}");
    let first = match digits.len() % 3 {
        0 => 3.min(digits.len()),
        n => n,
    };
    let (mut out, mut rest) = (digits[..first].to_owned(), &digits[first..]);
    while !rest.is_empty() {
        out = format!("{out},{}", &rest[..3]);
        rest = &rest[3..];
    }
    out
}

/// A length, in units of a thousand.
pub(super) fn bytes(n: u64) -> String {
    let x = n as f64;
    match n {
        0..10_000 => format!("{n} B"),
        10_000..1_000_000 => format!("{:.1} kB", x / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", x / 1e6),
        _ => format!("{:.1} GB", x / 1e9),
    }
}

/// A duration, to a tenth of a second, or in milliseconds.
pub(super) fn seconds(s: &f64) -> String {
    match s {
        ..1.0 => format!("{:.0} ms", s * 1000.0),
        _ => format!("{s:.1} s"),
    }
}
