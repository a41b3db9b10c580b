//! How far a conversion has come: what the pages show, also to those who have no key.

use std::path::Path;
use std::sync::Arc;

use crate::crypto::Secret;

use super::database::{SealedDatabase, lower};
use super::medium::{Code, Medium};
use super::page_file::PageFile;
use super::shared::Shared;
use super::vfs::LowerFile;
use super::{SealedError, slots};

/// How far a conversion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pages that are done, as far as they have reached the main file.
    pub done: u64,
    /// All pages.
    pub pages: u64,
}

impl Progress {
    /// From 0 to 100.
    pub fn percent(self) -> f64 {
        100.0 * self.done as f64 / self.pages.max(1) as f64
    }
}

impl SealedDatabase {
    /// How far [`SealedDatabase::conversion_at`] has come in the sealed file at `path`, as far as that
    /// shows without a key: not authenticated.
    pub fn progress_at(path: &Path) -> Result<Progress, SealedError> {
        let conversion = Self::conversion_at(path)?;
        let slots = slots::read(path)?.into_iter().map(|(_, slot)| slot);
        let slot = slots.max_by_key(|slot| slot.facts.conversion == conversion);
        let slot = slot.expect("a header has a slot");
        // Nothing is opened with this key: it is public which pages are done.
        let keys = Arc::new(Secret::random());
        let shared = Arc::new(Shared::detached(path, slot.file, slot.facts, keys));
        let counted =
            LowerFile::open_main(&shared).and_then(|mut medium| count(&shared, &mut medium));
        counted.map_err(|code| lower(path, code))
    }
}

/// How far the conversion has come that is under way, as far as that has reached the main file.
pub(super) fn progress_of(shared: &Arc<Shared>) -> Result<Progress, Code> {
    let mut medium = LowerFile::open_main(shared)?;
    shared.look(&mut medium)?;
    count(shared, &mut medium)
}

fn count(shared: &Arc<Shared>, medium: &mut dyn Medium) -> Result<Progress, Code> {
    let mut file = PageFile::new(shared.clone(), 0);
    file.check()?;
    let pages = file.pages(medium)?;
    let mut done = 0;
    for number in 1..=pages {
        done += u64::from(file.is_converted(medium, number)?);
    }
    Ok(Progress { done, pages })
}
