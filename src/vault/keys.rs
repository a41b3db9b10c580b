//! The administration of keys, each operation with its record.

use jiff::Timestamp;

use crate::base::{KeyName, KeyRef, KeyVersion, KeyVersionRef, VaultId};
use crate::crypto::{KeyEncryptionKey, KeyKind};

use super::audit::Event;
use super::audit_operation::AuditOperation;
use super::backup::KeyBackup;
use super::backup_format::MAX_VERSIONS;
use super::error::Fault;
use super::rows::{self, Pick, StoredVersion, VersionRow};
use super::store::Work;
use super::{
    DeletedKey, KeyBundle, KeyOperation, KeySpec, KeyUpdate, KeyVault, LocalVault, Page,
    RotationPolicy, VaultError, VaultSettings, rotate,
};

impl KeyVault for LocalVault {
    fn id(&self) -> VaultId {
        self.vault_id()
    }

    fn settings(&self) -> Result<VaultSettings, VaultError> {
        self.read(|work| Ok(rows::vault(work.db)?.1))
    }

    fn create_key(&self, name: &KeyName, spec: &KeySpec) -> Result<KeyBundle, VaultError> {
        // Before the lock: generating an RSA key takes long.
        let key = KeyEncryptionKey::generate(spec.kind);
        self.add_version(AuditOperation::KeyCreate, name, key, |_| Ok(spec.clone()))
    }

    fn import_key(
        &self,
        name: &KeyName,
        material: KeyEncryptionKey,
        spec: &KeySpec,
    ) -> Result<KeyBundle, VaultError> {
        let is = material.kind();
        self.add_version(AuditOperation::KeyImport, name, material, |_| {
            if spec.kind != is {
                let said = spec.kind;
                let why = format!("the key imported is {is}, not {said}; name its kind");
                return Err(VaultError::BadParameter(why).into());
            }
            Ok(spec.clone())
        })
    }

    fn keys(&self, page: Page<KeyName>) -> Result<Vec<KeyBundle>, VaultError> {
        self.read(|work| {
            let rows = rows::newest_of_all(work.db, work.vault, false, &page)?;
            Ok(rows.into_iter().map(|row| row.bundle).collect())
        })
    }

    fn key_versions(
        &self,
        name: &KeyName,
        page: Page<KeyVersion>,
    ) -> Result<Vec<KeyBundle>, VaultError> {
        self.read(|work| {
            let asked = self.kid(name, None);
            work.live(name, Pick::Newest, &asked)?;
            let rows = rows::versions(work.db, work.vault, name, &page)?.ok_or_else(|| {
                let why = format!("key {asked} has no version where the page begins; begin anew");
                VaultError::BadParameter(why)
            })?;
            Ok(rows.into_iter().map(|row| row.bundle).collect())
        })
    }

    fn key(&self, name: &KeyName, version: Option<KeyVersion>) -> Result<KeyBundle, VaultError> {
        self.read(|work| {
            Ok(work
                .live(name, version.into(), &self.kid(name, version))?
                .bundle)
        })
    }

    fn update_key(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        update: &KeyUpdate,
    ) -> Result<KeyBundle, VaultError> {
        let asked = self.kid(name, version);
        self.transact(
            Event::on(AuditOperation::KeyUpdate, &asked),
            |work, event| {
                let VersionRow {
                    key: found_row,
                    bundle: found,
                    ..
                } = work.live(name, version.into(), &asked)?;
                event.kid = Some(found.kid.to_string());
                let attributes = found.attributes;
                let enabled = update.enabled.unwrap_or(attributes.enabled);
                let not_before = update.not_before.unwrap_or(attributes.not_before);
                let expires = update.expires.unwrap_or(attributes.expires);
                let operations = update.operations.as_ref().unwrap_or(&found.operations);
                let tags = update.tags.as_ref().unwrap_or(&found.tags);
                check(found.kind, operations)?;
                check_dates(not_before, expires)?;
                work.db
                    .prepare_cached(
                        "UPDATE versions SET enabled = ?2, not_before = ?3, expires = ?4,
                         operations = ?5, updated = ?6, tags = ?7 WHERE version = ?1",
                    )?
                    .execute(rusqlite::params![
                        found.kid.version.as_bytes(),
                        enabled,
                        not_before.map(Timestamp::as_microsecond),
                        expires.map(Timestamp::as_microsecond),
                        rows::operation_bits(operations),
                        work.now.as_microsecond(),
                        rows::json(tags),
                    ])?;
                rotate::schedule(work, found_row)?;
                Ok(work
                    .live(name, Pick::Exactly(found.kid.version), &asked)?
                    .bundle)
            },
        )
    }

    fn rotate_key(&self, name: &KeyName) -> Result<KeyBundle, VaultError> {
        // Of what kind the key is, and whether it is there at all, is asked before a key is
        // generated, and once more in the transaction, which records a refusal.
        let kind = match self.key(name, None) {
            Ok(newest) => newest.kind,
            Err(VaultError::KeyNotFound(_) | VaultError::KeyDeleted { .. }) => KeyKind::Oct256,
            Err(e) => return Err(e),
        };
        let key = KeyEncryptionKey::generate(kind);
        let asked = self.kid(name, None);
        self.add_version(AuditOperation::KeyRotate, name, key, |work| {
            let newest = work.live(name, Pick::Newest, &asked)?;
            if newest.bundle.kind != kind {
                let why = format!("key {asked} was changed meanwhile; try again");
                return Err(VaultError::Conflict(why).into());
            }
            rotate::spec(work, newest.key, newest.bundle)
        })
    }

    fn delete_key(&self, name: &KeyName) -> Result<DeletedKey, VaultError> {
        let asked = self.kid(name, None);
        self.transact(Event::on(AuditOperation::KeyDelete, &asked), |work, _| {
            let row = work.live(name, Pick::Newest, &asked)?;
            let scheduled = work.purge_time()?;
            rows::set_deleted(work.db, row.key, Some((work.now, scheduled)))?;
            rotate::schedule(work, row.key)?;
            let deleted = DeletedKey {
                bundle: row.bundle,
                deleted: work.now,
                scheduled_purge: scheduled,
            };
            Ok(deleted)
        })
    }

    fn deleted_keys(&self, page: Page<KeyName>) -> Result<Vec<DeletedKey>, VaultError> {
        self.read(|work| {
            let rows = rows::newest_of_all(work.db, work.vault, true, &page)?;
            Ok(rows
                .into_iter()
                .filter_map(VersionRow::into_deleted)
                .collect())
        })
    }

    fn deleted_key(&self, name: &KeyName) -> Result<DeletedKey, VaultError> {
        let asked = self.kid(name, None);
        self.read(|work| {
            let row = rows::find(work.db, work.vault, name, Pick::Newest)?;
            let deleted = row.and_then(VersionRow::into_deleted);
            Ok(deleted.ok_or_else(|| VaultError::KeyNotFound(asked.clone()))?)
        })
    }

    fn recover_key(&self, name: &KeyName) -> Result<KeyBundle, VaultError> {
        let asked = self.kid(name, None);
        self.transact(Event::on(AuditOperation::KeyRecover, &asked), |work, _| {
            let (key, _) = work.deleted(name, &asked)?;
            rows::set_deleted(work.db, key, None)?;
            rotate::schedule(work, key)?;
            Ok(work.live(name, Pick::Newest, &asked)?.bundle)
        })
    }

    fn purge_key(&self, name: &KeyName) -> Result<(), VaultError> {
        let asked = self.kid(name, None);
        self.transact(Event::on(AuditOperation::KeyPurge, &asked), |work, _| {
            let (key, deleted) = work.deleted(name, &asked)?;
            work.allow_purge(&format!("key {asked}"), deleted.scheduled_purge)?;
            Ok(rows::delete_key(work.db, key)?)
        })
    }

    fn backup_key(&self, name: &KeyName) -> Result<Vec<u8>, VaultError> {
        let asked = self.kid(name, None);
        let backup = self.transact(Event::on(AuditOperation::KeyBackup, &asked), |work, _| {
            let name = work.live(name, Pick::Newest, &asked)?.bundle.kid.name;
            let rows = rows::versions(work.db, work.vault, &name, &Page::all())?.unwrap_or_default();
            if rows.len() > MAX_VERSIONS {
                let why = format!("key {asked} has more than {MAX_VERSIONS} versions, the most that a backup holds");
                return Err(VaultError::BadParameter(why).into());
            }
            let versions = rows.into_iter().map(|row| row.into_stored(work.db, work.fields)).collect::<Result<_, _>>()?;
            Ok(KeyBackup { name, versions })
        })?;
        self.with_store(|store| Ok(backup.seal(&store.master, store.vault)))
    }

    fn restore_key(&self, backup: &[u8]) -> Result<KeyBundle, VaultError> {
        // Parsed before the transaction, which records what was wrong with it.
        let opened =
            self.with_store(|store| Ok(KeyBackup::open(backup, &store.master, store.vault)))?;
        self.transact(Event::new(AuditOperation::KeyRestore), |work, event| {
            let backup = opened.map_err(|e| VaultError::BadParameter(e.to_string()))?;
            let asked = self.kid(&backup.name, None);
            event.kid = Some(asked.clone());
            if rows::find(work.db, work.vault, &backup.name, Pick::Newest)?.is_some() {
                let why = format!(
                    "key {asked} exists, live or deleted, and a backup never replaces a key; see `atrest key list --deleted`"
                );
                return Err(VaultError::Conflict(why).into());
            }
            let key = rows::insert_key(work.db, &backup.name)?;
            for version in &backup.versions {
                version.insert(work, key)?;
            }
            Ok(work.live(&backup.name, Pick::Newest, &asked)?.bundle)
        })
    }

    fn rotation_policy(&self, name: &KeyName) -> Result<RotationPolicy, VaultError> {
        self.read(|work| {
            let key = work.live(name, Pick::Newest, &self.kid(name, None))?.key;
            Ok(rotate::policy(work, key)?.unwrap_or_default())
        })
    }

    fn set_rotation_policy(
        &self,
        name: &KeyName,
        policy: &RotationPolicy,
    ) -> Result<RotationPolicy, VaultError> {
        let asked = self.kid(name, None);
        let event = Event::on(AuditOperation::KeyRotationPolicySet, &asked);
        self.transact(event, |work, _| {
            policy.check()?;
            let key = work.live(name, Pick::Newest, &asked)?.key;
            rotate::set_policy(work, key, policy)
        })
    }
}

impl LocalVault {
    /// Makes `key` the newest version of `name`; `spec` decides in the transaction how.
    fn add_version(
        &self,
        operation: AuditOperation,
        name: &KeyName,
        key: KeyEncryptionKey,
        spec: impl FnOnce(&Work<'_>) -> Result<KeySpec, Fault>,
    ) -> Result<KeyBundle, VaultError> {
        let asked = self.kid(name, None);
        self.transact(Event::on(operation, &asked), |work, event| {
            let spec = spec(work)?;
            check(spec.kind, &spec.operations)?;
            check_dates(spec.not_before, spec.expires)?;
            let row = match rows::find(work.db, work.vault, name, Pick::Newest)? {
                None => rows::insert_key(work.db, name)?,
                Some(row) => match row.deleted {
                    None => row.key,
                    Some((_, until)) => {
                        return Err(VaultError::DeletedButRecoverable {
                            object: format!("key {asked}"),
                            until: until.to_string(),
                            advice: "recover it with `atrest key recover`",
                        }
                        .into());
                    }
                },
            };
            let version = StoredVersion::new(work, spec, key);
            version.insert(work, row)?;
            rotate::schedule(work, row)?;
            let bundle = work
                .live(name, Pick::Exactly(version.version), &asked)?
                .bundle;
            event.kid = Some(bundle.kid.to_string());
            Ok(bundle)
        })
    }

    /// How a key, or one version of it, is named in errors and records.
    pub(super) fn kid(&self, name: &KeyName, version: Option<KeyVersion>) -> String {
        let (vault, name) = (self.vault_id(), name.clone());
        match version {
            None => KeyRef { vault, name }.to_string(),
            Some(version) => KeyVersionRef {
                vault,
                name,
                version,
            }
            .to_string(),
        }
    }
}

impl Work<'_> {
    /// A soft-deleted key and its row.
    fn deleted(&self, name: &KeyName, asked: &str) -> Result<(i64, DeletedKey), Fault> {
        let row = rows::find(self.db, self.vault, name, Pick::Newest)?
            .ok_or_else(|| VaultError::KeyNotFound(asked.to_owned()))?;
        let key = row.key;
        let not_deleted = || VaultError::NotDeleted(format!("key {asked}"));
        Ok((key, row.into_deleted().ok_or_else(not_deleted)?))
    }
}

/// Refuses operations that a key of this kind cannot do, and a key without any.
fn check(kind: KeyKind, operations: &[KeyOperation]) -> Result<(), VaultError> {
    let bad = |why: String| Err(VaultError::BadParameter(why));
    if operations.is_empty() {
        let why = "a key needs an operation, as wrapKey or sign; to block all of them, disable it";
        return bad(why.into());
    }
    match operations.iter().find(|o| !o.fits(kind)) {
        Some(operation) => bad(format!(
            "a key of kind {kind} cannot {operation}; leave it out"
        )),
        None => Ok(()),
    }
}

/// Refuses dates between which there is no time.
pub(super) fn check_dates(
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
) -> Result<(), VaultError> {
    match (not_before, expires) {
        (Some(from), Some(to)) if to <= from => Err(VaultError::BadParameter(format!(
            "it would expire ({to}) before it is valid ({from}); move one of the dates"
        ))),
        _ => Ok(()),
    }
}
