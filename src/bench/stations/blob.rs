use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::Connection;

use crate::bench::bare::Gcm;
use crate::bench::session::{About, Session, timed};
use crate::bench::{BenchError, files, places};
use crate::crypto::{KeyKind, TAG_LEN};
use crate::resource::Protection;
use crate::resource::blob::{BlobName, BlobPath, CHUNK_LEN, StorageAccount};
use crate::world::Workspace;

/// Bytes of a ranged read.
const RANGE: u64 = 64 << 10;
/// What the bare loops read and write at once.
const BUFFER: usize = 1 << 20;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    let plan = session.plan;
    session.note(
        "The format fixes the chunk at 64 KiB, so what varies is the size of the object. copy: the system's own (as cp). put ends \
         when the blob is on the disk, so its baseline is a copy that is synced; get leaves the sync to its caller, as \
         a copy does. plain: a storage account without protection, through the same code.",
    );
    session.note(
        "bound: one thread reads the file, seals it by a bare loop of aws-lc-rs in pieces of 64 KiB, writes a new file and \
         syncs it: no name, no catalog, no second thread.",
    );
    session.note(
        "least store: what a store whose puts are durable must do at least. The bound, into a file with a new name; a sync of the directory, for \
         the name; one row of a plain SQLite database (WAL, synchronous=FULL) that says which file the object is now; the file before it removed.",
    );
    let dir = files::scratch(&plan.dir)?;
    let place = Place::new(dir.path())?;
    let quick: &[u64] = &[64 << 10, 8 << 20];
    let standard: &[u64] = &[4 << 10, 64 << 10, 1 << 20, 16 << 20];
    let full: &[u64] = &[4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20];
    let disk = files::read_from_disk();
    for size in plan.sizes(plan.scale.of(quick, standard, full)) {
        fs::write(&place.from, vec![0x5a; size as usize])
            .map_err(|e| BenchError::io(&place.from, e))?;
        put(session, &place, size)?;
        get(session, &place, size)?;
    }
    if plan.cold {
        let read = files::read_from_disk() - disk;
        session.note(format!(
            "{:.1} MiB came from the disk.",
            read as f64 / f64::from(1 << 20)
        ));
    }
    Ok(())
}

struct Place {
    dir: PathBuf,
    from: PathBuf,
    to: PathBuf,
    name: BlobPath,
    plain: StorageAccount,
    sealed: StorageAccount,
    _workspace: Workspace,
}

impl Place {
    fn new(dir: &Path) -> Result<Self, BenchError> {
        let workspace = places::make(&dir.join("work"), KeyKind::Oct256)?;
        let account = |name: &str, protection| {
            let address = name.parse().expect("a valid address");
            workspace.create_storage(&address, protection)
        };
        let name = BlobName::parse("object").expect("a valid name");
        Ok(Self {
            dir: dir.to_owned(),
            from: dir.join("from"),
            to: dir.join("to"),
            name: BlobPath::in_default(name),
            plain: account("storage/plain", Protection::Plain)?,
            sealed: account("storage/sealed", workspace.default_protection())?,
            _workspace: workspace,
        })
    }
}

fn put(session: &mut Session<'_>, place: &Place, size: u64) -> Result<(), BenchError> {
    let Place { from, to, name, .. } = place;
    let of = |subject: &str| About::new("put", subject).bytes(size);
    let putting = |account| {
        timed(move || {
            let account: &StorageAccount = account;
            let mut source = files::open(from)?;
            let begun = Instant::now();
            account.put(name, &mut source, &mut |_| ())?;
            Ok(begun.elapsed())
        })
    };
    let (mut gcm, mut least) = (Gcm::new(), Least::new(&place.dir)?);
    session.measure(vec![
        of("copy and sync").by(timed(|| {
            let begun = Instant::now();
            files::copy(from, to)?;
            files::sync(to)?;
            Ok(begun.elapsed())
        })),
        of("bound").against(0).by(timed(|| {
            let begun = Instant::now();
            bound(from, to, &mut gcm).map_err(|e| BenchError::io(to, e))?;
            Ok(begun.elapsed())
        })),
        of("least store").against(0).by(timed(|| {
            let begun = Instant::now();
            least.put(from)?;
            Ok(begun.elapsed())
        })),
        of("plain").against(0).by(putting(&place.plain)),
        of("sealed")
            .against(0)
            .against(1)
            .against(2)
            .against(3)
            .by(putting(&place.sealed)),
    ])
}

fn bound(from: &Path, to: &Path, gcm: &mut Gcm) -> io::Result<()> {
    let (mut source, mut sink) = (File::open(from)?, File::create(to)?);
    let mut plain = vec![0; BUFFER];
    let mut sealed = vec![0; BUFFER + BUFFER / CHUNK_LEN * TAG_LEN];
    loop {
        let mut len = 0;
        while len < BUFFER {
            match source.read(&mut plain[len..])? {
                0 => break,
                read => len += read,
            }
        }
        let mut at = 0;
        for piece in plain[..len].chunks(CHUNK_LEN) {
            let end = at + piece.len() + TAG_LEN;
            gcm.seal(&[7; 32], piece, &mut sealed[at..end]);
            at = end;
        }
        sink.write_all(&sealed[..at])?;
        if len < BUFFER {
            return sink.sync_all();
        }
    }
}

/// The least store whose puts are durable. It holds one object.
struct Least {
    dir: PathBuf,
    catalog: Connection,
    gcm: Gcm,
    /// The object's file.
    now: Option<PathBuf>,
    count: u64,
}

impl Least {
    /// An empty one below `dir`.
    fn new(dir: &Path) -> Result<Self, BenchError> {
        let dir = dir.join("least");
        // One of another size of objects.
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(|e| BenchError::io(&dir, e))?;
        }
        fs::create_dir(&dir).map_err(|e| BenchError::io(&dir, e))?;
        let catalog = Connection::open(dir.join("catalog"))?;
        catalog.execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = full;
             CREATE TABLE objects (name TEXT PRIMARY KEY, file INTEGER) WITHOUT ROWID",
        )?;
        Ok(Self {
            dir,
            catalog,
            gcm: Gcm::new(),
            now: None,
            count: 0,
        })
    }

    fn put(&mut self, from: &Path) -> Result<(), BenchError> {
        self.count += 1;
        let to = self.dir.join(self.count.to_string());
        bound(from, &to, &mut self.gcm).map_err(|e| BenchError::io(&to, e))?;
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|e| BenchError::io(&self.dir, e))?;
        let mut row = self
            .catalog
            .prepare_cached("INSERT OR REPLACE INTO objects VALUES ('object', ?1)")?;
        row.execute([self.count as i64])?;
        if let Some(before) = self.now.replace(to) {
            fs::remove_file(&before).map_err(|e| BenchError::io(&before, e))?;
        }
        Ok(())
    }
}

fn get(session: &mut Session<'_>, place: &Place, size: u64) -> Result<(), BenchError> {
    let Place { from, to, name, .. } = place;
    let cold = session.plan.cold;
    let cool = || {
        if cold {
            files::cool(&place.dir)
        } else {
            Ok(())
        }
    };
    let of = |subject: &str| About::new("get", subject).bytes(size);
    let getting = |account| {
        timed(move || {
            let account: &StorageAccount = account;
            cool()?;
            // As the copy does, which makes its file anew within its time.
            let begun = Instant::now();
            let mut sink = files::create(to)?;
            account.get(name, None, &mut sink, &mut |_| ())?;
            Ok(begun.elapsed())
        })
    };
    session.measure(vec![
        of("copy").by(timed(|| {
            cool()?;
            let begun = Instant::now();
            files::copy(from, to)?;
            Ok(begun.elapsed())
        })),
        of("plain").against(0).by(getting(&place.plain)),
        of("sealed")
            .against(0)
            .against(1)
            .by(getting(&place.sealed)),
    ])?;
    if size < 2 * RANGE {
        return Ok(());
    }
    let range = size / 2..size / 2 + RANGE;
    let of = |subject: &str| {
        About::new(&format!("read 64 KiB of {} KiB", size >> 10), subject).bytes(RANGE)
    };
    let reading = |account| {
        let range = range.clone();
        timed(move || {
            let account: &StorageAccount = account;
            cool()?;
            let mut sink = io::sink();
            let begun = Instant::now();
            account.get(name, Some(range.clone()), &mut sink, &mut |_| ())?;
            Ok(begun.elapsed())
        })
    };
    let mut buffer = vec![0; RANGE as usize];
    session.measure(vec![
        of("pread").by(timed(|| {
            cool()?;
            let begun = Instant::now();
            let file = files::open(from)?;
            let read = file.read_exact_at(&mut buffer, range.start);
            read.map_err(|e| BenchError::io(from, e))?;
            Ok(begun.elapsed())
        })),
        of("plain").against(0).by(reading(&place.plain)),
        of("sealed")
            .against(0)
            .against(1)
            .by(reading(&place.sealed)),
    ])
}
