//! A secret backup: one secret with all its versions, sealed so that only the vault that made it
//! reads it (docs/format.md, "Vault").

use zeroize::Zeroizing;

use crate::base::{KeyName, KeyVersion, VaultId};
use crate::crypto::{Label, Secret, SecretBytes};

use super::backup_format::{
    BackupError, Frame, MAX_TAGS_LEN, MAX_VERSIONS, Reader, START_LEN, flags, put_bytes, put_start,
    put_tags, put_times, tags_len,
};
use super::secret_rows::StoredSecret;
use super::secrets::{MAX_CONTENT_TYPE, MAX_VALUE};

/// A version without its tags, content type and value: identifier, flags, times, two lengths.
const FIXED_LEN: usize = 16 + 1 + 32 + 2 + 2;

const FRAME: Frame = Frame {
    what: "secret",
    magic: b"atrestSB",
    label: Label::VaultSecretBackup,
    max_body: START_LEN
        + MAX_VERSIONS * (FIXED_LEN + MAX_TAGS_LEN + 4 * MAX_CONTENT_TYPE + MAX_VALUE),
};

// Beside the flags of attributes.
const HAS_CONTENT_TYPE: u8 = 8;
const FLAGS: u8 = 15;

/// What a backup holds.
pub struct SecretBackup {
    /// The secret's name.
    pub name: KeyName,
    /// Its versions, oldest first.
    pub versions: Vec<StoredSecret>,
}

impl SecretBackup {
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
        let content_type = |v: &StoredSecret| v.content_type.clone().unwrap_or_default();
        let len = |v: &StoredSecret| {
            FIXED_LEN + tags_len(&v.tags) + content_type(v).len() + v.value.expose().len()
        };
        // Room for all of it at once: growing would leave copies of secrets behind.
        let versions: usize = self.versions.iter().map(len).sum();
        let mut body = Zeroizing::new(Vec::with_capacity(START_LEN + versions));
        put_start(&mut body, &self.name, self.versions.len());
        for version in &self.versions {
            body.extend_from_slice(version.version.as_bytes());
            let typed = version.content_type.is_some();
            body.push(flags(&version.attributes) | if typed { HAS_CONTENT_TYPE } else { 0 });
            put_times(&mut body, &version.attributes);
            put_tags(&mut body, &version.tags);
            put_bytes(&mut body, content_type(version).as_bytes());
            put_bytes(&mut body, version.value.expose());
        }
        body
    }
}

fn read_version(body: &mut Reader<'_>) -> Option<StoredSecret> {
    let version = KeyVersion::from_bytes(body.array()?);
    let [flags] = body.array()?;
    if flags > FLAGS {
        return None;
    }
    let attributes = body.attributes(flags)?;
    let tags = body.tags()?;
    let content_type = body.text()?;
    let content_type = match flags & HAS_CONTENT_TYPE {
        0 if content_type.is_empty() => None,
        0 => return None,
        _ => Some(content_type),
    };
    let long = |text: &String| text.chars().nth(MAX_CONTENT_TYPE).is_some();
    if content_type.as_ref().is_some_and(long) {
        return None;
    }
    let value = body.bytes().filter(|bytes| bytes.len() <= MAX_VALUE)?;
    Some(StoredSecret {
        version,
        attributes,
        content_type,
        tags,
        value: SecretBytes::from_vec(value.to_vec()),
    })
}
