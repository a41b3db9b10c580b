//! Giving and taking: roles of identities, and access policies of vaults.

use crate::world::WhichVault;

use super::identity::unknown;
use super::permission::VaultPolicies;
use super::registry::{ADMINISTRATOR, read};
use super::{
    AccessPolicy, Assignment, Identities, Identity, KeyPermission, SecretPermission, ServerError,
};

impl Identities {
    /// Gives an identity a role more.
    ///
    /// # Errors
    /// [`ServerError::Usage`]: there is no such identity, or it has the role there already.
    pub fn grant(&self, name: &str, assignment: &Assignment) -> Result<(), ServerError> {
        self.change(name, |identity| {
            if identity.roles.contains(assignment) {
                let why = format!("{name} has the role {assignment} already");
                return Err(ServerError::Usage(why));
            }
            identity.roles.push(assignment.clone());
            Ok(())
        })
    }

    /// Takes a role from an identity.
    ///
    /// # Errors
    /// [`ServerError::Usage`]: there is no such identity, or it does not have the role there.
    pub fn revoke(&self, name: &str, assignment: &Assignment) -> Result<(), ServerError> {
        self.change(name, |identity| {
            let before = identity.roles.len();
            identity.roles.retain(|role| role != assignment);
            match identity.roles.len() < before {
                true => Ok(()),
                false => Err(ServerError::Usage(format!(
                    "{name} does not have the role {assignment}; `atrest identity list` lists what it has"
                ))),
            }
        })
    }

    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut Identity) -> Result<(), ServerError>,
    ) -> Result<(), ServerError> {
        let _alone = self.home.lock()?;
        let mut registry = read(&self.home)?;
        let mut identities = registry.identities.iter_mut();
        change(
            identities
                .find(|i| i.name == name)
                .ok_or_else(|| unknown(name))?,
        )?;
        self.write(&registry)
    }

    /// The access policies of a vault, with the identities' names; `None` where roles decide.
    pub fn policies(
        &self,
        vault: &WhichVault,
    ) -> Result<Option<Vec<(String, AccessPolicy)>>, ServerError> {
        let registry = self.now()?;
        let mut with = registry.access_policies.iter();
        let Some(found) = with.find(|with| with.vault == *vault) else {
            return Ok(None);
        };
        let named = |policy: &AccessPolicy| {
            let identity = registry.by_object(policy.object_id);
            let name = identity.map_or_else(|| policy.object_id.to_string(), |i| i.name.clone());
            (name, policy.clone())
        };
        Ok(Some(found.policies.iter().map(named).collect()))
    }

    /// Lets access policies decide in a vault (at first, the administrator's: everything), or roles again.
    pub fn use_policies(&self, vault: &WhichVault, policies: bool) -> Result<(), ServerError> {
        let _alone = self.home.lock()?;
        let mut registry = read(&self.home)?;
        let has = registry
            .access_policies
            .iter()
            .any(|with| with.vault == *vault);
        match policies {
            true if has => return Ok(()),
            true => {
                let administrator = registry.by_name(ADMINISTRATOR);
                let everything = |identity: &Identity| AccessPolicy {
                    object_id: identity.object_id,
                    keys: KeyPermission::ALL.to_vec(),
                    secrets: SecretPermission::ALL.to_vec(),
                };
                let policies = administrator.map(everything).into_iter().collect();
                registry.access_policies.push(VaultPolicies {
                    vault: vault.clone(),
                    policies,
                });
            }
            false => registry.access_policies.retain(|with| with.vault != *vault),
        }
        self.write(&registry)
    }

    /// Sets what an identity may do in a vault whose access is by policies; nothing removes its policy.
    ///
    /// # Errors
    /// [`ServerError::Usage`]: there is no such identity, or roles decide in the vault.
    pub fn set_policy(
        &self,
        vault: &WhichVault,
        name: &str,
        keys: &[KeyPermission],
        secrets: &[SecretPermission],
    ) -> Result<(), ServerError> {
        let _alone = self.home.lock()?;
        let mut registry = read(&self.home)?;
        let object_id = registry
            .by_name(name)
            .ok_or_else(|| unknown(name))?
            .object_id;
        let mut with = registry.access_policies.iter_mut();
        let found = with.find(|with| with.vault == *vault).ok_or_else(|| {
            ServerError::Usage(format!(
                "roles decide in the vault {vault}; `atrest identity model {vault} access-policy` changes that"
            ))
        })?;
        found
            .policies
            .retain(|policy| policy.object_id != object_id);
        if !keys.is_empty() || !secrets.is_empty() {
            found.policies.push(AccessPolicy {
                object_id,
                keys: keys.to_vec(),
                secrets: secrets.to_vec(),
            });
        }
        self.write(&registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Home;

    #[test]
    fn who_lost_a_role_or_a_policy_does_not_have_it_back_under_the_same_name() {
        let dir = tempfile::tempdir().unwrap();
        let identities = Identities::open(&Home::of(dir.path()).unwrap()).unwrap();
        let vault: WhichVault = "payroll".parse().unwrap();
        let role = Assignment {
            role: "Key Vault Reader".parse().unwrap(),
            scope: "payroll/keys/wages".parse().unwrap(),
        };
        identities.add("app", &[]).unwrap();
        identities.grant("app", &role).unwrap();
        assert!(identities.grant("app", &role).is_err(), "twice");
        let elsewhere = Assignment {
            scope: "payroll".parse().unwrap(),
            ..role.clone()
        };
        assert!(
            identities.revoke("app", &elsewhere).is_err(),
            "another scope"
        );
        identities.revoke("app", &role).unwrap();
        assert!(identities.all().unwrap()[1].roles.is_empty());
        assert!(identities.grant("nobody", &role).is_err());

        let set = |keys: &[KeyPermission]| identities.set_policy(&vault, "app", keys, &[]);
        assert!(set(&[KeyPermission::Get]).is_err(), "roles decide there");
        identities.use_policies(&vault, true).unwrap();
        set(&[KeyPermission::Get]).unwrap();
        set(&[KeyPermission::List]).unwrap();
        let policies = || identities.policies(&vault).unwrap();
        let names = || policies().unwrap().into_iter().map(|(name, _)| name);
        assert_eq!(names().collect::<Vec<_>>(), [ADMINISTRATOR, "app"]);
        assert_eq!(policies().unwrap()[1].1.keys, [KeyPermission::List]);
        // Asked for again, it is not begun anew.
        identities.use_policies(&vault, true).unwrap();
        assert_eq!(names().count(), 2);
        identities.remove("app").unwrap();
        identities.add("app", &[]).unwrap();
        assert_eq!(names().collect::<Vec<_>>(), [ADMINISTRATOR]);
        set(&[KeyPermission::Get]).unwrap();
        set(&[]).unwrap();
        assert_eq!(names().count(), 1);
        identities.use_policies(&vault, false).unwrap();
        assert!(policies().is_none());
    }
}
