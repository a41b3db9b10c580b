use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A vault's name: 3 to 24 letters, digits and single hyphens, beginning with a letter (Azure's rule);
/// in lower case. It becomes part of a host name and of a path, which these rules make safe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VaultName(String);

/// Not a vault's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a vault's name: expected 3 to 24 letters, digits and single hyphens, \
     beginning with a letter"
)]
pub struct BadVaultName(String);

impl VaultName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VaultName {
    type Err = BadVaultName;
    fn from_str(s: &str) -> Result<Self, BadVaultName> {
        let letter = s.starts_with(|c: char| c.is_ascii_alphabetic());
        let ends = !s.ends_with('-') && !s.contains("--");
        let fits = (3..=24).contains(&s.len())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match letter && ends && fits {
            true => Ok(Self(s.to_ascii_lowercase())),
            false => Err(BadVaultName(s.chars().take(64).collect())),
        }
    }
}

impl TryFrom<String> for VaultName {
    type Error = BadVaultName;
    fn try_from(s: String) -> Result<Self, BadVaultName> {
        s.parse()
    }
}

impl From<VaultName> for String {
    fn from(name: VaultName) -> Self {
        name.0
    }
}

impl fmt::Display for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vaults_name_that_is_no_host_or_no_directory_is_refused() {
        assert_eq!(
            "Payroll-2".parse::<VaultName>().unwrap().as_str(),
            "payroll-2"
        );
        for bad in [
            "",
            "ab",
            "2ab",
            "a--b",
            "ab-",
            "-ab",
            "a.b",
            "a/b",
            "..",
            "a b",
            "abc\0",
            "äbc",
            &"a".repeat(25),
        ] {
            assert!(bad.parse::<VaultName>().is_err(), "{bad:?}");
        }
    }
}
