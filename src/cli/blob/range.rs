use std::ops::Range;
use std::str::FromStr;

use crate::cli::CliError;

/// `FIRST-LAST` or `FIRST-`, as in an HTTP range (RFC 9110, section 14.1.2).
#[derive(Clone, Copy, Debug)]
pub struct ByteRange {
    first: u64,
    last: Option<u64>,
}

impl FromStr for ByteRange {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected FIRST-LAST or FIRST-, as in 0-511";
        let (first, last) = text.split_once('-').ok_or(expected)?;
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| expected);
        let range = Self {
            first: number(first)?,
            last: match last {
                "" => None,
                digits => Some(number(digits)?),
            },
        };
        match range.last {
            Some(last) if last < range.first => Err("LAST comes before FIRST"),
            _ => Ok(range),
        }
    }
}

impl ByteRange {
    /// Within a blob of `size` bytes; a LAST behind its end means its end.
    pub fn within(self, size: u64) -> Result<Range<u64>, CliError> {
        if self.first >= size {
            return Err(CliError::new(
                format_args!("the blob has {size} bytes and none at {}", self.first),
                "choose a range within it",
            ));
        }
        let end = self.last.map_or(size, |last| last.saturating_add(1));
        Ok(self.first..end.min(size))
    }
}
