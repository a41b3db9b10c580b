//! Lives that were recorded, and what a power cut may leave of them: built, opened, judged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::base::write_private_new;

use crate::database::{Database, Kind, content, goes_on, kind_named, label, whole};
use crate::disk::Disk;
use crate::fixture::directory::remove_shared_memory;
use crate::fixture::{Scratch, scratch};
use crate::plan::Plan;
use crate::recording::{Image, Recording, Step, committed};
use crate::strace;

/// Variables that tell a child which life to live, or which to recover.
pub const LIFE: &str = "ATREST_TEST_LIFE";
pub const RECOVERY: &str = "ATREST_TEST_RECOVERY";

/// What a child was asked for: kind, plan and directory.
pub fn asked(variable: &str) -> Option<(Kind, Plan, PathBuf)> {
    let asked = std::env::var(variable).ok()?;
    let [kind, plan, dir] = asked.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    Some((kind_named(kind), Plan::named(plan), PathBuf::from(dir)))
}

/// A life that was recorded.
pub struct Lived {
    kind: Kind,
    plan: Plan,
    /// Where it was lived: images are put there, since journals name their super-journal by path.
    dir: Arc<Scratch>,
    pub recording: Recording,
    /// Content of each state that was committed, by number.
    states: Vec<String>,
    /// The first step after state 0 was there.
    begin: usize,
}

pub fn open_all(kind: Kind, plan: Plan, dir: &Path) -> Result<Vec<Database>, String> {
    let names = ["db", "other"].into_iter().take(1 + usize::from(plan.two));
    names
        .map(|name| Database::open(kind, &dir.join(name)))
        .collect()
}

impl Lived {
    pub fn record(kind: Kind, plan: Plan) -> Self {
        let lived = Self::trace(kind, plan, Arc::new(scratch()), LIFE, Image::new());
        let states: BTreeSet<_> = lived.states.iter().collect();
        assert_eq!(states.len(), lived.states.len(), "two states are alike");
        assert!(states.len() > 10);
        lived
    }

    /// The recovery of an image as a life of its own, of one state.
    pub fn recovery(&self, cut: usize, seed: u64) -> Self {
        let image = self.recording.image(cut, seed, &self.disk());
        self.place(&image);
        let recovery = Self::trace(self.kind, self.plan, self.dir.clone(), RECOVERY, image);
        assert!(self.states.contains(&recovery.states[0]));
        Self {
            begin: 0,
            ..recovery
        }
    }

    fn trace(kind: Kind, plan: Plan, dir: Arc<Scratch>, what: &str, before: Image) -> Self {
        let life = format!("{} {} {}", label(kind), plan.name(), dir.path().display());
        let options = ["-e".to_owned(), format!("trace={}", strace::CALLS)];
        let part = match what {
            LIFE => "power_cut::part_lives",
            _ => "power_cut::part_recovers",
        };
        let traced = strace::run(part, &options, &[(what, &life)]);
        assert!(traced.status.success(), "{life}: {}", traced.stderr);
        let recording = Recording::new(&traced.calls, dir.path(), before);
        let (states, begin) = recording.states();
        Self {
            kind,
            plan,
            dir,
            recording,
            states,
            begin,
        }
    }

    /// Puts an image where the life was lived.
    pub fn place(&self, image: &Image) -> &Path {
        place(image, self.dir.path());
        self.dir.path()
    }

    /// The first and the last state that may be there after a cut.
    pub fn allowed(&self, cut: usize) -> (usize, usize) {
        let (mut said, mut by_name, mut by_file) = (0, 0, 0);
        for step in &self.recording.steps[..cut] {
            match step {
                Step::Said(line) => said = committed(line).unwrap_or(said),
                Step::SyncDirectory(_) => by_name = said,
                Step::SyncFile(inode) if self.recording.name(*inode).contains('-') => {
                    by_file = said;
                }
                _ => {}
            }
        }
        // A commit is the removal of the journal, which FULL does not sync; or its truncation, or
        // a part of the log, which NORMAL does not sync. The next sync of it makes it certain.
        let promised = match (self.plan.mode, self.plan.synchronous) {
            (_, "OFF") => said,
            ("delete", "EXTRA") | ("persist", _) | ("truncate" | "wal", "FULL") => said,
            ("truncate" | "wal", _) => by_file,
            _ => by_name,
        };
        (promised, (said + 1).min(self.states.len() - 1))
    }

    /// A sector of a journal or a log may be torn. With NORMAL, SQLite syncs a rollback journal's
    /// records together with the header that counts them, and relies on their order (plain SQLite
    /// fails these checks otherwise). With OFF it relies on the power.
    pub fn disk(&self) -> Disk {
        match (self.plan.mode, self.plan.synchronous) {
            (_, "OFF") => Disk {
                stays: true,
                ..Disk::default()
            },
            ("wal", _) | (_, "FULL" | "EXTRA") => Disk {
                tears: &["-wal", "-journal"],
                ..Disk::default()
            },
            _ => Disk {
                in_order: &["-journal"],
                ..Disk::default()
            },
        }
    }

    /// Builds the image and judges it.
    pub fn try_image(&self, cut: usize, seed: u64, disk: &Disk) -> Result<(), String> {
        let image = self.recording.image(cut, seed, disk);
        self.place(&image);
        self.judge(self.allowed(cut), seed).map_err(|why| {
            let (kind, plan) = (label(self.kind), self.plan.name());
            format!("image {kind}/{plan}/{cut}/{seed}: {why}")
        })
    }

    fn judge(&self, (first, last): (usize, usize), seed: u64) -> Result<(), String> {
        let mut databases = open_all(self.kind, self.plan, self.dir.path())?;
        // Whichever is looked at first, they agree.
        if seed % 2 == 1 {
            databases.reverse();
        }
        let mut contents = Vec::new();
        for database in &databases {
            // A look at the files as the cut left them, or after the recovery.
            if seed % 4 < 2 {
                database.verify()?;
            }
            let conn = database.connect()?;
            whole(&conn)?;
            contents.push(content(&conn)?);
            drop(conn);
            database.verify()?;
        }
        if seed % 2 == 1 {
            contents.reverse();
        }
        let found = contents.concat();
        let number = self.states.iter().position(|state| *state == found);
        match number {
            None => return Err("a state that was never committed".to_owned()),
            Some(n) if n < first => return Err(format!("state {n}; {first} was committed")),
            Some(n) if n > last => return Err(format!("state {n}, after {last}")),
            Some(_) => {}
        }
        databases.iter().try_for_each(goes_on)
    }

    /// Cuts within the recovery from cuts: as many as `images`, of a few recoveries.
    pub fn sweep_recoveries(&self, images: usize, seed: u64) -> Result<usize, String> {
        let each = 20;
        let steps = self.recording.steps.len() - self.begin;
        for n in 0..images.div_ceil(each) {
            let seed = seed + n as u64;
            let cut = self.begin + (seed as usize * 7919) % steps;
            let recovery = self.recovery(cut, seed);
            recovery
                .sweep(each, seed, &self.disk())
                .map_err(|why| format!("after {cut}/{seed}, in the recovery: {why}"))?;
        }
        Ok(images)
    }

    /// Images at cuts that are spread over the whole life; the first that fails.
    pub fn sweep(&self, images: usize, seed: u64, disk: &Disk) -> Result<usize, String> {
        let steps = self.recording.steps.len() + 1 - self.begin;
        for n in 0..images {
            let seed = seed + n as u64;
            let cut = self.begin + (n * steps + seed as usize % steps) / images % steps;
            self.try_image(cut, seed, disk)?;
        }
        Ok(images)
    }
}

/// Has `dir` hold these files and no others; directories stay.
pub fn place(image: &Image, dir: &Path) {
    remove_shared_memory(dir);
    for (name, _) in files_in(dir) {
        fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, bytes) in image {
        write_private_new(&dir.join(name), bytes).unwrap();
    }
}

/// The files in `dir` and below it, by their names from there on.
pub fn files_in(dir: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let files = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| !entry.file_type().is_dir());
    files.map(move |entry| {
        let name = entry.path().strip_prefix(dir).unwrap();
        (name.to_str().unwrap().to_owned(), entry.into_path())
    })
}
