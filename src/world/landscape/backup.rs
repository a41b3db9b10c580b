//! Backups and resets of environments, and the attempt to attach a stolen copy. A backup is the files as they
//! are: it needs the key version that they were under when it was made.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use crate::base::{create_dir_private, sync_names};
use crate::resource::ResourceError;
use crate::world::bulk::{NewPlace, Progress, Step};
use crate::world::restore::copy_resource;
use crate::world::workspace::resource_path;
use crate::world::{BACKUPS, CONFIG, Kind, Name, ResourceAddress, Workspace, WorldError};

use super::Landscape;
use super::clock;
use super::create::unowned;
use super::eligible::{find_power, locked};
use super::entities::{Backup, BackupPart, Duty, PowerEnvironment, PowerKind};
use super::events::by_provider;
use super::names::{BackupName, PersonName, PowerName};
use super::people::with_duty;
use super::rules::Rule;
use super::state::KeyState;
use super::turn::Turn;

/// What the settings begin with that say which reset is under way.
pub(super) const RESETTING: &str = "resetting:";
/// What the settings begin with that say which backup is being made.
const BACKING_UP: &str = "backing-up:";
/// How often a database is copied until nobody committed meanwhile.
const TRIES: usize = 16;

impl Landscape<'_> {
    /// Copies the files of an environment, and of what is linked to it, as they are. Kept for 28 days
    /// (production with D365 apps) or 7.
    ///
    /// # Errors
    /// [`Rule::Locked`]; [`WorldError::Exists`].
    pub fn back_up(
        &self,
        environment: &PowerName,
        name: &BackupName,
        by: &PersonName,
    ) -> Result<Backup, WorldError> {
        let turn = self.begin()?;
        let power = self.usable(environment, by);
        let power = match power {
            Ok(power) => power,
            Err(e) => return self.refuse(&turn, by, "EnvironmentBackedUp", environment, e),
        };
        if self
            .store()
            .read(|tx| tx.find::<Backup>(name.as_str()))?
            .is_some()
        {
            return Err(WorldError::Exists(format!("the backup {name}")));
        }
        // Whoever is killed from here on leaves files that no backup tells of: the next one takes them away.
        let setting = format!("{BACKING_UP}{name}");
        self.store().write(|tx| tx.set(&setting, ""))?;
        let (dir, beside) = self.clear_backup(name)?;
        let mut parts = Vec::new();
        for address in self.resources_of(&power) {
            let (address, entry) = self.workspace.resource(&address)?;
            let Some(protector) = self.workspace.key_version(&address)? else {
                continue;
            };
            let from = self.workspace.resolved_path(&address);
            let place = address.environment.clone().expect("a resolved address");
            let to = resource_path(&beside, &place, address.kind, &address.name);
            self.workspace.copy_still(&address, &from, &to)?;
            parts.push(BackupPart {
                address: address.to_string(),
                id: entry.id,
                protector: protector.to_string(),
            });
        }
        fs::rename(&beside, &dir)
            .and_then(|()| sync_names(&dir))
            .map_err(|e| WorldError::io(&dir, e))?;
        let days = match power.kind == PowerKind::Production && power.d365_apps {
            true => 28,
            false => 7,
        };
        let backup = Backup {
            name: name.clone(),
            power: power.name.clone(),
            finance: power.linked.clone(),
            taken: turn.now,
            expires: clock::after(turn.now, SignedDuration::from_hours(days * 24)),
            parts,
        };
        self.store().write(|tx| {
            tx.add(&backup)?;
            tx.unset(&setting)?;
            let mut event = by_provider(turn.now, "EnvironmentBackedUp", environment, name);
            event.actor = by.to_string();
            tx.record(&event)
        })?;
        Ok(backup)
    }

    /// Deletes an environment's data and backups, and leaves it empty under the service-managed key.
    pub fn reset(
        &self,
        environment: &PowerName,
        by: &PersonName,
    ) -> Result<PowerEnvironment, WorldError> {
        let turn = self.begin()?;
        let begun = || {
            let power = self.usable(environment, by)?;
            let setting = format!("{RESETTING}{environment}");
            let mut places = vec![(power.place(), Vec::new(), Vec::new())];
            places.extend(
                power
                    .linked
                    .iter()
                    .map(|f| (f.as_name().clone(), Vec::new(), Vec::new())),
            );
            for (place, databases, accounts) in &mut places {
                for address in self.resources_at(place) {
                    match address.kind {
                        Kind::Sql => databases.push(address.name),
                        Kind::Storage => accounts.push(address.name),
                    }
                }
            }
            let text = serde_json::to_string(&places).expect("names serialize");
            self.store().write(|tx| tx.set(&setting, &text))?;
            self.finish_reset(&power.name, &text)?;
            self.get::<PowerEnvironment>(environment.as_str())
        };
        self.told(&turn, by, "EnvironmentReset", environment, begun())
    }

    pub(super) fn finish_reset(
        &self,
        environment: &PowerName,
        text: &str,
    ) -> Result<(), WorldError> {
        let places: Vec<(Name, Vec<Name>, Vec<Name>)> = self.store().read(|tx| tx.parse(text))?;
        self.remove_backups_of(environment)?;
        let names: Vec<_> = places.iter().map(|(name, ..)| name.clone()).collect();
        self.workspace.remove_places(&names)?;
        let places = places
            .into_iter()
            .map(|(name, databases, accounts)| NewPlace {
                name,
                databases,
                accounts,
            });
        self.workspace
            .make_places(&places.collect::<Vec<_>>(), &|_| ())?;
        let mut power: PowerEnvironment = self.get(environment.as_str())?;
        let policy = power.key.policy().cloned();
        power.key = KeyState::Mmk;
        self.store().write(|tx| {
            tx.put(&power)?;
            tx.unset(&format!("{RESETTING}{environment}"))
        })?;
        policy.map_or(Ok(()), |policy| self.look_at_versions(&policy).map(drop))
    }

    /// Tries to attach a copy of another working directory's data here, as the environment `place`.
    ///
    /// # Errors
    /// [`Rule::NoKey`] with the keys that it needs: nothing of it is left here then. [`WorldError::Exists`] when
    /// there is an environment of that name.
    pub fn attach(
        &self,
        copy: &Path,
        place: &Name,
        progress: Progress<'_>,
    ) -> Result<Vec<String>, WorldError> {
        let turn = self.begin()?;
        self.store().read(|tx| unowned(tx, place))?;
        if !copy.join(CONFIG).is_file() {
            return Err(WorldError::Usage(format!(
                "{}: no stolen copy (it has no {CONFIG}); `atrest steal` makes one",
                copy.display()
            )));
        }
        // What does not open is taken away again, which must not take what was there before.
        if self.workspace.read_config()?.environment(place).is_ok() {
            return Err(WorldError::Exists(format!("the environment {place}")));
        }
        let mut told = |done, of| {
            progress(Step {
                what: "bytes copied".into(),
                done,
                of,
            });
        };
        let attached = self.workspace.restore(copy, place, &mut told)?;
        let mut needed = BTreeSet::new();
        for address in &attached {
            if self.workspace.check_access(address).is_err() {
                let key = self.workspace.key_version(address)?;
                needed.insert(key.map_or_else(|| address.to_string(), |key| key.to_string()));
            }
        }
        if needed.is_empty() {
            return Ok(attached.iter().map(ToString::to_string).collect());
        }
        self.workspace.remove_places(std::slice::from_ref(place))?;
        let needed: Vec<_> = needed.into_iter().collect();
        let error = Rule::NoKey.broken(
            format_args!(
                "{}: no key here opens it; it needs {}",
                copy.display(),
                needed.join(", ")
            ),
            "attach it where those keys are; without them it is noise",
        );
        self.refuse(&turn, &"somebody", "CopyAttached", place, error.into())
    }

    pub(super) fn remove_backups_of(&self, environment: &PowerName) -> Result<(), WorldError> {
        for backup in self.all::<Backup>()? {
            if backup.power == *environment {
                self.remove_backup(&backup)?;
            }
        }
        Ok(())
    }

    pub(super) fn forget_old_backups(&self, now: Timestamp) -> Result<(), WorldError> {
        let expired = self.store().read(|tx| tx.backups_expired(now))?;
        expired
            .iter()
            .try_for_each(|backup| self.remove_backup(backup))
    }

    /// Takes away what was copied of backups that were not made to the end.
    pub(super) fn clear_unfinished_backups(&self) -> Result<(), WorldError> {
        for (setting, _) in self.store().read(|tx| tx.settings(BACKING_UP))? {
            self.clear_backup(&setting[BACKING_UP.len()..].parse()?)?;
            self.store().write(|tx| tx.unset(&setting))?;
        }
        Ok(())
    }

    /// Takes the files of a backup away: where they are, and where they are while it is being made.
    fn clear_backup(&self, name: &BackupName) -> Result<(PathBuf, PathBuf), WorldError> {
        let dir = self.workspace.dir().join(BACKUPS).join(name.as_str());
        let beside = dir.with_extension("new");
        for left in [&dir, &beside] {
            clear(left)?;
        }
        Ok((dir, beside))
    }

    fn remove_backup(&self, backup: &Backup) -> Result<(), WorldError> {
        self.clear_backup(&backup.name)?;
        self.store()
            .write(|tx| tx.remove::<Backup>(backup.name.as_str()))
    }

    /// An environment that is not locked, for an administrator of its tenant.
    pub(super) fn usable(
        &self,
        name: &PowerName,
        by: &PersonName,
    ) -> Result<PowerEnvironment, WorldError> {
        let power = self.store().read(|tx| {
            let power = find_power(tx, name)?;
            with_duty(tx, by, &power.tenant, Duty::PowerAdmin)?;
            Ok(power)
        })?;
        match power.key {
            KeyState::Locked { .. } | KeyState::Deleted { .. } => Err(locked(&power)),
            _ => Ok(power),
        }
    }

    pub(super) fn told<T>(
        &self,
        turn: &Turn,
        by: &PersonName,
        operation: &str,
        subject: &PowerName,
        done: Result<T, WorldError>,
    ) -> Result<T, WorldError> {
        let done = done.or_else(|e| self.refuse(turn, by, operation, subject, e))?;
        let mut event = by_provider(turn.now, operation, subject, "");
        event.actor = by.to_string();
        self.store().write(|tx| tx.record(&event))?;
        Ok(done)
    }
}

fn clear(dir: &Path) -> Result<(), WorldError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(WorldError::io(dir, e)),
        _ => Ok(()),
    }
}

impl Workspace {
    /// Copies a resource as it is at one moment: a database to which nobody committed meanwhile.
    fn copy_still(
        &self,
        address: &ResourceAddress,
        from: &Path,
        to: &Path,
    ) -> Result<(), WorldError> {
        let parent = to.parent().expect("below the backup's directory");
        create_dir_private(parent).map_err(|e| WorldError::io(parent, e))?;
        if address.kind == Kind::Storage {
            (self.resource(address)?.1).insist_on_files("a backup")?;
            return copy_resource(address.kind, from, to);
        }
        let database = self.open_sql(address)?;
        let conn = database.connect()?;
        let commits = || {
            let version = conn.query_row("PRAGMA data_version", (), |row| row.get::<_, i64>(0));
            version.map_err(|e| database.explain(e))
        };
        for _ in 0..TRIES {
            let before = commits()?;
            copy_resource(address.kind, from, to)?;
            // No lock is held meanwhile: reading the file beside SQLite would end it.
            if commits()? == before {
                return Ok(());
            }
        }
        Err(ResourceError::Busy {
            path: from.display().to_string(),
        }
        .into())
    }
}
