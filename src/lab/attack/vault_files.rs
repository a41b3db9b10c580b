//! The files of the working directory's own vaults, under the attacks that resources are under.

use rusqlite::Connection;

use crate::lab::detect::scan_files;
use crate::lab::theft::files_below;
use crate::lab::{
    Attack, CanarySet, Evidence, Figures, Lab, LabError, Outcome, Searcher, StolenVault,
};
use crate::sqlite::database_files;

use super::own_vaults::{self, Copied};
use super::{deleted_keys, leak, nonce};

/// How many known texts are drawn from a vault.
const TEXTS: usize = 16;

/// Attack 1.
pub(in crate::lab) fn opened(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    own_vaults::each(lab, 1, &[&deleted_keys::opened_by_others])
}

/// Attack 2.
pub(in crate::lab) fn searched(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let searched = |own: Copied| {
        let look = Look::at(&own)?;
        let texts = match look.canaries.all() {
            [] => Err("its tables hold no text that is long enough to prove anything".to_owned()),
            _ => Ok(leak::known_texts(&look.canaries, &look.plain, &look.files)),
        };
        let structures = leak::structures(&look.plain, &look.files);
        let statistics = leak::statistics(&look.plain, &look.database);
        Ok(vec![
            ("known texts: what its tables hold", texts),
            ("file structures", Ok(structures)),
            ("statistics of its database", Ok(statistics)),
        ])
    };
    own_vaults::each(lab, 2, &[&searched])
}

/// What the detectors see of a vault.
struct Look {
    canaries: CanarySet,
    /// Of its pages in plain, as who has the root key reads them.
    plain: Figures,
    /// Of every file of it, and of its database alone: beside that lie short files that are no noise.
    files: Figures,
    database: Figures,
}

impl Look {
    fn at(own: &Copied) -> Result<Self, LabError> {
        let vault = &own.strongbox;
        let path = own.scratch.path().join("plain.db");
        std::fs::write(&path, vault.pages()?).map_err(|e| LabError::io(&path, e))?;
        let mut canaries = CanarySet::default();
        canaries.draw_from_database(&Connection::open(&path)?, TEXTS, 1)?;
        let searcher = Searcher::new(&canaries)?;
        let look = |files: &[_]| scan_files(&vault.dir, files, &searcher, &|_| ());
        Ok(Self {
            plain: look(&[path])?,
            files: look(&files_below(&vault.dir)?)?,
            database: look(&database_files(&vault.file()))?,
            canaries,
        })
    }
}

/// Attack 25.
pub(in crate::lab) fn repeats(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let of = |vault: &StolenVault| -> Result<Outcome, LabError> {
        let evidence: Evidence = nonce::in_files(&files_below(&vault.dir)?, "in its files")?;
        let (part, name) = ("nonces of its files", own_vaults::named(vault));
        Ok(Attack::number(25).outcome(Some(part), &name, evidence))
    };
    lab.vaults.iter().map(of).collect()
}
