use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Not 32 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an identifier: expected 32 hexadecimal digits")]
pub struct BadId(String);

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new one, from the 16 random bytes given.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> {
                let mut bytes = [0; 16];
                match hex::decode_to_slice(s, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_) => Err(BadId(s.chars().take(64).collect())),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(s: String) -> Result<Self, BadId> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

id128!(
    /// Identifies a protected resource; part of what every sealed unit of it authenticates.
    ResourceId
);
id128!(
    /// Identifies a key vault.
    VaultId
);
id128!(
    /// Identifies one version of a key, as in `https://VAULT/keys/NAME/VERSION`.
    KeyVersion
);

id128!(
    /// Identifies what a vault remembers of one file: which state of it is the newest. Two copies of
    /// a resource in two places have two of them.
    EpochId
);
id128!(
    /// Identifies an extent of a storage account; its file is named after it.
    ExtentId
);
id128!(
    /// Identifies a generation of a blob: what one put made.
    GenerationId
);

/// A key's name: 1 to 127 of `0-9 a-z A-Z -` (Azure Key Vault's rule), compared without case.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

/// Not a key name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a key name: expected 1 to 127 letters, digits and hyphens")]
pub struct BadKeyName(String);

impl KeyName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 127;

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = BadKeyName;
    fn from_str(s: &str) -> Result<Self, BadKeyName> {
        let fits = (1..=Self::MAX_LEN).contains(&s.len());
        if fits && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            Ok(Self(s.to_owned()))
        } else {
            Err(BadKeyName(s.chars().take(160).collect()))
        }
    }
}

impl TryFrom<String> for KeyName {
    type Error = BadKeyName;
    fn try_from(s: String) -> Result<Self, BadKeyName> {
        s.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

impl PartialEq for KeyName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for KeyName {}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyName({})", self.0)
    }
}

/// A key, whatever its version: the newest one wraps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRef {
    /// The vault that holds the key.
    pub vault: VaultId,
    /// The key's name there.
    pub name: KeyName,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersionRef {
    /// The vault that holds the key.
    pub vault: VaultId,
    /// The key's name there.
    pub name: KeyName,
    /// Which version of it.
    pub version: KeyVersion,
}

impl KeyVersionRef {
    /// The key that this is a version of.
    pub fn key(&self) -> KeyRef {
        KeyRef {
            vault: self.vault,
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/keys/{}", self.vault, self.name)
    }
}

impl fmt::Display for KeyVersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/keys/{}/{}", self.vault, self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_name_that_could_climb_out_of_a_directory_is_refused() {
        assert!("customer-key-1".parse::<KeyName>().is_ok());
        for bad in ["", "../x", "a/b", "a b", "ä", "a\0", &"x".repeat(128)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn identifier_survives_text_and_rejects_everything_else() {
        let id = ResourceId::from_bytes([0xa5; 16]);
        assert_eq!(id.to_string().parse::<ResourceId>().unwrap(), id);
        for bad in ["", "a5", &"g".repeat(32), &"a".repeat(33)] {
            assert!(bad.parse::<ResourceId>().is_err(), "{bad:?}");
        }
    }
}
