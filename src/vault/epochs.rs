//! What a vault remembers of the files that its keys protect: which state of each is the newest.
//! It lies in the vault's sealed file, where nobody who writes to the data's disk can take it back.

use std::fmt;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::base::{EpochId, VaultId};
use crate::sqlite::Position;

use super::audit::Event;
use super::audit_operation::AuditOperation;
use super::{LocalVault, VaultError};

/// What is done with what a vault remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreshnessCheck {
    /// Nothing: the file is not compared, and its commits are not remembered.
    Off,
    /// A verification compares the file.
    Verify,
    /// Opening it does, and a verification.
    Open,
}

impl FreshnessCheck {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Off, Self::Verify, Self::Open];
}

impl fmt::Display for FreshnessCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Verify => "verify",
            Self::Open => "open",
        })
    }
}

impl FromStr for FreshnessCheck {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|check| check.to_string() == s);
        found.ok_or_else(|| format!("{s:?} is none of off, verify and open"))
    }
}

/// What is remembered of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// What it is for.
    pub check: FreshnessCheck,
    /// The newest state; `None` when the one that is found next shall be taken.
    pub position: Option<Position>,
}

/// Remembers the newest states of files.
pub trait EpochKeeper: Send + Sync {
    /// What `vault` remembers of the file `id`; `None` for nothing.
    fn epoch(&self, vault: VaultId, id: EpochId) -> Result<Option<Epoch>, VaultError>;

    /// Sets what is remembered, whatever it was. The vault's audit records tell of it.
    fn set_epoch(&self, vault: VaultId, id: EpochId, epoch: &Epoch) -> Result<(), VaultError>;

    /// Remembers `position`, unless what is remembered is newer. On disk when this returns; without
    /// an audit record, since it happens all the time.
    fn advance_epoch(
        &self,
        vault: VaultId,
        id: EpochId,
        position: &Position,
    ) -> Result<(), VaultError>;
}

impl EpochKeeper for LocalVault {
    fn epoch(&self, _vault: VaultId, id: EpochId) -> Result<Option<Epoch>, VaultError> {
        self.read(|work| Ok(find(work.db, id)?))
    }

    fn set_epoch(&self, _vault: VaultId, id: EpochId, epoch: &Epoch) -> Result<(), VaultError> {
        self.transact(Event::new(AuditOperation::EpochSet), |work, _| {
            put(work.db, id, epoch)?;
            Ok(())
        })
    }

    fn advance_epoch(
        &self,
        _vault: VaultId,
        id: EpochId,
        position: &Position,
    ) -> Result<(), VaultError> {
        let log_is_long = self.with_store(|store| {
            let database = &store.database;
            let failed = |e: rusqlite::Error| VaultError::from(database.explain(e));
            let tx = store
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            let epoch = find(&tx, id).map_err(failed)?.unwrap_or(Epoch {
                check: FreshnessCheck::Open,
                position: None,
            });
            let newest = match &epoch.position {
                Some(known) => known.clone().max(position.clone()),
                None => position.clone(),
            };
            let position = Some(newest);
            if epoch.position != position {
                put(&tx, id, &Epoch { position, ..epoch }).map_err(failed)?;
            }
            tx.commit().map_err(failed)?;
            Ok(store.log_is_long())
        })?;
        if log_is_long {
            self.move_log();
        }
        Ok(())
    }
}

fn find(db: &Connection, id: EpochId) -> rusqlite::Result<Option<Epoch>> {
    db.prepare_cached("SELECT freshness, position FROM epochs WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| {
            let bad =
                |column| rusqlite::Error::InvalidColumnType(column, "epoch".into(), Type::Blob);
            let check: String = row.get(0)?;
            let position: Option<[u8; Position::LEN]> = row.get(1)?;
            Ok(Epoch {
                check: check.parse().map_err(|_| bad(0))?,
                position: match position {
                    Some(bytes) => Some(Position::from_bytes(&bytes).ok_or_else(|| bad(1))?),
                    None => None,
                },
            })
        })
        .optional()
}

fn put(db: &Connection, id: EpochId, epoch: &Epoch) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO epochs (id, freshness, position) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET freshness = excluded.freshness, position = excluded.position",
    )?
    .execute(params![
        id.as_bytes(),
        epoch.check.to_string(),
        epoch.position.as_ref().map(Position::to_bytes)
    ])?;
    Ok(())
}
