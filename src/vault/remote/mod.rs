//! A vault behind a server, over HTTPS: the REST API of Azure Key Vault as `atrest serve` speaks it,
//! and the server's own pages for what that API has no words for (docs/format.md, "Server").
//!
//! | file          | what it is for |
//! |---------------|----------------|
//! | `options.rs`  | where the vault is, whom to trust, and who asks |
//! | `http.rs`     | one request, bounded in time and length |
//! | `client.rs`   | its token, and its repetition |
//! | `tokens.rs`   | where tokens come from |
//! | `wire.rs`, `described.rs` | keys as the API tells them, and is told of them |
//! | `refusal.rs`  | errors as the API tells them |
//! | `keys.rs`, `uses.rs`, `epochs.rs` | what is asked of the vault |
//!
//! What the server answers is hostile until it was parsed: it may err, or not be the one it seems.

mod client;
mod described;
mod epochs;
mod http;
mod keys;
mod options;
mod refusal;
mod tokens;
mod uses;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::{KeyName, KeyVersion, VaultId};

use super::{VaultError, VaultSettings, revision};

use client::{Ask, Client};
use refusal::Refusal;
use wire::{VaultIn, Wire};

pub use client::REQUEST_TIMEOUT;
pub use options::{Credential, RemoteOptions};

/// A vault that a server elsewhere keeps. A cheap handle; clones share connections and tokens.
///
/// Nothing is cached but the access token and the vault's identity, so that a right that is taken away
/// is missed at the very next call. Each call ends within [`REQUEST_TIMEOUT`], its repetitions
/// included; those that generate a key, and lists, within two minutes. A wrap, and a verification with
/// the newest version, are two calls: that version is asked for first.
#[derive(Clone)]
pub struct RemoteVault {
    client: Arc<Client>,
    id: VaultId,
    revision: Arc<AtomicU64>,
}

impl RemoteVault {
    /// Reaches the server, and learns which vault it keeps: a key of any other is not found from then
    /// on, without a question.
    ///
    /// # Errors
    /// [`VaultError::BadParameter`] for options that cannot be used, [`VaultError::Unreachable`],
    /// [`VaultError::NotAuthorized`], [`VaultError::BadAnswer`] and what the server refuses.
    pub fn open(options: &RemoteOptions) -> Result<Self, VaultError> {
        let client = Client::new(options)?;
        let id = about(&client)?.id;
        Ok(Self {
            client: Arc::new(client),
            id,
            revision: revision(),
        })
    }

    /// `https://HOST[:PORT]`
    pub fn url(&self) -> &str {
        self.client.base()
    }

    fn about(&self) -> Result<VaultSettings, VaultError> {
        let VaultIn { id, settings } = about(&self.client)?;
        match id == self.id {
            true => Ok(settings),
            false => Err(VaultError::BadAnswer(format!(
                "{} keeps another vault by now ({id}, not {})",
                self.url(),
                self.id
            ))),
        }
    }

    /// A right to use a key may have changed, also when it is not known whether the server did it.
    fn changed<T>(&self, done: T) -> T {
        self.revision.fetch_add(1, Ordering::AcqRel);
        done
    }

    fn wire(&self) -> Wire<'_> {
        Wire {
            base: self.client.base(),
            vault: self.id,
        }
    }

    /// A key, or a version of it, as errors name it.
    fn shown(&self, name: &KeyName, version: Option<KeyVersion>) -> String {
        match version {
            Some(version) => format!("{}/keys/{name}/{version}", self.id),
            None => format!("{}/keys/{name}", self.id),
        }
    }
}

fn about(client: &Client) -> Result<VaultIn, VaultError> {
    let answer = client.ask(&Ask::get("/atrest/v1/vault"))?;
    match answer.status {
        200 => wire::vault(&answer),
        _ => Err(Refusal::of(&answer).general(client.base())),
    }
}
