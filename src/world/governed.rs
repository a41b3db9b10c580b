//! Where a landscape decides over the resources of a working directory.

use std::sync::Arc;

use crate::resource::Wrapper;

use super::landscape::{self, Gate, Store};
use super::{Name, ResourceAddress, Workspace, WorldError};

impl Workspace {
    /// What the resources of one environment reach the vaults through: where a policy governs it, as far as
    /// the policy's identity may.
    pub(super) fn wrapper_in(&self, environment: &Name) -> Result<Wrapper, WorldError> {
        Ok(match self.landscape()? {
            None => self.wrapper(),
            Some(store) => Arc::new(Gate::new(
                self.vaults.clone(),
                store,
                environment.clone(),
                self.config().provider_vault,
            )),
        })
    }

    /// The landscape's file, when there is one.
    pub(super) fn landscape(&self) -> Result<Option<Arc<Store>>, WorldError> {
        if let Some(store) = self.landscape.get() {
            return Ok(Some(store.clone()));
        }
        let opened = Store::open(self.dir())?.map(Arc::new);
        Ok(opened.map(|store| self.landscape.get_or_init(|| store).clone()))
    }

    /// What of a landscape the resource belongs to, as words; `None` when it belongs to none.
    pub fn owner_in_landscape(
        &self,
        address: &ResourceAddress,
    ) -> Result<Option<String>, WorldError> {
        let place = match &address.environment {
            Some(place) => place.clone(),
            None => {
                let (address, _) = self.resource(address)?;
                address.environment.expect("a resolved address")
            }
        };
        match self.landscape()? {
            None => Ok(None),
            Some(store) => store.read(|tx| landscape::owner(tx, &place)),
        }
    }

    /// Refuses to change by hand under which key a resource of a landscape is.
    ///
    /// # Errors
    /// [`WorldError::Usage`]
    pub fn refuse_in_landscape(&self, address: &ResourceAddress) -> Result<(), WorldError> {
        match self.owner_in_landscape(address)? {
            None => Ok(()),
            Some(owner) => Err(WorldError::Usage(format!(
                "{address} is of the {owner}: which key it is under is decided by its policy (`atrest policy apply` \
                 and `remove`)"
            ))),
        }
    }
}
