//! Conversions that were recorded, and what a power cut may leave of them: built, opened, ended, judged.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use atrest::resource::ProtectedResource;
use atrest::resource::sql::SqlDatabase;
use atrest::sqlite::Conversion;

use crate::convert_life::{GOING_ON, LIFE, LIVE, Plan, SECRET, convert, open, open_sql, prepare};
use crate::database::{content, whole};
use crate::disk::Disk;
use crate::fixture::{Scratch, scratch};
use crate::lived::{files_in, place};
use crate::recording::{Image, Recording, Step, committed};
use crate::strace;

/// Where the database is, and the plain file beside it.
const SQL: &str = "environments/production/sql";
const OLD: &str = "environments/production/sql/db.db.old";

/// A disk that treats files as `Lived::disk` has it for FULL.
pub const DISK: Disk = Disk {
    tears: &["-wal", "-journal"],
    in_order: &[],
    lies: &[],
    stays: false,
};

/// A life that was recorded.
pub struct Converted {
    plan: Plan,
    dir: Arc<Scratch>,
    pub recording: Recording,
    states: Vec<String>,
    begin: usize,
}

impl Converted {
    pub fn record(plan: Plan) -> Self {
        let dir = scratch();
        prepare(plan, dir.path());
        Self::trace(plan, Arc::new(dir), LIFE)
    }

    /// An image as a life that goes on from there.
    fn going_on(&self, cut: usize, seed: u64) -> Self {
        place(&self.recording.image(cut, seed, &DISK), self.dir.path());
        Self::trace(self.plan, self.dir.clone(), GOING_ON)
    }

    fn trace(plan: Plan, dir: Arc<Scratch>, what: &str) -> Self {
        let before = files_in(dir.path())
            .filter(|(name, _)| !name.ends_with("-shm"))
            .map(|(name, path)| (name, fs::read(path).unwrap()))
            .collect::<Image>();
        let life = format!("{} {}", plan.name(), dir.path().display());
        let options = ["-e".to_owned(), format!("trace={}", strace::CALLS)];
        let part = match what {
            LIFE => "convert_cut::part_converts",
            _ => "convert_cut::part_goes_on",
        };
        let traced = strace::run(part, &options, &[(what, &life)]);
        assert!(traced.status.success(), "{life}: {}", traced.stderr);
        let recording = Recording::new(&traced.calls, dir.path(), before);
        let (states, begin) = recording.states();
        Self {
            plan,
            dir,
            recording,
            states,
            begin,
        }
    }

    /// The first and the last state that may be there after a cut: see `Lived::allowed`.
    pub fn allowed(&self, cut: usize) -> (usize, usize) {
        let (mut said, mut by_name) = (0, 0);
        for step in &self.recording.steps[..cut] {
            match step {
                Step::Said(line) => said = committed(line).unwrap_or(said),
                Step::SyncDirectory(name) if name == SQL => by_name = said,
                _ => {}
            }
        }
        let promised = match self.plan.mode {
            "wal" => said,
            _ => by_name,
        };
        (promised, (said + 1).min(self.states.len() - 1))
    }

    pub fn try_image(&self, cut: usize, seed: u64, disk: &Disk) -> Result<(), String> {
        let image = self.recording.image(cut, seed, disk);
        place(&image, self.dir.path());
        let judged = self.judge(self.allowed(cut), seed);
        judged.map_err(|why| format!("image {}/{cut}/{seed}: {why}", self.plan.name()))
    }

    fn judge(&self, (first, last): (usize, usize), seed: u64) -> Result<(), String> {
        let dir = self.dir.path();
        let old = fs::read(dir.join(OLD)).unwrap_or_default();
        let live = dir.join(LIVE).exists();
        let workspace = open(dir)?;
        let is_known = !holds_secret(&old) || old.starts_with(b"moved by atrest\0");
        if live && !dir.join(OLD).exists() && !is_known {
            return Err("the plain file was removed and not overwritten".to_owned());
        }
        let database = open_sql(&workspace)?;
        let verify = |database: &SqlDatabase| {
            let verified = database.verify(&mut |_, _| ());
            verified.map(|_| ()).map_err(|e| format!("verify: {e}"))
        };
        let read = |database: &SqlDatabase| {
            let conn = database.connect().map_err(|e| format!("connect: {e}"))?;
            whole(&conn)?;
            content(&conn)
        };
        // A look at the files as the cut left them, or after the recovery.
        if seed % 2 == 1 {
            verify(&database)?;
        }
        let mut found = read(&database)?;
        verify(&database)?;
        let number = self.states.iter().position(|state| *state == found);
        match number {
            None => return Err("a state that was never committed".to_owned()),
            Some(n) if n < first => return Err(format!("state {n}; {first} was committed")),
            Some(n) if n > last => return Err(format!("state {n}, after {last}")),
            Some(_) => {}
        }
        // What was recovered can be written again.
        if seed % 4 < 2 {
            let conn = database.connect().map_err(|e| format!("connect: {e}"))?;
            conn.execute_batch("UPDATE t SET n = n + 1 WHERE id % 3 = 0; CREATE TABLE later (a)")
                .map_err(|e| format!("a commit afterwards: {}", database.explain(e)))?;
            drop(conn);
            found = read(&database)?;
        }
        let before = database.conversion();
        drop(database);
        let under_way = under_way(dir, before);
        if let Some(which) = under_way {
            let done = convert(&workspace, which, &mut |_, _| ());
            let done = done.map_err(|e| format!("{which:?} does not go on: {e}"))?;
            if before == under_way && !done.resumed {
                return Err("the conversion is not resumed, but begun again".to_owned());
            }
            let database = open_sql(&workspace)?;
            if read(&database)? != found {
                return Err("the end of the conversion has another content".to_owned());
            }
            verify(&database)?;
        }
        let left: Vec<_> = files_in(&dir.join(SQL)).map(|(name, _)| name).collect();
        let known = [
            "db.db",
            "db.db-wal",
            "db.db-shm",
            "db.db-journal",
            "db.db-scan",
        ];
        if !left.iter().all(|name| known.contains(&name.as_str())) {
            return Err(format!("files are left: {left:?}"));
        }
        let ends_plain =
            under_way.map_or(before.is_none(), |which| which == Conversion::Decryption);
        let is_plain = holds_secret(&fs::read(dir.join(LIVE)).unwrap());
        match is_plain == ends_plain {
            true => Ok(()),
            false => Err(format!("{before:?}, {under_way:?}, and plain: {is_plain}")),
        }
    }

    pub fn sweep(&self, images: usize, seed: u64, disk: &Disk) -> Result<usize, String> {
        self.sweep_from(self.begin, images, seed, disk)
    }

    /// Cuts that are spread over all steps from `begin` on.
    pub fn sweep_from(
        &self,
        begin: usize,
        images: usize,
        seed: u64,
        disk: &Disk,
    ) -> Result<usize, String> {
        let steps = self.recording.steps.len() + 1 - begin;
        for n in 0..images {
            let seed = seed + n as u64;
            let cut = begin + (n * steps + seed as usize % steps) / images % steps;
            self.try_image(cut, seed, disk)?;
        }
        Ok(images)
    }

    /// Cuts right before and after each change of the database's names.
    pub fn sweep_names(&self, each: u64, disk: &Disk) -> Result<usize, String> {
        let mut images = 0;
        for (at, step) in self.recording.steps.iter().enumerate() {
            let ours = |name: &str| name.starts_with(LIVE) && !name.contains('-');
            match step {
                Step::Rename(_, to, _) if ours(to) => {}
                Step::Remove(name) | Step::Create(name, _) if ours(name) => {}
                _ => continue,
            }
            for (cut, seed) in (at..at + 3).flat_map(|cut| (0..each).map(move |n| (cut, n))) {
                self.try_image(cut, seed, disk)?;
                images += 1;
            }
        }
        Ok(images)
    }

    /// Cuts while what another cut left is opened and ended.
    pub fn sweep_going_on(&self, lives: usize, images: usize) -> Result<usize, String> {
        let steps = self.recording.steps.len() - self.begin;
        for n in 0..lives {
            let cut = self.begin + (n * 7919 + 13) % steps;
            let life = self.going_on(cut, n as u64);
            let swept = life.sweep(images, n as u64, &DISK);
            swept.map_err(|why| format!("after {cut}/{n}, going on: {why}"))?;
        }
        Ok(lives * images)
    }
}

/// What the database is being changed to: its header says so or, where only the first step of the beginning
/// or of the end was done, the configuration.
fn under_way(dir: &Path, header: Option<Conversion>) -> Option<Conversion> {
    let config = fs::read(dir.join("atrest.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let pending = &config["environments"][0]["resources"][0]["pending"];
    match (header, pending["protection"].as_str()) {
        (Some(Conversion::None) | None, None) => None,
        (Some(Conversion::None) | None, Some("plain")) => Some(Conversion::Decryption),
        (Some(Conversion::None) | None, Some(_)) => Some(Conversion::Encryption),
        (header, _) => header,
    }
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}
