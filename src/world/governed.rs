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

    /// Refuses to change by hand under which key a resource of a landscape is.
    pub(super) fn refuse_in_landscape(&self, address: &ResourceAddress) -> Result<(), WorldError> {
        let place = address.environment.as_ref().expect("a resolved address");
        let owner = match self.landscape()? {
            None => None,
            Some(store) => store.read(|tx| landscape::owner(tx, place))?,
        };
        match owner {
            None => Ok(()),
            Some(owner) => Err(WorldError::Usage(format!(
                "{address} is of the {owner}: which key it is under is decided by its policy (`atrest policy apply` \
                 and `remove`)"
            ))),
        }
    }
}
