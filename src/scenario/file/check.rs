//! What must be right of a script before anything is built: names, sizes, paths, and that nothing is asked of
//! what is not there. Over 400 lines because it is one pass over the story, act by act.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::base::VaultName;
use crate::lab;
use crate::world::landscape::Profile;
use crate::world::{Kind, Name, NamedKey, ResourceAddress, WhichVault};

use super::at::{At, Position, Several};
use super::check_landscape;
use super::format::{
    Act, Data, Environment, Load, Managed, NewVault, Resource, Restore, Script, Write,
};
use super::names::{Names, key, twin, twin_name};
use super::problem::Problem;
use super::words::{Key, Label, Place, Vault};

/// More of anything is a mistake, or malice.
const MAX_STEPS: usize = 200;
const MAX_ACTS: usize = 2000;
const MAX_RESOURCES: usize = 200;
const MAX_VAULTS: usize = 16;
const MAX_STRANGERS: usize = 8;
const MAX_COPIES: usize = 64;
/// Of made-up data, in all, twins included.
pub(super) const MAX_ROWS: u64 = 20_000_000;
/// Of one `load`.
pub(super) const MAX_THREADS: usize = 32;

/// Every problem of a script whose data lies below `base`.
pub(super) fn check(script: &Script, base: &Path) -> Vec<Problem> {
    let mut check = Check {
        names: Names::of(script),
        base: base.to_owned(),
        problems: Vec::new(),
        profile: (script.landscape.as_ref()).map(|estate| check_landscape::profile(estate)),
        rows: 0,
        acts: 0,
        customer_keys: script.world.vault.keys.len(),
        has_default: script.world.default_key.is_some(),
        strangers: script.strangers.keys().map(|s| s.0.to_string()).collect(),
    };
    check.world(script);
    if let Some(estate) = &script.landscape {
        check.estate(script, estate);
    }
    check.story(script);
    check.problems
}

pub(super) struct Check {
    pub(super) names: Names,
    base: PathBuf,
    pub(super) problems: Vec<Problem>,
    /// The landscape's, where there is one.
    pub(super) profile: Option<Profile>,
    rows: u64,
    acts: usize,
    customer_keys: usize,
    has_default: bool,
    strangers: Vec<String>,
}

impl Check {
    pub(super) fn say(&mut self, position: Position, what: impl Into<String>) {
        self.problems.push(Problem::new(position, what));
    }

    fn world(&mut self, script: &Script) {
        let world = &script.world;
        let top = Position { line: 1, column: 1 };
        self.vault(&world.vault);
        if world.vaults.len() > MAX_VAULTS {
            self.say(top, format!("more than {MAX_VAULTS} vaults"));
        }
        for (name, vault) in &world.vaults {
            let text = name.0.as_str();
            if let Err(e) = text.parse::<VaultName>() {
                self.say(vault.position, e.to_string());
            } else if !matches!(text.parse(), Ok(WhichVault::Further(_))) {
                self.say(
                    vault.position,
                    format!("the vault {text} is there already: choose another name"),
                );
            }
            self.vault(vault);
        }
        if let Some(key) = &world.default_key {
            self.key(key);
        }
        if world.environments.is_empty() {
            self.say(top, "the world has no environment; give it one");
        }
        if let Some(home) = &world.home
            && !world.environments.contains_key(&home.value)
        {
            let known = world.environments.keys().map(|label| label.0.as_str());
            let unknown = Problem::unknown(home.position, "environment", home.0.as_str(), known);
            self.problems.push(unknown);
        }
        for environment in world.environments.values() {
            self.environment(environment);
        }
        if script.strangers.len() > MAX_STRANGERS {
            self.say(top, format!("more than {MAX_STRANGERS} strangers"));
        }
        let mut taken: BTreeSet<&Label> = world.environments.keys().collect();
        for (name, stranger) in &script.strangers {
            for (label, environment) in &stranger.environments {
                if !taken.insert(label) {
                    let what = format!(
                        "the environment {} is there already: each has a name of its own, whosever it is",
                        label.0
                    );
                    self.say(environment.position, what);
                }
                self.strangers_environment(name, environment);
            }
        }
        if self.names.resources.len() > MAX_RESOURCES {
            self.say(top, format!("more than {MAX_RESOURCES} resources"));
        }
    }

    fn vault(&mut self, vault: &NewVault) {
        if let Some(days) = &vault.retention_days
            && !(7..=90).contains(&days.value)
        {
            self.say(days.position, "a vault retains for 7 to 90 days");
        }
        for (name, kind) in &vault.keys {
            if let Err(e) = name.parse::<crate::base::KeyName>() {
                self.say(kind.position, e.to_string());
            }
        }
    }

    fn environment(&mut self, environment: &At<Environment>) {
        for (kind, all) in [
            (Kind::Sql, &environment.sql),
            (Kind::Storage, &environment.storage),
        ] {
            for (name, resource) in all {
                let others = all.contains_key(&Label(twin_name(&name.0).unwrap_or(name.0.clone())));
                if resource.twin && (others || twin_name(&name.0).is_none()) {
                    let what = format!(
                        "{0}-twin is the name of {0}'s twin, and cannot be: rename one",
                        name.0
                    );
                    self.say(resource.position, what);
                }
                self.resource(kind, resource, resource.position);
            }
        }
    }

    fn strangers_environment(&mut self, stranger: &Label, environment: &At<Environment>) {
        for all in [&environment.sql, &environment.storage] {
            for resource in all.values() {
                if let Some(key) = &resource.key {
                    let what = format!("{} has one key only: leave it out", stranger.0);
                    self.say(key.position, what);
                }
            }
        }
        let keys = std::mem::replace(&mut self.customer_keys, 1);
        self.environment(environment);
        self.customer_keys = keys;
    }

    fn resource(&mut self, kind: Kind, resource: &Resource, position: Position) {
        match (&resource.key, resource.protection) {
            (Some(key), Managed::Customer) => self.key(key),
            (Some(key), _) => {
                self.say(
                    key.position,
                    "a key of the customer's protects it only under `protection: customer`",
                );
            }
            (None, Managed::Customer) if !self.has_default && self.customer_keys != 1 => {
                let what = "no key is named, and the customer's vault has not exactly one: say `key`, or the \
                            world's `default-key`";
                self.say(position, what);
            }
            (None, _) => {}
        }
        if resource.twin && resource.protection == Managed::Plain {
            self.say(position, "it is unprotected itself: it needs no twin");
        }
        self.data(kind, &resource.data, if resource.twin { 2 } else { 1 });
    }

    fn data(&mut self, kind: Kind, data: &Data, times: u64) {
        let wrong = |at: Position, field: &str, other: &str| {
            Problem::new(at, format!("`{field}` is for a {other}"))
        };
        match kind {
            Kind::Sql => {
                let folder = data
                    .folder
                    .iter()
                    .map(|f| wrong(f.position, "folder", "storage account"));
                let blobs = data
                    .blobs
                    .values()
                    .map(|b| wrong(b.position, "blobs", "storage account"));
                self.problems.extend(folder.chain(blobs));
                if let (Some(_), Some(database)) = (&data.sample, &data.database) {
                    self.say(
                        database.position,
                        "either made-up data or a database of your own: leave one out",
                    );
                }
            }
            Kind::Storage => {
                let database = data
                    .database
                    .iter()
                    .map(|d| wrong(d.position, "database", "database"));
                let sql = data
                    .sql
                    .iter()
                    .map(|s| wrong(s.position, "sql", "database"));
                self.problems.extend(database.chain(sql));
                self.blobs(&data.blobs);
            }
        }
        if let Some(rows) = &data.sample {
            self.rows = self.rows.saturating_add(rows.value.saturating_mul(times));
            if self.rows > MAX_ROWS {
                self.say(
                    rows.position,
                    format!("more than {MAX_ROWS} rows of made-up data in all"),
                );
            } else if rows.value < crate::scenario::sample::MIN_ROWS {
                let what = format!(
                    "made-up data has {} rows at least",
                    crate::scenario::sample::MIN_ROWS
                );
                self.say(rows.position, what);
            }
        }
        if let Some(path) = &data.database
            && let Some(file) = self.path(path)
            && !file.is_file()
        {
            self.say(path.position, format!("{}: no such file", file.display()));
        }
        if let Some(path) = &data.folder
            && let Some(dir) = self.path(path)
            && !dir.is_dir()
        {
            self.say(path.position, format!("{}: no such folder", dir.display()));
        }
    }

    fn blobs(&mut self, blobs: &std::collections::BTreeMap<String, At<String>>) {
        for (name, text) in blobs {
            if let Err(e) = crate::resource::blob::BlobName::parse(name) {
                self.say(text.position, e.to_string());
            }
        }
    }

    /// A path inside the directory that data may come from, links followed.
    fn path(&mut self, path: &At<PathBuf>) -> Option<PathBuf> {
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        let inside = path.components().all(plain) && !path.as_os_str().is_empty();
        let whole = self.base.join(&path.value);
        let followed = whole.canonicalize();
        let inside = inside
            && match (followed, self.base.canonicalize()) {
                (Ok(whole), Ok(base)) => whole.starts_with(base),
                // What is not there is told as such.
                _ => true,
            };
        if inside {
            return Some(whole);
        }
        let what = format!(
            "{:?} leads out of {}, where the data of this file is looked for; name another directory with --data",
            path.display().to_string(),
            self.base.display()
        );
        self.say(path.position, what);
        None
    }

    fn story(&mut self, script: &Script) {
        if script.steps.is_empty() {
            self.say(Position { line: 1, column: 1 }, "no steps: nothing happens");
        }
        if script.steps.len() > MAX_STEPS {
            self.say(
                Position { line: 1, column: 1 },
                format!("more than {MAX_STEPS} steps"),
            );
            return;
        }
        for step in &script.steps {
            for act in &step.acts {
                self.act(act);
            }
        }
        if self.acts > MAX_ACTS {
            self.say(
                Position { line: 1, column: 1 },
                format!("more than {MAX_ACTS} acts"),
            );
        }
        if self.names.copies.len() > MAX_COPIES {
            self.say(
                Position { line: 1, column: 1 },
                format!("more than {MAX_COPIES} copies"),
            );
        }
    }

    pub(super) fn act(&mut self, act: &At<Act>) {
        self.acts += 1;
        match &act.value {
            Act::CreateKey(new) => {
                self.vault_of(&new.key);
                self.names.keys.insert(key(&new.key.value.0));
            }
            Act::Rotate(key) | Act::Delete(key) | Act::Recover(key) | Act::Purge(key) => {
                self.key(key)
            }
            Act::Disable(of) | Act::Enable(of) => {
                self.key(&of.key);
                if let Some(version) = &of.version
                    && version.value == 0
                {
                    self.say(version.position, "versions count from 1, the oldest");
                }
            }
            Act::Rewrap(what) | Act::Unprotect(what) => self.places(what),
            Act::BackUpKey(backup) => {
                self.key(&backup.key);
                if !self.names.backups.insert(backup.name.value.0.clone()) {
                    self.say(
                        backup.name.position,
                        "a backup of this name is there already",
                    );
                }
            }
            Act::RestoreKey(backup) => {
                let known: Vec<String> = self.names.backups.iter().map(Name::to_string).collect();
                self.known("backup of a key", backup, &known);
            }
            Act::ProtectFromPurge(vault) => self.known_vault(vault),
            Act::Create(create) => self.create(create),
            Act::Write(write) => self.write(write),
            Act::Protect(protect) => {
                self.places(&protect.what);
                self.key(&protect.key);
            }
            Act::Rekey(place) => self.place_of(place, Kind::Sql),
            Act::Steal(name) | Act::BackUp(name) => {
                if self.names.copies.contains_key(&name.value.0) {
                    self.say(name.position, "a copy of this name is there already");
                }
                self.names.copy(&name.value.0);
            }
            Act::Restore(restore) => self.restore(restore),
            Act::Advance(_) => {}
            Act::Attack(attack) => {
                for number in &attack.numbers {
                    let built = lab::ATTACKS
                        .iter()
                        .filter(|a| matches!(a.run, lab::Run::Each(..)));
                    let built: Vec<String> = built.map(|a| a.number.to_string()).collect();
                    if !built.contains(&number.value.to_string()) {
                        let all = built.join(", ");
                        let what =
                            format!("no attack {} on a resource; there are {all}", number.value);
                        self.say(number.position, what);
                    }
                }
                if attack.numbers.is_empty() {
                    self.say(act.position, "no attack is named");
                }
                self.in_copy(&attack.copy, attack.on.as_ref());
            }
            Act::Load(load) => self.load(load, act.position),
            Act::Readable(readable) => self.places(&readable.what),
            Act::Unreadable(unreadable) => self.places(&unreadable.what),
            Act::Refused(refused) => {
                if refused.act.value.is_expectation() {
                    let what =
                        "what is refused must be done, not expected: an act, not an expectation";
                    self.say(refused.act.position, what);
                }
                // What is refused leaves nothing behind.
                let before = self.names.clone();
                self.act(&refused.act);
                self.names = before;
            }
            Act::Query(query) => self.place_of(&query.from, Kind::Sql),
            Act::OnlyKeysChanged(changed) => {
                self.places(&changed.what);
                self.copy_named(&changed.since);
                for place in changed.what.iter() {
                    self.is_in_copy(&changed.since, place, false);
                }
            }
            Act::Noise(noise) => self.in_copy(&noise.copy, Some(&noise.what)),
            Act::Audited(audited) => {
                if audited.at_least == 0 {
                    let what = "at-least: 0 is met by an empty log: say 1 or more";
                    self.say(act.position, what);
                }
                if let Some(vault) = &audited.vault {
                    self.known_vault(vault);
                }
                if let Some(key) = &audited.key {
                    self.key(key);
                }
            }
            Act::NotProtected(declared) => self.places(&declared.readable),
            _ => self.in_landscape(act),
        }
    }

    fn create(&mut self, create: &super::format::Create) {
        let Some(address) = self.resolved(&create.what) else {
            return;
        };
        if !self
            .names
            .environments
            .contains_key(address.environment.as_ref().expect("resolved"))
        {
            self.environment_unknown(&create.what, &address);
            return;
        }
        if self.names.site(&address).is_some() {
            self.say(
                create.what.position,
                "only the customer makes resources in the story",
            );
        }
        let twin = create.resource.twin;
        let taken = self.names.resources.contains_key(&address.to_string())
            || twin
                && twin_name(&address.name).is_none_or(|_| {
                    self.names
                        .resources
                        .contains_key(&self::twin(&address).to_string())
                });
        if taken {
            self.say(
                create.what.position,
                format!("{address}, or its twin, is there already"),
            );
        }
        self.resource(address.kind, &create.resource, create.what.position);
        self.names.add(&address, twin);
    }

    fn write(&mut self, write: &Write) {
        self.place(&write.to);
        let kind = write.to.value.0.kind;
        match (kind, &write.sql, write.blobs.is_empty()) {
            (Kind::Sql, Some(_), true) => {}
            (Kind::Storage, None, false) => self.blobs(&write.blobs),
            (Kind::Sql, ..) => self.say(write.to.position, "a database is written to with `sql`"),
            (Kind::Storage, ..) => self.say(
                write.to.position,
                "a storage account is written to with `blobs`",
            ),
        }
    }

    fn restore(&mut self, restore: &Restore) {
        let known: Vec<String> = self.names.copies.keys().map(Name::to_string).collect();
        self.known("copy", &restore.copy, &known);
        let site = restore.at.as_ref().map(|at| at.value.0.clone());
        let into = &restore.into.value.0;
        match self.names.environments.get(into) {
            Some(known) if *known != site => {
                self.say(
                    restore.into.position,
                    format!("the environment {into} is another one's"),
                );
            }
            _ => {}
        }
        if let Some(at) = &restore.at {
            let strangers = self.strangers.clone();
            self.known("stranger", at, &strangers);
        }
        let Some(restored) = self.names.restored(&restore.copy.value.0, into) else {
            if known.contains(&restore.copy.value.0.to_string()) {
                let what = "the copy has two resources of one name, in two environments: it cannot be \
                            restored into one";
                self.say(restore.copy.position, what);
            }
            return;
        };
        if restored
            .iter()
            .any(|(address, _)| self.names.resources.contains_key(address))
        {
            let what = format!(
                "{into} has resources of these names already: restore into another environment"
            );
            self.say(restore.into.position, what);
        }
        self.names.environments.insert(into.clone(), site);
        self.names.resources.extend(restored);
    }

    fn load(&mut self, load: &Load, position: Position) {
        self.places(&load.on);
        let threads =
            |n: &Option<At<u8>>, usual: u8| usize::from(n.as_ref().map_or(usual, |n| n.value));
        let each = threads(&load.readers, super::load::READERS)
            + threads(&load.writers, super::load::WRITERS);
        match each * load.on.len() {
            0 => self.say(position, "no thread reads or writes"),
            n if n > MAX_THREADS => {
                self.say(position, format!("{n} threads; {MAX_THREADS} are the most"))
            }
            _ => {}
        }
        for act in &load.during {
            if matches!(
                act.value,
                Act::Load(_) | Act::Create(_) | Act::Restore(_) | Act::Write(_)
            ) {
                self.say(
                    act.position,
                    "this cannot be done while threads read and write",
                );
            }
            self.act(act);
        }
    }

    fn copy_named(&mut self, copy: &At<Label>) {
        let known: Vec<String> = self.names.copies.keys().map(Name::to_string).collect();
        self.known("copy", copy, &known);
    }

    /// A copy, and resources in it that have twins.
    fn in_copy(&mut self, copy: &At<Label>, what: Option<&Several<Place>>) {
        self.copy_named(copy);
        if let Some(what) = what {
            for place in what.iter() {
                self.is_in_copy(copy, place, true);
            }
        } else if self.names.copies.contains_key(&copy.value.0)
            && self.names.attacked(&copy.value.0).is_empty()
        {
            self.say(
                copy.position,
                "nothing in this copy has a twin; say `twin: true` of what is attacked",
            );
        }
    }

    fn is_in_copy(&mut self, copy: &At<Label>, place: &At<Place>, twin: bool) {
        let (Some(all), Some(address)) = (
            self.names.copies.get(&copy.value.0).cloned(),
            self.resolved(place),
        ) else {
            return;
        };
        match all.get(&address.to_string()) {
            None => {
                let kind = format!("resource of the copy {}", copy.value.0);
                let known = all.keys().map(String::as_str);
                let unknown = Problem::unknown(place.position, &kind, &address.to_string(), known);
                self.problems.push(unknown);
            }
            Some(false) if twin && !self.names.is_in_landscape(&address) => {
                self.say(
                    place.position,
                    format!("{address} has no twin; say `twin: true` of it"),
                );
            }
            Some(_) => {}
        }
    }

    pub(super) fn places(&mut self, places: &Several<Place>) {
        places.iter().for_each(|place| self.place(place));
    }

    fn place_of(&mut self, place: &At<Place>, kind: Kind) {
        self.place(place);
        if place.value.0.kind != kind {
            self.say(
                place.position,
                format!("{} is no SQL database", place.value.0),
            );
        }
    }

    pub(super) fn place(&mut self, place: &At<Place>) {
        let Some(address) = self.resolved(place) else {
            return;
        };
        let whole = address.to_string();
        if !self.names.resources.contains_key(&whole) {
            let short = place.value.0.environment.is_none();
            let home = format!("{}/", address.environment.as_ref().expect("resolved"));
            let all = self.names.resources.keys();
            // In the form in which it was written, where that is enough.
            let all: Vec<String> = all
                .map(|known| match known.strip_prefix(&home) {
                    Some(inside) if short => inside.to_owned(),
                    _ => known.clone(),
                })
                .collect();
            let asked = place.value.0.to_string();
            let known = all.iter().map(String::as_str);
            self.problems
                .push(Problem::unknown(place.position, "resource", &asked, known));
        }
    }

    fn resolved(&mut self, place: &At<Place>) -> Option<ResourceAddress> {
        let resolved = self.names.resolve(&place.value.0);
        if resolved.is_none() {
            let what = format!(
                "{}: there are several environments; say which one, as in ENVIRONMENT/{}, or the world's `home`",
                place.value.0, place.value.0
            );
            self.say(place.position, what);
        }
        resolved
    }

    fn environment_unknown(&mut self, place: &At<Place>, address: &ResourceAddress) {
        let asked = address.environment.as_ref().map_or("", Name::as_str);
        let known = self.names.environments.keys().map(Name::as_str);
        let unknown = Problem::unknown(place.position, "environment", asked, known);
        self.problems.push(unknown);
    }

    pub(super) fn key(&mut self, at: &At<Key>) {
        self.vault_of(at);
        let asked = key(&at.value.0);
        if self.names.vaults.contains(at.value.0.vault.name()) && !self.names.keys.contains(&asked)
        {
            let known = self.names.keys.iter().map(String::as_str);
            self.problems
                .push(Problem::unknown(at.position, "key", &asked, known));
        }
    }

    fn vault_of(&mut self, at: &At<Key>) {
        let NamedKey { vault, .. } = &at.value.0;
        let asked = vault.name().to_owned();
        self.vault_named(at.position, &asked);
    }

    pub(super) fn known_vault(&mut self, at: &At<Vault>) {
        let asked = at.value.0.name().to_owned();
        self.vault_named(at.position, &asked);
    }

    fn vault_named(&mut self, position: Position, asked: &str) {
        if !self.names.vaults.contains(asked) {
            let known = self.names.vaults.iter().map(String::as_str);
            self.problems
                .push(Problem::unknown(position, "vault", asked, known));
        }
    }

    pub(super) fn known(&mut self, kind: &str, at: &At<Label>, known: &[String]) {
        let asked = at.value.0.as_str();
        if !known.iter().any(|name| name == asked) {
            let known = known.iter().map(String::as_str);
            self.problems
                .push(Problem::unknown(at.position, kind, asked, known));
        }
    }
}
