//! The world that a story acts on, and what the runner knows of it.
//!
//! Over 400 lines because every act reaches worlds, vaults, copies and their twins through it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{KeyName, create_dir_private};
use crate::lab::{self, CanarySet, Exhibit, KeyChain, Lab, Manifest, StolenCopy, Stranger};
use crate::resource::Protection;
use crate::scenario::ScenarioError;
use crate::scenario::figures::{size, things};
use crate::scenario::teller::Teller;
use crate::vault::{KeyVault, LocalVault};
use crate::world::landscape::{Refusal, RequestName};
use crate::world::{Kind, Name, ResourceAddress, WhichVault, Workspace, WorldError};

use super::at::{At, Several};
use super::data;
use super::format::{Act, Managed, Resource, Script};
use super::govern::Kept;
use super::held::{Held, Loaded};
use super::making::{default_key, make_stranger, make_world, markers};
use super::names::{Names, Site, twin};
use super::words::{Key, Place};
use crate::base::ManualClock;

/// What the runner knows of a resource.
#[derive(Clone)]
pub(super) struct Known {
    /// What was written into it.
    pub(super) held: Held,
    /// How much threads of a `load` wrote, and were told that it is written.
    pub(super) loaded: Loaded,
    /// Whether it was read where it is now.
    pub(super) seen_here: bool,
    /// Markers that were planted in it.
    pub(super) markers: Vec<String>,
}

/// A copy of the world's data.
pub(super) struct Copy {
    pub(super) dir: PathBuf,
    pub(super) known: BTreeMap<String, Known>,
    /// Each resource as the thief has it.
    pub(super) stolen: BTreeMap<String, StolenCopy>,
    /// Twins that were made of the copy, of resources that have none beside them.
    twins: BTreeMap<String, StolenCopy>,
}

/// The world that the story acts on.
pub(super) struct Stage {
    pub(super) names: Names,
    pub(super) clock: Arc<ManualClock>,
    pub(super) world: Arc<Workspace>,
    pub(super) strangers: BTreeMap<Name, Arc<Workspace>>,
    pub(super) known: BTreeMap<String, Known>,
    pub(super) copies: BTreeMap<Name, Copy>,
    pub(super) backups: BTreeMap<Name, Vec<u8>>,
    pub(super) base: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) seed: u64,
    pub(super) has_landscape: bool,
    /// What the last act warned of.
    pub(super) warnings: Vec<Refusal>,
    /// Backups of environments, by name.
    pub(super) kept: BTreeMap<Name, Kept>,
    /// Requests of Customer Lockbox, by the names that the steps give them.
    pub(super) requests: BTreeMap<Name, RequestName>,
    default_key: Option<Key>,
    /// Copies that are attacked later in the story, and what of each; all of it when nothing is said.
    to_attack: Vec<(Name, Option<Vec<ResourceAddress>>)>,
}

/// What lies in the scenario's directory beside the report.
pub(super) const INSIDE: [&str; 5] = ["world", "strangers", "copies", "twins", "scratch"];

impl Stage {
    /// Builds the world and fills it.
    pub(super) fn build(
        script: &Script,
        base: &Path,
        dir: &Path,
        teller: &mut Teller<'_>,
    ) -> Result<Self, ScenarioError> {
        let begins = script.clock.as_ref().map(|clock| clock.0);
        let begins = begins.unwrap_or_else(|| super::BEGINS.parse().expect("a time"));
        let clock = Arc::new(ManualClock::new(begins));
        let names = Names::of(script);
        let world = Arc::new(make_world(script, dir, &clock)?);
        let mut strangers = BTreeMap::new();
        for (name, stranger) in &script.strangers {
            let made = make_stranger(&name.0, stranger, dir, &clock)?;
            strangers.insert(name.0.clone(), Arc::new(made));
        }
        let scratch = dir.join("scratch");
        create_dir_private(&scratch).map_err(|e| ScenarioError::io(&scratch, e))?;
        let mut stage = Self {
            names,
            clock,
            world,
            strangers,
            known: BTreeMap::new(),
            copies: BTreeMap::new(),
            backups: BTreeMap::new(),
            base: base.to_owned(),
            dir: dir.to_owned(),
            seed: script.seed,
            has_landscape: false,
            warnings: Vec::new(),
            kept: BTreeMap::new(),
            requests: BTreeMap::new(),
            default_key: default_key(script),
            to_attack: to_attack(script),
        };
        stage.fill(script, teller)?;
        stage.settle(script, teller)?;
        stage.tell_keys(teller)?;
        Ok(stage)
    }

    fn fill(&mut self, script: &Script, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        let own = script.world.environments.iter();
        let theirs = script
            .strangers
            .values()
            .flat_map(|s| s.environments.iter());
        for (environment, holds) in own.chain(theirs) {
            for (kind, all) in [(Kind::Sql, &holds.sql), (Kind::Storage, &holds.storage)] {
                for (name, resource) in all {
                    let address = ResourceAddress {
                        environment: Some(environment.0.clone()),
                        kind,
                        name: name.0.clone(),
                    };
                    let told = self.create(&address, resource)?;
                    teller.fact(&self.names.short(&address), told);
                }
            }
        }
        Ok(())
    }

    /// Makes a resource, its data and its twin; says what it is.
    pub(super) fn create(
        &mut self,
        address: &ResourceAddress,
        resource: &Resource,
    ) -> Result<String, ScenarioError> {
        let workspace = self.workspace(address);
        let protection = match resource.protection {
            Managed::Plain => Protection::Plain,
            Managed::Service => Protection::ServiceManaged {
                key: workspace.service_key(),
            },
            Managed::Customer => {
                let key = match self.names.site(address) {
                    Some(_) => None,
                    None => resource.key.as_ref().map(|key| &key.value),
                };
                let key = key.or(self
                    .default_key
                    .as_ref()
                    .filter(|_| self.names.site(address).is_none()));
                Protection::CustomerManaged {
                    key: workspace.customer_key(key.map(|key| &key.0))?,
                }
            }
        };
        let by = match &protection {
            Protection::Plain => "unprotected".to_owned(),
            Protection::ServiceManaged { .. } => "protected by the provider's key".to_owned(),
            Protection::CustomerManaged { key } => format!("protected by the key {}", key.name),
        };
        let (data, seed) = (&resource.data, self.seed);
        data::make(workspace, address, protection, data, &self.base, seed)?;
        let markers = markers(address.kind, resource, seed);
        self.names.add(address, resource.twin);
        if resource.twin {
            let twin = twin(address);
            let workspace = self.workspace(address);
            data::make(workspace, &twin, Protection::Plain, data, &self.base, seed)?;
            self.learn(&twin, markers.clone())?;
        }
        self.learn(address, markers)?;
        let held = self.known[&address.to_string()].held.size();
        let twin = ["", "; and an unprotected twin"][usize::from(resource.twin)];
        Ok(format!("{held}, {by}{twin}"))
    }

    /// Reads what a resource holds, and remembers it.
    pub(super) fn learn(
        &mut self,
        address: &ResourceAddress,
        markers: Vec<String>,
    ) -> Result<(), ScenarioError> {
        let (held, loaded) = Held::read(self.workspace(address), address)?;
        let known = Known {
            held,
            loaded,
            seen_here: true,
            markers,
        };
        self.known.insert(address.to_string(), known);
        Ok(())
    }

    /// Remembers what a resource holds after something was written into it.
    pub(super) fn learn_again(&mut self, address: &ResourceAddress) -> Result<(), ScenarioError> {
        let markers = self.known[&address.to_string()].markers.clone();
        self.learn(address, markers)
    }

    /// The address with its environment filled in.
    pub(super) fn resolve(&self, address: &ResourceAddress) -> ResourceAddress {
        (self.names.resolve(address)).expect("checked before the story began")
    }

    /// The working directory that a resource lies in.
    pub(super) fn workspace(&self, address: &ResourceAddress) -> &Workspace {
        self.workspace_of(&self.names.site(address))
    }

    pub(super) fn workspace_of(&self, site: &Site) -> &Workspace {
        match site {
            None => &self.world,
            Some(stranger) => &self.strangers[stranger],
        }
    }

    /// A vault of the customer's world.
    pub(super) fn vault(&self, which: &WhichVault) -> Result<LocalVault, ScenarioError> {
        Ok(self.world.vault(which)?)
    }

    /// The vault of a key, and the key's name in it.
    pub(super) fn key(&self, key: &Key) -> Result<(LocalVault, KeyName), ScenarioError> {
        Ok((self.vault(&key.0.vault)?, key.0.key.clone()))
    }

    /// Whether a resource has a twin.
    pub(super) fn has_twin(&self, address: &ResourceAddress) -> bool {
        self.names.resources.get(&address.to_string()) == Some(&true)
    }

    /// Copies everything of the world but the vaults.
    pub(super) fn copy(
        &mut self,
        name: &Name,
        teller: &mut Teller<'_>,
    ) -> Result<Manifest, ScenarioError> {
        let dir = self.dir.join("copies").join(name.as_str());
        let mut told = |done, total| teller.progress("Copying", done, total);
        let manifest = lab::steal(self.world.dir(), &self.world.at_rest()?, &dir, &mut told)?;
        let mut copy = Copy {
            dir,
            known: BTreeMap::new(),
            stolen: BTreeMap::new(),
            twins: BTreeMap::new(),
        };
        for (address, entry) in self.world.resources() {
            let whole = address.to_string();
            let Some(known) = self.known.get(&whole) else {
                continue;
            };
            let live = self.world.path(&address)?;
            let inside = live.strip_prefix(self.world.dir());
            let stolen = StolenCopy {
                id: entry.id,
                protection: entry.protection,
                path: copy.dir.join(inside.expect("below the working directory")),
            };
            let known = Known {
                seen_here: false,
                ..known.clone()
            };
            copy.known.insert(whole.clone(), known);
            copy.stolen.insert(whole, stolen);
        }
        self.names.copy(name);
        self.make_twins(name, &mut copy, teller)?;
        self.copies.insert(name.clone(), copy);
        Ok(manifest)
    }

    /// Makes twins of those resources of a copy that are attacked later and have none: of the very bytes that were
    /// copied, and now, since the key may be pulled by then.
    fn make_twins(
        &self,
        name: &Name,
        copy: &mut Copy,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let mut wanted = BTreeSet::new();
        for (_, on) in self.to_attack.iter().filter(|(of, _)| of == name) {
            let all = match on {
                Some(on) => on.iter().map(|address| self.resolve(address)).collect(),
                None => self.names.attacked(name),
            };
            wanted.extend(all.into_iter().map(|address| address.to_string()));
        }
        for whole in wanted {
            let address: ResourceAddress = whole.parse().map_err(WorldError::from)?;
            if self.has_twin(&address) || !self.names.is_in_landscape(&address) {
                continue;
            }
            let (address, entry) = self.world.resource(&address)?;
            let own = self.dir.join("twins").join(name.as_str());
            let own = own.join(copy.twins.len().to_string());
            let made = lab::exhibit(&self.world, &address, &entry, &copy.dir, &own);
            let made = made.map_err(|e| {
                let why = format!(
                    "the control of the attacks on {name} is made when it is copied, and cannot be: {e}; copy it before \
                     its key is pulled"
                );
                ScenarioError::input(whole.as_ref(), why)
            })?;
            copy.twins.insert(whole.clone(), made.twin);
            teller.fact(
                &whole,
                format!("an unprotected twin made of {name}, for the attacks on it"),
            );
        }
        Ok(())
    }

    /// Brings a copy back.
    pub(super) fn restore(
        &mut self,
        copy: &Name,
        into: &Name,
        site: &Site,
    ) -> Result<usize, ScenarioError> {
        let dir = self.copies[copy].dir.clone();
        let restored = self
            .workspace_of(site)
            .restore(&dir, into, &mut |_, _| ())?;
        let names = self.names.restored(copy, into).unwrap_or_default();
        self.names.environments.insert(into.clone(), site.clone());
        self.names.resources.extend(names);
        let inside = |address: &str| address.split_once('/').map(|(_, inside)| inside.to_owned());
        let known: Vec<(String, Known)> = (self.copies[copy].known.iter())
            .filter_map(|(address, known)| {
                Some((format!("{into}/{}", inside(address)?), known.clone()))
            })
            .collect();
        self.known.extend(known);
        Ok(restored.len())
    }

    /// The lab, set up with resources of a copy.
    pub(super) fn lab(
        &self,
        copy: &Name,
        on: Option<Vec<ResourceAddress>>,
    ) -> Result<Lab, ScenarioError> {
        let on = on.unwrap_or_else(|| self.names.attacked(copy));
        let copy = &self.copies[copy];
        let mut exhibits = Vec::new();
        let mut canaries = CanarySet::default();
        let share = CanarySet::MAX / on.len().max(1);
        for address in on {
            let stolen = |address: &ResourceAddress| copy.stolen[&address.to_string()].clone();
            let exhibit = Exhibit {
                name: address.to_string(),
                kind: address.kind.into(),
                protected: stolen(&address),
                twin: match copy.twins.get(&address.to_string()) {
                    Some(made) => made.clone(),
                    None => stolen(&twin(&address)),
                },
            };
            let known = &copy.known[&address.to_string()];
            match known.markers.is_empty() {
                false => drop(canaries.plant(known.markers.iter().take(share))),
                true => draw(&mut canaries, &exhibit, share, self.seed)?,
            }
            exhibits.push(exhibit);
        }
        let stranger = |(name, of): (&Name, &Arc<Workspace>)| Stranger {
            name: format!("the vault of {name}"),
            wrapper: of.wrapper(),
        };
        Ok(Lab {
            exhibits,
            owner: self.world.wrapper(),
            strangers: self.strangers.iter().map(stranger).collect(),
            vaults: Vec::new(),
            canaries,
            seed: self.seed,
            scratch: self.dir.join("scratch"),
            program: None,
        })
    }

    fn tell_keys(&self, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        for (address, entry) in self.world.resources() {
            let Protection::CustomerManaged { key } = &entry.protection else {
                continue;
            };
            for (which, id, _) in self.world.vaults()? {
                if id == key.vault {
                    let bundle = self.vault(&which)?.key(&key.name, None)?;
                    let chain = KeyChain::new(
                        address.to_string(),
                        bundle.kid.to_string(),
                        bundle.kind,
                        address.kind.into(),
                    );
                    teller.report().keys(chain);
                }
            }
        }
        Ok(())
    }

    /// How much was copied, in words.
    pub(super) fn copied(manifest: &Manifest) -> String {
        let files = things(manifest.files.len() as u64, "file");
        format!("{files}, {}", size(manifest.bytes()))
    }
}

/// Which copies are attacked in a story, or looked at by detectors, and what of each.
fn to_attack(script: &Script) -> Vec<(Name, Option<Vec<ResourceAddress>>)> {
    fn places(what: &Several<Place>) -> Vec<ResourceAddress> {
        what.iter().map(|place| place.value.0.clone()).collect()
    }
    fn walk(acts: &[At<Act>], all: &mut Vec<(Name, Option<Vec<ResourceAddress>>)>) {
        for act in acts {
            match &act.value {
                Act::Attack(attack) => {
                    let on = attack.on.as_ref().map(places);
                    all.push((attack.copy.value.0.clone(), on));
                }
                Act::Noise(noise) => {
                    all.push((noise.copy.value.0.clone(), Some(places(&noise.what))));
                }
                Act::Load(load) => walk(&load.during, all),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    script
        .steps
        .iter()
        .for_each(|step| walk(&step.acts, &mut all));
    all
}

/// Distinctive pieces of a plain twin.
fn draw(
    canaries: &mut CanarySet,
    exhibit: &Exhibit,
    wanted: usize,
    seed: u64,
) -> Result<(), ScenarioError> {
    let path = &exhibit.twin.path;
    if path.is_dir() {
        let extents = walkdir::WalkDir::new(path.join("extents")).sort_by_file_name();
        let files = extents.into_iter().filter_map(Result::ok);
        let files = files.filter(|file| file.file_type().is_file());
        let files: Vec<PathBuf> = files.map(walkdir::DirEntry::into_path).collect();
        canaries.draw_from_files(&files, wanted, seed)?;
    } else {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn = rusqlite::Connection::open_with_flags(path, flags);
        let conn = conn.map_err(lab::LabError::from)?;
        canaries.draw_from_database(&conn, wanted, seed)?;
    }
    Ok(())
}
