use std::path::PathBuf;

use crate::base::{KeyRef, ResourceId};
use crate::envelope::ResourceKind;
use crate::resource::{ProtectedResource, Protection, ResourceError, Rewrapped, Verified};

use super::change::TRIES;
use super::key::AccountKeys;
use super::{AccountHeader, StorageAccount};

impl ProtectedResource for StorageAccount {
    fn id(&self) -> ResourceId {
        self.id
    }

    fn kind(&self) -> ResourceKind {
        ResourceKind::Storage
    }

    fn protection(&self) -> &Protection {
        &self.protection
    }

    fn files(&self) -> Result<Vec<PathBuf>, ResourceError> {
        let mut files: Vec<PathBuf> = self.keys.iter().map(|k| k.path().to_owned()).collect();
        files.extend(self.catalog.files());
        files.extend(self.extents.files()?);
        Ok(files)
    }

    /// Reads every page of the catalog, every manifest, and every chunk of every extent, blocks that are not
    /// committed among them. What is under a key that a client gives, which is not here, or under an
    /// encryption scope that is disabled or whose key the vault refuses, is left out, and counted. In a plain
    /// account there is nothing to authenticate: its bytes are read, its units are 0.
    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, ResourceError> {
        let (pages, bytes) = self.catalog.verify(&mut |_, _| ())?;
        let data = self.verify_data(progress)?;
        Ok(Verified {
            units: match self.keys {
                Some(_) => pages + data.units,
                None => pages,
            },
            bytes: bytes + data.bytes,
            left_out: data.left_out,
        })
    }

    /// Wraps both keys anew: the account key with the newest version of `to`, the catalog's with the
    /// newest version of the key that wraps it already; and so those of encryption scopes. One file of 1552 bytes is written.
    fn rewrap(&mut self, to: &Protection) -> Result<Rewrapped, ResourceError> {
        let (Some(keys), Some(key)) = (&self.keys, to.key()) else {
            return Err(ResourceError::Usage(format!(
                "{}: only a protected storage account can be rewrapped, and only to another key; \
                 to protect or unprotect one, copy its blobs into a new account",
                self.dir.display()
            )));
        };
        let (old, new) = self.wrap_keys_anew(keys, key)?;
        self.protection = to.clone();
        if let Protection::CustomerManaged { key } | Protection::ServiceManaged { key } =
            &mut self.protection
        {
            *key = new.account.key.key();
        }
        let mut left = Vec::new();
        for scope in self.catalog.scopes()? {
            match self.wrap_scope_anew(scope.id, None) {
                Err(ResourceError::KeyUnavailable { .. }) => left.push(scope.name),
                wrapped => drop(wrapped?),
            }
        }
        let untouched = self.data_len()?;
        Ok(Rewrapped {
            from: old.account.key.to_string(),
            to: new.account.key.to_string(),
            bytes_rewritten: AccountHeader::LEN as u64,
            bytes_untouched: untouched,
            left,
        })
    }
}

impl StorageAccount {
    /// The header before and the one after. Who does the same at the same time is not overwritten: what he wrote is
    /// read, and wrapped anew in its turn; by the key that he chose, unless `to` is another than this account was under.
    fn wrap_keys_anew(
        &self,
        keys: &AccountKeys,
        to: &KeyRef,
    ) -> Result<(AccountHeader, AccountHeader), ResourceError> {
        let to = (self.protection.key() != Some(to)).then_some(to);
        for _ in 0..TRIES {
            let (old, new) = keys.wrapped_anew(to)?;
            if (self.catalog).while_unchanged(&mut || keys.replace(&old, &new))? {
                keys.reload();
                return Ok((old, new));
            }
        }
        Err(self.busy())
    }

    /// The bytes of all files but the header, and of all blobs that are kept elsewhere.
    pub(super) fn data_len(&self) -> Result<u64, ResourceError> {
        let elsewhere = match self.objects() {
            Some(_) => self.blobs()?.iter().map(|blob| blob.size).sum(),
            None => 0,
        };
        self.files()?
            .iter()
            .skip(1)
            .try_fold(elsewhere, |sum, path| {
                let about = path.metadata().map_err(|e| ResourceError::io(path, e))?;
                Ok(sum + about.len())
            })
    }
}
