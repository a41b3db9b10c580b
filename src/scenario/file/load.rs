//! Threads that read and write while something is done to the key.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::resource::ResourceError;
use crate::resource::blob::{BlobName, BlobPath};
use crate::scenario::ScenarioError;
use crate::scenario::figures::count;
use crate::scenario::teller::Seen;
use crate::world::{Kind, ResourceAddress, Workspace};

use super::held::code;

/// Threads for each resource when nothing is said.
pub(super) const READERS: u8 = 2;
pub(super) const WRITERS: u8 = 1;
/// What the writers write into: a table of a database, and blobs whose names begin so.
pub(super) const TABLE: &str = "atrest_load";
pub(super) const PREFIX: &str = "atrest-load/";
/// How often every thread must have done its work before the key is touched, and must have tried it after.
const TIMES: u64 = 20;
/// Nobody waits longer than this for a thread.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a thread waits between two turns: all get theirs.
const PAUSE: Duration = Duration::from_millis(1);

/// What a thread does, again and again.
struct Worker<'a> {
    address: ResourceAddress,
    workspace: &'a Workspace,
    writes: bool,
    number: usize,
    from: u64,
    /// Done before the key was touched, and how often it was tried after the bound.
    done: AtomicU64,
    tried: AtomicU64,
    /// How often it worked after the bound, and was refused.
    worked: AtomicU64,
    refused: AtomicU64,
    /// Writes that were answered as done.
    written: AtomicU64,
    /// The begin of the last that worked.
    last: Mutex<Option<Instant>>,
    /// The first refusal; and what ended the thread, when it is no refusal.
    why: Mutex<Option<(String, String)>>,
    broken: Mutex<Option<String>>,
}

/// What came of it.
pub(super) struct Loaded {
    /// Whether everything went on, and whether everything was stopped, with what was seen.
    pub(super) went_on: Seen,
    pub(super) stopped: Seen,
    /// That every thread had done its work before.
    pub(super) before: Seen,
    /// How many writes were answered as done, by resource.
    pub(super) written: Vec<(ResourceAddress, u64)>,
    /// What is told.
    pub(super) facts: Vec<(String, String)>,
}

/// Who works on a resource.
pub(super) struct Party<'a> {
    pub(super) address: ResourceAddress,
    pub(super) workspace: &'a Workspace,
    pub(super) readers: u8,
    pub(super) writers: u8,
    /// How much an earlier load wrote: names go on from there.
    pub(super) from: u64,
}

/// Has threads read and write, does `during` meanwhile, and looks what becomes of them.
///
/// # Errors
/// Those of `during`, and when the threads cannot begin.
pub(super) fn run<T>(
    parties: &[Party<'_>],
    within: Duration,
    during: impl FnOnce() -> Result<T, ScenarioError>,
) -> Result<(Loaded, T), ScenarioError> {
    for party in parties.iter().filter(|p| p.writers > 0) {
        if party.address.kind == Kind::Sql {
            let database = party.workspace.open_sql(&party.address)?;
            let sql = format!("CREATE TABLE IF NOT EXISTS {TABLE} (thread INTEGER, n INTEGER)");
            let made = super::data::confined(database.connect()?)
                .and_then(|connection| connection.execute_batch(&sql));
            made.map_err(|e| database.explain(e))?;
        }
    }
    let workers: Vec<Worker<'_>> = (parties.iter())
        .flat_map(|party| {
            let all = 0..usize::from(party.readers) + usize::from(party.writers);
            all.map(|number| Worker::new(party, number))
        })
        .collect();
    let (stop, answered) = (AtomicBool::new(false), Mutex::new(None));
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for worker in &workers {
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || worker.work(stop, answered));
        }
        wait(&workers, |worker| worker.done.load(Ordering::Acquire))?;
        let did = during()?;
        let at = Instant::now();
        *answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(at + within);
        wait(&workers, |worker| worker.tried.load(Ordering::Acquire))?;
        stop.store(true, Ordering::Release);
        Ok((at, did))
    })
    .map(|(at, did)| (Loaded::of(&workers, at), did))
}

/// Ends the threads however the work ends.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits until each worker counts [`TIMES`].
fn wait(workers: &[Worker<'_>], counted: impl Fn(&Worker<'_>) -> u64) -> Result<(), ScenarioError> {
    let begun = Instant::now();
    while !workers.iter().all(|worker| counted(worker) >= TIMES) {
        for worker in workers {
            let broken = worker.broken.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(why) = &*broken {
                let why = format!("reading and writing at the same time ended: {why}");
                return Err(ScenarioError::input(
                    worker.address.to_string().as_ref(),
                    why,
                ));
            }
        }
        if begun.elapsed() > PATIENCE {
            let why = format!("its threads do not get on within {} s", PATIENCE.as_secs());
            return Err(ScenarioError::input(
                workers[0].address.to_string().as_ref(),
                why,
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

impl<'a> Worker<'a> {
    fn new(party: &Party<'a>, number: usize) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            address: party.address.clone(),
            workspace: party.workspace,
            writes: number >= usize::from(party.readers),
            number,
            from: party.from,
            done: zero(),
            tried: zero(),
            worked: zero(),
            refused: zero(),
            written: zero(),
            last: Mutex::new(None),
            why: Mutex::new(None),
            broken: Mutex::new(None),
        }
    }

    fn work(&self, stop: &AtomicBool, answered: &Mutex<Option<Instant>>) {
        let ended = match self.address.kind {
            Kind::Sql => self.sql(stop, answered),
            Kind::Storage => self.storage(stop, answered),
        };
        if let Err(e) = ended {
            *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.to_string());
        }
    }

    /// One connection, kept open.
    fn sql(
        &self,
        stop: &AtomicBool,
        answered: &Mutex<Option<Instant>>,
    ) -> Result<(), ScenarioError> {
        let database = self.workspace.open_sql(&self.address)?;
        let conn = super::data::confined(database.connect()?).map_err(|e| database.explain(e))?;
        let statement = match self.writes {
            true => format!(
                "INSERT INTO {TABLE} VALUES ({}, abs(random()))",
                self.number
            ),
            false => {
                let table =
                    "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rootpage DESC";
                let table = conn.query_row(table, (), |row| row.get::<_, String>(0));
                let table = table.map_err(|e| database.explain(e))?;
                format!("SELECT * FROM \"{}\" LIMIT 1", table.replace('"', "\"\""))
            }
        };
        self.again(stop, answered, |_| {
            let done = match self.writes {
                true => conn.execute(&statement, ()).map(drop),
                false => one_row(&conn, &statement),
            };
            done.map_err(|e| database.explain(e))
        })
    }

    /// One handle, kept open. A reader reads what a writer of its own account wrote, and all else.
    fn storage(
        &self,
        stop: &AtomicBool,
        answered: &Mutex<Option<Instant>>,
    ) -> Result<(), ScenarioError> {
        let account = self.workspace.open_storage(&self.address)?;
        let first = account.blobs()?.into_iter().next();
        let first = first.map(|blob| blob.path());
        let nothing = || ResourceError::NotFound("a blob to read".into());
        let first = match self.writes {
            true => None,
            false => Some(first.ok_or_else(nothing)?),
        };
        self.again(stop, answered, |n| match &first {
            Some(path) => account
                .get(path, None, &mut std::io::sink(), &mut |_| ())
                .map(drop),
            None => {
                let name = format!("{PREFIX}{}-{}-{n}", self.from, self.number);
                let path = BlobPath::in_default(BlobName::parse(&name).expect("a name"));
                let text = format!("{n} of thread {}", self.number);
                account
                    .put(&path, &mut text.as_bytes(), &mut |_| ())
                    .map(drop)
            }
        })
    }

    fn again(
        &self,
        stop: &AtomicBool,
        answered: &Mutex<Option<Instant>>,
        mut once: impl FnMut(u64) -> Result<(), ResourceError>,
    ) -> Result<(), ScenarioError> {
        let mut n = 0;
        while !stop.load(Ordering::Acquire) {
            let bound = *answered.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = Instant::now();
            let late = bound.is_some_and(|bound| begun > bound);
            match once(n) {
                Ok(()) => {
                    n += 1;
                    self.written
                        .fetch_add(u64::from(self.writes), Ordering::AcqRel);
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
                    self.worked.fetch_add(u64::from(late), Ordering::AcqRel);
                    self.done.fetch_add(1, Ordering::AcqRel);
                }
                // Another thread writes at this moment: neither done nor refused.
                Err(ResourceError::Busy { .. }) => continue,
                Err(e) => {
                    let e = ScenarioError::from(e);
                    let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
                    why.get_or_insert_with(|| (code(&e), e.to_string()));
                    drop(why);
                    if bound.is_none() && self.done.load(Ordering::Acquire) < TIMES {
                        return Err(e);
                    }
                    self.refused.fetch_add(u64::from(late), Ordering::AcqRel);
                }
            }
            self.tried.fetch_add(u64::from(late), Ordering::AcqRel);
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn what(&self) -> String {
        let does = if self.writes { "writes" } else { "reads" };
        format!("{} {does}", self.address)
    }
}

/// Reads a row, if there is one.
fn one_row(conn: &Connection, statement: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(statement)?.query(())?.next().map(drop)
}

impl Loaded {
    fn of(workers: &[Worker<'_>], answered: Instant) -> Self {
        let sum = |of: for<'b> fn(&'b Worker<'_>) -> &'b AtomicU64| -> u64 {
            workers.iter().map(|w| of(w).load(Ordering::Acquire)).sum()
        };
        let (worked, refused) = (sum(|w| &w.worked), sum(|w| &w.refused));
        let last = workers
            .iter()
            .filter_map(|w| *w.last.lock().unwrap_or_else(PoisonError::into_inner))
            .max();
        let last = match last {
            Some(last) if last > answered => {
                let after = last - answered;
                format!(
                    "began {:.1} ms after the vault's answer",
                    after.as_secs_f64() * 1000.0
                )
            }
            Some(last) => {
                let before = answered - last;
                format!(
                    "began {:.1} ms before the vault's answer",
                    before.as_secs_f64() * 1000.0
                )
            }
            None => "there was none".to_owned(),
        };
        let mut facts = vec![(
            "Threads".to_owned(),
            format!(
                "{} together: {} done before; after the answer {} done, {} refused",
                count(workers.len() as u64),
                count(sum(|w| &w.done) - worked),
                count(worked),
                count(refused)
            ),
        )];
        let mut whys: Vec<String> = Vec::new();
        let mut written: Vec<(ResourceAddress, u64)> = Vec::new();
        for worker in workers {
            let why = worker.why.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((code, _)) = &*why {
                let told = format!("{}: {code}", worker.what());
                if !whys.contains(&told) {
                    whys.push(told);
                }
            }
            let wrote = worker.written.load(Ordering::Acquire);
            match written
                .iter_mut()
                .find(|(address, _)| *address == worker.address)
            {
                Some((_, all)) => *all += wrote,
                None => written.push((worker.address.clone(), wrote)),
            }
        }
        facts.push(("Last one done".to_owned(), last));
        facts.extend(whys.iter().map(|why| ("Refused".to_owned(), why.clone())));
        let summary = format!(
            "of what was begun after the bound {worked} were done and {refused} refused{}{}",
            if whys.is_empty() { "" } else { ": " },
            whys.join(", ")
        );
        let each = |of: for<'b> fn(&'b Worker<'_>) -> &'b AtomicU64| {
            workers
                .iter()
                .all(|w| of(w).load(Ordering::Acquire) >= TIMES)
        };
        Self {
            went_on: Seen::new(refused == 0 && each(|w| &w.worked), summary.clone()),
            stopped: Seen::new(worked == 0 && each(|w| &w.refused), summary),
            before: Seen::new(
                each(|w| &w.done),
                format!("every thread had done its work {TIMES} times before"),
            ),
            written,
            facts,
        }
    }
}
