use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use crate::base::{ResourceId, beside};
use crate::crypto::random_id;
use crate::lab::theft::duplicate;
use crate::lab::{LabError, StolenCopy};
use crate::resource::sql::{Keeper, SqlDatabase, content_hash};
use crate::resource::{ProtectedResource, Protection, ResourceError, Wrapper};
use crate::sqlite::PageSize;
use crate::vault::FreshnessCheck;

use super::bout::{Reading, error_text};
use super::vault::Arm;

/// Length of the header block of a sealed file; nothing comes before page 1 of a plain one.
const HEADER_LEN: u64 = 4096;

/// A database under attack: a specimen, or a copy of a stolen one.
pub(super) struct Database {
    pub path: PathBuf,
    pub id: ResourceId,
    pub protection: Protection,
    pub wrapper: Wrapper,
    pub page_size: u64,
    /// What it reads as, unaltered.
    pub truth: String,
    /// Who remembers its newest state, for an attack with old bytes.
    keeper: Option<Keeper>,
}

impl Database {
    /// A specimen in `dir`: a table and an index over it, on about twenty pages, every one of which
    /// a read meets. Two variants have the same layout and no row in common.
    pub(super) fn specimen(
        dir: &Path,
        name: &str,
        arm: &Arm,
        page_size: PageSize,
        variant: u32,
    ) -> Result<Self, LabError> {
        let path = dir.join(name);
        let id = random_id(ResourceId::from_bytes);
        let protection = arm.protection.clone();
        let database = SqlDatabase::create(&path, id, page_size, protection, &arm.wrapper)?;
        let mut connection = database.connect()?;
        let tx = connection.transaction()?;
        tx.execute_batch(
            "CREATE TABLE ledger (id INTEGER PRIMARY KEY, account TEXT, amount INTEGER, memo TEXT);
             CREATE INDEX ledger_account ON ledger (account);",
        )?;
        {
            let mut insert = tx.prepare("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4)")?;
            let memo_len = (page_size.get() / 12) as usize;
            for i in 0..160u32 {
                let account = format!("{variant:04}-{:010}", i.wrapping_mul(2_654_435_761));
                let memo = format!("posting {i} of ledger {variant} ").repeat(memo_len / 20);
                insert.execute(params![i, account, i * 31 + variant, memo])?;
            }
        }
        tx.commit()?;
        connection.close().map_err(|(_, e)| e)?;
        drop(database);
        Self::measured(path, id, arm.protection.clone(), arm.wrapper.clone())
    }

    /// A database in `dir` with one short table, closed: all that many of them have in common.
    pub(super) fn empty(
        dir: &Path,
        name: &str,
        arm: &Arm,
        page_size: PageSize,
    ) -> Result<PathBuf, LabError> {
        let path = dir.join(name);
        let (id, protection) = (random_id(ResourceId::from_bytes), arm.protection.clone());
        let database = SqlDatabase::create(&path, id, page_size, protection, &arm.wrapper)?;
        let connection = database.connect()?;
        connection.pragma_update(None, "synchronous", "off")?;
        connection.execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'one')")?;
        Ok(path)
    }

    /// A copy of a stolen copy in `dir`, opened with the right key. What its write-ahead log holds
    /// is moved into the main file first, so that the attack is on the main file.
    pub(super) fn copy(stolen: &StolenCopy, owner: &Wrapper, dir: &Path) -> Result<Self, LabError> {
        let path = duplicate(&stolen.path, dir)?;
        let (id, protection) = (stolen.id, stolen.protection.clone());
        let database = SqlDatabase::open(&path, id, protection.clone(), owner)?;
        let connection = database.connect()?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        drop((connection, database));
        Self::measured(path, id, protection, owner.clone())
    }

    fn measured(
        path: PathBuf,
        id: ResourceId,
        protection: Protection,
        wrapper: Wrapper,
    ) -> Result<Self, LabError> {
        let database = SqlDatabase::open(&path, id, protection.clone(), &wrapper)?;
        let page_size = database.page_size().get().into();
        drop(database);
        let mut this = Self {
            path,
            id,
            protection,
            wrapper,
            page_size,
            truth: String::new(),
            keeper: None,
        };
        this.measure()?;
        Ok(this)
    }

    /// From now on its newest state is remembered, as a vault remembers that of a database in its place.
    pub(super) fn remembered(mut self, arm: &Arm) -> Result<Self, LabError> {
        let keeper = arm.keeper();
        self.open()?.begin_epoch(&keeper, FreshnessCheck::Open)?;
        self.keeper = Some(keeper);
        Ok(self)
    }

    /// The same database, as somebody opens it who remembers nothing of it.
    pub(super) fn forgotten(&self) -> Self {
        Self {
            keeper: None,
            path: self.path.clone(),
            protection: self.protection.clone(),
            wrapper: self.wrapper.clone(),
            truth: self.truth.clone(),
            ..*self
        }
    }

    /// The same database, its vault reached through `wrapper`, of which nothing is remembered.
    pub(super) fn through(&self, wrapper: Wrapper) -> Self {
        Self {
            wrapper,
            ..self.forgotten()
        }
    }

    /// Takes what it reads as now for the truth.
    pub(super) fn measure(&mut self) -> Result<(), LabError> {
        self.truth = read(&self.open()?)?;
        self.tidy();
        Ok(())
    }

    pub(super) fn open(&self) -> Result<SqlDatabase, ResourceError> {
        let (path, id) = (&self.path, self.id);
        let protection = self.protection.clone();
        match &self.keeper {
            Some(keeper) => SqlDatabase::open_fresh(path, id, protection, &self.wrapper, keeper),
            None => SqlDatabase::open(path, id, protection, &self.wrapper),
        }
    }

    /// The same database at another place, of which nothing is remembered.
    pub(super) fn fork(&self, dir: &Path) -> Result<Self, LabError> {
        Ok(Self {
            path: duplicate(&self.path, dir)?,
            ..self.forgotten()
        })
    }

    /// Opens it and reads every row of every table, and every index of a specimen.
    pub(super) fn read(&self) -> Reading {
        let reading = self.open().and_then(|database| read(&database));
        self.tidy();
        self.reading(reading)
    }

    /// Reads it again and again on one connection, each time from the disk: as [`Database::read`],
    /// at a tenth of the cost, and without the header.
    pub(super) fn rereader(&self) -> Result<impl FnMut(&Self) -> Reading + use<>, LabError> {
        let database = self.open()?;
        let connection = database.connect()?;
        Ok(move |this: &Self| {
            let data = connection
                .execute_batch("PRAGMA shrink_memory")
                .and_then(|()| content(&connection))
                .map_err(|e| database.explain(e));
            this.reading(data)
        })
    }

    /// Authenticates it as a whole, and reads it when that finds nothing. A plain one is read at
    /// once: it has nothing that could be authenticated.
    pub(super) fn verify(&self) -> Reading {
        let reading = self.open().and_then(|database| {
            if self.protection != Protection::Plain {
                database.verify(&mut |_, _| ())?;
            }
            read(&database)
        });
        self.tidy();
        self.reading(reading)
    }

    /// Where page `number` (from 1) begins.
    pub(super) fn page_at(&self, number: u64) -> u64 {
        self.header_len() + (number - 1) * self.page_size
    }

    /// Length of what comes before page 1.
    pub(super) fn header_len(&self) -> u64 {
        match self.protection {
            Protection::Plain => 0,
            _ => HEADER_LEN,
        }
    }

    /// How many pages the file has.
    pub(super) fn pages(&self) -> Result<u64, LabError> {
        Ok((super::alter::len(&self.path)? - self.header_len()) / self.page_size)
    }

    fn reading(&self, result: Result<String, ResourceError>) -> Reading {
        let dir = self.path.parent().unwrap_or(Path::new(""));
        match result {
            Ok(data) => Reading::Data(data),
            Err(e) => Reading::Refused(error_text(&e, dir)),
        }
    }

    /// Puts these files in the place of its own.
    pub(super) fn place(&self, files: &Files) -> Result<(), LabError> {
        self.tidy();
        for (ending, bytes) in &files.0 {
            let path = beside(&self.path, ending);
            std::fs::write(&path, bytes).map_err(|e| LabError::io(&path, e))?;
        }
        Ok(())
    }

    /// Removes what a trial that ended early may have left beside the file.
    fn tidy(&self) {
        for ending in ["-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(beside(&self.path, ending));
        }
    }
}

/// The files of a database at one moment: the ending of each name, and its bytes.
#[derive(Clone)]
pub(super) struct Files(pub Vec<(&'static str, Vec<u8>)>);

impl Files {
    /// As they are now, also while the database is in use: as a killed process would leave them.
    pub(super) fn of(path: &Path) -> Result<Self, LabError> {
        let endings = ["", "-wal", "-journal"].into_iter();
        let there = endings.filter(|ending| beside(path, ending).is_file());
        let read = |ending| Ok((ending, super::alter::read_all(&beside(path, ending))?));
        there.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// With `bytes` in the place of one of them.
    pub(super) fn and(mut self, ending: &'static str, bytes: Vec<u8>) -> Self {
        self.0.retain(|(other, _)| *other != ending);
        self.0.push((ending, bytes));
        self
    }

    /// The bytes of one of them; none when it is not there.
    pub(super) fn get(&self, ending: &str) -> &[u8] {
        let found = self.0.iter().find(|(other, _)| *other == ending);
        found.map_or(&[], |(_, bytes)| bytes)
    }
}

fn read(database: &SqlDatabase) -> Result<String, ResourceError> {
    let connection = database.connect()?;
    content(&connection).map_err(|e| database.explain(e))
}

/// Every row of every table, and every entry of a specimen's index in its own order.
fn content(connection: &Connection) -> rusqlite::Result<String> {
    let mut data = content_hash(connection)?.sha256();
    let index = "SELECT account, id FROM ledger INDEXED BY ledger_account ORDER BY account";
    if let Ok(mut index) = connection.prepare(index) {
        let mut rows = index.query([])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.extend_from_slice(row.get::<_, String>(0)?.as_bytes());
            entries.extend_from_slice(&row.get::<_, i64>(1)?.to_le_bytes());
        }
        data.push_str(&hex::encode(crate::crypto::sha256(&[&entries])));
    }
    Ok(data)
}
