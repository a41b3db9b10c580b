use std::path::Path;
use std::sync::Arc;

use crate::base::ResourceId;

use super::header::Facts;
use super::shared::Shared;
use super::unit::{Place, TRAILER_LEN, UnitKind, Units};
use super::{KeySource, KeyUnavailable, PageSize};

/// Seals and opens pages exactly as an open main file does, with its check of the right to the key, its
/// nonces and its cached keys, but without the file: what the speed of that path is measured by.
pub struct PageSealer(Units);

impl PageSealer {
    /// For pages of the file `file`.
    pub fn new(file: ResourceId, page_size: PageSize, keys: Arc<dyn KeySource>) -> Self {
        let facts = Facts::new(page_size, false);
        let shared = Shared::detached(Path::new("(no file)"), file, facts, keys);
        Self(Units::new(Arc::new(shared), UnitKind::Page))
    }

    /// Seals the content of page `number` into `sealed`, which is 32 bytes longer.
    ///
    /// # Errors
    /// The key may not be used.
    pub fn seal(
        &mut self,
        number: u64,
        plain: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), KeyUnavailable> {
        assert_eq!(plain.len() + TRAILER_LEN, sealed.len());
        let place = Place::new(UnitKind::Page, number);
        let done = self
            .0
            .check()
            .and_then(|()| self.0.seal(place, plain, sealed));
        done.map_err(|_| self.refused())
    }

    /// Opens page `number` into `plain`, which is 32 bytes shorter; `false` when it is not that page.
    ///
    /// # Errors
    /// The key may not be used.
    pub fn open(
        &mut self,
        number: u64,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<bool, KeyUnavailable> {
        assert_eq!(plain.len() + TRAILER_LEN, sealed.len());
        let place = Place::new(UnitKind::Page, number);
        let done = self
            .0
            .check()
            .and_then(|()| self.0.open(place, sealed, plain));
        done.map_err(|_| self.refused())
    }

    fn refused(&self) -> KeyUnavailable {
        KeyUnavailable(self.0.shared().refusal().unwrap_or_default())
    }
}
