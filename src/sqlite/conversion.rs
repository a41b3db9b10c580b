/// What a sealed file is being changed to, while its pages are rewritten one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Nothing: all pages are sealed under one key.
    None = 0,
    /// It is decrypted: the plain file has taken its place, and this one is let go of.
    Decrypted = 1,
    /// From plain to sealed: pages that are not here yet are in the plain file beside it.
    Encryption = 2,
    /// From one data encryption key to another.
    KeyChange = 4,
    /// From sealed to plain: pages that are decrypted are in the plain file beside it.
    Decryption = 5,
}

impl Conversion {
    /// Number and name of the state of a database, in Azure SQL's `sys.dm_database_encryption_keys`.
    pub fn state(self) -> (i64, &'static str) {
        match self {
            Self::Decrypted => (1, "UNENCRYPTED"),
            Self::Encryption => (2, "ENCRYPTION_IN_PROGRESS"),
            Self::None => (3, "ENCRYPTED"),
            Self::KeyChange => (4, "KEY_CHANGE_IN_PROGRESS"),
            Self::Decryption => (5, "DECRYPTION_IN_PROGRESS"),
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::None,
            1 => Self::Decrypted,
            2 => Self::Encryption,
            4 => Self::KeyChange,
            5 => Self::Decryption,
            _ => return None,
        })
    }
}
