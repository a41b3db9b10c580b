//! The administration of keys.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::base::{KeyName, KeyVersion, VaultId};
use crate::crypto::KeyEncryptionKey;
use crate::vault::{
    DeletedKey, KeyBackup, KeyBundle, KeySpec, KeyUpdate, KeyVault, Page, PolicyJson,
    RotationPolicy, VaultError, VaultSettings, policy_json,
};

use super::RemoteVault;
use super::client::{ANSWER_MAX, Ask, REQUEST_TIMEOUT, long};
use super::described::KeyOut;
use super::http::Answer;
use super::refusal::{Doing, Refusal};
use super::wire::{bad, decoded, encoded, json, parse};

/// The most items of a page, as the API has it.
const PAGE_MAX: u32 = 25;
/// The most items of a whole list: a server that never comes to an end is stopped here.
const LIST_MAX: usize = 100_000;
/// The longest answer with a backup, in bytes.
const BACKUP_MAX: usize = ANSWER_MAX + KeyBackup::MAX_LEN.div_ceil(3) * 4;

/// `{"value": ...}` of a backup.
#[derive(Serialize, Deserialize)]
struct Backup {
    value: String,
}

impl KeyVault for RemoteVault {
    fn id(&self) -> VaultId {
        self.id
    }

    fn settings(&self) -> Result<VaultSettings, VaultError> {
        self.about()
    }

    fn create_key(&self, name: &KeyName, spec: &KeySpec) -> Result<KeyBundle, VaultError> {
        let ask = Ask::post(format!("/keys/{name}/create"));
        let ask = ask.with(json(&KeyOut::create(spec))).long();
        let made = self.call(Doing::Other, name, None, ask);
        self.wire().bundle(&self.changed(made)?, name, None)
    }

    fn import_key(
        &self,
        name: &KeyName,
        material: KeyEncryptionKey,
        spec: &KeySpec,
    ) -> Result<KeyBundle, VaultError> {
        let (is, said) = (material.kind(), spec.kind);
        if is != said {
            let why = format!("the key imported is {is}, not {said}; name its kind");
            return Err(VaultError::BadParameter(why));
        }
        let ask = Ask::put(format!("/keys/{name}")).with(json(&KeyOut::import(&material, spec)));
        let made = self.call(Doing::Other, name, None, ask);
        self.wire().bundle(&self.changed(made)?, name, None)
    }

    fn keys(&self, page: Page<KeyName>) -> Result<Vec<KeyBundle>, VaultError> {
        let each = |name: &KeyName, until| self.get(name, None, until);
        self.list("/keys", None, page, each)
    }

    fn key_versions(
        &self,
        name: &KeyName,
        page: Page<KeyVersion>,
    ) -> Result<Vec<KeyBundle>, VaultError> {
        let each = |version: &KeyVersion, until| self.get(name, Some(*version), until);
        self.list(&format!("/keys/{name}/versions"), Some(name), page, each)
    }

    fn key(&self, name: &KeyName, version: Option<KeyVersion>) -> Result<KeyBundle, VaultError> {
        self.get(name, version, Instant::now() + REQUEST_TIMEOUT)
    }

    fn update_key(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        update: &KeyUpdate,
    ) -> Result<KeyBundle, VaultError> {
        let ask = Ask::patch(versioned(name, version)).with(json(&KeyOut::update(update)));
        let made = self.call(Doing::Other, name, version, ask.repeatable());
        self.wire().bundle(&self.changed(made)?, name, version)
    }

    fn rotate_key(&self, name: &KeyName) -> Result<KeyBundle, VaultError> {
        let ask = Ask::post(format!("/keys/{name}/rotate")).long();
        let made = self.call(Doing::Other, name, None, ask);
        self.wire().bundle(&self.changed(made)?, name, None)
    }

    fn delete_key(&self, name: &KeyName) -> Result<DeletedKey, VaultError> {
        let ask = Ask::delete(format!("/keys/{name}"));
        let made = self.call(Doing::Other, name, None, ask);
        self.wire().deleted(&self.changed(made)?, name)
    }

    fn deleted_keys(&self, page: Page<KeyName>) -> Result<Vec<DeletedKey>, VaultError> {
        let each = |name: &KeyName, until| self.get_deleted(name, until);
        self.list("/deletedkeys", None, page, each)
    }

    fn deleted_key(&self, name: &KeyName) -> Result<DeletedKey, VaultError> {
        self.get_deleted(name, Instant::now() + REQUEST_TIMEOUT)
    }

    fn recover_key(&self, name: &KeyName) -> Result<KeyBundle, VaultError> {
        let ask = Ask::post(format!("/deletedkeys/{name}/recover"));
        let made = self.call(Doing::Recover, name, None, ask);
        self.wire().bundle(&self.changed(made)?, name, None)
    }

    fn purge_key(&self, name: &KeyName) -> Result<(), VaultError> {
        let ask = Ask::delete(format!("/deletedkeys/{name}"));
        let made = self.call(Doing::Purge, name, None, ask);
        self.changed(made).map(drop)
    }

    fn backup_key(&self, name: &KeyName) -> Result<Vec<u8>, VaultError> {
        let mut ask = Ask::post(format!("/keys/{name}/backup")).repeatable();
        ask.limit = BACKUP_MAX;
        let answer = self.call(Doing::Other, name, None, ask)?;
        let Backup { value } = parse(&answer)?;
        decoded("value", &value)
    }

    fn restore_key(&self, backup: &[u8]) -> Result<KeyBundle, VaultError> {
        if backup.len() > KeyBackup::MAX_LEN {
            return Err(VaultError::BadParameter(
                "too long for a key's backup".into(),
            ));
        }
        let value = encoded(backup).to_string();
        let ask = Ask::post("/keys/restore")
            .with(json(&Backup { value }))
            .long();
        let made = self.changed(self.client.ask(&ask))?;
        match made.status {
            200 => self.wire().any_bundle(&made),
            _ => Err(Refusal::of(&made).general(self.url())),
        }
    }

    fn rotation_policy(&self, name: &KeyName) -> Result<RotationPolicy, VaultError> {
        let ask = Ask::get(format!("/keys/{name}/rotationpolicy"));
        policy(&self.call(Doing::Other, name, None, ask)?)
    }

    fn set_rotation_policy(
        &self,
        name: &KeyName,
        wanted: &RotationPolicy,
    ) -> Result<RotationPolicy, VaultError> {
        let body = policy_json(&format!("{}/keys/{name}", self.url()), wanted);
        let ask = Ask::put(format!("/keys/{name}/rotationpolicy")).with(json(&body));
        let set = self.call(Doing::Other, name, None, ask.repeatable());
        policy(&self.changed(set)?)
    }
}

fn policy(answer: &Answer) -> Result<RotationPolicy, VaultError> {
    let told = parse::<PolicyJson>(answer)?.told();
    told.map_err(|e| bad(format!("a rotation policy that there is not: {e}")))
}

/// The path of a version of a key, or of the key.
pub(super) fn versioned(name: &KeyName, version: Option<KeyVersion>) -> String {
    match version {
        Some(version) => format!("/keys/{name}/{version}"),
        None => format!("/keys/{name}"),
    }
}

impl RemoteVault {
    /// An answer that says that it was done.
    pub(super) fn call(
        &self,
        doing: Doing,
        name: &KeyName,
        version: Option<KeyVersion>,
        ask: Ask,
    ) -> Result<Answer, VaultError> {
        let answer = self.client.ask(&ask)?;
        match answer.status {
            200 | 204 => Ok(answer),
            _ => {
                let asked = self.shown(name, version);
                let until = ask.until.min(Instant::now() + REQUEST_TIMEOUT);
                Err(self.refused(doing, name, asked, until, &answer))
            }
        }
    }

    fn get(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        until: Instant,
    ) -> Result<KeyBundle, VaultError> {
        let ask = Ask::get(versioned(name, version)).until(until);
        let answer = self.call(Doing::Other, name, version, ask)?;
        self.wire().bundle(&answer, name, version)
    }

    fn get_deleted(&self, name: &KeyName, until: Instant) -> Result<DeletedKey, VaultError> {
        let ask = Ask::get(format!("/deletedkeys/{name}")).until(until);
        let answer = self.client.ask(&ask)?;
        match answer.status {
            200 => self.wire().deleted(&answer, name),
            404 => Err(VaultError::KeyNotFound(self.shown(name, None))),
            _ => Err(Refusal::of(&answer).general(self.url())),
        }
    }

    /// A list, whose items tell less than is wanted: `each` of them is asked for, and left out when it
    /// went away meanwhile.
    fn list<T: FromStr + Display + PartialEq, U>(
        &self,
        path: &str,
        of: Option<&KeyName>,
        page: Page<T>,
        each: impl Fn(&T, Instant) -> Result<U, VaultError>,
    ) -> Result<Vec<U>, VaultError> {
        let whole = long();
        let soon = || whole.min(Instant::now() + REQUEST_TIMEOUT);
        let wanted = page.limit.map_or(LIST_MAX, |limit| limit as usize);
        let (mut all, mut after, mut more) = (Vec::new(), page.after, true);
        let mut seen = 0;
        while more && seen < wanted {
            let size = wanted.saturating_sub(seen).min(PAGE_MAX as usize);
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("maxresults", &size.to_string());
            if let Some(after) = &after {
                query.append_pair("$skiptoken", &after.to_string());
            }
            let mut ask = Ask::get(path).until(soon());
            ask.query = Some(query.finish());
            let answer = match of {
                Some(name) => self.call(Doing::Other, name, None, ask)?,
                None => match self.client.ask(&ask)? {
                    answer if answer.status == 200 => answer,
                    answer => return Err(Refusal::of(&answer).general(self.url())),
                },
            };
            let told = self.wire().page::<T>(&answer, of, size)?;
            seen += told.found.len();
            more = told.more;
            for item in &told.found {
                match each(item, soon()) {
                    Ok(one) => all.push(one),
                    Err(VaultError::KeyNotFound(_) | VaultError::KeyDeleted { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
            let last = told.found.into_iter().last();
            if more && (last.is_none() || last == after) {
                return Err(bad("a list that does not go on"));
            }
            after = last;
        }
        match more && page.limit.is_none() {
            true => Err(bad("a list without an end")),
            false => Ok(all),
        }
    }
}
