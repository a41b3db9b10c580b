//! Wrapping and unwrapping, and the rules on the use of a key.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::base::{KeyName, KeyRef, KeyVersionRef, VaultId};
use crate::crypto::{KeyEncryptionKey, Secret, WrapAlgorithm};

use super::audit::Event;
use super::audit_operation::AuditOperation;
use super::error::Fault;
use super::rows::{self, Pick, VersionRow};
use super::store::Work;
use super::{KeyOperation, KeyWrapper, LocalVault, VaultError, WrappedKey};

impl KeyWrapper for LocalVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        let wanted = Wanted {
            operation: KeyOperation::WrapKey,
            vault: key.vault,
            name: &key.name,
            pick: Pick::Newest,
            kid: key.to_string(),
        };
        self.use_key(&wanted, |kid, kek| {
            let algorithm = kek.kind().wrap_algorithm().ok_or_else(|| {
                let kind = kek.kind();
                VaultError::BadParameter(format!(
                    "key {kid} is {kind}, which wraps no data encryption key; use RSA or oct-256"
                ))
            })?;
            Ok(WrappedKey {
                key: kid.clone(),
                algorithm,
                bytes: kek.wrap(dek)?,
            })
        })
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        let wanted = Wanted {
            operation: KeyOperation::UnwrapKey,
            vault: key.vault,
            name: &key.name,
            pick: Pick::Exactly(key.version),
            kid: key.to_string(),
        };
        self.use_key(&wanted, |_, kek| {
            kek.unwrap(algorithm, wrapped)
                .map_err(|_| VaultError::UnwrapFailed)
        })
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.revision_counter()
    }
}

/// A use of a key that somebody asks for.
pub(super) struct Wanted<'a> {
    pub(super) operation: KeyOperation,
    pub(super) vault: VaultId,
    pub(super) name: &'a KeyName,
    pub(super) pick: Pick,
    /// How the caller named it.
    pub(super) kid: String,
}

impl LocalVault {
    /// Uses a key and records it. The computation runs outside the lock, so that threads share the
    /// processor; whether its result may leave is decided after it, in the transaction that
    /// records it, by the rules as they are then.
    pub(super) fn use_key<T>(
        &self,
        wanted: &Wanted<'_>,
        compute: impl FnOnce(&KeyVersionRef, &KeyEncryptionKey) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.rotate_due()?;
        let key = self.with_store(|store| {
            let now = self.now();
            let found = store.read(now, |work| Ok(wanted.authorize(work, wanted.pick).ok()))?;
            let Some(row) = found else { return Ok(None) };
            let kek = store.key_encryption_key(row.bundle.kid.version)?;
            Ok(kek.map(|kek| (row.bundle.kid, kek)))
        })?;
        let computed = key.map(|(kid, kek)| (compute(&kid, &kek), kid));
        let operation = match wanted.operation {
            KeyOperation::WrapKey => AuditOperation::KeyWrap,
            KeyOperation::UnwrapKey => AuditOperation::KeyUnwrap,
            KeyOperation::Encrypt => AuditOperation::KeyEncrypt,
            KeyOperation::Decrypt => AuditOperation::KeyDecrypt,
            KeyOperation::Sign => AuditOperation::KeySign,
            KeyOperation::Verify => AuditOperation::KeyVerify,
            KeyOperation::Import | KeyOperation::Export => {
                unreachable!("no key is used for these")
            }
        };
        self.transact_rotated(
            Event::on(operation, &wanted.kid),
            |work, event| match computed {
                Some((result, kid)) => {
                    event.kid = Some(kid.to_string());
                    wanted.authorize(work, Pick::Exactly(kid.version))?;
                    Ok(result?)
                }
                None => {
                    wanted.authorize(work, wanted.pick)?;
                    let why = format!("key {} was changed meanwhile; try again", wanted.kid);
                    Err(VaultError::Conflict(why).into())
                }
            },
        )
    }
}

impl Wanted<'_> {
    /// The version asked for, when the rules allow this use of it now.
    fn authorize(&self, work: &Work<'_>, pick: Pick) -> Result<VersionRow, Fault> {
        if self.vault != work.vault {
            return Err(VaultError::KeyNotFound(self.kid.clone()).into());
        }
        let row = work.live(self.name, pick, &self.kid)?;
        let attributes = &row.bundle.attributes;
        let kid = row.bundle.kid.to_string();
        if !attributes.enabled {
            return Err(VaultError::KeyDisabled(kid).into());
        }
        let forbidden = |why: String, advice| {
            Err(VaultError::Forbidden {
                key: kid.clone(),
                why,
                advice,
            }
            .into())
        };
        match self.operation {
            operation if !row.bundle.operations.contains(&operation) => forbidden(
                format!("does not permit {operation}"),
                "permit it with `atrest key update --operations`",
            ),
            // What was protected while the key was valid stays usable.
            KeyOperation::UnwrapKey | KeyOperation::Decrypt | KeyOperation::Verify => Ok(row),
            _ => match (attributes.not_before, attributes.expires) {
                (_, Some(expires)) if expires <= work.now => forbidden(
                    format!("has expired ({expires}) and may only unwrap, decrypt and verify"),
                    "rotate it with `atrest key rotate`, or move its date with `atrest key update`",
                ),
                (Some(not_before), _) if work.now < not_before => forbidden(
                    format!(
                        "is not valid before {not_before} and may only unwrap, decrypt and verify"
                    ),
                    "wait, or move its date with `atrest key update`",
                ),
                _ => Ok(row),
            },
        }
    }
}

impl Work<'_> {
    /// A version of a key that exists and is not deleted; `asked` is how the caller named it.
    pub(super) fn live(
        &self,
        name: &KeyName,
        pick: Pick,
        asked: &str,
    ) -> Result<VersionRow, Fault> {
        match rows::find(self.db, self.vault, name, pick)? {
            None => Err(VaultError::KeyNotFound(asked.to_owned()).into()),
            Some(row) => match row.deleted {
                None => Ok(row),
                Some((_, until)) => Err(VaultError::KeyDeleted {
                    key: asked.to_owned(),
                    until: until.to_string(),
                }
                .into()),
            },
        }
    }
}
