use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{KeyName, SystemClock, create_dir_private};
use crate::crypto::backend;
use crate::lab::{self, Exhibit, KeyChain, Lab, StolenCopy};
use crate::resource::blob::StorageAccount;
use crate::resource::sql::SqlDatabase;
use crate::vault::{LocalVault, VaultSettings};
use crate::world::{InitOptions, Kind, ResourceAddress, WhichVault, Workspace};

use super::DemoOptions;
use super::fill::{Data, fill};
use super::source::Sources;
use crate::scenario::ScenarioError;
use crate::scenario::figures::{size, things};
use crate::scenario::measure::Fingerprint;
use crate::scenario::teller::Teller;

/// A protected thing beside its unprotected twin.
#[derive(Clone, Copy)]
pub(super) struct Pair<T> {
    pub(super) protected: T,
    pub(super) twin: T,
}

/// The world that the steps act on.
pub(super) struct Stage {
    pub(super) workspace: Workspace,
    /// The customer's vault.
    pub(super) vault: LocalVault,
    pub(super) key: KeyName,
    pub(super) data: Data,
    /// The stolen copy.
    pub(super) stolen: PathBuf,
    /// A place for the lab's copies of copies.
    pub(super) scratch: PathBuf,
    pub(super) seed: u64,
    /// This program, where all attacks are tried: the others do without.
    pub(super) program: Option<PathBuf>,
}

/// The names under which the four resources are in the environment.
pub(super) const SQL: Pair<&str> = Pair {
    protected: "finance",
    twin: "finance-twin",
};
pub(super) const STORAGE: Pair<&str> = Pair {
    protected: "documents",
    twin: "documents-twin",
};
/// A database and an account: the protected ones, and their twins.
pub(super) const PROTECTED: (&str, &str) = (SQL.protected, STORAGE.protected);
pub(super) const TWINS: (&str, &str) = (SQL.twin, STORAGE.twin);
pub(super) const ENVIRONMENT: &str = "production";
const KEY: &str = "customer-key";

impl Stage {
    /// Makes the world, fills it, and steals the copy.
    pub(super) fn build(
        options: &DemoOptions,
        sources: Sources,
        teller: &mut Teller<'_>,
    ) -> Result<Self, ScenarioError> {
        let (workspace, vault) = teller.try_step("The world", |t| make_workspace(options, t))?;
        // All four are closed again when this returns: the theft is of data at rest.
        let data = teller.try_step("The data", |t| fill(&workspace, &sources, t))?;
        let stolen = options.dir.join("stolen");
        let scratch = options.dir.join("scratch");
        create_dir_private(&scratch).map_err(|e| ScenarioError::io(&scratch, e))?;
        let stage = Self {
            workspace,
            vault,
            key: key_name(),
            data,
            stolen,
            scratch,
            seed: options.seed,
            program: options.everything.clone(),
        };
        teller.try_step("The theft", |t| stage.steal(t))?;
        Ok(stage)
    }

    fn steal(&self, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        let mut told = |done, total| teller.progress("Stealing", done, total);
        let robbed = self.workspace.at_rest()?;
        let manifest = lab::steal(self.workspace.dir(), &robbed, &self.stolen, &mut told)?;
        let (files, bytes) = (manifest.files.len() as u64, manifest.bytes());
        teller.fact(
            "Stolen",
            format!(
                "{}, {}: every byte on disk except the vaults",
                things(files, "file"),
                size(bytes)
            ),
        );
        teller.fact("Copy", self.stolen.display().to_string());
        teller
            .report()
            .stolen("everything but the vaults", manifest);
        Ok(())
    }

    /// Opens the database and the account of these names.
    pub(super) fn open(
        &self,
        environment: &str,
        (sql, storage): (&str, &str),
    ) -> Result<(SqlDatabase, StorageAccount), ScenarioError> {
        let sql = address(environment, Kind::Sql, sql);
        let storage = address(environment, Kind::Storage, storage);
        Ok((
            self.workspace.open_sql(&sql)?,
            self.workspace.open_storage(&storage)?,
        ))
    }

    /// The protected resources as the thief has them, each beside its twin.
    pub(super) fn exhibits(&self) -> Result<Vec<Exhibit>, ScenarioError> {
        let exhibit = |kind: Kind, names: Pair<&str>| {
            Ok::<_, ScenarioError>(Exhibit {
                name: names.protected.to_owned(),
                kind: kind.into(),
                protected: self.stolen_copy(kind, names.protected)?,
                twin: self.stolen_copy(kind, names.twin)?,
            })
        };
        Ok(vec![
            exhibit(Kind::Sql, SQL)?,
            exhibit(Kind::Storage, STORAGE)?,
        ])
    }

    /// The lab, set up with the stolen copy.
    pub(super) fn lab(&self, strangers: Vec<lab::Stranger>) -> Result<Lab, ScenarioError> {
        Ok(Lab {
            exhibits: self.exhibits()?,
            owner: self.workspace.wrapper(),
            strangers,
            vaults: Vec::new(),
            canaries: self.data.canaries.clone(),
            seed: self.seed,
            scratch: self.scratch.clone(),
            program: self.program.clone(),
        })
    }

    /// A resource as the thief has it.
    pub(super) fn stolen_copy(&self, kind: Kind, name: &str) -> Result<StolenCopy, ScenarioError> {
        let (address, entry) = self.workspace.resource(&address(ENVIRONMENT, kind, name))?;
        let live = self.workspace.path(&address)?;
        let inside = live.strip_prefix(self.workspace.dir());
        Ok(StolenCopy {
            id: entry.id,
            protection: entry.protection,
            path: self
                .stolen
                .join(inside.expect("below the working directory")),
        })
    }

    /// Reads both protected resources of an environment, opened afresh.
    pub(super) fn read(&self, environment: &str) -> Result<Fingerprint, ScenarioError> {
        let (sql, storage) = self.open(environment, PROTECTED)?;
        Ok(Fingerprint::take(&sql, &storage)?)
    }

    /// Whether the data of each of the two resources can be read.
    pub(super) fn access(
        workspace: &Workspace,
        environment: &str,
        (sql, storage): (&str, &str),
    ) -> [(String, Result<(), crate::world::WorldError>); 2] {
        [(Kind::Sql, sql), (Kind::Storage, storage)].map(|(kind, name)| {
            let opened = workspace.check_access(&address(environment, kind, name));
            (name.to_owned(), opened)
        })
    }

    /// As [`Stage::access`], of the protected resources in the environment of the demo.
    pub(super) fn live(&self) -> [(String, Result<(), crate::world::WorldError>); 2] {
        Self::access(&self.workspace, ENVIRONMENT, PROTECTED)
    }
}

/// The address of a resource of the demo.
pub(super) fn address(environment: &str, kind: Kind, name: &str) -> ResourceAddress {
    ResourceAddress {
        environment: Some(environment.parse().expect("a name")),
        kind,
        name: name.parse().expect("a name"),
    }
}

pub(super) fn key_name() -> KeyName {
    KEY.parse().expect("a key name")
}

fn make_workspace(
    options: &DemoOptions,
    teller: &mut Teller<'_>,
) -> Result<(Workspace, LocalVault), ScenarioError> {
    let init = InitOptions {
        environment: ENVIRONMENT.parse().expect("a name"),
        customer_key: Some((key_name(), options.key_kind)),
        passphrase: None,
        // Purging must be possible, to show what it does.
        vault: VaultSettings {
            retention_days: 90,
            purge_protection: false,
        },
    };
    let workspace = Workspace::init(&options.dir, init, Arc::new(SystemClock))?;
    let vault = workspace.vault(&WhichVault::Customer)?;
    let kind = options.key_kind;
    let chain = KeyChain::new("", "", kind, Kind::Sql.into());
    teller.fact("Working directory", options.dir.display().to_string());
    teller.fact(
        "Customer's vault",
        "sealed under a root key in customer/root.key (mode 0600); never stolen",
    );
    teller.fact(
        "Customer's key",
        format!("{KEY}, {kind}; wraps data keys by {}", chain.wrap),
    );
    teller.fact(
        "Data",
        format!(
            "AES-256-GCM by {}; a data key of 256 bits for each resource",
            backend()
        ),
    );
    teller.fact(
        "Effective strength",
        format!(
            "{} bits: the weaker of {kind} ({}) and AES-256 (256), NIST SP 800-57",
            chain.strength_bits,
            kind.strength_bits()
        ),
    );
    teller.fact("Validation", "none: this is no FIPS 140 validated module");
    Ok((workspace, vault))
}
