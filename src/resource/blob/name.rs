use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A blob's name: 1 to 1024 characters (the Blob service's limit) without control characters,
/// not starting with `/`, and without a segment `.` or `..`, whether `/` or `\` parts them.
/// Compared byte for byte.
///
/// In the store a name is only ever a value in the catalog. The rules on segments protect whoever
/// writes blobs to a file tree under their names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobName(String);

/// Not a blob's name.
#[derive(Debug, thiserror::Error)]
#[error("{name:?} is not a blob name: {why}")]
pub struct BadBlobName {
    name: String,
    why: &'static str,
}

impl BlobName {
    /// The longest name, in characters.
    pub const MAX_CHARS: usize = 1024;

    /// Reads a name.
    ///
    /// # Errors
    /// [`BadBlobName`], which says which rule it breaks.
    pub fn parse(name: &str) -> Result<Self, BadBlobName> {
        let broken = if name.is_empty() {
            Some("it is empty")
        } else if name.chars().nth(Self::MAX_CHARS).is_some() {
            Some("it has more than 1024 characters")
        } else if name.chars().any(char::is_control) {
            Some("it holds a control character")
        } else if name.starts_with('/') {
            Some("it starts with /")
        } else if name.split(['/', '\\']).any(|s| s == "." || s == "..") {
            Some("a segment of it is . or ..")
        } else {
            None
        };
        match broken {
            None => Ok(Self(name.to_owned())),
            Some(why) => Err(BadBlobName {
                name: name.chars().take(64).collect(),
                why,
            }),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BlobName {
    type Err = BadBlobName;
    fn from_str(s: &str) -> Result<Self, BadBlobName> {
        Self::parse(s)
    }
}

impl TryFrom<String> for BlobName {
    type Error = BadBlobName;
    fn try_from(s: String) -> Result<Self, BadBlobName> {
        Self::parse(&s)
    }
}

impl From<BlobName> for String {
    fn from(name: BlobName) -> Self {
        name.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobName({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_could_climb_out_of_a_directory_is_refused() {
        for good in [
            "a",
            "invoices/2026/07 #1.pdf",
            "a//b",
            "...",
            "ümläut",
            "a\\b",
        ] {
            assert_eq!(BlobName::parse(good).unwrap().as_str(), good);
        }
        let bad = [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "a\\..\\b",
            "a/./b",
            "/etc/passwd",
            "a\0b",
            "a\nb",
            "\u{7f}",
            "\u{85}",
        ];
        for bad in bad {
            assert!(BlobName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn name_of_1024_characters_is_the_longest() {
        assert!(BlobName::parse(&"ß".repeat(1024)).is_ok());
        assert!(BlobName::parse(&"ß".repeat(1025)).is_err());
    }
}
