use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::SystemClock;
use crate::crypto::KeyKind;
use crate::lab::attack::past::{Layout, SEALED_JOURNAL, SEALED_LOG};
use crate::lab::{LabError, PAGE};
use crate::resource::ProtectedResource;
use crate::resource::sql::SqlDatabase;
use crate::sqlite::PageSize;
use crate::vault::VaultSettings;
use crate::world::{InitOptions, Kind, ResourceAddress, Workspace};

use super::plain;
use super::{Beside, Left, NoKey, Target};

/// The name of the target that is this program.
pub const OURS: &str = "atrest";

/// A database of a working directory, as `atrest init` and `atrest sql create` make it.
pub struct Ours {
    workspace: Workspace,
    /// Somebody else's working directory, with somebody else's vault.
    stranger: Workspace,
    address: ResourceAddress,
    file: PathBuf,
}

impl Ours {
    /// Makes the working directories below `dir`.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create(dir: &Path) -> Result<Self, LabError> {
        let name = |text: &str| text.parse().expect("a name");
        let make = |inside: &str| {
            let options = InitOptions {
                environment: name("production"),
                customer_key: Some(("customer-key".parse().expect("a key name"), KeyKind::Oct256)),
                passphrase: None,
                vault: VaultSettings::default(),
            };
            Workspace::init(&dir.join(inside), options, Arc::new(SystemClock))
        };
        let (workspace, stranger) = (make("ours")?, make("stranger")?);
        let address = ResourceAddress {
            environment: Some(name("production")),
            kind: Kind::Sql,
            name: name("compared"),
        };
        let protection = workspace.default_protection();
        workspace.create_sql(&address, protection, PageSize::DEFAULT)?;
        let file = workspace.path(&address)?;
        Ok(Self {
            workspace,
            stranger,
            address,
            file,
        })
    }

    fn open(&self) -> Result<SqlDatabase, String> {
        self.workspace
            .open_sql(&self.address)
            .map_err(|e| e.to_string())
    }
}

impl Target for Ours {
    fn name(&self) -> String {
        OURS.to_owned()
    }

    fn version(&self) -> String {
        format!("atrest {}", env!("CARGO_PKG_VERSION"))
    }

    fn file(&self) -> PathBuf {
        self.file.clone()
    }

    fn header_len(&self) -> usize {
        4096
    }

    fn exec(&self, sql: &str) -> Result<(), String> {
        let database = self.open()?;
        let connection = database.connect().map_err(|e| e.to_string())?;
        connection
            .execute_batch(sql)
            .map_err(|e| database.explain(e).to_string())?;
        connection.close().map_err(|(_, e)| e.to_string())
    }

    fn log_layout(&self) -> Layout {
        SEALED_LOG.of_pages(PAGE)
    }

    fn journal_layout(&self) -> Layout {
        SEALED_JOURNAL
    }

    fn left(&self, changes: &[&str], what: Beside) -> Result<Left, String> {
        let database = self.open()?;
        let connection = database.connect().map_err(|e| e.to_string())?;
        Left::by(&self.file, &connection, changes, what)
    }

    fn read(&self) -> Result<String, String> {
        let database = self.open()?;
        plain::rows(&database.connect().map_err(|e| e.to_string())?)
    }

    fn read_without(&self, key: NoKey) -> Result<String, String> {
        if key == NoKey::None {
            return plain::rows(&plain::open(&self.file)?);
        }
        let (_, entry) = self
            .workspace
            .resource(&self.address)
            .map_err(|e| e.to_string())?;
        let wrapper = self.stranger.wrapper();
        let database = SqlDatabase::open(&self.file, entry.id, entry.protection, &wrapper);
        let database = database.map_err(|e| e.to_string())?;
        plain::rows(&database.connect().map_err(|e| e.to_string())?)
    }

    fn verify(&self) -> Result<(), String> {
        let verified = self.open()?.verify(&mut |_, _| ());
        verified.map(drop).map_err(|e| e.to_string())
    }

    fn accept(&self) -> Result<(), String> {
        self.workspace
            .accept_sql(&self.address)
            .map_err(|e| e.to_string())
    }

    fn remember(&self) -> Result<(), String> {
        self.workspace
            .remember_sql(&self.address)
            .map_err(|e| e.to_string())
    }
}
