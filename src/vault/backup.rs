//! A key backup: one key with all its versions, sealed so that only the vault that made it reads
//! it (docs/format.md, "Vault").

use zeroize::Zeroizing;

use crate::base::{KeyName, KeyVersion, VaultId};
use crate::crypto::{KeyEncryptionKey, KeyKind, Label, Secret, SecretBytes};

use super::backup_format::{
    BackupError, Frame, MAX_TAGS_LEN, MAX_VERSIONS, Reader, START_LEN, flags, put_bytes, put_start,
    put_tags, put_times, tags_len,
};
use super::rows::{StoredVersion, operation_bits, operations_from_bits};

/// The longest private key, in bytes: RSA-4096 as PKCS#8 needs some 2,400.
const MAX_MATERIAL: usize = 4096;
/// A version without its tags and key: identifier, kind, operations, flags, times, length.
const FIXED_LEN: usize = 16 + 3 + 32 + 2;

const FRAME: Frame = Frame {
    what: "key",
    magic: b"atrestKB",
    label: Label::VaultBackup,
    max_body: START_LEN + MAX_VERSIONS * (FIXED_LEN + MAX_TAGS_LEN + MAX_MATERIAL),
};

// Beside the flags of attributes.
const HSM: u8 = 8;
const EXPORTABLE: u8 = 16;
const FLAGS: u8 = 31;

/// What a backup holds.
pub struct KeyBackup {
    /// The key's name.
    pub name: KeyName,
    /// Its versions, oldest first.
    pub versions: Vec<StoredVersion>,
}

impl KeyBackup {
    /// How long a backup can be, in bytes.
    pub const MAX_LEN: usize = FRAME.max_len();

    /// Seals the backup for `vault`, whose master key this is. At most 500 versions.
    pub fn seal(&self, master: &Secret<32>, vault: VaultId) -> Vec<u8> {
        FRAME.seal(master, vault, self.body())
    }

    /// Opens a backup that `vault`, whose master key this is, has made.
    pub fn open(bytes: &[u8], master: &Secret<32>, vault: VaultId) -> Result<Self, BackupError> {
        let (name, versions) =
            FRAME.open(bytes, master, vault, |body| body.versions(read_version))?;
        Ok(Self { name, versions })
    }

    fn body(&self) -> Zeroizing<Vec<u8>> {
        let materials: Vec<_> = (self.versions.iter().map(|v| v.key.to_secret_bytes())).collect();
        let with_keys = self.versions.iter().zip(&materials);
        let versions: usize = (with_keys.clone())
            .map(|(v, material)| FIXED_LEN + tags_len(&v.tags) + material.expose().len())
            .sum();
        // Room for all of it at once: growing would leave copies of keys behind.
        let mut body = Zeroizing::new(Vec::with_capacity(START_LEN + versions));
        put_start(&mut body, &self.name, self.versions.len());
        for (version, material) in with_keys {
            let mut flags = flags(&version.attributes);
            flags |= if version.hsm { HSM } else { 0 };
            flags |= if version.exportable { EXPORTABLE } else { 0 };
            body.extend_from_slice(version.version.as_bytes());
            body.extend_from_slice(&[
                kind_code(version.key.kind()),
                operation_bits(&version.operations),
                flags,
            ]);
            put_times(&mut body, &version.attributes);
            put_tags(&mut body, &version.tags);
            put_bytes(&mut body, material.expose());
        }
        body
    }
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

fn read_version(body: &mut Reader<'_>) -> Option<StoredVersion> {
    let version = KeyVersion::from_bytes(body.array()?);
    let [kind, operations, flags] = body.array()?;
    let kind = KeyKind::ALL.into_iter().find(|k| kind_code(*k) == kind)?;
    let operations = operations_from_bits(operations);
    let fit = !operations.is_empty() && operations.iter().all(|o| o.fits(kind));
    if !fit || flags > FLAGS {
        return None;
    }
    let attributes = body.attributes(flags)?;
    let tags = body.tags()?;
    let material = body.bytes().filter(|bytes| bytes.len() <= MAX_MATERIAL)?;
    let material = SecretBytes::from_vec(material.to_vec());
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
