//! Power cuts. A child lives a life; what a disk may hold after a cut between (or within) any two
//! of its system calls is built from the trace (`disk.rs` has the model), and opened. It must be a
//! state that was committed, and no commit may be lost that the journal mode promises to keep.
//!
//! `ATREST_TEST_CUTS` (images for each life; by default 100) and `ATREST_TEST_SEED` ask for other
//! images. A failure names its image; `ATREST_TEST_IMAGE=sealed/wal-full-512/300/7` makes that one
//! again, alone, and leaves it on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use tempfile::TempDir;

use crate::disk::{Disk, Image, Recording, Step};
use crate::fixture::{Files, Fixture, open, scratch, set_journal};
use crate::life::{Database, KINDS, Kind, Life, PLANS, Plan, content, say};
use crate::strace;

const LIFE: &str = "ATREST_TEST_LIFE";
const RECOVERY: &str = "ATREST_TEST_RECOVERY";

/// A life that was recorded.
struct Lived {
    kind: Kind,
    plan: Plan,
    /// Where it was lived: images are put there, since journals name their super-journal by path.
    dir: Arc<TempDir>,
    recording: Recording,
    /// Content of each state that was committed, by number.
    states: Vec<String>,
    /// The first step after state 0 was there.
    begin: usize,
}

#[test]
fn part_lives() {
    let Ok(life) = std::env::var(LIFE) else {
        return;
    };
    let [kind, plan, dir] = life.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let life = Life::begin(kind_named(kind), Plan::named(plan), Path::new(dir));
    life.unwrap().live();
}

pub fn kind_named(name: &str) -> Kind {
    *KINDS.iter().find(|kind| label(**kind) == name).unwrap()
}

pub fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Sealed => "sealed",
        Kind::Plain => "plain",
    }
}

/// Opens what a cut left, which recovers it, and closes it.
#[test]
fn part_recovers() {
    let Ok(life) = std::env::var(RECOVERY) else {
        return;
    };
    let [kind, plan, dir] = life.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (kind, plan) = (kind_named(kind), Plan::named(plan));
    let databases = open_all(kind, plan, Path::new(dir)).unwrap();
    let contents = databases.iter().map(|database| {
        let conn = database.connect().unwrap();
        whole(&conn).unwrap();
        content(&conn).unwrap()
    });
    say(&format!("state 0 {}", contents.collect::<String>()));
}

fn open_all(kind: Kind, plan: Plan, dir: &Path) -> Result<Vec<Database>, String> {
    let names = ["db", "other"].into_iter().take(1 + usize::from(plan.two));
    names
        .map(|name| Database::open(kind, &dir.join(name)))
        .collect()
}

impl Lived {
    fn record(kind: Kind, plan: Plan) -> Self {
        let lived = Self::trace(kind, plan, Arc::new(scratch()), LIFE, Image::new());
        let states: BTreeSet<_> = lived.states.iter().collect();
        assert_eq!(states.len(), lived.states.len(), "two states are alike");
        assert!(states.len() > 10);
        lived
    }

    /// The recovery of an image as a life of its own, of one state.
    fn recovery(&self, cut: usize, seed: u64) -> Self {
        let image = self.recording.image(cut, seed, &self.disk());
        place(&image, self.dir.path());
        let recovery = Self::trace(self.kind, self.plan, self.dir.clone(), RECOVERY, image);
        assert!(self.states.contains(&recovery.states[0]));
        Self {
            begin: 0,
            ..recovery
        }
    }

    fn trace(kind: Kind, plan: Plan, dir: Arc<TempDir>, what: &str, before: Image) -> Self {
        let life = format!("{} {} {}", label(kind), plan.name(), dir.path().display());
        let options = ["-e".to_owned(), format!("trace={}", strace::CALLS)];
        let part = match what {
            LIFE => "power_cut::part_lives",
            _ => "power_cut::part_recovers",
        };
        let traced = strace::run(part, &options, &[(what, &life)]);
        assert!(traced.status.success(), "{life}: {}", traced.stderr);
        let recording = Recording::new(&traced.calls, dir.path(), before);
        let (mut states, mut begin) = (Vec::new(), None);
        for (at, step) in recording.steps.iter().enumerate() {
            let Step::Said(said) = step else { continue };
            if let Some(state) = said.strip_prefix("state ") {
                let (number, content) = state.trim().split_once(' ').unwrap();
                assert_eq!(number.parse(), Ok(states.len()));
                states.push(content.to_owned());
                begin = begin.or(Some(at));
            }
        }
        Self {
            kind,
            plan,
            dir,
            recording,
            states,
            begin: begin.unwrap(),
        }
    }

    /// The first and the last state that may be there after a cut.
    fn allowed(&self, cut: usize) -> (usize, usize) {
        let (mut said, mut by_name, mut by_file) = (0, 0, 0);
        for step in &self.recording.steps[..cut] {
            match step {
                Step::Said(line) => {
                    let number = line.strip_prefix("committed ").map(str::trim);
                    said = number.map_or(said, |n| n.parse().unwrap());
                }
                Step::SyncDirectory => by_name = said,
                Step::SyncFile(inode) if self.recording.name(*inode).contains('-') => {
                    by_file = said;
                }
                _ => {}
            }
        }
        // A commit is the removal of the journal, which FULL does not sync; or its truncation, or
        // a part of the log, which NORMAL does not sync. The next sync of it makes it certain.
        let promised = match (self.plan.mode, self.plan.synchronous) {
            ("delete", "EXTRA") | ("persist", _) | ("truncate" | "wal", "FULL") => said,
            ("truncate" | "wal", _) => by_file,
            _ => by_name,
        };
        (promised, (said + 1).min(self.states.len() - 1))
    }

    /// A sector of a journal or a log may be torn. With NORMAL, SQLite syncs a rollback journal's
    /// records together with the header that counts them, and relies on their order (plain SQLite
    /// fails these checks otherwise).
    fn disk(&self) -> Disk {
        match (self.plan.mode, self.plan.synchronous) {
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
    fn try_image(&self, cut: usize, seed: u64, disk: &Disk) -> Result<(), String> {
        let image = self.recording.image(cut, seed, disk);
        place(&image, self.dir.path());
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
            if seed % 4 < 2 && !self.dir.path().join("db-wal").exists() {
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
    fn sweep_recoveries(&self, images: usize, seed: u64) -> Result<usize, String> {
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
    fn sweep(&self, images: usize, seed: u64, disk: &Disk) -> Result<usize, String> {
        let steps = self.recording.steps.len() + 1 - self.begin;
        for n in 0..images {
            let seed = seed + n as u64;
            let cut = self.begin + (n * steps + seed as usize % steps) / images % steps;
            self.try_image(cut, seed, disk)?;
        }
        Ok(images)
    }
}

pub fn whole(conn: &rusqlite::Connection) -> Result<(), String> {
    let check = conn.query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0));
    match check.map_err(|e| format!("integrity_check: {e}"))?.as_str() {
        "ok" => Ok(()),
        wrong => Err(format!("integrity_check: {wrong}")),
    }
}

/// What was recovered can be written again, and stays.
pub fn goes_on(database: &Database) -> Result<(), String> {
    let conn = database.connect()?;
    conn.execute_batch(
        "CREATE TABLE later (a); INSERT INTO later VALUES (1); PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .map_err(|e| format!("a commit afterwards: {e}"))?;
    drop(conn);
    let conn = database.connect()?;
    whole(&conn)?;
    conn.query_row("SELECT a FROM later", (), |_| Ok(()))
        .map_err(|e| format!("a commit afterwards is lost: {e}"))?;
    drop(conn);
    database.verify()
}

fn place(image: &Image, dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, bytes) in image {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |n| n.parse().unwrap())
}

#[test]
fn no_power_cut_loses_a_commit_or_leaves_a_mixture() {
    if let Ok(image) = std::env::var("ATREST_TEST_IMAGE") {
        return one_image(&image);
    }
    let all = of_all_lives(|lived, images, seed| lived.sweep(images, seed, &lived.disk()));
    assert!(all >= 1000 || std::env::var_os("ATREST_TEST_CUTS").is_some());
}

#[test]
fn no_power_cut_within_a_recovery_leaves_another_state() {
    of_all_lives(Lived::sweep_recoveries);
}

/// Records every life, and returns how many images of them passed.
fn of_all_lives(sweep: impl Fn(&Lived, usize, u64) -> Result<usize, String> + Sync) -> usize {
    let images = number("ATREST_TEST_CUTS", 100) as usize;
    let seed = number("ATREST_TEST_SEED", 1);
    let lives: Vec<_> = PLANS
        .iter()
        .flat_map(|plan| KINDS.map(|kind| (kind, *plan)))
        .collect();
    let swept = lives
        .par_iter()
        .map(|&(kind, plan)| sweep(&Lived::record(kind, plan), images, seed));
    let (passed, failures): (Vec<_>, Vec<_>) = swept
        .collect::<Vec<_>>()
        .into_iter()
        .partition(Result::is_ok);
    assert!(failures.is_empty(), "{failures:#?}");
    let all = passed.into_iter().map(Result::unwrap).sum();
    println!("{all} images of {} lives", lives.len());
    all
}

/// The checks see it when one file is not synced though the disk says so.
#[test]
fn a_disk_that_lies_about_its_syncs_is_noticed() {
    let lies: [(&str, &[&str]); 5] = [
        ("delete-full-512", &["-journal"]),
        ("delete-full-512", &["db"]),
        ("persist-full-4096", &["-journal"]),
        ("wal-full-512", &["-wal"]),
        ("wal-full-4096", &["db"]),
    ];
    let lies: Vec<_> = KINDS
        .iter()
        .flat_map(|kind| lies.map(|lie| (*kind, lie)))
        .collect();
    lies.par_iter().for_each(|&(kind, (plan, lies))| {
        let lived = Lived::record(kind, Plan::named(plan));
        let honest = lived.disk();
        let noticed = lived.sweep(300, 1, &Disk { lies, ..honest });
        assert!(noticed.is_err(), "{kind:?} {plan} {lies:?}");
    });
}

/// SQLite writes the frames of a transaction in order and syncs them together: a cut may leave the
/// last without one before it. Recovery ends before the gap and loses nothing that was committed;
/// a verification takes the gap for a log that was altered in the middle.
#[test]
#[ignore = "the verification cannot tell a torn log from one altered in the middle"]
fn a_log_torn_by_a_power_cut_is_not_reported_as_altered() {
    let f = Fixture::new(512);
    let conn = f.connect();
    set_journal(&conn, "wal");
    conn.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    let committed = content(&conn).unwrap();
    let before = Files::copy(&f.path("db")).wal.unwrap().len();
    conn.execute_batch("UPDATE t SET a = zeroblob(2000)")
        .unwrap();
    let mut files = Files::copy(&f.path("db"));
    let wal = files.wal.as_mut().unwrap();
    // The first frame of the last transaction did not reach the disk, the others did.
    let frame = 56 + 512;
    assert!(wal.len() >= before + 3 * frame);
    wal[before..before + frame].fill(0);
    let (_dir, path) = files.place();
    let db = open(&path).unwrap();
    assert_eq!(content(&db.connect().unwrap()).unwrap(), committed);
    let (_dir, path) = files.place();
    let db = open(&path).unwrap();
    db.verify(&mut |_, _| ()).unwrap();
}

/// `kind/plan/cut/seed`, and the same again of a cut within the recovery.
fn one_image(image: &str) {
    let parts: Vec<_> = image.split('/').collect();
    let number = |at: usize| parts[at].parse::<usize>().unwrap();
    let mut lived = Lived::record(kind_named(parts[0]), Plan::named(parts[1]));
    let disk = lived.disk();
    let (mut cut, mut seed) = (number(2), number(3) as u64);
    if parts.len() == 6 {
        lived = lived.recovery(cut, seed);
        (cut, seed) = (number(4), number(5) as u64);
    }
    for (at, step) in lived.recording.steps[..cut].iter().enumerate() {
        println!("{at:5} {}", lived.recording.describe(step));
    }
    println!("allowed: {:?}", lived.allowed(cut));
    let kept = scratch().keep();
    place(&lived.recording.image(cut, seed, &disk), &kept);
    println!("the image is in {}", kept.display());
    lived.try_image(cut, seed, &disk).unwrap();
}
