//! Every byte that a whole life of a sealed database gives to the system, from the trace of its
//! calls: also what is overwritten, cut off or deleted a moment later, which no look at the files
//! finds. The plain twin lives the same life and shows each thing that is looked for.
//!
//! A trace does not show what is written through a mapping. That is the shared memory of a log
//! only (which is not sealed: docs/format.md), and the test fails when another file is mapped so.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aho_corasick::AhoCorasick;
use rayon::prelude::*;
use rusqlite::backup::Backup;

use crate::database::{Database, Kind, kind_named, label};
use crate::fixture::{HEADER_LEN, SLOT, run, scratch, set_journal};
use crate::strace::{self, Line};

const LIFE: &str = "ATREST_TEST_WHOLE_LIFE";
const CANARY: &str = "canary-7f3a9c51e0d2";
const PAGE_SIZE: u32 = 1024;

#[test]
fn part_lives_a_whole_life() {
    let Ok(life) = std::env::var(LIFE) else {
        return;
    };
    let [kind, encoding, dir] = life.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    live(kind_named(kind), encoding, Path::new(dir));
}

fn live(kind: Kind, encoding: &str, dir: &Path) {
    let [db, other, copy] = ["db", "other", "copy"]
        .map(|name| Database::create(kind, &dir.join(name), PAGE_SIZE).unwrap());
    let conn = db.connect().unwrap();
    run(
        &conn,
        &format!(
            "PRAGMA encoding = '{encoding}'; PRAGMA temp_store = FILE; PRAGMA cache_size = 30;
             PRAGMA temp.cache_size = 30"
        ),
    );
    for mode in ["delete", "persist", "wal"] {
        set_journal(&conn, mode);
        run(
            &conn,
            &format!(
                "CREATE TABLE t (a, b);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 650)
                    INSERT INTO t SELECT i * 7919 % 1009, '{CANARY} ' || printf('%400d', i) FROM n;
                 BEGIN; UPDATE t SET b = b || ' changed'; COMMIT;
                 SELECT count(*) FROM (SELECT b FROM t ORDER BY b || a, a);
                 CREATE TEMP TABLE copied AS SELECT * FROM t; CREATE INDEX i ON t (b, a);
                 BEGIN; DELETE FROM t; ROLLBACK; CREATE UNIQUE INDEX u ON t (a); BEGIN"
            ),
        );
        // Fails at the last row: a statement journal undoes the others.
        conn.execute_batch("UPDATE t SET a = min(a + 1, 1008)")
            .unwrap_err();
        run(&conn, "COMMIT; DROP TABLE temp.copied; VACUUM");
        if let Some(sealed) = &db.sealed {
            sealed.replace_key_slot(&SLOT.map(|b| b ^ 0xff)).unwrap();
        }
        if mode != "wal" {
            conn.execute("ATTACH ? AS other", [other.uri()]).unwrap();
            run(
                &conn,
                "CREATE TABLE IF NOT EXISTS other.t (b);
                 BEGIN; INSERT INTO other.t SELECT b FROM t LIMIT 50; DELETE FROM t WHERE a % 2; COMMIT;
                 DETACH other",
            );
        }
        run(&conn, "PRAGMA wal_checkpoint(RESTART)");
        if mode != "wal" {
            run(&conn, "DROP TABLE t");
        }
    }
    let mut target = copy.connect().unwrap();
    let backup = Backup::new(&conn, &mut target).unwrap();
    backup.run_to_completion(10, Duration::ZERO, None).unwrap();
    let into = dir.join("into");
    let sealed = (kind == Kind::Sealed).then(|| Database::create(kind, &into, PAGE_SIZE).unwrap());
    let name = match &sealed {
        Some(sealed) => sealed.uri(),
        None => into.display().to_string(),
    };
    conn.execute("VACUUM INTO ?1", [name]).unwrap();
}

/// What no sealed file may hold, by name.
fn forbidden() -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |order: fn(u16) -> [u8; 2]| CANARY.encode_utf16().flat_map(order).collect();
    let page_size = PAGE_SIZE.to_be_bytes();
    // Bytes 16 to 23 of a database: page size, versions, reserved bytes, payload fractions.
    let page_1 = |version: u8, reserved: u8| {
        let [_, _, high, low] = page_size;
        vec![high, low, version, version, reserved, 64, 32, 32]
    };
    let wal = |order: u8| vec![0x37, 0x7f, 6, order, 0, 0x2d, 0xe2, 0x18];
    vec![
        ("canary", CANARY.into()),
        ("canary, UTF-16 little-endian", utf16(u16::to_le_bytes)),
        ("canary, UTF-16 big-endian", utf16(u16::to_be_bytes)),
        ("magic of a database", b"SQLite format 3\0".into()),
        (
            "magic of a journal",
            b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7".into(),
        ),
        ("magic and version of a log, little-endian sums", wal(0x82)),
        ("magic and version of a log, big-endian sums", wal(0x83)),
        ("name of a super-journal", b"/db-mj".into()),
        ("name of a journal", b"/other-journal\0".into()),
        ("fields of page 1", page_1(1, 0)),
        ("fields of page 1, log", page_1(2, 0)),
        ("fields of page 1, sealed", page_1(1, 32)),
        ("fields of page 1, sealed, log", page_1(2, 32)),
        ("schema", b"CREATE TABLE t".into()),
        ("zeros", vec![0; 64]),
    ]
}

/// Kinds of files, as SQLite names them.
fn kind_of(path: &Path) -> &'static str {
    let name = path.file_name().unwrap().to_str().unwrap();
    match name.split_once('-') {
        // Without a name from the start, where the file system can do that.
        _ if name.starts_with("etilqs_") || name.starts_with('#') => "temporary",
        Some((_, suffix)) if suffix.starts_with("mj") => "super-journal",
        Some((_, "journal")) => "journal",
        Some((_, "wal")) => "log",
        Some((_, "shm")) => "shared memory",
        None => "main",
        Some(_) => panic!("a file of no known kind: {name}"),
    }
}

/// A plain database's shared memory lies beside it, a sealed one's in the system's directory for it.
fn is_shared_memory(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.ends_with("-shm") || path.starts_with("/dev/shm/atrest-")
}

#[derive(Default)]
struct Written {
    /// Bytes written to each kind of file.
    bytes: BTreeMap<&'static str, usize>,
    /// In which kinds of files each forbidden thing was seen.
    seen: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// Blocks of 16 bytes that were written before, in any file.
    repeated: usize,
    blocks: usize,
    /// Files that were mapped for writing.
    mapped: BTreeSet<PathBuf>,
}

impl Written {
    fn by(kind: Kind, encoding: &str) -> Self {
        let dir = scratch();
        let life = format!("{} {encoding} {}", label(kind), dir.path().display());
        let temporary = dir.path().to_str().unwrap();
        let options = ["-e".to_owned(), format!("trace={}", strace::CALLS)];
        let variables = [(LIFE, life.as_str()), ("SQLITE_TMPDIR", temporary)];
        let traced = strace::run("trace::part_lives_a_whole_life", &options, &variables);
        assert!(traced.status.success(), "{life}: {}", traced.stderr);
        Self::read(&traced.calls, dir.path())
    }

    fn read(calls: &[Line], dir: &Path) -> Self {
        let (names, patterns): (Vec<_>, Vec<_>) = forbidden().into_iter().unzip();
        let search = AhoCorasick::new(patterns).unwrap();
        let mut written = Self::default();
        let mut blocks = HashSet::new();
        // What was written last to each file, and where it ends: a thing may be cut in two.
        let mut last: BTreeMap<PathBuf, (u64, Vec<u8>)> = BTreeMap::new();
        for call in calls.iter().filter(|call| call.returned().is_some()) {
            let offset = match call.name.as_str() {
                "mmap" => {
                    let writable = call.arg(2).contains("PROT_WRITE");
                    let path = call.fd_path(4).filter(|_| writable);
                    if let Some(path) = path.filter(|_| call.arg(3).contains("MAP_SHARED")) {
                        written.mapped.insert(path);
                    }
                    continue;
                }
                "pwrite64" => call.number(3),
                "write" => 0,
                "open" | "openat" | "close" | "lseek" | "ftruncate" | "fsync" | "fdatasync"
                | "unlink" | "symlink" => continue,
                other => panic!("the test does not know what {other} writes"),
            };
            // Not the pipe to the parent.
            let Some(path) = call.fd_path(0) else {
                continue;
            };
            if is_shared_memory(&path) {
                // Grown byte by byte; the rest goes through the mapping. Beside a sealed database
                // lies the name of the place.
                let bytes = call.bytes(1);
                assert!(bytes == [0] || bytes.starts_with(b"atrest-"), "{bytes:?}");
                continue;
            }
            assert!(path.starts_with(dir), "{}", path.display());
            let (kind, bytes) = (kind_of(&path), call.bytes(1));
            *written.bytes.entry(kind).or_default() += bytes.len();
            // The header block is public, and carries zeros.
            let public = kind == "main" && offset < HEADER_LEN as u64;
            let (end, mut joined) = last.remove(&path).unwrap_or_default();
            if end != offset {
                joined.clear();
            }
            joined.extend_from_slice(&bytes);
            for found in search.find_overlapping_iter(&joined) {
                let name = names[found.pattern().as_usize()];
                if !(public && name == "zeros") {
                    written.seen.entry(name).or_default().insert(kind);
                }
            }
            if !public {
                joined.drain(..joined.len().saturating_sub(100));
                last.insert(path, (offset + bytes.len() as u64, joined));
                for block in bytes.as_chunks::<16>().0 {
                    written.repeated += usize::from(!blocks.insert(*block));
                    written.blocks += 1;
                }
            }
        }
        written
    }
}

#[test]
fn no_byte_that_is_ever_written_is_plain() {
    let encodings = ["UTF-8", "UTF-16le", "UTF-16be"];
    encodings.par_iter().for_each(|encoding| {
        let [plain, sealed] = [Kind::Plain, Kind::Sealed].map(|kind| Written::by(kind, encoding));
        is_seen(&plain, encoding);
        assert!(sealed.seen.is_empty(), "{encoding}: {:?}", sealed.seen);
        assert_eq!(sealed.repeated, 0, "of {} blocks", sealed.blocks);
        for (kind, bytes) in &plain.bytes {
            let sealed = sealed.bytes.get(kind).unwrap_or(&0);
            assert!(sealed >= bytes, "{kind}: {sealed} bytes, plain {bytes}");
        }
        let mapped: Vec<_> = sealed.mapped.iter().collect();
        let in_memory = |path: &&&PathBuf| path.to_string_lossy().starts_with("/dev/shm/atrest-");
        let others = mapped.iter().filter(|path| !in_memory(path));
        assert_eq!(others.count(), 0, "{mapped:?}");
        assert!(!mapped.is_empty());
        println!("{encoding}: sealed {:?}", sealed.bytes);
    });
}

/// The search finds each thing where a plain database has it.
fn is_seen(plain: &Written, encoding: &str) {
    let canary = match encoding {
        "UTF-8" => "canary",
        "UTF-16le" => "canary, UTF-16 little-endian",
        _ => "canary, UTF-16 big-endian",
    };
    let expected: [(&str, &[&str]); 9] = [
        (canary, &["main", "journal", "log", "temporary"]),
        ("magic of a database", &["main", "journal", "log"]),
        ("magic of a journal", &["journal"]),
        ("magic and version of a log, little-endian sums", &["log"]),
        ("name of a super-journal", &["journal"]),
        ("name of a journal", &["super-journal"]),
        ("fields of page 1", &["main", "journal"]),
        ("fields of page 1, log", &["main", "log"]),
        ("zeros", &["main", "journal", "log", "temporary"]),
    ];
    for (name, kinds) in expected {
        let seen = plain.seen.get(name).cloned().unwrap_or_default();
        let all = kinds.iter().all(|kind| seen.contains(kind));
        assert!(all, "{encoding}: {name} is seen in {seen:?}");
    }
    assert!(plain.repeated > 1000);
    assert!(plain.mapped.iter().all(|path| is_shared_memory(path)));
}
