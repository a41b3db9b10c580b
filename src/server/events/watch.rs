//! What was told of a vault, and what is new in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::{KeyName, KeyVersion, VaultId};
use crate::crypto::sha256;
use crate::server::{AccessPolicy, Home, ServerError};
use crate::vault::{
    KeyAttributes, KeyVault, Page, Period, RotationPolicy, SecretVault, VaultError,
};

use super::{Event, Object, What};

/// The file of what was told.
pub(super) const FILE: &str = "events.json";
const VERSION: u64 = 1;
/// The longest one that is read, in bytes: some hundred thousand keys.
const MAX_LEN: u64 = 64 << 20;

/// What was told of the vaults, by their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    version: u64,
    vaults: BTreeMap<String, ToldVault>,
}

/// What was told of a vault's keys and secrets, by name in lower case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToldVault {
    /// `None` before the first look.
    vault: Option<VaultId>,
    keys: BTreeMap<String, ToldOf>,
    secrets: BTreeMap<String, ToldOf>,
    /// `None` before the first look at them.
    #[serde(default)]
    access: Option<ToldAccess>,
}

/// What was told of a vault's access policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToldAccess {
    /// SHA-256 of them, in hexadecimal digits; of none where roles decide.
    sha256: String,
    /// How often they had changed.
    changes: u64,
}

/// What was told of one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToldOf {
    /// Its newest version.
    version: KeyVersion,
    enabled: bool,
    deleted: bool,
    /// The date for which it was told that it comes near, and that it came.
    near_expiry: Option<Timestamp>,
    expired: Option<Timestamp>,
}

/// A key or a secret as it is now, by its newest version.
struct Seen {
    name: KeyName,
    version: KeyVersion,
    attributes: KeyAttributes,
    deleted: Option<Timestamp>,
    /// How long before its expiry it is told.
    notify: Option<Period>,
}

impl Told {
    /// Reads what was told, nothing when there is no such file.
    pub(super) fn read(home: &Home) -> Result<Self, ServerError> {
        /// Read first: what else a newer version wrote need not be understood to refuse it.
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let path = home.file(FILE);
        let text = match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::nothing()),
            Ok(found) if found.len() > MAX_LEN => {
                return Err(home.malformed(FILE, "longer than 64 MiB"));
            }
            _ => fs::read(&path).map_err(|e| ServerError::io(&path, e))?,
        };
        let malformed = |e: serde_json::Error| home.malformed(FILE, e);
        let Version { version } = serde_json::from_slice(&text).map_err(malformed)?;
        if version > VERSION {
            let path = path.display().to_string();
            return Err(ServerError::Newer { path, version });
        }
        if version != VERSION {
            return Err(home.malformed(FILE, format_args!("no format version {version}")));
        }
        serde_json::from_slice(&text).map_err(malformed)
    }

    pub(super) fn nothing() -> Self {
        Self {
            version: VERSION,
            vaults: BTreeMap::new(),
        }
    }

    /// What was told of the vault of this name.
    pub(super) fn of(&mut self, vault: &str) -> &mut ToldVault {
        self.vaults.entry(vault.to_owned()).or_default()
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has a JSON form")
    }
}

impl ToldVault {
    /// What happened in `vault` that was not told; from now on it counts as told, unless the look failed
    /// at some place. Of a vault that was never looked at, the versions that are there were made before.
    pub(super) fn look(
        &mut self,
        vault: &(impl KeyVault + SecretVault),
        now: Timestamp,
    ) -> Result<Vec<Event>, VaultError> {
        let mut looked = self.clone();
        let happened = looked.look_through(vault, now)?;
        *self = looked;
        Ok(happened)
    }

    /// That the vault's access policies changed, or that roles decide now, or no more.
    pub(super) fn look_at_access(
        &mut self,
        policies: Option<Vec<(String, AccessPolicy)>>,
    ) -> Option<Event> {
        // A name is no part of what somebody may do.
        let policies: Option<Vec<_>> =
            policies.map(|all| all.into_iter().map(|(_, policy)| policy).collect());
        let text = serde_json::to_vec(&policies).expect("they have a JSON form");
        let sha256 = hex::encode(sha256(&[&text]));
        let before = self.access.take();
        let changed = before.as_ref().is_some_and(|b| b.sha256 != sha256);
        let changes = before.map_or(0, |b| b.changes) + u64::from(changed);
        self.access = Some(ToldAccess { sha256, changes });
        changed.then(|| Event {
            what: What::AccessPolicyChanged,
            object: Object::Vault,
            name: String::new(),
            version: None,
            not_before: None,
            expires: None,
            occurrence: i64::try_from(changes).unwrap_or(i64::MAX),
        })
    }

    fn look_through(
        &mut self,
        vault: &(impl KeyVault + SecretVault),
        now: Timestamp,
    ) -> Result<Vec<Event>, VaultError> {
        let first = self.vault != Some(vault.id());
        if first {
            *self = Self::default();
            self.vault = Some(vault.id());
        }
        let mut events = News::new(Object::Key, &mut self.keys, first, now);
        for key in vault.keys(Page::all())? {
            let (name, version) = (&key.kid.name, key.kid.version);
            let policy = match key.attributes.expires {
                // One that was deleted meanwhile is seen by the next look.
                Some(_) => vault.rotation_policy(name).unwrap_or_default(),
                None => RotationPolicy::default(),
            };
            let made = |after| {
                let made = vault.key_versions(name, Page { after, limit: None })?;
                Ok(made
                    .into_iter()
                    .map(|key| (key.kid.version, key.attributes))
                    .collect())
            };
            let notify = policy.notify_before_expiry;
            events.seen(&Seen::live(name, version, &key.attributes, notify), made);
        }
        for key in vault.deleted_keys(Page::all())? {
            let kid = &key.bundle.kid;
            events.seen_deleted(&Seen {
                deleted: Some(key.deleted),
                ..Seen::live(&kid.name, kid.version, &key.bundle.attributes, None)
            });
        }
        let mut happened = events.end();

        let mut events = News::new(Object::Secret, &mut self.secrets, first, now);
        let notify = RotationPolicy::default().notify_before_expiry;
        for secret in vault.secrets(Page::all())? {
            let (name, version) = (&secret.id.name, secret.id.version);
            let made = |after| {
                let made = vault.secret_versions(name, Page { after, limit: None })?;
                Ok(made
                    .into_iter()
                    .map(|secret| (secret.id.version, secret.attributes))
                    .collect())
            };
            events.seen(&Seen::live(name, version, &secret.attributes, notify), made);
        }
        for secret in vault.deleted_secrets(Page::all())? {
            let id = &secret.bundle.id;
            events.seen_deleted(&Seen {
                deleted: Some(secret.deleted),
                ..Seen::live(&id.name, id.version, &secret.bundle.attributes, None)
            });
        }
        happened.extend(events.end());
        Ok(happened)
    }
}

impl Seen {
    fn live(
        name: &KeyName,
        version: KeyVersion,
        attributes: &KeyAttributes,
        notify: Option<Period>,
    ) -> Self {
        Self {
            name: name.clone(),
            version,
            attributes: attributes.clone(),
            deleted: None,
            notify,
        }
    }

    fn as_told(&self) -> ToldOf {
        ToldOf {
            version: self.version,
            enabled: self.attributes.enabled,
            deleted: self.deleted.is_some(),
            near_expiry: None,
            expired: None,
        }
    }
}

/// Versions with their attributes, oldest first.
type Versions = Vec<(KeyVersion, KeyAttributes)>;

/// The events of one look at all keys, or at all secrets.
struct News<'a> {
    object: Object,
    told: &'a mut BTreeMap<String, ToldOf>,
    first: bool,
    now: Timestamp,
    /// What is there; the rest was purged.
    present: BTreeMap<String, ToldOf>,
    events: Vec<Event>,
}

impl<'a> News<'a> {
    fn new(
        object: Object,
        told: &'a mut BTreeMap<String, ToldOf>,
        first: bool,
        now: Timestamp,
    ) -> Self {
        Self {
            object,
            told,
            first,
            now,
            present: BTreeMap::new(),
            events: vec![],
        }
    }

    fn tell(&mut self, what: What, seen: &Seen, when: Option<Timestamp>) {
        self.events.push(Event {
            what,
            object: self.object,
            name: seen.name.to_string(),
            version: Some(seen.version),
            not_before: seen.attributes.not_before,
            expires: seen.attributes.expires,
            occurrence: when.map_or(0, Timestamp::as_microsecond),
        });
    }

    /// One that is live; `made` gives its versions after one, or all of them.
    fn seen(
        &mut self,
        seen: &Seen,
        made: impl Fn(Option<KeyVersion>) -> Result<Versions, VaultError>,
    ) {
        let name = seen.name.as_str().to_ascii_lowercase();
        let before = self.told.get(&name).cloned();
        let mut now = seen.as_told();
        match &before {
            Some(before) if before.version == seen.version => {
                (now.near_expiry, now.expired) = (before.near_expiry, before.expired);
                if before.enabled && !seen.attributes.enabled {
                    self.tell(What::Disabled, seen, Some(seen.attributes.updated));
                }
            }
            None if self.first => {}
            _ => {
                let after = before.map(|before| before.version);
                // The version told of is not there when the key was purged and another has its name.
                let versions = made(after).or_else(|_| made(None)).unwrap_or_default();
                for (version, attributes) in versions {
                    let of = Seen::live(&seen.name, version, &attributes, None);
                    self.tell(What::NewVersionCreated, &of, None);
                }
            }
        }
        if let Some(expires) = seen.attributes.expires {
            if expires <= self.now {
                if now.expired != Some(expires) {
                    self.tell(What::Expired, seen, Some(expires));
                }
                (now.near_expiry, now.expired) = (Some(expires), Some(expires));
            } else if seen
                .notify
                .is_some_and(|notify| notify.before(expires) <= self.now)
            {
                if now.near_expiry != Some(expires) {
                    self.tell(What::NearExpiry, seen, Some(expires));
                }
                now.near_expiry = Some(expires);
            }
        }
        self.present.insert(name, now);
    }

    fn seen_deleted(&mut self, seen: &Seen) {
        let name = seen.name.as_str().to_ascii_lowercase();
        let mut now = seen.as_told();
        match self.told.get(&name) {
            Some(before) => {
                (now.near_expiry, now.expired) = (before.near_expiry, before.expired);
                // Its versions cannot be listed any more: the newest stands for all.
                if before.version != seen.version {
                    self.tell(What::NewVersionCreated, seen, None);
                }
            }
            None if self.first => {}
            None => self.tell(What::NewVersionCreated, seen, None),
        }
        if !self.first && self.told.get(&name).is_none_or(|before| !before.deleted) {
            self.tell(What::Deleted, seen, seen.deleted);
        }
        self.present.insert(name, now);
    }

    /// All was seen.
    fn end(mut self) -> Vec<Event> {
        for (name, before) in std::mem::take(self.told) {
            if !self.present.contains_key(&name) && !before.deleted {
                // Deleted and purged between two looks.
                self.events.push(Event {
                    what: What::Deleted,
                    object: self.object,
                    name,
                    version: Some(before.version),
                    not_before: None,
                    expires: None,
                    occurrence: 0,
                });
            }
        }
        *self.told = self.present;
        self.events
    }
}
