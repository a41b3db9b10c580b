use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::envelope::ResourceKind;

/// The name of an environment, a SQL database or a storage account: 1 to 63 of `a-z 0-9 -`,
/// beginning with a letter or a digit. It becomes part of a path, which these rules make safe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadAddress;
    fn from_str(s: &str) -> Result<Self, BadAddress> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=63).contains(&s.len()) && s.bytes().all(allowed) && !s.starts_with('-') {
            Ok(Self(s.to_owned()))
        } else {
            Err(BadAddress {
                text: s.chars().take(80).collect(),
                expected: "a name of 1 to 63 lower-case letters, digits and hyphens",
            })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = BadAddress;
    fn try_from(s: String) -> Result<Self, BadAddress> {
        s.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The kinds of resource that an environment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A SQL database.
    Sql,
    /// A storage account.
    Storage,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sql => "sql",
            Self::Storage => "storage",
        })
    }
}

impl From<Kind> for ResourceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Sql => Self::Sql,
            Kind::Storage => Self::Storage,
        }
    }
}

/// Not a name, or not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: expected {expected}")]
pub struct BadAddress {
    text: String,
    expected: &'static str,
}

/// Where a resource is: `ENVIRONMENT/sql/NAME` or `ENVIRONMENT/storage/NAME`. The environment may
/// be left out when there is only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceAddress {
    /// The environment, when one was named.
    pub environment: Option<Name>,
    /// The kind.
    pub kind: Kind,
    /// The name, unique among the resources of that kind there.
    pub name: Name,
}

impl ResourceAddress {
    /// Reads an address where the kind is known: `NAME` alone is enough, and a full address of
    /// that kind is taken too.
    pub fn of_kind(kind: Kind, text: &str) -> Result<Self, BadAddress> {
        if !text.contains('/') {
            return Ok(Self {
                environment: None,
                kind,
                name: text.parse()?,
            });
        }
        let address: Self = text.parse()?;
        if address.kind == kind {
            return Ok(address);
        }
        Err(BadAddress {
            text: text.chars().take(80).collect(),
            expected: match kind {
                Kind::Sql => "the address of a SQL database, [ENVIRONMENT/]sql/NAME",
                Kind::Storage => "the address of a storage account, [ENVIRONMENT/]storage/NAME",
            },
        })
    }
}

impl FromStr for ResourceAddress {
    type Err = BadAddress;
    fn from_str(s: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress {
            text: s.chars().take(200).collect(),
            expected: "an address, [ENVIRONMENT/]sql/NAME or [ENVIRONMENT/]storage/NAME",
        };
        let parts: Vec<&str> = s.split('/').collect();
        let (environment, kind, name) = match parts[..] {
            [kind, name] => (None, kind, name),
            [environment, kind, name] => (Some(environment.parse()?), kind, name),
            _ => return Err(bad()),
        };
        let kind = match kind {
            "sql" => Kind::Sql,
            "storage" => Kind::Storage,
            _ => return Err(bad()),
        };
        Ok(Self {
            environment,
            kind,
            name: name.parse()?,
        })
    }
}

impl fmt::Display for ResourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(environment) = &self.environment {
            write!(f, "{environment}/")?;
        }
        write!(f, "{}/{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_climb_out_of_its_directory_is_refused() {
        assert!("payroll-2".parse::<Name>().is_ok());
        for bad in ["", ".", "..", "a/b", "A", "-a", "a\0", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_says_which_kind_of_resource_it_means() {
        let full: ResourceAddress = "production/sql/finance".parse().unwrap();
        assert_eq!(full.to_string(), "production/sql/finance");
        let short = ResourceAddress::of_kind(Kind::Storage, "documents").unwrap();
        assert_eq!(short.to_string(), "storage/documents");
        assert!(ResourceAddress::of_kind(Kind::Storage, "sql/finance").is_err());
        for bad in ["", "finance", "table/finance", "a/b/c/d", "sql/", "/sql/x"] {
            assert!(bad.parse::<ResourceAddress>().is_err(), "{bad:?}");
        }
    }
}
