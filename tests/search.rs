//! The search for known texts: over files, directories, images of disks and block devices of any size,
//! in memory that does not grow with them.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atrest::lab::compare::look_at;
use atrest::lab::{CanarySet, Documented, Encoding, Figures, Scan, Searcher, Verdict, scan_copy};
use peak_alloc::PeakAlloc;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const SECRET: &str = "Kim Akers, IBAN NL91ABNA0417164300";
const MIB: u64 = 1 << 20;

/// One test at a time, so that memory is of one.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn texts() -> CanarySet {
    let mut set = CanarySet::default();
    assert_eq!(set.plant([SECRET]), 1);
    set
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A disk's image of `len` bytes, mostly a hole: with the text at its beginning, over the edge of a piece
/// that is read at once, and at its very end, each in another form. Returns where they are.
fn image(path: &Path, len: u64) -> [(Encoding, u64); 3] {
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    let wide = utf16(SECRET);
    let masked: Vec<u8> = SECRET.bytes().map(|b| b ^ 0xa5).collect();
    let places = [
        (Encoding::Raw, 3),
        (Encoding::Utf16Le, len / 2 / MIB * MIB - 7),
        (Encoding::Raw, len - masked.len() as u64),
    ];
    for (bytes, (_, at)) in [SECRET.as_bytes(), &wide, &masked].into_iter().zip(places) {
        // Behind a zero, UTF-16 of one byte order is also that of the other, one byte before.
        file.write_all_at(&[0x11], at - 1).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }
    places
}

fn hits(figures: &Figures) -> Vec<(Encoding, u64)> {
    let hits = figures.hits.iter().map(|hit| (hit.encoding, hit.offset));
    let mut hits: Vec<_> = hits.collect();
    hits.sort_by_key(|(_, at)| *at);
    hits
}

/// Bytes in use at the most while `run` runs, above those before it.
fn peak(run: impl FnOnce()) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    run();
    MEMORY.peak_usage().saturating_sub(before)
}

#[test]
fn an_image_of_any_size_is_searched_to_its_end_in_the_same_memory() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let searcher = Searcher::new(&texts()).unwrap();
    let search = |len: u64| {
        let path = dir.path().join("disk.img");
        let places = image(&path, len);
        let mut seen = Vec::new();
        let peak = peak(|| seen = hits(&scan_copy(&path, &searcher, &|_| ()).unwrap()));
        assert_eq!(seen, places, "{len} bytes");
        peak
    };
    // The first makes what is made once.
    search(32 * MIB);
    let (small, large) = (search(64 * MIB), search(3 << 30));
    assert!(
        large <= small + 64 * 1024,
        "{small} bytes for 64 MiB, {large} for 3 GiB"
    );
}

/// Noise fills the tables that zeros leave empty.
#[test]
fn noise_of_any_length_takes_the_same_memory() {
    let _alone = alone();
    let searcher = Searcher::new(&texts()).unwrap();
    let scan = |mib: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut piece = vec![0; Scan::PIECE];
        peak(|| {
            let mut scan = Scan::new(&searcher, "noise", Documented::none(), mib * MIB);
            for _ in 0..mib {
                rng.fill_bytes(&mut piece);
                scan.feed(&piece);
            }
            assert_eq!(scan.finish().alarms(), Vec::<&str>::new());
        })
    };
    let (small, large) = (scan(64), scan(384));
    assert!(small < 64 << 20, "{small} bytes");
    assert!(
        large <= small + 64 * 1024,
        "{small} bytes for 64 MiB, {large} for 384"
    );
}

#[test]
fn a_large_file_is_seen_by_many_threads_as_by_one() {
    let _alone = alone();
    let mut noise = vec![0; 20 << 20];
    ChaCha8Rng::seed_from_u64(4).fill_bytes(&mut noise);
    let rows = format!("1;2026-03-01;{SECRET};4711\n").repeat(9000);
    noise[5_000_001..][..rows.len()].copy_from_slice(rows.as_bytes());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, rows.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    noise[3 * Scan::PIECE - 100..][..gzip.len()].copy_from_slice(&gzip);
    let searcher = Searcher::new(&texts()).unwrap();
    let scan = |piece: usize| {
        let mut scan = Scan::new(&searcher, "f", Documented::none(), noise.len() as u64);
        noise.chunks(piece).for_each(|piece| scan.feed(piece));
        serde_json::to_value(scan.finish()).unwrap()
    };
    let by_many = scan(Scan::PIECE);
    assert_eq!(by_many, scan(Scan::PIECE / 8));
    assert_eq!(by_many["canary_hits"], 18_000, "plain, and inside gzip");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), &noise).unwrap();
    let of_file = scan_copy(dir.path(), &searcher, &|_| ()).unwrap();
    assert_eq!(by_many, serde_json::to_value(of_file).unwrap());
}

/// A device that gave no bytes because its metadata give no length would be searched without a finding.
#[test]
fn a_block_device_and_a_link_to_it_are_searched_and_a_pipe_is_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    let places = image(&path, 20 * MIB);
    let searcher = Searcher::new(&texts()).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    let linked = scan_copy(&link, &searcher, &|_| ()).unwrap();
    assert_eq!(
        (hits(&linked).as_slice(), linked.bytes),
        (&places[..], 20 * MIB)
    );
    for none in ["/dev/zero", "/dev/null"] {
        let why = scan_copy(none.as_ref(), &searcher, &|_| ()).unwrap_err();
        assert!(why.to_string().contains("no file and no block device"));
    }
    let Some(device) = Loop::of(&path) else {
        eprintln!("skipped: no loop device is to be had here");
        return;
    };
    let seen = scan_copy(&device.0, &searcher, &|_| ()).unwrap();
    assert_eq!(
        (hits(&seen).as_slice(), seen.bytes),
        (&places[..], 20 * MIB)
    );
}

/// A loop device, which takes a right that few have.
struct Loop(PathBuf);

impl Loop {
    fn of(image: &Path) -> Option<Self> {
        let mut command = Command::new("losetup");
        let made = command.args(["--read-only", "--find", "--show"]).arg(image);
        let made = made.output().ok().filter(|made| made.status.success())?;
        let path = PathBuf::from(String::from_utf8(made.stdout).ok()?.trim());
        let device = Self(path);
        device.0.exists().then_some(device)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn bytes_that_nothing_opens_are_judged_and_no_bytes_prove_nothing() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let look = |texts: &CanarySet| look_at(dir.path(), texts, &|_| ()).unwrap();
    let empty = look(&texts());
    assert_eq!(empty.texts, Some(Verdict::Inconclusive));
    assert_eq!(empty.noise, Verdict::Inconclusive);
    let mut noise = vec![0; 100_000];
    ChaCha8Rng::seed_from_u64(6).fill_bytes(&mut noise);
    fs::write(dir.path().join("sealed"), &noise).unwrap();
    let sealed = look(&texts());
    assert_eq!(sealed.texts, Some(Verdict::Holds));
    assert_eq!(sealed.noise, Verdict::Holds);
    assert_eq!(look(&CanarySet::default()).texts, None);
    fs::write(dir.path().join("note"), hex::encode(SECRET)).unwrap();
    let found = look(&texts());
    assert_eq!((found.texts, found.found), (Some(Verdict::Fails), 1));
    assert_eq!(found.hits[0].file, "note");
    fs::write(
        dir.path().join("rows"),
        "an invoice, and one more\n".repeat(999),
    )
    .unwrap();
    assert_eq!(look(&texts()).noise, Verdict::Fails);
    assert!(look_at(&dir.path().join("missing"), &texts(), &|_| ()).is_err());
}

/// What the command says, and how it ends.
#[test]
fn the_command_says_where_a_text_is_and_ends_with_1() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let run = |text: &str, code: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atrest"));
        let ran = command
            .args(["prove", "--target", "disk.img", "--text", text])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{said}");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    image(&dir.path().join("disk.img"), 18 * MIB);
    let said = run(SECRET, 1);
    for part in [
        "NOT STOPPED: 3 found",
        "UTF-16LE",
        "XORed with 0xa5",
        "disk.img",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(run("Lee Berg, IBAN NL00RABO0000000000", 0).contains("stopped: 0 found"));
    assert!(run("short", 2).contains("at least 12 bytes"));
}
