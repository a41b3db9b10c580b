//! Databases that the corpora are made of.

use std::path::PathBuf;
use std::sync::Arc;

use atrest::sqlite::{Freshness, KEY_SLOT_LEN, PageSize, Position, SealedDatabase};
use rusqlite::Connection;

use crate::content::COMMITS;
use crate::corpus::Entry;
use crate::files::{FILE, Files, PAGE, Scratch, dek};

pub const SLOT: [u8; KEY_SLOT_LEN] = [0x5a; KEY_SLOT_LEN];

/// A database, and what was taken of it so far.
pub struct Life {
    dir: Scratch,
    pub db: SealedDatabase,
    pub conn: Connection,
    committed: usize,
    taken: Vec<(&'static str, Entry)>,
}

impl Life {
    pub fn new() -> Self {
        let dir = Scratch::new();
        let (path, size) = (dir.db(), PageSize::new(PAGE as u32).unwrap());
        let keys = Arc::new(dek());
        let db = SealedDatabase::create(&path, FILE, size, Freshness::Kept, &SLOT, keys).unwrap();
        let conn = db.connect().unwrap();
        let mut life = Self {
            dir,
            db,
            conn,
            committed: 0,
            taken: Vec::new(),
        };
        life.run("PRAGMA cache_size = 3; PRAGMA wal_autocheckpoint = 0");
        life.commit();
        life
    }

    pub fn path(&self) -> PathBuf {
        self.dir.db()
    }

    pub fn run(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap();
    }

    /// Goes on to the next state.
    pub fn commit(&mut self) {
        self.run(COMMITS[self.committed]);
        self.committed += 1;
    }

    /// Takes the files as they are, which hold the last state.
    pub fn take(&mut self, name: &'static str) {
        let state = Some(self.committed - 1);
        let files = Files::copy(&self.path());
        self.taken.push((
            name,
            Entry {
                files,
                state,
                ..Entry::default()
            },
        ));
    }

    /// Takes the files while the next state is under way.
    pub fn take_within(&mut self, name: &'static str) {
        self.run("BEGIN");
        self.run(COMMITS[self.committed]);
        self.conn.cache_flush().unwrap();
        self.take(name);
        self.run("COMMIT");
        self.committed += 1;
    }

    pub fn last(&mut self) -> &mut Entry {
        &mut self.taken.last_mut().unwrap().1
    }

    /// The last state, as somebody remembers it.
    pub fn remember(&self) -> (usize, [u8; Position::LEN]) {
        let position = self.db.check_freshness(None).unwrap();
        (self.committed - 1, position.to_bytes())
    }

    /// All that was taken, beside this memory.
    pub fn entries(self, remembered: (usize, [u8; Position::LEN])) -> Vec<(&'static str, Entry)> {
        let mut taken = self.taken;
        taken
            .iter_mut()
            .for_each(|(_, entry)| entry.remembered = Some(remembered));
        taken
    }
}
