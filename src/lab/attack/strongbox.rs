use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{KeyName, KeyVersion, ResourceId, SystemClock, VaultId};
use crate::crypto::{KeyEncryptionKey, KeyKind, Label, Secret, derive, random_bytes};
use crate::lab::LabError;
use crate::resource::ResourceError;
use crate::sqlite::SealedDatabase;
use crate::vault::{
    Field, FieldKey, KeySpec, KeyVault, LocalVault, RootKeySource, VaultError, VaultSettings,
};

/// A vault on disk, as any user has one, made by the lab. Its key is known, so that it can be looked
/// for.
pub(super) struct Strongbox {
    /// Where it lies.
    pub dir: PathBuf,
    /// What opens it.
    pub root: RootKeySource,
}

impl Strongbox {
    /// An empty one below `dir`, sealed under a key file beside it.
    pub(super) fn create(dir: &Path, name: &str) -> Result<Self, LabError> {
        let root = RootKeySource::KeyFile(dir.join(format!("{name}.key")));
        Self::create_under(dir, name, root)
    }

    /// The same under another root key.
    pub(super) fn create_under(
        dir: &Path,
        name: &str,
        root: RootKeySource,
    ) -> Result<Self, LabError> {
        let dir = dir.join(name);
        let settings = VaultSettings::default();
        LocalVault::create(&dir, &root, &settings, Arc::new(SystemClock)).map_err(failed)?;
        Ok(Self { dir, root })
    }

    pub(super) fn open(&self) -> Result<LocalVault, VaultError> {
        LocalVault::open(&self.dir, &self.root, Arc::new(SystemClock))
    }

    /// Its file.
    pub(super) fn file(&self) -> PathBuf {
        self.dir.join("vault.db")
    }

    /// The file of its anchor.
    pub(super) fn anchor(&self) -> PathBuf {
        self.dir.join("audit.anchor")
    }

    /// Puts a key into it, and gives the key's bytes.
    pub(super) fn import(&self, name: &str) -> Result<[u8; 32], LabError> {
        let bytes = random_bytes();
        let material = KeyEncryptionKey::from_oct(&bytes).expect("32 bytes");
        let vault = self.open().map_err(failed)?;
        let spec = KeySpec::new(KeyKind::Oct256);
        vault
            .import_key(&key_name(name), material, &spec)
            .map_err(failed)?;
        Ok(bytes)
    }

    /// Its identity, and its master key for somebody who has the root key.
    fn master(&self) -> Result<(VaultId, Secret<32>), LabError> {
        let record = LocalVault::root_record(&self.dir).map_err(failed)?;
        let root = record.root_key(&self.root).map_err(failed)?;
        let master = record
            .open(&root)
            .ok_or_else(|| LabError::Report("the root key does not open its vault".into()))?;
        Ok((record.vault, master))
    }

    /// The database inside, opened by somebody who has the root key and goes past the vault's code.
    pub(super) fn inside(&self) -> Result<SealedDatabase, LabError> {
        let (id, master) = self.master()?;
        let key = derive(&master, Label::VaultFile, &[id.as_bytes()]);
        let id = ResourceId::from_bytes(*id.as_bytes());
        let opened = SealedDatabase::open(&self.file(), id, Arc::new(key));
        opened.map_err(|e| ResourceError::from(e).into())
    }

    /// The sealed column of a key, as it lies in that database; and whether who has the root key opens it.
    pub(super) fn sealed_key(&self, name: &KeyName) -> Result<(Vec<u8>, bool), LabError> {
        let (id, master) = self.master()?;
        let connection = self.inside()?.connect().map_err(ResourceError::from)?;
        let of = "SELECT version, material FROM versions JOIN keys USING (key) WHERE name = ?1";
        let (version, sealed): ([u8; 16], Vec<u8>) =
            connection.query_row(of, [name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let version = KeyVersion::from_bytes(version);
        let opened = FieldKey::new(&master, id).open(Field::Material, version, &sealed);
        Ok((sealed, opened.is_ok()))
    }

    /// All pages of that database, decrypted, one after the other: also those that hold no row.
    pub(super) fn pages(&self) -> Result<Vec<u8>, LabError> {
        let connection = self.inside()?.connect().map_err(ResourceError::from)?;
        let mut pages = connection.prepare("SELECT data FROM sqlite_dbpage ORDER BY pgno")?;
        let mut rows = pages.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.extend_from_slice(row.get_ref(0)?.as_blob().unwrap_or_default());
        }
        Ok(all)
    }
}

pub(super) fn key_name(name: &str) -> KeyName {
    name.parse().expect("the lab's names are key names")
}

/// A vault's refusal of what the lab's set-up needs.
pub(super) fn failed(e: VaultError) -> LabError {
    LabError::Resource(ResourceError::vault("the lab's vault", &e))
}
