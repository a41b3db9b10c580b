//! Wrapping and unwrapping, and the rules on the use of a key.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::base::{KeyName, KeyRef, KeyVersionRef, Part, VaultId, within};
use crate::crypto::{KeyEncryptionKey, Secret, WrapAlgorithm};

use super::audit::Event;
use super::audit_operation::AuditOperation;
use super::error::Fault;
use super::group::Decide;
use super::key_cache::Ready;
use super::rows::{self, Pick, VersionRow};
use super::store::Work;
use super::use_row::{UseRow, find_use};
use super::{KeyOperation, KeyWrapper, LocalVault, VaultError, WrappedKey};

impl KeyWrapper for LocalVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        let wanted = Wanted {
            operation: KeyOperation::WrapKey,
            vault: key.vault,
            name: key.name.clone(),
            pick: Pick::Newest,
            kid: key.to_string(),
            // The key's kind decides.
            algorithm: String::new(),
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
            name: key.name.clone(),
            pick: Pick::Exactly(key.version),
            kid: key.to_string(),
            algorithm: algorithm.to_string(),
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
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) operation: KeyOperation,
    pub(super) vault: VaultId,
    pub(super) name: KeyName,
    pub(super) pick: Pick,
    /// How the caller named it.
    pub(super) kid: String,
    /// What the record calls the algorithm.
    pub(super) algorithm: String,
}

/// How often a use is tried anew when the key gets a new version meanwhile.
const ATTEMPTS: u32 = 8;

impl LocalVault {
    /// Uses a key and records it. The computation runs outside the lock, so that threads share the
    /// processor; whether its result may leave is decided after it, in the transaction that
    /// records it, by the rules as they are then: with a newer version there, it is done anew.
    pub(super) fn use_key<T>(
        &self,
        wanted: &Wanted,
        compute: impl Fn(&KeyVersionRef, &KeyEncryptionKey) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut attempt = 1;
        loop {
            let pending = self.begin(wanted, attempt, &compute)?;
            if let Some(value) = self.finish(pending)? {
                return Ok(value);
            }
            attempt += 1;
        }
    }

    /// Computes what is asked for, with the key that is probably meant. From the second attempt on it
    /// is read anew, and the last one does not end without a decision.
    pub(super) fn begin<T>(
        &self,
        wanted: &Wanted,
        attempt: u32,
        compute: impl Fn(&KeyVersionRef, &KeyEncryptionKey) -> Result<T, VaultError>,
    ) -> Result<PendingUse<T>, VaultError> {
        let guess = self.keys_held().get(&wanted.name, wanted.pick);
        let ready = match guess.filter(|_| attempt == 1) {
            Some(ready) => Some(ready),
            None => self.ready(wanted)?,
        };
        let (value, computed) = match ready {
            None => (None, None),
            Some(Ready { kid, key }) => match within(Part::Wrap, || compute(&kid, &key)) {
                Ok(value) => (Some(value), Some((kid.version, Ok(())))),
                Err(error) => (None, Some((kid.version, Err(error)))),
            },
        };
        let mut event = Event::on(wanted.audited(), &wanted.kid);
        event.algorithm.clone_from(&wanted.algorithm);
        let (wanted, last) = (wanted.clone(), attempt >= ATTEMPTS);
        let decide = move |work: &Work<'_>, event: &mut Event| {
            let row = wanted.authorize(work)?;
            match computed {
                Some((version, result)) if version == row.kid.version => {
                    event.kid = Some(row.kid.to_string());
                    result?;
                    Ok(true)
                }
                _ if last => {
                    let why = format!("key {} was changed meanwhile; try again", wanted.kid);
                    Err(VaultError::Conflict(why).into())
                }
                _ => Ok(false),
            }
        };
        Ok(PendingUse {
            value,
            event,
            decide: Box::new(decide),
        })
    }

    /// Decides a use and records it; `None` when it is to be begun anew.
    pub fn finish<T>(&self, pending: PendingUse<T>) -> Result<Option<T>, VaultError> {
        let PendingUse {
            value,
            event,
            decide,
        } = pending;
        let done = self.decide_and_wait(event, decide)?;
        Ok(value.filter(|_| done))
    }

    /// The key that is asked for, from the database; `None` when the rules do not allow the use.
    fn ready(&self, wanted: &Wanted) -> Result<Option<Ready>, VaultError> {
        self.with_store(|store| {
            let now = self.now();
            match store.read(now, |work| Ok(wanted.authorize(work).ok()))? {
                Some(row) => store.ready(row.kid, wanted.pick),
                None => Ok(None),
            }
        })
    }
}

/// A use of a key that is computed and not yet decided. Nothing of it leaves before it is.
pub struct PendingUse<T> {
    pub(super) value: Option<T>,
    pub(super) event: Event,
    pub(super) decide: Decide,
}

impl<T> PendingUse<T> {
    /// The same, with what becomes of its result.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> PendingUse<U> {
        PendingUse {
            value: self.value.map(change),
            event: self.event,
            decide: self.decide,
        }
    }
}

impl Wanted {
    fn audited(&self) -> AuditOperation {
        match self.operation {
            KeyOperation::WrapKey => AuditOperation::KeyWrap,
            KeyOperation::UnwrapKey => AuditOperation::KeyUnwrap,
            KeyOperation::Encrypt => AuditOperation::KeyEncrypt,
            KeyOperation::Decrypt => AuditOperation::KeyDecrypt,
            KeyOperation::Sign => AuditOperation::KeySign,
            KeyOperation::Verify => AuditOperation::KeyVerify,
            KeyOperation::Import | KeyOperation::Export => {
                unreachable!("no key is used for these")
            }
        }
    }

    /// The version asked for, when the rules allow this use of it now.
    fn authorize(&self, work: &Work<'_>) -> Result<UseRow, Fault> {
        if self.vault != work.vault {
            return Err(VaultError::KeyNotFound(self.kid.clone()).into());
        }
        let row = find_use(work.db, work.vault, &self.name, self.pick)?
            .ok_or_else(|| VaultError::KeyNotFound(self.kid.clone()))?;
        if let Some(until) = row.purge {
            return Err(VaultError::KeyDeleted {
                key: self.kid.clone(),
                until: until.to_string(),
            }
            .into());
        }
        if !row.enabled {
            return Err(VaultError::KeyDisabled(row.kid.to_string()).into());
        }
        let forbidden = |why: String, advice| {
            Err(VaultError::Forbidden {
                key: row.kid.to_string(),
                why,
                advice,
            }
            .into())
        };
        match self.operation {
            operation if row.operations & rows::operation_bits(&[operation]) == 0 => forbidden(
                format!("does not permit {operation}"),
                "permit it with `atrest key update --operations`",
            ),
            // What was protected while the key was valid stays usable.
            KeyOperation::UnwrapKey | KeyOperation::Decrypt | KeyOperation::Verify => Ok(row),
            _ => match (row.not_before, row.expires) {
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
