//! Resources whose key is gone for good: nothing opens them, and so no twin can be made. What is left to show
//! is that this is so.

use std::path::{Path, PathBuf};

use crate::base::KeyVersionRef;
use crate::envelope::ResourceKind;
use crate::vault::VaultError;
use crate::world::{ResourceAddress, WhichVault, Workspace};

use super::attack::leak::look;
use super::compare::plain_rows;
use super::{CanarySet, Claim, Control, Evidence, LabError, Searcher, Verdict};

/// A protected resource that its own vault cannot open any more.
pub struct Erased {
    /// Its address.
    pub resource: String,
    kind: ResourceKind,
    /// The stolen copy.
    path: PathBuf,
    /// The key version that its header names, of which the vault knows nothing.
    key: KeyVersionRef,
    /// What came of opening it.
    why: String,
    /// Whether the vault answers for another key.
    answers: bool,
}

impl Erased {
    /// The resource, when the key version that it is under is in its vault no more: not disabled, not sealed,
    /// not deleted and waiting to be recovered. The files were stolen into `stolen`; `why` is what came of
    /// opening it; `caller` asks the vaults, whose audit records name him.
    ///
    /// # Errors
    /// The working directory cannot be read.
    pub fn of(
        workspace: &Workspace,
        address: &ResourceAddress,
        stolen: &Path,
        why: &str,
        caller: &str,
    ) -> Result<Option<Self>, LabError> {
        let Some(key) = workspace.key_version(address)? else {
            return Ok(None);
        };
        let vaults = workspace.vaults()?;
        let Some((which, ..)) = vaults.iter().find(|(_, id, _)| *id == key.vault) else {
            return Ok(None);
        };
        let found = |which: &WhichVault, name, version| {
            let vault = workspace.keys(which, caller)?;
            vault.key(name, version)
        };
        match found(which, &key.name, Some(key.version)) {
            Err(VaultError::KeyNotFound(_)) => {}
            _ => return Ok(None),
        }
        let service = workspace.service_key();
        let (_, entry) = workspace.resource(address)?;
        let live = workspace.path(address)?;
        let inside = live.strip_prefix(workspace.dir()).unwrap_or(&live);
        Ok(Some(Self {
            resource: address.to_string(),
            kind: entry.kind.into(),
            path: stolen.join(inside),
            why: why.to_owned(),
            answers: found(&WhichVault::Provider, &service.name, None).is_ok(),
            key,
        }))
    }

    /// What can be said of it, and what cannot.
    ///
    /// # Errors
    /// The stolen copy cannot be read.
    pub fn claims(&self) -> Result<[Claim; 2], LabError> {
        let Self {
            resource, key, why, ..
        } = self;
        let none = CanarySet::default();
        let searcher = Searcher::new(&none)?;
        let figures = look(self.kind, &self.path, &searcher)?;
        let alarms = figures.alarms();
        let mut evidence = Evidence::of(format!(
            "The vault has no key version {key}, not even a deleted one that could be recovered. Opening was \
             tried with every right that this working directory has: {why}. Of the {} bytes that were taken {}. \
             Copies of the vault and backups of the key, from before, are not seen from here.",
            figures.bytes,
            match alarms.is_empty() {
                true => "no detector raises an alarm".to_owned(),
                false => format!("detectors raise alarms: {}", alarms.join(", ")),
            }
        ));
        evidence.tally.trials = 2;
        evidence.tally.succeeded = u64::from(!alarms.is_empty());
        evidence.tally.refused = evidence.tally.trials - evidence.tally.succeeded;
        let rows = plain_rows(&none, &searcher).alarms();
        evidence.control = Some(Control {
            fired: self.answers && !rows.is_empty() && figures.bytes > 0,
            summary: format!(
                "the provider's vault {} its key; rows in plain raise alarms: {}.",
                if self.answers {
                    "tells"
                } else {
                    "does not tell"
                },
                rows.join(", ")
            ),
            ..Control::default()
        });
        let erased = Claim {
            id: format!("erased/{resource}"),
            text: format!(
                "The key of {resource} is purged from its vault, nothing here opens {resource}, and its bytes are \
                 noise."
            ),
            verdict: evidence.verdict(),
            evidence,
        };
        let rest = Claim {
            id: format!("twin/{resource}"),
            text: format!("The attacks on the data of {resource} fail, and succeed on a twin."),
            verdict: Verdict::NotTried,
            evidence: Evidence {
                reason: Some(format!(
                    "what cannot be read has no twin. Run this before a key is purged: on another resource \
                     (`atrest sql create`, `atrest blob create`), or by `atrest demo --full`, which attacks \
                     its data before its last act. A backup of the key, if you have one, brings it back: `atrest \
                     key restore` into the vault {}",
                    key.vault
                )),
                ..Evidence::of(
                    "Its key was purged, so that nobody can read it who has no copy of that key.",
                )
            },
        };
        Ok([erased, rest])
    }
}
