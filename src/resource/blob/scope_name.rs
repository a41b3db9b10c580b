use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::path::is_name;

/// An encryption scope's name, by the same rule as a container's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopeName(String);

/// Not an encryption scope's name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a name of an encryption scope: expected 3 to 63 lower-case letters, digits and single \
     hyphens, beginning and ending with a letter or digit"
)]
pub struct BadScopeName(String);

impl ScopeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScopeName {
    type Err = BadScopeName;
    fn from_str(s: &str) -> Result<Self, BadScopeName> {
        match is_name(s) {
            true => Ok(Self(s.to_owned())),
            false => Err(BadScopeName(s.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for ScopeName {
    type Error = BadScopeName;
    fn try_from(s: String) -> Result<Self, BadScopeName> {
        s.parse()
    }
}

impl From<ScopeName> for String {
    fn from(name: ScopeName) -> Self {
        name.0
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
