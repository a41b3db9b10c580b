use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::base::{ResourceId, file_identity, may_wait, mutex_lock};
use crate::resource::blob::StorageAccount;
use crate::resource::{ProtectedResource, Protection, ResourceError};
use crate::server::shared::Shared;
use crate::vault::Runner;
use crate::world::{Kind, WorldError};

use super::fault::Fault;

/// Blobs that are sent or received at once: each but short ones takes a thread that may block, of which others need
/// some, too.
const TRANSFERS_MAX: usize = 32;

/// The storage accounts that are open.
pub(in crate::server) struct Storage {
    /// Each under a lock of its own, which is held while it is opened: others need not wait for that.
    open: Mutex<HashMap<ResourceId, Arc<Mutex<Option<Open>>>>>,
    pub(super) transfers: Arc<Semaphore>,
    /// Finds threads for commits.
    pub(super) runner: Runner,
}

struct Open {
    account: Arc<StorageAccount>,
    /// Which directory it is: another one takes its place when the account's protection changes.
    directory: (u64, u64),
}

impl Storage {
    pub(in crate::server) fn new(threads: Handle) -> Self {
        Self {
            // A request's recording stays with it: commits are of many.
            runner: Arc::new(move |job| drop(threads.spawn_blocking(job))),
            open: Mutex::default(),
            transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
        }
    }
}

/// The storage account whose host is `name.blob.core.windows.net`: the one of that name in the working
/// directory's environments, as they are now.
pub(super) fn account(shared: &Shared, name: &str) -> Result<Arc<StorageAccount>, Fault> {
    let failed = |error: &dyn std::fmt::Display| {
        Fault::internal(error, "a storage account cannot be opened")
    };
    shared.workspace.reload().map_err(|e| failed(&e))?;
    let mut found = shared.workspace.named(Kind::Storage, name).into_iter();
    let (address, entry) = match (found.next(), found.next()) {
        (Some(found), None) => found,
        (None, _) => {
            let why = format!(
                "There is no storage account {name} here; make one with `atrest blob create {name}`."
            );
            return Err(Fault::new(StatusCode::NOT_FOUND, "ResourceNotFound", why));
        }
        (Some(_), Some(_)) => {
            let why = format!(
                "Two environments have a storage account {name}: this host could be either. Rename one."
            );
            return Err(Fault::new(StatusCode::CONFLICT, "AmbiguousAccount", why));
        }
    };
    let path = shared.workspace.path(&address).map_err(|e| failed(&e))?;
    let about = fs::metadata(&path).map_err(|e| failed(&e))?;
    let directory = file_identity(&about);
    let place = {
        let mut open = (shared.storage.open.lock()).unwrap_or_else(PoisonError::into_inner);
        open.entry(entry.id).or_default().clone()
    };
    // Where another thread opens it, that may wait for a vault.
    let mut open = mutex_lock(&place).ok_or_else(Fault::busy)?;
    if let Some(known) = &*open
        && known.directory == directory
    {
        return Ok(known.account.clone());
    }
    if !may_wait() {
        return Err(Fault::busy());
    }
    let account = match shared.workspace.open_storage(&address) {
        Ok(account) => Arc::new(account.with_clock(shared.clock.clone())),
        Err(WorldError::Resource(
            e @ (ResourceError::KeyUnavailable { .. } | ResourceError::Busy { .. }),
        )) => {
            return Err(Fault::of(&e, false, false));
        }
        Err(e) => return Err(failed(&e)),
    };
    *open = Some(Open {
        account: account.clone(),
        directory,
    });
    Ok(account)
}

/// Whether what the account stores is sealed.
pub(super) fn is_encrypted(account: &StorageAccount) -> bool {
    *account.protection() != Protection::Plain
}
