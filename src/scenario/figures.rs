//! Numbers as people read them.

use std::time::Duration;

/// "1,234,567".
pub(in crate::scenario) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// "17 files", "1 file".
pub(in crate::scenario) fn things(n: u64, singular: &str) -> String {
    let end = if n == 1 { "" } else { "s" };
    format!("{} {singular}{end}", count(n))
}

/// "12.3 MiB".
pub(in crate::scenario) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(unit, _)| bytes >= *unit);
    match unit {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

/// "0.3 ms".
pub(in crate::scenario) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_at_their_edges() {
        let counts = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (n, text) in counts {
            assert_eq!(count(n), text);
        }
        let sizes = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (3 << 29, "1.5 GiB"),
        ];
        for (n, text) in sizes {
            assert_eq!(size(n), text);
        }
        assert_eq!(things(1, "row") + &things(2, "row"), "1 row2 rows");
    }
}
