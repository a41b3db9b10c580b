//! Who may ask the server: the identities of a working directory.

use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;
use zeroize::Zeroizing;

use crate::base::{Stamp, write_atomic};
use crate::crypto::sha256;

use super::registry::{ADMINISTRATOR, FILE, Identity, Registry, new_secret, new_uuid, read};
use super::{Assignment, Home, ServerError};

/// The identities of a working directory. The file is looked at each time they are asked for: a removal
/// counts at once.
pub struct Identities {
    pub(super) home: Home,
    read: Mutex<Option<(Stamp, Arc<Registry>)>>,
}

impl Identities {
    /// Opens them, or makes the first one: the administrator.
    pub fn open(home: &Home) -> Result<Self, ServerError> {
        read(home)?;
        Ok(Self {
            home: home.clone(),
            read: Mutex::default(),
        })
    }

    /// Who there is.
    pub fn all(&self) -> Result<Vec<Identity>, ServerError> {
        Ok(self.now()?.identities.clone())
    }

    /// The directory that issues their tokens.
    pub fn tenant(&self) -> Result<Uuid, ServerError> {
        Ok(self.now()?.tenant)
    }

    /// As the file has them now.
    pub(super) fn now(&self) -> Result<Arc<Registry>, ServerError> {
        let stamp = Stamp::of(&self.home.file(FILE)).filter(Stamp::is_settled);
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(now), Some((then, registry))) = (stamp, &*known)
            && now == *then
        {
            return Ok(registry.clone());
        }
        let registry = Arc::new(read(&self.home)?);
        // What was read is what the stamp is of only when it is the same after it.
        let after = Stamp::of(&self.home.file(FILE));
        *known = stamp
            .filter(|before| after == Some(*before))
            .map(|stamp| (stamp, registry.clone()));
        Ok(registry)
    }

    /// Registers a client and gives its secret, which is not kept.
    ///
    /// # Errors
    /// [`ServerError::Usage`]: the name is taken, or none.
    pub fn add(
        &self,
        name: &str,
        roles: &[Assignment],
    ) -> Result<(Identity, Zeroizing<String>), ServerError> {
        let fits = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !fits {
            return Err(ServerError::Usage(format!(
                "{name:?} is no name for an identity: expected 1 to 64 letters, digits, '-', '_' and '.'"
            )));
        }
        let _alone = self.home.lock()?;
        let mut registry = read(&self.home)?;
        if registry.by_name(name).is_some() {
            return Err(ServerError::Usage(format!(
                "there is an identity {name} already; choose another name, or remove it first"
            )));
        }
        let secret = new_secret();
        let identity = Identity {
            name: name.to_owned(),
            object_id: new_uuid(),
            client_id: new_uuid(),
            roles: roles.to_vec(),
            secret_sha256: sha256(&[secret.as_bytes()]).to_vec(),
        };
        registry.identities.push(identity.clone());
        self.write(&registry)?;
        Ok((identity, secret))
    }

    /// Removes an identity; its tokens end with it.
    ///
    /// # Errors
    /// [`ServerError::Usage`]: there is none, or it is the administrator.
    pub fn remove(&self, name: &str) -> Result<(), ServerError> {
        let _alone = self.home.lock()?;
        let mut registry = read(&self.home)?;
        if name == ADMINISTRATOR {
            return Err(ServerError::Usage(format!(
                "{ADMINISTRATOR} is always there; serve as another identity with `atrest serve --identity`"
            )));
        }
        let before = registry.identities.len();
        registry.identities.retain(|i| i.name != name);
        if registry.identities.len() == before {
            return Err(unknown(name));
        }
        let left: Vec<_> = registry.identities.iter().map(|i| i.object_id).collect();
        for vault in &mut registry.access_policies {
            vault.policies.retain(|p| left.contains(&p.object_id));
        }
        self.write(&registry)
    }

    pub(super) fn write(&self, registry: &Registry) -> Result<(), ServerError> {
        let path = self.home.file(FILE);
        write_atomic(&path, registry.to_json().expose()).map_err(|e| ServerError::io(&path, e))
    }
}

pub(super) fn unknown(name: &str) -> ServerError {
    ServerError::Usage(format!(
        "no identity {name}; `atrest identity list` lists them"
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_secret_but_its_own_is_an_identitys() {
        let dir = tempfile::tempdir().unwrap();
        let identities = Identities::open(&Home::of(dir.path()).unwrap()).unwrap();
        let (app, secret) = identities.add("app", &[]).unwrap();
        assert!(app.has_secret(&secret));
        assert!(!app.has_secret(""));
        // Without a secret, none is right.
        let administrator = identities.all().unwrap().remove(0);
        assert!(!administrator.has_secret("") && !administrator.has_secret(&secret));
        let file = fs::read_to_string(dir.path().join("server").join(FILE)).unwrap();
        assert!(!file.contains(secret.as_str()), "the secret was kept");
        assert!(identities.add("app", &[]).is_err(), "twice");
        for name in ["", "a b", "../a", &"x".repeat(65)] {
            assert!(identities.add(name, &[]).is_err(), "{name:?}");
        }
        assert!(identities.remove(ADMINISTRATOR).is_err());
        identities.remove("app").unwrap();
        assert!(identities.remove("app").is_err());
    }

    #[test]
    fn a_removal_counts_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(dir.path()).unwrap();
        // Another process changes what this one reads.
        let (here, there) = (
            Identities::open(&home).unwrap(),
            Identities::open(&home).unwrap(),
        );
        let is_there = || here.now().unwrap().by_name("app").is_some();
        for _ in 0..30 {
            there.add("app", &[]).unwrap();
            assert!(is_there());
            there.remove("app").unwrap();
            assert!(!is_there());
        }
        there.add("app", &[]).unwrap();
        while !Stamp::of(&home.file(FILE)).unwrap().is_settled() {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(is_there());
        let held = here.now().unwrap();
        assert!(Arc::ptr_eq(&held, &here.now().unwrap()), "it is read once");
        there.remove("app").unwrap();
        assert!(!is_there());
    }

    #[test]
    fn a_removal_is_not_undone_by_who_adds_at_the_same_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(dir.path()).unwrap();
        let identities = Identities::open(&home).unwrap();
        for i in 0..20 {
            identities.add(&format!("old-{i}"), &[]).unwrap();
        }
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for i in 0..20 {
                    identities.add(&format!("new-{i}"), &[]).unwrap();
                }
            });
            for i in 0..20 {
                identities.remove(&format!("old-{i}")).unwrap();
            }
        });
        let mut names: Vec<_> = (identities.all().unwrap().into_iter())
            .map(|identity| identity.name)
            .collect();
        names.sort();
        let mut expected: Vec<_> = (0..20).map(|i| format!("new-{i}")).collect();
        expected.push(ADMINISTRATOR.into());
        expected.sort();
        assert_eq!(names, expected);
    }
}
