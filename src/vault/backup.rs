//! A key backup: one key with all its versions, sealed so that only the vault that made it reads
//! it (docs/format.md, "Vault").

use std::collections::BTreeMap;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::base::{KeyName, KeyVersion, VaultId};
use crate::crypto::{
    AeadKey, KeyEncryptionKey, KeyKind, Label, NONCE_LEN, Secret, SecretBytes, TAG_LEN, derive,
    random_bytes,
};

use super::rows::{StoredVersion, operation_bits, operations_from_bits};
use super::{KeyAttributes, Tags};

// Layout of the header, which is the AAD of what follows it.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const ZERO_AT: usize = VERSION_AT + 2;
const VAULT_AT: usize = ZERO_AT + 2;
const NONCE_AT: usize = VAULT_AT + 16;
const SEALED_AT: usize = NONCE_AT + NONCE_LEN;

const MAGIC: &[u8; 8] = b"atrestKB";
const VERSION: u16 = 2;

/// The most versions that a backup holds (Azure Key Vault's limit).
pub(super) const MAX_VERSIONS: usize = 500;
/// The longest private key, in bytes: RSA-4096 as PKCS#8 needs some 2,400.
const MAX_MATERIAL: usize = 4096;
/// The longest backup, in bytes; a reader allocates no more.
const MAX_LEN: usize =
    SEALED_AT + 131 + MAX_VERSIONS * (MAX_MATERIAL + 64 + MAX_TAGS_LEN) + TAG_LEN;
/// The most bytes that the tags of a version need: a character has at most 4.
const MAX_TAGS_LEN: usize = Tags::MAX * 2 * (2 + 4 * Tags::MAX_CHARS);

const ENABLED: u8 = 1;
const HAS_NOT_BEFORE: u8 = 2;
const HAS_EXPIRES: u8 = 4;
const HSM: u8 = 8;
const EXPORTABLE: u8 = 16;
const FLAGS: u8 = ENABLED | HAS_NOT_BEFORE | HAS_EXPIRES | HSM | EXPORTABLE;

/// Why a backup is not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The bytes are no backup.
    #[error("not a key backup")]
    Format,
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

/// What a backup holds.
pub struct KeyBackup {
    /// The key's name.
    pub name: KeyName,
    /// Its versions, oldest first.
    pub versions: Vec<StoredVersion>,
}

impl KeyBackup {
    /// Seals the backup for `vault`, whose master key this is. At most 500 versions.
    pub fn seal(&self, master: &Secret<32>, vault: VaultId) -> Vec<u8> {
        let mut bytes = vec![0; SEALED_AT];
        bytes[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        bytes[VERSION_AT..ZERO_AT].copy_from_slice(&VERSION.to_le_bytes());
        bytes[VAULT_AT..NONCE_AT].copy_from_slice(vault.as_bytes());
        let nonce = random_bytes::<NONCE_LEN>();
        bytes[NONCE_AT..].copy_from_slice(&nonce);
        let mut body = self.body();
        let tag = key(master, vault).seal_in_place(&nonce, &bytes, &mut body);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&tag);
        bytes
    }

    /// Opens a backup that `vault`, whose master key this is, has made.
    pub fn open(bytes: &[u8], master: &Secret<32>, vault: VaultId) -> Result<Self, BackupError> {
        let sealed_len = bytes.len().checked_sub(SEALED_AT + TAG_LEN);
        if sealed_len.is_none() || bytes.len() > MAX_LEN || bytes[..VERSION_AT] != *MAGIC {
            return Err(BackupError::Format);
        }
        match u16::from_le_bytes([bytes[VERSION_AT], bytes[VERSION_AT + 1]]) {
            VERSION => {}
            0 => return Err(BackupError::Format),
            old @ 1..VERSION => return Err(BackupError::Old(old)),
            newer => return Err(BackupError::Version(newer)),
        }
        if bytes[ZERO_AT..VAULT_AT] != [0; 2] {
            return Err(BackupError::Format);
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
        key(master, vault)
            .open_in_place(nonce, header, &mut body, tag)
            .map_err(|_| BackupError::Unauthentic)?;
        let mut reader = Reader(&body);
        let backup = reader.backup().ok_or(BackupError::Unauthentic)?;
        if reader.0.is_empty() {
            Ok(backup)
        } else {
            Err(BackupError::Unauthentic)
        }
    }

    fn body(&self) -> Zeroizing<Vec<u8>> {
        let materials: Vec<_> = (self.versions.iter().map(|v| v.key.to_secret_bytes())).collect();
        let keys: usize = materials.iter().map(|m| m.expose().len() + 64).sum();
        let tags = self.versions.iter().flat_map(|v| v.tags.as_map());
        let tags: usize = tags.map(|(name, value)| name.len() + value.len() + 4).sum();
        // Room for all of it at once: growing would leave copies of keys behind.
        let mut body = Zeroizing::new(Vec::with_capacity(131 + keys + tags));
        let name = self.name.as_str().as_bytes();
        body.push(u8::try_from(name.len()).expect("at most 127"));
        body.extend_from_slice(name);
        let count = u16::try_from(self.versions.len()).expect("at most 500 versions");
        body.extend_from_slice(&count.to_le_bytes());
        for (version, material) in self.versions.iter().zip(&materials) {
            let a = &version.attributes;
            let mut flags = 0;
            for (set, flag) in [
                (a.enabled, ENABLED),
                (a.not_before.is_some(), HAS_NOT_BEFORE),
                (a.expires.is_some(), HAS_EXPIRES),
                (version.hsm, HSM),
                (version.exportable, EXPORTABLE),
            ] {
                flags |= if set { flag } else { 0 };
            }
            body.extend_from_slice(version.version.as_bytes());
            body.extend_from_slice(&[
                kind_code(version.key.kind()),
                operation_bits(&version.operations),
                flags,
            ]);
            for time in [a.not_before, a.expires, Some(a.created), Some(a.updated)] {
                let microseconds = time.map_or(0, Timestamp::as_microsecond);
                body.extend_from_slice(&microseconds.to_le_bytes());
            }
            let tags = version.tags.as_map();
            body.push(u8::try_from(tags.len()).expect("at most 15 tags"));
            for text in tags.iter().flat_map(|(name, value)| [name, value]) {
                let len = u16::try_from(text.len()).expect("at most 256 characters");
                body.extend_from_slice(&len.to_le_bytes());
                body.extend_from_slice(text.as_bytes());
            }
            let material = material.expose();
            let len = u16::try_from(material.len()).expect("a private key is shorter than 4 KiB");
            body.extend_from_slice(&len.to_le_bytes());
            body.extend_from_slice(material);
        }
        body
    }
}

fn key(master: &Secret<32>, vault: VaultId) -> AeadKey {
    AeadKey::new(&derive(master, Label::VaultBackup, &[vault.as_bytes()]))
}

fn kind_code(kind: KeyKind) -> u8 {
    match kind {
        KeyKind::Rsa2048 => 1,
        KeyKind::Rsa3072 => 2,
        KeyKind::Rsa4096 => 3,
        KeyKind::Oct256 => 4,
        KeyKind::Oct128 => 5,
        KeyKind::Oct192 => 6,
        KeyKind::EcP256 => 7,
        KeyKind::EcP384 => 8,
        KeyKind::EcP521 => 9,
        KeyKind::EcP256K => 10,
    }
}

/// Reads the body; `None` at the first byte that no writer writes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn backup(&mut self) -> Option<KeyBackup> {
        let [len] = self.array()?;
        let name = std::str::from_utf8(self.take(len.into())?)
            .ok()?
            .parse()
            .ok()?;
        let count = usize::from(u16::from_le_bytes(self.array()?));
        if !(1..=MAX_VERSIONS).contains(&count) {
            return None;
        }
        let versions = (0..count).map(|_| self.version()).collect::<Option<_>>()?;
        Some(KeyBackup { name, versions })
    }

    fn version(&mut self) -> Option<StoredVersion> {
        let version = KeyVersion::from_bytes(self.array()?);
        let [kind, operations, flags] = self.array()?;
        if operations == 0 || flags > FLAGS {
            return None;
        }
        let kind = KeyKind::ALL.into_iter().find(|k| kind_code(*k) == kind)?;
        let operations = operations_from_bits(operations);
        if !operations.iter().all(|o| o.fits(kind)) {
            return None;
        }
        let not_before = self.time_if(flags & HAS_NOT_BEFORE != 0)?;
        let expires = self.time_if(flags & HAS_EXPIRES != 0)?;
        let attributes = KeyAttributes {
            enabled: flags & ENABLED != 0,
            not_before,
            expires,
            created: self.time_if(true)??,
            updated: self.time_if(true)??,
        };
        let tags = self.tags()?;
        let len = usize::from(u16::from_le_bytes(self.array()?));
        if len > MAX_MATERIAL {
            return None;
        }
        let material = SecretBytes::from_vec(self.take(len)?.to_vec());
        let key = KeyEncryptionKey::from_secret_bytes(kind, &material).ok()?;
        Some(StoredVersion {
            version,
            operations,
            attributes,
            hsm: flags & HSM != 0,
            exportable: flags & EXPORTABLE != 0,
            tags,
            key,
        })
    }

    /// Tags, in the order of their names.
    fn tags(&mut self) -> Option<Tags> {
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

    fn text(&mut self) -> Option<String> {
        let len = u16::from_le_bytes(self.array()?);
        let text = std::str::from_utf8(self.take(len.into())?).ok()?;
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
