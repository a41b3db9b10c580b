//! Operations on secrets, each from its body to its answer.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::base::KeyVersion;
use crate::crypto::SecretBytes;
use crate::vault::{
    DeletedSecret, SecretBundle, SecretId, SecretSpec, SecretUpdate, SecretValue, SecretVault,
    VaultError,
};

use super::operation::Operation;
use super::out::{Out, with_tags};
use super::perform::{Asked, BackupIn};
use super::wire::{AttributesIn, bad, decoded, encoded, tags};

/// What goes with a secret, in a set and in an update.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretIn {
    value: Option<Zeroizing<String>>,
    content_type: Option<String>,
    attributes: Option<AttributesIn>,
    tags: Option<BTreeMap<String, String>>,
}

impl SecretIn {
    fn value(&self) -> Result<SecretBytes, VaultError> {
        let value = self
            .value
            .as_ref()
            .ok_or_else(|| bad("value is missing."))?;
        Ok(SecretBytes::from_vec(value.as_bytes().to_vec()))
    }

    fn update(&self) -> Result<SecretUpdate, VaultError> {
        let none = AttributesIn::default();
        let attributes = self.attributes.as_ref().unwrap_or(&none);
        let (not_before, expires) = attributes.dates()?;
        Ok(SecretUpdate {
            enabled: attributes.enabled,
            not_before,
            expires,
            content_type: self.content_type.clone(),
            tags: tags(self.tags.as_ref())?,
        })
    }

    fn spec(&self) -> Result<SecretSpec, VaultError> {
        let given = self.update()?;
        Ok(SecretSpec {
            enabled: given.enabled.unwrap_or(true),
            not_before: given.not_before.flatten(),
            expires: given.expires.flatten(),
            content_type: given.content_type,
            tags: given.tags.unwrap_or_default(),
        })
    }
}

impl Asked<'_> {
    /// Does it; gives the answer's body, or none (204).
    pub(super) fn perform_on_secrets(
        &self,
        out: &Out<'_>,
    ) -> Result<(StatusCode, Option<Value>), VaultError> {
        let Self { vault, call, .. } = self;
        let name = || {
            let name = call.name.as_ref();
            name.expect("a route that needs a name has one")
        };
        let version = call.version;
        let body = match call.operation {
            Operation::SecretSet => {
                let given = self.json::<SecretIn>()?;
                let value = given.value()?;
                let bundle = vault.set_secret(name(), &value, &given.spec()?)?;
                out.secret(&SecretValue { bundle, value })?
            }
            Operation::SecretGet => out.secret(&vault.secret(name(), version)?)?,
            Operation::SecretUpdate => {
                let update = self.json::<SecretIn>()?.update()?;
                out.secret_bundle(&vault.update_secret(name(), version, &update)?)
            }
            Operation::SecretDelete => out.deleted_secret(&vault.delete_secret(name())?, true),
            Operation::SecretList => {
                let found = vault.secrets(self.page()?)?;
                let last = |b: &SecretBundle| b.id.name.to_string();
                self.list("secrets", found, last, |b| out.secret_item(b, false))
            }
            Operation::SecretListVersions => {
                let found = vault.secret_versions(name(), self.page::<KeyVersion>()?)?;
                let path = format!("secrets/{}/versions", name());
                let last = |b: &SecretBundle| b.id.version.to_string();
                self.list(&path, found, last, |b| out.secret_item(b, true))
            }
            Operation::SecretBackup => json!({ "value": encoded(&vault.backup_secret(name())?) }),
            Operation::SecretRestore => {
                let backup = decoded("value", &self.json::<BackupIn>()?.value)?;
                out.secret_bundle(&vault.restore_secret(backup.expose())?)
            }
            Operation::SecretListDeleted => {
                let found = vault.deleted_secrets(self.page()?)?;
                let last = |d: &DeletedSecret| d.bundle.id.name.to_string();
                self.list("deletedsecrets", found, last, |d| {
                    out.deleted_secret(d, false)
                })
            }
            Operation::SecretGetDeleted => out.deleted_secret(&vault.deleted_secret(name())?, true),
            Operation::SecretRecover => out.secret_bundle(&vault.recover_secret(name())?),
            Operation::SecretPurge => {
                vault.purge_secret(name())?;
                return Ok((StatusCode::NO_CONTENT, None));
            }
            _ => return Err(bad("This is no operation on secrets.")),
        };
        Ok((StatusCode::OK, Some(body)))
    }
}

impl Out<'_> {
    fn secret_id(&self, id: &SecretId) -> String {
        format!("{}/secrets/{}/{}", self.base, id.name, id.version)
    }

    /// `SecretBundle` with its value.
    fn secret(&self, secret: &SecretValue) -> Result<Value, VaultError> {
        let value = std::str::from_utf8(secret.value.expose()).map_err(|_| {
            let id = self.secret_id(&secret.bundle.id);
            VaultError::BadAnswer(format!("{id} is not UTF-8: this API cannot tell it"))
        })?;
        let mut out = self.secret_bundle(&secret.bundle);
        out["value"] = value.into();
        Ok(out)
    }

    /// `SecretBundle` without its value.
    fn secret_bundle(&self, bundle: &SecretBundle) -> Value {
        self.secret_item(bundle, true)
    }

    /// `SecretItem`; of a list of secrets without, of a list of versions with the version.
    fn secret_item(&self, bundle: &SecretBundle, version: bool) -> Value {
        let id = match version {
            true => self.secret_id(&bundle.id),
            false => format!("{}/secrets/{}", self.base, bundle.id.name),
        };
        let mut out = json!({ "id": id, "attributes": self.attributes(&bundle.attributes) });
        if let Some(content_type) = &bundle.content_type {
            out["contentType"] = content_type.as_str().into();
        }
        with_tags(out, &bundle.tags)
    }

    /// `DeletedSecretBundle`, or in a list, without the version, `DeletedSecretItem`.
    fn deleted_secret(&self, deleted: &DeletedSecret, version: bool) -> Value {
        let mut out = self.secret_item(&deleted.bundle, version);
        let name = &deleted.bundle.id.name;
        out["recoveryId"] = format!("{}/deletedsecrets/{name}", self.base).into();
        out["deletedDate"] = deleted.deleted.as_second().into();
        out["scheduledPurgeDate"] = deleted.scheduled_purge.as_second().into();
        out
    }
}
