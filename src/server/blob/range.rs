use std::ops::Range;

use super::fault::Fault;
use super::head::Head;

/// The bytes that a request asks for: `x-ms-range`, or else `Range`, as `bytes=FIRST-LAST` or
/// `bytes=FIRST-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteRange {
    first: u64,
    last: u64,
}

impl ByteRange {
    /// `None` when the whole blob is asked for. What is no such range is passed over (RFC 9110, 14.2).
    pub(super) fn of(head: &Head) -> Result<Option<Self>, Fault> {
        let text = match head.header("x-ms-range")? {
            Some(text) => Some(text),
            None => head.header("range")?,
        };
        Ok(text.and_then(Self::parse))
    }

    /// The bytes of a copy's source, `x-ms-source-range`; `None` when that is all of it.
    pub(super) fn of_source(head: &Head) -> Result<Option<Self>, Fault> {
        let text = head.header("x-ms-source-range")?;
        let bad = || Fault::header("x-ms-source-range");
        text.map(|text| Self::parse(text).ok_or_else(bad))
            .transpose()
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| {
            let digits = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            digits?.parse::<u64>().ok()
        };
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let range = Self {
            first: number(first)?,
            last: match last {
                "" => u64::MAX,
                digits => number(digits)?,
            },
        };
        (range.first <= range.last).then_some(range)
    }

    /// Within a blob of `size` bytes; `None` when it begins behind its end.
    pub(super) fn within(self, size: u64) -> Option<Range<u64>> {
        (self.first < size).then(|| self.first..self.last.saturating_add(1).min(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_gives_its_bytes_and_no_others() {
        let within = |text, size| ByteRange::parse(text).map(|range| range.within(size));
        assert_eq!(within("bytes=0-0", 5), Some(Some(0..1)));
        assert_eq!(within("bytes=1-3", 5), Some(Some(1..4)));
        assert_eq!(within("bytes=1-99", 5), Some(Some(1..5)));
        assert_eq!(within("bytes=4-", 5), Some(Some(4..5)));
        assert_eq!(within("bytes=0-18446744073709551615", 5), Some(Some(0..5)));
        assert_eq!(within("bytes=5-", 5), Some(None));
        assert_eq!(within("bytes=0-", 0), Some(None));
        for none in [
            "",
            "bytes=",
            "bytes=-5",
            "bytes=3-1",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=0-1",
            "bytes=0-1,3-4",
        ] {
            assert_eq!(ByteRange::parse(none), None, "{none}");
        }
    }
}
