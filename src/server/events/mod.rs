//! Events: what happened to keys and secrets, told to a file or a webhook as CloudEvents 1.0 in JSON, with
//! the names and data of Azure Event Grid's (learn.microsoft.com/azure/event-grid/event-schema-key-vault).
//!
//! The vaults are looked at every second, and compared with what was told of them (`watch.rs`); that is
//! kept in the server's directory (docs/format.md, "Server"). So it does not matter which process
//! changed something, or whether a server ran then; and what was undone between two looks is not told. No
//! request waits for it.

mod sink;
#[cfg(test)]
mod tests;
mod watch;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::base::{FileLock, KeyVersion, write_atomic};
use crate::crypto::sha256;
use crate::world::WhichVault;

use super::hosts::vault_host;
use super::shared::Shared;
use super::{Home, ServerError};

pub use sink::EventsTo;
use sink::Sink;
use watch::Told;

const LOCK: &str = "events.lock";
/// Between two looks at the vault.
const PERIOD: Duration = Duration::from_secs(1);
/// How long to wait before an event is sent again; after the last time it is dropped.
const RETRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    NewVersionCreated,
    NearExpiry,
    Expired,
    Disabled,
    Deleted,
    AccessPolicyChanged,
}

/// To what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Key,
    Secret,
    Vault,
}

/// Something that happened to a key, a secret, or the vault itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    what: What,
    object: Object,
    name: String,
    /// Which version; `None` of a vault.
    version: Option<KeyVersion>,
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    /// What tells it from the same happening another time: when it was, in microseconds, or which time it is.
    occurrence: i64,
}

impl Event {
    /// The names of Event Grid; it has none for what was disabled or deleted, which are ours.
    fn kind(&self) -> String {
        let (prefix, what) = match self.what {
            What::NewVersionCreated => ("Microsoft", "NewVersionCreated"),
            What::NearExpiry => ("Microsoft", "NearExpiry"),
            What::Expired => ("Microsoft", "Expired"),
            What::Disabled => ("Atrest", "Disabled"),
            What::Deleted => ("Atrest", "Deleted"),
            What::AccessPolicyChanged => ("Microsoft", "AccessPolicyChanged"),
        };
        format!("{prefix}.KeyVault.{:?}{what}", self.object)
    }

    /// In JSON. Its `id` is the same each time it is told.
    fn cloud_event(&self, vault: &str, host: &str, now: Timestamp) -> Value {
        let version = self.version.map(|v| v.to_string()).unwrap_or_default();
        let within = |collection: &str| {
            let id = format!("https://{host}/{collection}/{}/{version}", self.name);
            (self.name.as_str(), id)
        };
        let (name, id) = match self.object {
            Object::Key => within("keys"),
            Object::Secret => within("secrets"),
            Object::Vault => (vault, format!("https://{host}")),
        };
        let kind = self.kind();
        let mut unique = [0; 16];
        let occurrence = self.occurrence.to_le_bytes();
        let digest = sha256(&[kind.as_bytes(), id.as_bytes(), &occurrence]);
        unique.copy_from_slice(&digest[..16]);
        json!({
            "specversion": "1.0",
            "id": uuid::Builder::from_custom_bytes(unique).into_uuid(),
            "source": format!(
                "/subscriptions/{}/resourceGroups/atrest/providers/Microsoft.KeyVault/vaults/{vault}",
                uuid::Uuid::nil(),
            ),
            "subject": name,
            "type": kind,
            "time": now.to_string(),
            "datacontenttype": "application/json",
            "data": {
                "Id": id,
                "VaultName": vault,
                "ObjectType": format!("{:?}", self.object),
                "ObjectName": name,
                "Version": version,
                "NBF": self.not_before.map(Timestamp::as_second),
                "EXP": self.expires.map(Timestamp::as_second),
            },
        })
    }
}

/// Tells of a vault what nobody was told yet.
pub(super) struct Events {
    home: Home,
    sink: Sink,
    told: Told,
    /// No two processes tell of one vault: each event would come twice.
    _lock: FileLock,
}

impl Events {
    /// # Errors
    /// The destination cannot be written to; another process tells of this vault; what was told cannot be
    /// read.
    pub(super) fn open(home: &Home, to: &EventsTo) -> Result<Self, ServerError> {
        let path = home.file(LOCK);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(|e| ServerError::io(&path, e))?;
        let lock = FileLock::try_exclusive(file).map_err(|_| {
            let why = "another server of this working directory tells of its events; stop it first";
            ServerError::Usage(why.into())
        })?;
        Ok(Self {
            home: home.clone(),
            sink: Sink::open(to)?,
            told: Told::read(home)?,
            _lock: lock,
        })
    }

    /// Tells until `stop`, and once more then.
    pub(super) async fn run(mut self, shared: Arc<Shared>, stop: Arc<Notify>) {
        let mut failing = false;
        loop {
            let last = tokio::select! {
                () = tokio::time::sleep(PERIOD) => false,
                () = stop.notified() => true,
            };
            match self.look(&shared).await {
                Ok(()) => failing = false,
                // A vault that is sealed stays so for long: said once.
                Err(cause) if !failing => {
                    tracing::warn!(%cause, "events are not told");
                    failing = true;
                }
                Err(_) => {}
            }
            if last {
                return;
            }
        }
    }

    async fn look(&mut self, shared: &Arc<Shared>) -> Result<(), ServerError> {
        let (blocking, mut told) = (shared.clone(), self.told.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let mut happened = vec![];
            let mut failed = None;
            let vaults = blocking.workspace.vaults();
            for (which, _, kind) in vaults.map_err(|e| ServerError::Usage(e.to_string()))? {
                if which == WhichVault::Provider {
                    continue;
                }
                let looked = blocking.workspace.vault(&which).and_then(|vault| {
                    let told = told.of(which.name());
                    told.look(&vault, blocking.clock.now())
                });
                // One that is sealed hides the others' events from nobody.
                match looked {
                    Ok(mut events) => {
                        let policies = blocking.identities.policies(&which)?;
                        events.extend(told.of(which.name()).look_at_access(policies));
                        happened.extend(events.into_iter().map(|e| (which.clone(), kind, e)))
                    }
                    Err(cause) => failed = Some(cause),
                }
            }
            Ok::<_, ServerError>((told, happened, failed))
        });
        let looked = looked
            .await
            .map_err(|e| ServerError::Usage(e.to_string()))?;
        let (told, happened, failed) = looked?;
        for (vault, kind, event) in &happened {
            let name = shared.name_of(vault);
            let text = event.cloud_event(name, &vault_host(*kind, name), shared.clock.now());
            self.deliver(shared, &text.to_string()).await;
        }
        if told != self.told {
            let (path, text) = (self.home.file(watch::FILE), told.to_json());
            let written = tokio::task::spawn_blocking(move || {
                write_atomic(&path, &text).map_err(|e| ServerError::io(&path, e))
            });
            written
                .await
                .map_err(|e| ServerError::Usage(e.to_string()))??;
            self.told = told;
        }
        failed.map_or(Ok(()), |cause| Err(cause.into()))
    }

    /// Sends one event, a few times if need be.
    async fn deliver(&mut self, shared: &Shared, text: &str) {
        let mut retries = RETRIES.into_iter();
        loop {
            let Err(cause) = self.sink.send(text.as_bytes()).await else {
                shared.metrics.events.inc();
                return;
            };
            let Some(wait) = retries.next() else {
                shared.metrics.events_dropped.inc();
                tracing::error!(%cause, event = %text, "an event was dropped: it could not be sent");
                return;
            };
            tokio::time::sleep(wait).await;
        }
    }
}
