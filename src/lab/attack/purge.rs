//! A key that was purged lives on in every older copy of its vault.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{EpochId, KeyName, KeyRef, ResourceId, SystemClock};
use crate::crypto::{KeyKind, random_id};
use crate::envelope::ResourceKind;
use crate::lab::theft::{duplicate, list};
use crate::lab::{Attack, Control, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::resource::blob::{BlobName, BlobPath, StorageAccount};
use crate::resource::sql::{Keeper, SqlDatabase};
use crate::resource::{Protection, ResourceError};
use crate::sqlite::PageSize;
use crate::vault::{
    FreshnessCheck, KeySpec, KeyVault, LocalVault, RootKeySource, VaultError, VaultSettings,
};

use super::bout::{Bout, Reading, error_text};
use super::sql::page_size;

/// Attack 30.
pub(in crate::lab) fn revived(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(30);
    let dir = lab.scratch()?;
    let plain = exhibit.protected.protection == Protection::Plain;
    let kind = match exhibit.kind {
        ResourceKind::Sql => Kind::Sql(page_size(exhibit)?),
        _ => Kind::Storage,
    };
    let scene = Purged::new(dir.path(), kind, plain)?;
    let evidence = |back: &[&Path], forced: Option<Opening>| -> Result<Evidence, LabError> {
        scene.put_back(back)?;
        let mut bout = Bout::new(&scene.data, "");
        bout.record(scene.read(Opening::AsAlways), None, || {
            "data was read under the purged key".to_owned()
        });
        let mut evidence = bout.finish("an old vault put back, and what was under its key opened");
        if let Some(opening) = forced {
            let read = scene.read(opening);
            evidence.control = Some(Control {
                fired: matches!(read, Reading::Data(_)),
                summary: format!("{}: {read:?}", opening.name()),
                ..Control::default()
            });
        }
        Ok(evidence)
    };
    let (file, anchor) = (Path::new("vault.db"), Path::new("audit.anchor"));
    let beside_anchor = attack.outcome(
        Some("the vault's file, beside its newer anchor"),
        exhibit,
        evidence(&[file], Some(Opening::AnchorRenewed))?,
    );
    if let Kind::Storage = kind {
        let both = attack.declared(
            "the vault's file and its anchor, and an account that went on since",
            exhibit,
            evidence(&[file, anchor], None)?,
            "nobody remembers the newest state of a storage account, so nothing in it tells that the vault is \
             older. Keep the head that `atrest audit verify` prints elsewhere, and no old copies of a vault \
             together with its root key.",
        );
        return Ok(vec![beside_anchor, both]);
    }
    Ok(vec![
        beside_anchor,
        attack.outcome(
            Some("the vault's file and its anchor, and a database that went on since"),
            exhibit,
            evidence(&[file, anchor], Some(Opening::NotCompared))?,
        ),
        attack.declared(
            "vault, anchor and database, all of one time",
            exhibit,
            evidence(&[file, anchor, Path::new(DATABASE)], None)?,
            "everything put back together is the past itself, and nothing in it tells. Keep the head that \
             `atrest audit verify` prints elsewhere, and no old copies of a vault together with its root key.",
        ),
    ])
}

/// How the vault and the database are opened.
#[derive(Clone, Copy)]
enum Opening {
    AsAlways,
    /// By somebody who accepts that the anchor does not fit.
    AnchorRenewed,
    /// By somebody who does not compare the database with what the vault remembers.
    NotCompared,
}

impl Opening {
    fn name(self) -> &'static str {
        match self {
            Self::AsAlways => "as always",
            Self::AnchorRenewed => "with the anchor written anew",
            Self::NotCompared => "without a comparison",
        }
    }
}

const DATABASE: &str = "data.db";

/// What is under the key.
#[derive(Clone, Copy)]
enum Kind {
    Sql(PageSize),
    Storage,
}

/// A vault whose key was purged, a database or account under it, and a copy of all from before.
struct Purged {
    vault: PathBuf,
    root: RootKeySource,
    kind: Kind,
    /// A database lies beside the vault's files, an account elsewhere: it is never put back.
    data: PathBuf,
    id: ResourceId,
    epoch: EpochId,
    protection: Protection,
    /// Of all files of the vault, and of the database.
    old: PathBuf,
    now: PathBuf,
}

impl Purged {
    fn new(dir: &Path, kind: Kind, plain: bool) -> Result<Self, LabError> {
        let failed =
            |e: VaultError| LabError::Resource(ResourceError::vault("the lab's vault", &e));
        let live = dir.join("live");
        let root = RootKeySource::KeyFile(dir.join("root.key"));
        let vault = LocalVault::create(
            &live,
            &root,
            &VaultSettings::default(),
            Arc::new(SystemClock),
        )
        .map_err(failed)?;
        let name: KeyName = "purged".parse().expect("a key's name");
        let spec = KeySpec::new(KeyKind::Oct256);
        vault.create_key(&name, &spec).map_err(failed)?;
        let key = KeyRef {
            vault: vault.id(),
            name: name.clone(),
        };
        let mut scene = Self {
            data: match kind {
                Kind::Sql(_) => live.join(DATABASE),
                Kind::Storage => dir.join("account"),
            },
            kind,
            root,
            id: random_id(ResourceId::from_bytes),
            epoch: random_id(EpochId::from_bytes),
            protection: match plain {
                true => Protection::Plain,
                false => Protection::CustomerManaged { key },
            },
            old: PathBuf::new(),
            now: PathBuf::new(),
            vault: live,
        };
        let (path, protection) = (&scene.data, scene.protection.clone());
        let wrapper = Arc::new(vault.clone()) as _;
        match kind {
            Kind::Sql(size) => {
                let database = SqlDatabase::create(path, scene.id, size, protection, &wrapper)?;
                database.connect()?.execute_batch("CREATE TABLE t (a)")?;
                database.begin_epoch(&scene.keeper(&vault), FreshnessCheck::Open)?;
            }
            Kind::Storage => {
                let name: KeyName = "service".parse().expect("a key's name");
                vault.create_key(&name, &spec).map_err(failed)?;
                let vault = vault.id();
                let service = (!plain).then_some(KeyRef { vault, name });
                StorageAccount::create(path, scene.id, protection, service.as_ref(), &wrapper)?;
            }
        }
        drop((wrapper, vault));
        scene.old = duplicate(&scene.vault, &dir.join("old"))?;
        for _ in 0..2 {
            let vault = scene.open_vault(Opening::AsAlways).map_err(failed)?;
            scene.go_on(&vault)?;
        }
        let vault = scene.open_vault(Opening::AsAlways).map_err(failed)?;
        vault.delete_key(&name).map_err(failed)?;
        vault.purge_key(&name).map_err(failed)?;
        drop(vault);
        if !plain && matches!(scene.read(Opening::NotCompared), Reading::Data(_)) {
            return Err(LabError::Report(
                "a purged key still opens what was under it".into(),
            ));
        }
        scene.now = duplicate(&scene.vault, &dir.join("now"))?;
        Ok(scene)
    }

    /// These files as they were before the purge, all others as they are now.
    fn put_back(&self, back: &[&Path]) -> Result<(), LabError> {
        let failed = |e| LabError::io(&self.vault, e);
        std::fs::remove_dir_all(&self.vault).map_err(failed)?;
        std::fs::create_dir(&self.vault).map_err(failed)?;
        for path in list(&self.now)? {
            let name = Path::new(path.file_name().unwrap_or_default());
            let from = match back.contains(&name) {
                true => self.old.join(name),
                false => path.clone(),
            };
            std::fs::copy(from, self.vault.join(name)).map_err(failed)?;
        }
        Ok(())
    }

    fn open_vault(&self, opening: Opening) -> Result<LocalVault, VaultError> {
        let clock = Arc::new(SystemClock);
        match opening {
            Opening::AnchorRenewed => LocalVault::reanchor(&self.vault, &self.root, "lab", clock),
            _ => LocalVault::open(&self.vault, &self.root, clock),
        }
    }

    /// Something more is written, with the key.
    fn go_on(&self, vault: &LocalVault) -> Result<(), ResourceError> {
        if let Kind::Storage = self.kind {
            let put = self
                .account(vault)?
                .put(&blob(), &mut &b"invoice"[..], &mut |_| ());
            return put.map(drop);
        }
        let database = self.open(vault, Opening::AsAlways)?;
        let connection = database.connect()?;
        connection
            .execute_batch("INSERT INTO t VALUES (1)")
            .map_err(|e| database.explain(e))
    }

    fn account(&self, vault: &LocalVault) -> Result<StorageAccount, ResourceError> {
        let wrapper = Arc::new(vault.clone()) as _;
        StorageAccount::open(&self.data, self.id, self.protection.clone(), &wrapper)
    }

    fn open(&self, vault: &LocalVault, opening: Opening) -> Result<SqlDatabase, ResourceError> {
        let (path, protection) = (&self.data, self.protection.clone());
        let wrapper = Arc::new(vault.clone()) as _;
        match opening {
            Opening::AsAlways => {
                let keeper = self.keeper(vault);
                SqlDatabase::open_fresh(path, self.id, protection, &wrapper, &keeper)
            }
            _ => SqlDatabase::open(path, self.id, protection, &wrapper),
        }
    }

    fn read(&self, opening: Opening) -> Reading {
        let read = || {
            let vault = match self.open_vault(opening) {
                // Who needs no key asks no vault.
                Err(_) if self.protection == Protection::Plain => {
                    self.open_vault(Opening::AnchorRenewed)
                }
                opened => opened,
            };
            let vault = vault.map_err(|e| ResourceError::vault("the vault", &e))?;
            if let Kind::Storage = self.kind {
                let mut got = Vec::new();
                self.account(&vault)?
                    .get(&blob(), None, &mut got, &mut |_| ())?;
                return Ok(format!("{} bytes", got.len()));
            }
            let database = self.open(&vault, opening)?;
            let count = "SELECT count(*) FROM t";
            let rows: i64 = database
                .connect()?
                .query_row(count, (), |row| row.get(0))
                .map_err(|e| database.explain(e))?;
            Ok::<_, ResourceError>(format!("{rows} rows"))
        };
        match read() {
            Ok(rows) => Reading::Data(rows),
            Err(e) => Reading::Refused(error_text(&e, &self.vault)),
        }
    }

    fn keeper(&self, vault: &LocalVault) -> Keeper {
        Keeper {
            epochs: Arc::new(vault.clone()),
            id: self.epoch,
        }
    }
}

fn blob() -> BlobPath {
    BlobPath::in_default(BlobName::parse("a.txt").expect("a blob's name"))
}
