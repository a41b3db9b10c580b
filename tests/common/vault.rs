//! What tests of a vault have in common.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::Path;
use std::sync::Arc;

use atrest::base::{KeyName, ManualClock};
use atrest::vault::{LocalVault, RootKeySource, VaultError, VaultSettings};
use jiff::{SignedDuration, Timestamp};

/// Deleted things can be recovered for a week, and be purged before.
pub const A_WEEK: VaultSettings = VaultSettings {
    retention_days: 7,
    purge_protection: false,
};

/// Where the root key of the vault in [`new_vault`]'s directory is.
pub fn root(dir: &Path) -> RootKeySource {
    RootKeySource::KeyFile(dir.join("root.key"))
}

/// An empty vault in `dir`, at [`start`].
pub fn new_vault(dir: &Path, settings: &VaultSettings) -> (LocalVault, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(start()));
    let vault = LocalVault::create(&dir.join("vault"), &root(dir), settings, clock.clone());
    (vault.unwrap(), clock)
}

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

pub fn name(name: &str) -> KeyName {
    name.parse().unwrap()
}

/// That `result` is the refusal with this code.
#[track_caller]
pub fn refused<T>(result: Result<T, VaultError>, code: &str) {
    match result {
        Ok(_) => panic!("allowed, where {code} was expected"),
        Err(e) => assert_eq!(e.code(), code, "{e}"),
    }
}
