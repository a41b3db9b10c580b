//! A database and the vault that remembers which state of it is the newest.

use crate::base::VaultId;
use crate::resource::ResourceError;
use crate::sqlite::{Conversion, Position, SealedDatabase};
use crate::vault::{Epoch, FreshnessCheck};

use super::SqlDatabase;
use super::database::Store;
use super::key::{Keeper, LiveKey};

impl SqlDatabase {
    /// Compares the database with what the vault of its key remembers of it, as far as that says to,
    /// and has its commits remembered from now on. A plain database has none of this.
    ///
    /// # Errors
    /// [`ResourceError::Stale`] when it is older than what is remembered, or the vault is older
    /// than what the database was told.
    pub(super) fn keep_fresh(&self, keeper: &Keeper) -> Result<(), ResourceError> {
        let Some((database, key)) = self.sealed() else {
            return Ok(());
        };
        if database.conversion() == Conversion::Decryption {
            // Its pages are in a plain file by now, and nobody can say how old they are.
            return Ok(());
        }
        self.compare(keeper, key.envelope().key.vault, |epoch| {
            self.keep_fresh_since(epoch, keeper, database, key)
        })
    }

    fn keep_fresh_since(
        &self,
        epoch: Option<&Epoch>,
        keeper: &Keeper,
        database: &SealedDatabase,
        key: &LiveKey,
    ) -> Result<(), ResourceError> {
        let position = match epoch {
            None if !database.keeps_freshness() => return Ok(()),
            None => database.check_freshness(None)?,
            Some(Epoch { check, position }) => match (check, position) {
                (FreshnessCheck::Off, _) => return Ok(()),
                (FreshnessCheck::Open, Some(kept)) => database.check_freshness(Some(kept))?,
                // "The one that is found next", or one that a verification compares.
                (FreshnessCheck::Open, None) | (FreshnessCheck::Verify, _) => {
                    database.position()?
                }
            },
        };
        let check = epoch.map_or(FreshnessCheck::Open, |epoch| epoch.check);
        let known = epoch.and_then(|epoch| epoch.position.as_ref());
        key.keep(keeper);
        if check == FreshnessCheck::Open && known != Some(&position) {
            database.anchor(&position);
        }
        Ok(())
    }

    /// Has the vault of its key remember the database as it is now, whatever was remembered.
    pub fn begin_epoch(&self, keeper: &Keeper, check: FreshnessCheck) -> Result<(), ResourceError> {
        let Some((database, key)) = self.sealed() else {
            return Ok(());
        };
        let vault = key.envelope().key.vault;
        let position = match database.keeps_freshness() {
            true => Some(database.position()?),
            false => None,
        };
        self.set_epoch(keeper, vault, &Epoch { check, position })?;
        if check != FreshnessCheck::Off {
            key.keep(keeper);
        }
        Ok(())
    }

    /// Takes the database as it is for the newest: whoever put it back vouches for it. All of it is
    /// read, and its pages are summed up anew.
    pub fn accept(&self, keeper: &Keeper) -> Result<(), ResourceError> {
        let Some((database, key)) = self.sealed() else {
            return Err(ResourceError::Usage(format!(
                "{}: a plain database is never checked, so there is nothing to accept",
                self.path().display()
            )));
        };
        let epoch = self.epoch(keeper, key.envelope().key.vault)?;
        let past = epoch.as_ref().and_then(|epoch| epoch.position.as_ref());
        if database.keeps_freshness() {
            database.renew_freshness(past.map_or(0, Position::version))?;
        }
        self.begin_epoch(
            keeper,
            epoch.map_or(FreshnessCheck::Open, |epoch| epoch.check),
        )
    }

    /// What the vault of its key remembers of it; `None` for nothing, or when it is plain.
    pub fn freshness(&self, keeper: &Keeper) -> Result<Option<FreshnessCheck>, ResourceError> {
        match self.sealed() {
            Some((_, key)) => {
                let epoch = self.epoch(keeper, key.envelope().key.vault)?;
                Ok(epoch.map(|epoch| epoch.check))
            }
            None => Ok(None),
        }
    }

    /// After a verification of all pages: whether the whole is the newest, too.
    pub(super) fn verify_epoch(
        &self,
        database: &SealedDatabase,
        key: &LiveKey,
    ) -> Result<(), ResourceError> {
        let Some(keeper) = key.keeper() else {
            return Ok(());
        };
        self.compare(keeper, key.envelope().key.vault, |epoch| {
            if let Some(kept) = epoch.and_then(|epoch| epoch.position.as_ref()) {
                let position = database.check_freshness(Some(kept))?;
                database.anchor(&position);
            }
            Ok(())
        })
    }

    /// Compares with what the vault remembers. Between the two looks others may commit, and tell the
    /// vault: what does not fit is compared anew as long as the vault remembers more each time.
    fn compare(
        &self,
        keeper: &Keeper,
        vault: VaultId,
        with: impl Fn(Option<&Epoch>) -> Result<(), ResourceError>,
    ) -> Result<(), ResourceError> {
        let mut epoch = self.epoch(keeper, vault)?;
        loop {
            let compared = with(epoch.as_ref());
            if !matches!(compared, Err(ResourceError::Stale { .. })) {
                return compared;
            }
            let now = self.epoch(keeper, vault)?;
            if now == epoch {
                return compared;
            }
            epoch = now;
        }
    }

    /// After a rewrap: the vault of the new key remembers it from now on.
    pub(super) fn move_epoch(&self, from: VaultId) -> Result<(), ResourceError> {
        let Some((database, key)) = self.sealed() else {
            return Ok(());
        };
        let Some(keeper) = key.keeper() else {
            return Ok(());
        };
        if key.envelope().key.vault == from {
            database.anchor(&database.position()?);
            return Ok(());
        }
        let check = match self.epoch(keeper, from)? {
            Some(epoch) => epoch.check,
            None => FreshnessCheck::Open,
        };
        self.begin_epoch(keeper, check)
    }

    fn sealed(&self) -> Option<(&SealedDatabase, &LiveKey)> {
        match &self.store {
            Store::Plain => None,
            Store::Sealed { database, key } => Some((database, key)),
        }
    }

    fn epoch(&self, keeper: &Keeper, vault: VaultId) -> Result<Option<Epoch>, ResourceError> {
        let epoch = keeper.epochs.epoch(vault, keeper.id);
        epoch.map_err(|e| ResourceError::vault(self.path(), &e))
    }

    fn set_epoch(
        &self,
        keeper: &Keeper,
        vault: VaultId,
        epoch: &Epoch,
    ) -> Result<(), ResourceError> {
        let set = keeper.epochs.set_epoch(vault, keeper.id, epoch);
        set.map_err(|e| ResourceError::vault(self.path(), &e))
    }
}
