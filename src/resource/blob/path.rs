use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::BlobName;

/// A container's name: 3 to 63 lower-case letters, digits and single hyphens, beginning and ending
/// with a letter or digit (the Blob service's rule).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

/// Not a container's name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a container name: expected 3 to 63 lower-case letters, digits and single hyphens, \
     beginning and ending with a letter or digit"
)]
pub struct BadContainerName(String);

impl ContainerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The container of blobs that are put without naming one.
impl Default for ContainerName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// Whether `s` keeps the rule for names of containers and encryption scopes.
pub(super) fn is_name(s: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (3..=63).contains(&s.len())
        && s.bytes().all(|b| letter(b) || b == b'-')
        && !s.starts_with('-')
        && !s.ends_with('-')
        && !s.contains("--")
}

impl FromStr for ContainerName {
    type Err = BadContainerName;
    fn from_str(s: &str) -> Result<Self, BadContainerName> {
        match is_name(s) {
            true => Ok(Self(s.to_owned())),
            false => Err(BadContainerName(s.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for ContainerName {
    type Error = BadContainerName;
    fn try_from(s: String) -> Result<Self, BadContainerName> {
        s.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContainerName({:?})", self.0)
    }
}

/// Which blob of an account: `CONTAINER/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobPath {
    /// Its container.
    pub container: ContainerName,
    /// Its name there.
    pub name: BlobName,
}

impl BlobPath {
    /// The blob `name` of the default container.
    pub fn in_default(name: BlobName) -> Self {
        Self {
            container: ContainerName::default(),
            name,
        }
    }
}

impl fmt::Display for BlobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_azure_would_refuse_is_no_containers() {
        for good in ["abc", "a-b", "0-9", &"a".repeat(63)] {
            assert_eq!(good.parse::<ContainerName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "ab",
            "-abc",
            "abc-",
            "a--b",
            "Abc",
            "a.b",
            "a/b",
            "äbc",
            "a\0b",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<ContainerName>().is_err(), "{bad:?}");
        }
        assert!(
            ContainerName::default()
                .as_str()
                .parse::<ContainerName>()
                .is_ok()
        );
    }
}
