use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::{Duration, Instant};

use crate::base::ResourceId;
use crate::crypto::Secret;

use super::header::{self, BLOCK_LEN, Facts, SEQUENCE_PLACES, Slot};
use super::medium::{Code, Medium, read_whole};
use super::unit::UnitKind;
use super::vfs::Sqlite;
use super::{Conversion, KeySource, PageSize, Position, verify};

/// What all open files of one sealed database have in common.
pub(super) struct Shared {
    path: PathBuf,
    file: ResourceId,
    page_size: PageSize,
    /// What the header says; it changes under a connection when the file is converted.
    facts: RwLock<Facts>,
    /// Counts the changes of `facts`.
    changes: AtomicU64,
    keys: Arc<dyn KeySource>,
    token: u64,
    refusal: Mutex<Option<String>>,
    /// The sequence number of the newest header slot that this process read or wrote.
    header: AtomicU64,
    anchor: Mutex<Anchor>,
    /// The newest version whose journal this process saw go.
    ended: AtomicU64,
    /// The SQLite that has its files open, when that is not the bundled one.
    server: OnceLock<&'static Sqlite>,
}

/// What this process has told of the file's position.
#[derive(Default)]
struct Anchor {
    at: Option<Instant>,
    /// Something was committed since.
    behind: bool,
    /// How far a write-ahead log had come then.
    log: Option<Position>,
    /// The newest version that was told of.
    version: u64,
}

/// How long commits wait to be told of, so that many of them cost little.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(1);

/// The databases that this process has open, by the token in their URI. SQLite calls the VFS with
/// a name only; this leads from the name to the key.
static OPEN: Mutex<Option<HashMap<u64, Weak<Shared>>>> = Mutex::new(None);
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

impl Shared {
    /// Enters a database into the table of open ones; it leaves when the last holder does.
    pub(super) fn register(path: &Path, slot: &Slot, keys: Arc<dyn KeySource>) -> Arc<Self> {
        let mut shared = Self::detached(path, slot.file, slot.facts.clone(), keys);
        shared.header = AtomicU64::new(slot.sequence);
        shared.token = NEXT_TOKEN.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(shared);
        open_table()
            .get_or_insert_default()
            .insert(shared.token, Arc::downgrade(&shared));
        shared
    }

    /// A database of its own for temporary files: a random key that is never stored.
    pub(super) fn temporary() -> Arc<Self> {
        let path = Path::new("(temporary file)");
        let file = ResourceId::from_bytes([0; 16]);
        let key = Arc::new(Secret::random());
        let facts = Facts::new(PageSize::DEFAULT, false);
        Arc::new(Self::detached(path, file, facts, key))
    }

    /// A database that SQLite does not know.
    pub(super) fn detached(
        path: &Path,
        file: ResourceId,
        facts: Facts,
        keys: Arc<dyn KeySource>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            file,
            page_size: facts.page_size,
            facts: RwLock::new(facts),
            changes: AtomicU64::new(0),
            keys,
            token: 0,
            refusal: Mutex::new(None),
            header: AtomicU64::new(0),
            anchor: Mutex::default(),
            ended: AtomicU64::new(0),
            server: OnceLock::new(),
        }
    }

    /// The open database with this token.
    pub(super) fn by_token(token: u64) -> Option<Arc<Self>> {
        open_table().as_ref()?.get(&token)?.upgrade()
    }

    /// The open database that a super-journal belongs to, or a journal that SQLite opens as one to
    /// see whether it still needs its super-journal. SQLite appends `-mj` and digits, or `-journal`,
    /// to the database's name.
    pub(super) fn by_journal(name: &Path) -> Option<(Arc<Self>, UnitKind)> {
        let name = name.to_str()?;
        let (database, kind) = match name.strip_suffix("-journal") {
            Some(database) => (database, UnitKind::Journal),
            None => (name.rsplit_once("-mj")?.0, UnitKind::SuperJournal),
        };
        let shared = find_open(|s| s.path == Path::new(database))?;
        Some((shared, kind))
    }

    /// The database at `path`, when a SQLite other than the bundled one has it open.
    pub(super) fn served_at(path: &Path) -> Option<Arc<Self>> {
        let path = path.canonicalize().ok()?;
        find_open(|s| s.path == path && s.server().is_some())
    }

    /// All databases that this process has open. They are let go of only after the table: the last holder of
    /// one takes it out of there.
    pub(super) fn all_open() -> Vec<Arc<Self>> {
        let table = open_table();
        let all = table.iter().flat_map(HashMap::values);
        all.filter_map(Weak::upgrade).collect()
    }

    /// The SQLite that opens its files, when that is not the bundled one.
    pub(super) fn server(&self) -> Option<&'static Sqlite> {
        self.server.get().copied()
    }

    /// From now on `sqlite` alone opens its files: two of them in one process would undo each
    /// other's locks. `false` when another one does already.
    pub(super) fn serve(&self, sqlite: &'static Sqlite) -> bool {
        std::ptr::eq(*self.server.get_or_init(|| sqlite), sqlite)
    }

    pub(super) fn keys(&self) -> Arc<dyn KeySource> {
        self.keys.clone()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> ResourceId {
        self.file
    }

    pub(super) fn page_size(&self) -> PageSize {
        self.page_size
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.read_facts().fresh
    }

    /// What is under way.
    pub(super) fn conversion(&self) -> Conversion {
        self.read_facts().conversion
    }

    /// What the header says, as far as this process has seen it.
    pub(super) fn facts(&self) -> Facts {
        self.read_facts().clone()
    }

    fn read_facts(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// This slot of the header, which is authentic, was read or written.
    pub(super) fn saw_header(&self, slot: &Slot) {
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        if slot.sequence <= self.header() {
            return;
        }
        if *facts != slot.facts {
            *facts = slot.facts.clone();
            self.changes.fetch_add(1, Ordering::Release);
        }
        self.header.store(slot.sequence, Ordering::Relaxed);
    }

    /// Looks whether the header says something new. Called under each lock, before anything is read
    /// or written under it: whoever changes what the header says of units holds a lock that excludes
    /// writers.
    pub(super) fn look(&self, medium: &mut dyn Medium) -> Result<(), Code> {
        let mut newest = 0;
        for at in SEQUENCE_PLACES {
            let mut sequence = [0; 8];
            if read_whole(medium, &mut sequence, at as u64)? {
                newest = newest.max(u64::from_le_bytes(sequence));
            }
        }
        if newest > self.header() {
            self.read_header(medium)?;
        }
        match self.conversion() {
            Conversion::Decrypted => Err(self.refuse(
                Code::KEY_UNAVAILABLE,
                "it is decrypted, and a plain file by now: open it again",
            )),
            _ => Ok(()),
        }
    }

    fn read_header(&self, medium: &mut dyn Medium) -> Result<(), Code> {
        let mut block = [0; BLOCK_LEN];
        let slots = match read_whole(medium, &mut block, 0)? {
            true => header::parse_block(&block).unwrap_or_default(),
            false => Vec::new(),
        };
        for (_, slot) in &slots {
            let mut own = false;
            self.with_key(&mut |key| own = slot.is_authentic(self.file, key))?;
            let newer = slot.file == self.file && slot.sequence > self.header();
            if own && newer {
                self.keys.rewrapped(&slot.key_slot);
            }
            if own || newer && self.keys.follow(&slot.key_slot, slot) {
                self.saw_header(slot);
                return Ok(());
            }
        }
        Err(self.refuse(
            Code::KEY_UNAVAILABLE,
            "its data encryption key was changed meanwhile: open it again",
        ))
    }

    /// Counts the changes of what the header says.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn header(&self) -> u64 {
        self.header.load(Ordering::Relaxed)
    }

    /// The newest version that this process has told of.
    pub(super) fn anchored(&self) -> u64 {
        lock(&self.anchor).version
    }

    /// The transaction that led to `version` is over: no journal undoes it any more.
    pub(super) fn ended(&self, version: u64) {
        self.ended.fetch_max(version, Ordering::Relaxed);
    }

    /// Whether the transaction that led to `version` is known to be over. A journal that leads back from
    /// there was put back by somebody.
    pub(super) fn has_ended(&self, version: u64) -> Result<bool, Code> {
        if self.ended.load(Ordering::Relaxed) >= version {
            return Ok(true);
        }
        let remembered = self.keys.remembered().map_err(|e| self.refuse_key(e.0))?;
        Ok(remembered >= Some(version))
    }

    /// Something was committed and is on the disk. `true` when it is to be told of: not when that was done
    /// a moment ago.
    pub(super) fn committed(&self) -> bool {
        let mut anchor = lock(&self.anchor);
        anchor.behind = true;
        anchor.at.is_none_or(|at| at.elapsed() >= ANCHOR_INTERVAL)
    }

    /// A log has come as far as this, which is told of later.
    pub(super) fn tell_later(&self, position: Position) {
        lock(&self.anchor).log = Some(position);
    }

    /// Tells of a position. That it cannot be told now is no reason to stop: it is told later.
    pub(super) fn anchor(&self, position: &Position) {
        let told = self.keys.anchor(position);
        let mut anchor = lock(&self.anchor);
        anchor.at = Some(Instant::now());
        if told {
            anchor.behind = false;
            anchor.log = None;
            anchor.version = anchor.version.max(position.version());
        }
    }

    pub(super) fn token(&self) -> u64 {
        self.token
    }

    /// Whether the key may be used now, and which generation of derived keys is current.
    pub(super) fn check(&self) -> Result<(u64, u64), Code> {
        let generation = self.keys.check().map_err(|e| self.refuse_key(e.0))?;
        Ok((generation, self.changes()))
    }

    pub(super) fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), Code> {
        self.keys
            .with_key(use_key)
            .map_err(|e| self.refuse_key(e.0))
    }

    /// The key that seals units whose salts have this bit 0; `false` when there is none.
    pub(super) fn with_key_of(
        &self,
        parity: u8,
        use_key: &mut dyn FnMut(&Secret<32>),
    ) -> Result<bool, Code> {
        let facts = self.facts();
        let mut used = false;
        self.with_key(&mut |key| {
            let previous = match facts.parity == parity {
                true => None,
                false => match facts.previous_key(self.file, key) {
                    None => return,
                    previous => previous,
                },
            };
            use_key(previous.as_ref().unwrap_or(key));
            used = true;
        })?;
        Ok(used)
    }

    /// Remembers why, for the error that the caller of SQLite gets, and gives the code for SQLite.
    pub(super) fn refuse(&self, code: Code, why: &str) -> Code {
        *lock(&self.refusal) = Some(why.to_owned());
        if let Some(host) = self.server().and_then(Sqlite::host) {
            host.refuse(&format!("{}: {why}", self.path.display()));
        }
        code
    }

    /// The last reason that SQLite could not be told.
    pub(super) fn refusal(&self) -> Option<String> {
        lock(&self.refusal).clone()
    }

    fn refuse_key(&self, why: String) -> Code {
        self.refuse(Code::KEY_UNAVAILABLE, &why)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let (behind, log) = {
            let mut anchor = lock(&self.anchor);
            (anchor.behind, anchor.log.take())
        };
        // Others may have the log open still, so that it is not in the main file.
        if let Some(position) = log {
            self.anchor(&position);
        }
        if behind && let Ok(Some(position)) = verify::position(self) {
            self.anchor(&position);
        }
        if let Some(table) = open_table().as_mut() {
            table.remove(&self.token);
        }
    }
}

fn find_open(wanted: impl Fn(&Shared) -> bool) -> Option<Arc<Shared>> {
    Shared::all_open().into_iter().find(|shared| wanted(shared))
}

fn open_table() -> MutexGuard<'static, Option<HashMap<u64, Weak<Shared>>>> {
    lock(&OPEN)
}

/// A panic while one of these locks is held leaves nothing half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
