//! Secrets, each operation with its record.

use jiff::{SignedDuration, Timestamp};

use crate::base::{KeyName, KeyVersion};
use crate::crypto::{SecretBytes, random_id};

use super::audit::Event;
use super::audit_operation::AuditOperation;
use super::backup_format::MAX_VERSIONS;
use super::error::Fault;
use super::keys::check_dates;
use super::rows::{self, Pick};
use super::secret_backup::SecretBackup;
use super::secret_rows::{self, SecretRow, StoredSecret};
use super::store::Work;
use super::{
    DeletedSecret, KeyAttributes, LocalVault, Page, SecretBundle, SecretSpec, SecretUpdate,
    SecretValue, SecretVault, VaultError,
};

/// The longest value, in bytes (Azure Key Vault's limit).
pub(super) const MAX_VALUE: usize = 25 * 1024;
/// The longest content type, in characters.
pub(super) const MAX_CONTENT_TYPE: usize = 255;

impl SecretVault for LocalVault {
    fn set_secret(
        &self,
        name: &KeyName,
        value: &SecretBytes,
        spec: &SecretSpec,
    ) -> Result<SecretBundle, VaultError> {
        let asked = self.secret_id(name, None);
        let value = SecretBytes::from_vec(value.expose().to_vec());
        let event = Event::on(AuditOperation::SecretSet, &asked);
        self.transact(event, |work, event| {
            if value.expose().len() > MAX_VALUE {
                let why = format!("the value of a secret may have {MAX_VALUE} bytes");
                return Err(VaultError::BadParameter(why).into());
            }
            check_content_type(spec.content_type.as_deref())?;
            check_dates(spec.not_before, spec.expires)?;
            let row = match secret_rows::find(work.db, work.vault, name, Pick::Newest)? {
                None => secret_rows::insert(work.db, name)?,
                Some(row) => match row.deleted {
                    None => row.secret,
                    Some((_, until)) => {
                        return Err(VaultError::DeletedButRecoverable {
                            object: format!("secret {asked}"),
                            until: until.to_string(),
                            advice: "recover it",
                        }
                        .into());
                    }
                },
            };
            let version = StoredSecret {
                version: random_id(KeyVersion::from_bytes),
                attributes: KeyAttributes {
                    enabled: spec.enabled,
                    not_before: spec.not_before,
                    expires: spec.expires,
                    created: work.now,
                    updated: work.now,
                },
                content_type: spec.content_type.clone(),
                tags: spec.tags.clone(),
                value,
            };
            version.insert(work, row)?;
            let made = work.live_secret(name, Pick::Newest, &asked)?.bundle;
            event.kid = Some(made.id.to_string());
            Ok(made)
        })
    }

    fn secret(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
    ) -> Result<SecretValue, VaultError> {
        let asked = self.secret_id(name, version);
        let event = Event::on(AuditOperation::SecretGet, &asked);
        let name = name.clone();
        let given = self.decide(event, move |work, event| {
            let bundle = work.live_secret(&name, version.into(), &asked)?.bundle;
            event.kid = Some(bundle.id.to_string());
            if !bundle.attributes.enabled {
                return Err(VaultError::SecretDisabled(bundle.id.to_string()).into());
            }
            let value = secret_rows::value(work.db, work.fields, bundle.id.version)?;
            Ok(Some(SecretValue { bundle, value }))
        })?;
        Ok(given.expect("it was not withdrawn"))
    }

    fn secrets(&self, page: Page<KeyName>) -> Result<Vec<SecretBundle>, VaultError> {
        self.read(|work| {
            let rows = secret_rows::newest_of_all(work.db, work.vault, false, &page)?;
            Ok(rows.into_iter().map(|row| row.bundle).collect())
        })
    }

    fn secret_versions(
        &self,
        name: &KeyName,
        page: Page<KeyVersion>,
    ) -> Result<Vec<SecretBundle>, VaultError> {
        let asked = self.secret_id(name, None);
        self.read(|work| {
            work.live_secret(name, Pick::Newest, &asked)?;
            let rows = secret_rows::versions(work.db, work.vault, name, &page)?;
            let rows = rows.ok_or_else(|| {
                VaultError::BadParameter(format!(
                    "secret {asked} has no version where the page begins; begin anew"
                ))
            })?;
            Ok(rows.into_iter().map(|row| row.bundle).collect())
        })
    }

    fn update_secret(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        update: &SecretUpdate,
    ) -> Result<SecretBundle, VaultError> {
        let asked = self.secret_id(name, version);
        let event = Event::on(AuditOperation::SecretUpdate, &asked);
        self.transact(event, |work, event| {
            let mut bundle = work.live_secret(name, version.into(), &asked)?.bundle;
            event.kid = Some(bundle.id.to_string());
            let SecretUpdate {
                enabled,
                not_before,
                expires,
                content_type,
                tags,
            } = update.clone();
            let attributes = &mut bundle.attributes;
            attributes.enabled = enabled.unwrap_or(attributes.enabled);
            attributes.not_before = not_before.unwrap_or(attributes.not_before);
            attributes.expires = expires.unwrap_or(attributes.expires);
            attributes.updated = work.now;
            bundle.content_type = content_type.or(bundle.content_type);
            bundle.tags = tags.unwrap_or(bundle.tags);
            check_content_type(bundle.content_type.as_deref())?;
            check_dates(bundle.attributes.not_before, bundle.attributes.expires)?;
            secret_rows::update(work.db, &bundle)?;
            Ok(bundle)
        })
    }

    fn delete_secret(&self, name: &KeyName) -> Result<DeletedSecret, VaultError> {
        let asked = self.secret_id(name, None);
        self.transact(
            Event::on(AuditOperation::SecretDelete, &asked),
            |work, _| {
                let row = work.live_secret(name, Pick::Newest, &asked)?;
                let until = work.purge_time()?;
                secret_rows::set_deleted(work.db, row.secret, Some((work.now, until)))?;
                Ok(DeletedSecret {
                    bundle: row.bundle,
                    deleted: work.now,
                    scheduled_purge: until,
                })
            },
        )
    }

    fn deleted_secrets(&self, page: Page<KeyName>) -> Result<Vec<DeletedSecret>, VaultError> {
        self.read(|work| {
            let rows = secret_rows::newest_of_all(work.db, work.vault, true, &page)?;
            let deleted = rows.into_iter().filter_map(SecretRow::into_deleted);
            Ok(deleted.collect())
        })
    }

    fn deleted_secret(&self, name: &KeyName) -> Result<DeletedSecret, VaultError> {
        let asked = self.secret_id(name, None);
        self.read(|work| {
            let row = secret_rows::find(work.db, work.vault, name, Pick::Newest)?;
            let deleted = row.and_then(SecretRow::into_deleted);
            Ok(deleted.ok_or_else(|| VaultError::SecretNotFound(asked.clone()))?)
        })
    }

    fn recover_secret(&self, name: &KeyName) -> Result<SecretBundle, VaultError> {
        let asked = self.secret_id(name, None);
        self.transact(
            Event::on(AuditOperation::SecretRecover, &asked),
            |work, _| {
                let (secret, _) = work.deleted_secret(name, &asked)?;
                secret_rows::set_deleted(work.db, secret, None)?;
                Ok(work.live_secret(name, Pick::Newest, &asked)?.bundle)
            },
        )
    }

    fn purge_secret(&self, name: &KeyName) -> Result<(), VaultError> {
        let asked = self.secret_id(name, None);
        self.transact(Event::on(AuditOperation::SecretPurge, &asked), |work, _| {
            let (secret, deleted) = work.deleted_secret(name, &asked)?;
            work.allow_purge(&format!("secret {asked}"), deleted.scheduled_purge)?;
            Ok(secret_rows::delete(work.db, secret)?)
        })
    }

    fn backup_secret(&self, name: &KeyName) -> Result<Vec<u8>, VaultError> {
        let asked = self.secret_id(name, None);
        let event = Event::on(AuditOperation::SecretBackup, &asked);
        let backup = self.transact(event, |work, _| {
            let name = work.live_secret(name, Pick::Newest, &asked)?.bundle.id.name;
            let rows = secret_rows::versions(work.db, work.vault, &name, &Page::all())?;
            let rows = rows.unwrap_or_default();
            if rows.len() > MAX_VERSIONS {
                let why = format!("secret {asked} has more than {MAX_VERSIONS} versions, the most that a backup holds");
                return Err(VaultError::BadParameter(why).into());
            }
            let versions = rows.into_iter().map(|row| row.into_stored(work.db, work.fields));
            let versions = versions.collect::<Result<_, _>>()?;
            Ok(SecretBackup { name, versions })
        })?;
        self.with_store(|store| Ok(backup.seal(&store.master, store.vault)))
    }

    fn restore_secret(&self, backup: &[u8]) -> Result<SecretBundle, VaultError> {
        // Parsed before the transaction, which records what was wrong with it.
        let opened =
            self.with_store(|store| Ok(SecretBackup::open(backup, &store.master, store.vault)))?;
        self.transact(Event::new(AuditOperation::SecretRestore), |work, event| {
            let backup = opened.map_err(|e| VaultError::BadParameter(e.to_string()))?;
            let asked = self.secret_id(&backup.name, None);
            event.kid = Some(asked.clone());
            if secret_rows::find(work.db, work.vault, &backup.name, Pick::Newest)?.is_some() {
                let why = format!(
                    "secret {asked} exists, live or deleted, and a backup never replaces one"
                );
                return Err(VaultError::Conflict(why).into());
            }
            let secret = secret_rows::insert(work.db, &backup.name)?;
            for version in &backup.versions {
                version.insert(work, secret)?;
            }
            Ok(work.live_secret(&backup.name, Pick::Newest, &asked)?.bundle)
        })
    }
}

impl LocalVault {
    /// How a secret, or one version of it, is named in errors and records.
    fn secret_id(&self, name: &KeyName, version: Option<KeyVersion>) -> String {
        let secret = format!("{}/secrets/{name}", self.vault_id());
        match version {
            None => secret,
            Some(version) => format!("{secret}/{version}"),
        }
    }
}

impl Work<'_> {
    /// A version of a secret that exists and is not deleted.
    fn live_secret(&self, name: &KeyName, pick: Pick, asked: &str) -> Result<SecretRow, Fault> {
        let row = secret_rows::find(self.db, self.vault, name, pick)?;
        let live = row.filter(|row| row.deleted.is_none());
        Ok(live.ok_or_else(|| VaultError::SecretNotFound(asked.to_owned()))?)
    }

    /// A soft-deleted secret and its row.
    fn deleted_secret(&self, name: &KeyName, asked: &str) -> Result<(i64, DeletedSecret), Fault> {
        let row = secret_rows::find(self.db, self.vault, name, Pick::Newest)?
            .ok_or_else(|| VaultError::SecretNotFound(asked.to_owned()))?;
        let secret = row.secret;
        let not_deleted = || VaultError::NotDeleted(format!("secret {asked}"));
        let deleted = row.into_deleted().ok_or_else(not_deleted)?;
        Ok((secret, deleted))
    }

    /// When what is deleted now goes for good.
    pub(super) fn purge_time(&self) -> Result<Timestamp, Fault> {
        let (_, settings) = rows::vault(self.db)?;
        let retention = SignedDuration::from_hours(24 * i64::from(settings.retention_days));
        let until = self.now.saturating_add(retention);
        Ok(until.unwrap_or(Timestamp::MAX))
    }

    /// Refuses to purge `object` while purge protection holds.
    pub(super) fn allow_purge(&self, object: &str, until: Timestamp) -> Result<(), Fault> {
        let (_, settings) = rows::vault(self.db)?;
        match settings.purge_protection {
            false => Ok(()),
            true => Err(VaultError::PurgeProtected {
                object: object.to_owned(),
                until: until.to_string(),
            }
            .into()),
        }
    }
}

fn check_content_type(content_type: Option<&str>) -> Result<(), VaultError> {
    match content_type {
        Some(text) if text.chars().nth(MAX_CONTENT_TYPE).is_some() => {
            Err(VaultError::BadParameter(format!(
                "a content type may have {MAX_CONTENT_TYPE} characters"
            )))
        }
        _ => Ok(()),
    }
}
