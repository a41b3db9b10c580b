//! Working directories, made to be measured in.

use std::path::Path;
use std::sync::Arc;

use crate::base::{KeyName, ResourceId, SystemClock};
use crate::crypto::{KeyKind, Secret};
use crate::envelope::{Envelope, Lease, ResourceKind};
use crate::vault::{KeyWrapper, VaultSettings};
use crate::world::{AskPassphrase, InitOptions, Name, WhichVault, Workspace};

use super::BenchError;

/// The customer's key in each.
pub(super) fn key() -> KeyName {
    "customer-key".parse().expect("a valid name")
}

/// A working directory in `dir`, which is new or empty, with a customer's key of this kind.
pub(super) fn make(dir: &Path, kind: KeyKind) -> Result<Workspace, BenchError> {
    let environment: Name = "production".parse().expect("a valid name");
    let options = InitOptions {
        environment,
        customer_key: Some((key(), kind)),
        passphrase: None,
        vault: VaultSettings::default(),
    };
    Ok(Workspace::init(dir, options, Arc::new(SystemClock))?)
}

/// The same, opened once more.
pub(super) fn open(dir: &Path) -> Result<Workspace, BenchError> {
    let ask: AskPassphrase = Arc::new(|_| Err("there is none".to_owned()));
    Ok(Workspace::open(dir, ask, Arc::new(SystemClock))?)
}

/// The right to use a new key for the SQL database `id`, from a vault in `dir`, which is new or empty.
pub(super) fn lease(dir: &Path, id: ResourceId) -> Result<Lease, BenchError> {
    let workspace = make(dir, KeyKind::Oct256)?;
    let vault: Arc<dyn KeyWrapper> = Arc::new(workspace.vault(&WhichVault::Customer)?);
    let protection = workspace.default_protection();
    let kek = protection
        .key()
        .ok_or(BenchError::Wrong("protection by a key"))?;
    let envelope = Envelope::seal(&*vault, kek, ResourceKind::Sql, id, &Secret::random())?;
    Ok(Lease::acquire(envelope, ResourceKind::Sql, id, vault)?)
}
