//! What key backups and secret backups have in common: the sealed frame, and how attributes and tags
//! are written in it (docs/format.md, "Vault").

use std::collections::BTreeMap;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::base::{KeyName, VaultId};
use crate::crypto::{AeadKey, Label, NONCE_LEN, Secret, TAG_LEN, derive, random_bytes};

use super::{KeyAttributes, Tags};

// Layout of the header, which is the AAD of what follows it.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const ZERO_AT: usize = VERSION_AT + 2;
const VAULT_AT: usize = ZERO_AT + 2;
const NONCE_AT: usize = VAULT_AT + 16;
const SEALED_AT: usize = NONCE_AT + NONCE_LEN;

const VERSION: u16 = 2;

/// The most versions that a backup holds (Azure Key Vault's limit).
pub(super) const MAX_VERSIONS: usize = 500;
/// The most bytes of a version's tags: a character has at most 4.
pub(super) const MAX_TAGS_LEN: usize = 1 + Tags::MAX * 2 * (2 + 4 * Tags::MAX_CHARS);
/// Room for the name and the number of versions, in bytes.
pub(super) const START_LEN: usize = 131;

const ENABLED: u8 = 1;
const HAS_NOT_BEFORE: u8 = 2;
const HAS_EXPIRES: u8 = 4;

/// Why a backup is not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The bytes are no backup of this kind.
    #[error("not a {0} backup")]
    Format(&'static str),
    /// Written by a newer version of the program.
    #[error("the backup's format version {0} is newer than this program reads (2)")]
    Version(u16),
    /// Written by a version of the program before its first release.
    #[error("the backup's format version {0} is not read any more; make a new backup")]
    Old(u16),
    /// Another vault made it.
    #[error("the backup was made by vault {0}; only that vault restores it")]
    OtherVault(VaultId),
    /// The tag does not fit, or the content is malformed. Tells nothing more.
    #[error("the backup was altered or cut, or this is not the vault that made it")]
    Unauthentic,
}

/// A kind of backup.
pub(super) struct Frame {
    /// What it is a backup of.
    pub(super) what: &'static str,
    pub(super) magic: &'static [u8; 8],
    pub(super) label: Label,
    /// The longest body, in bytes; a reader allocates no more.
    pub(super) max_body: usize,
}

impl Frame {
    /// How long a backup of this kind can be, in bytes.
    pub(super) const fn max_len(&self) -> usize {
        SEALED_AT + self.max_body + TAG_LEN
    }

    /// Seals `body` for `vault`, whose master key this is.
    pub(super) fn seal(
        &self,
        master: &Secret<32>,
        vault: VaultId,
        mut body: Zeroizing<Vec<u8>>,
    ) -> Vec<u8> {
        let mut bytes = vec![0; SEALED_AT];
        bytes[MAGIC_AT..VERSION_AT].copy_from_slice(self.magic);
        bytes[VERSION_AT..ZERO_AT].copy_from_slice(&VERSION.to_le_bytes());
        bytes[VAULT_AT..NONCE_AT].copy_from_slice(vault.as_bytes());
        let nonce = random_bytes::<NONCE_LEN>();
        bytes[NONCE_AT..].copy_from_slice(&nonce);
        let tag = (self.key(master, vault)).seal_in_place(&nonce, &bytes, &mut body);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&tag);
        bytes
    }

    /// Opens a backup that `vault`, whose master key this is, has made; `read` reads its whole body,
    /// and gives `None` at the first byte that no writer writes.
    pub(super) fn open<T>(
        &self,
        bytes: &[u8],
        master: &Secret<32>,
        vault: VaultId,
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Result<T, BackupError> {
        let malformed = BackupError::Format(self.what);
        let sealed_len = bytes.len().checked_sub(SEALED_AT + TAG_LEN);
        if sealed_len.is_none_or(|len| len > self.max_body) || bytes[..VERSION_AT] != *self.magic {
            return Err(malformed);
        }
        match u16::from_le_bytes([bytes[VERSION_AT], bytes[VERSION_AT + 1]]) {
            VERSION => {}
            0 => return Err(malformed),
            old @ 1..VERSION => return Err(BackupError::Old(old)),
            newer => return Err(BackupError::Version(newer)),
        }
        if bytes[ZERO_AT..VAULT_AT] != [0; 2] {
            return Err(malformed);
        }
        let (header, sealed) = bytes.split_at(SEALED_AT);
        let (sealed, tag) = sealed.split_at(sealed.len() - TAG_LEN);
        let made_by = VaultId::from_bytes(header[VAULT_AT..NONCE_AT].try_into().expect("16 bytes"));
        if made_by != vault {
            return Err(BackupError::OtherVault(made_by));
        }
        let nonce = header[NONCE_AT..].try_into().expect("12 bytes");
        let tag = tag.try_into().expect("16 bytes");
        let mut body = Zeroizing::new(sealed.to_vec());
        self.key(master, vault)
            .open_in_place(nonce, header, &mut body, tag)
            .map_err(|_| BackupError::Unauthentic)?;
        let mut reader = Reader(&body);
        let backup = read(&mut reader).ok_or(BackupError::Unauthentic)?;
        match reader.0 {
            [] => Ok(backup),
            _ => Err(BackupError::Unauthentic),
        }
    }

    fn key(&self, master: &Secret<32>, vault: VaultId) -> AeadKey {
        AeadKey::new(&derive(master, self.label, &[vault.as_bytes()]))
    }
}

/// Writes the name and the number of versions.
pub(super) fn put_start(body: &mut Vec<u8>, name: &KeyName, versions: usize) {
    let name = name.as_str().as_bytes();
    body.push(u8::try_from(name.len()).expect("at most 127"));
    body.extend_from_slice(name);
    let count = u16::try_from(versions).expect("at most 500 versions");
    body.extend_from_slice(&count.to_le_bytes());
}

/// The flags that attributes give.
pub(super) fn flags(a: &KeyAttributes) -> u8 {
    let given = [
        (a.enabled, ENABLED),
        (a.not_before.is_some(), HAS_NOT_BEFORE),
        (a.expires.is_some(), HAS_EXPIRES),
    ];
    given
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| flag)
        .sum()
}

/// Writes the four times of attributes.
pub(super) fn put_times(body: &mut Vec<u8>, a: &KeyAttributes) {
    for time in [a.not_before, a.expires, Some(a.created), Some(a.updated)] {
        let microseconds = time.map_or(0, Timestamp::as_microsecond);
        body.extend_from_slice(&microseconds.to_le_bytes());
    }
}

/// Writes tags, in the order of their names.
pub(super) fn put_tags(body: &mut Vec<u8>, tags: &Tags) {
    let tags = tags.as_map();
    body.push(u8::try_from(tags.len()).expect("at most 15 tags"));
    for text in tags.iter().flat_map(|(name, value)| [name, value]) {
        put_bytes(body, text.as_bytes());
    }
}

/// Writes bytes after their length, at most 65,535.
pub(super) fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("what is put has a bound");
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(bytes);
}

/// How many bytes [`put_tags`] writes.
pub(super) fn tags_len(tags: &Tags) -> usize {
    let tags = tags.as_map().iter();
    1 + tags
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum::<usize>()
}

/// Reads a body; each function gives `None` at the first byte that no writer writes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// The name, and each version as `read` reads it.
    pub(super) fn versions<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<(KeyName, Vec<T>)> {
        let [len] = self.array()?;
        let name = std::str::from_utf8(self.take(len.into())?);
        let name = name.ok()?.parse().ok()?;
        let count = usize::from(u16::from_le_bytes(self.array()?));
        if !(1..=MAX_VERSIONS).contains(&count) {
            return None;
        }
        let versions = (0..count).map(|_| read(self)).collect::<Option<_>>()?;
        Some((name, versions))
    }

    /// The attributes to which `flags` belongs; bits of it that attributes do not use are the
    /// caller's.
    pub(super) fn attributes(&mut self, flags: u8) -> Option<KeyAttributes> {
        Some(KeyAttributes {
            enabled: flags & ENABLED != 0,
            not_before: self.time_if(flags & HAS_NOT_BEFORE != 0)?,
            expires: self.time_if(flags & HAS_EXPIRES != 0)?,
            created: self.time_if(true)??,
            updated: self.time_if(true)??,
        })
    }

    /// Tags, in the order of their names.
    pub(super) fn tags(&mut self) -> Option<Tags> {
        let [count] = self.array()?;
        let mut tags = BTreeMap::new();
        for _ in 0..count {
            let (name, value) = (self.text()?, self.text()?);
            if tags.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return None;
            }
            tags.insert(name, value);
        }
        Tags::try_from(tags).ok()
    }

    /// Bytes after their length.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = u16::from_le_bytes(self.array()?);
        self.take(len.into())
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let text = std::str::from_utf8(self.bytes()?).ok()?;
        Some(text.to_owned())
    }

    /// A time, or eight zeros where there is none.
    fn time_if(&mut self, present: bool) -> Option<Option<Timestamp>> {
        let microseconds = i64::from_le_bytes(self.array()?);
        match present {
            true => Timestamp::from_microsecond(microseconds).ok().map(Some),
            false => (microseconds == 0).then_some(None),
        }
    }
}
