//! One more environment.

use crate::base::create_dir_private;

use super::config::Environment;
use super::workspace::ENVIRONMENTS;
use super::{Name, Workspace, WorldError};

impl Workspace {
    /// Makes an environment with nothing in it.
    ///
    /// # Errors
    /// [`WorldError::Exists`].
    pub fn add_environment(&self, name: &Name) -> Result<(), WorldError> {
        let mut changing = self.begin()?;
        if changing.config.environment(name).is_ok() {
            return Err(WorldError::Exists(format!("the environment {name}")));
        }
        let dir = self.dir().join(ENVIRONMENTS).join(name.as_str());
        create_dir_private(&dir).map_err(|e| WorldError::io(&dir, e))?;
        changing.config.environments.push(Environment {
            name: name.clone(),
            resources: Vec::new(),
        });
        changing.save()
    }
}
