use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::base::create_dir_private;
use crate::envelope::ResourceKind;
use crate::lab::theft::read_at;
use crate::lab::{
    Attack, CanarySet, Control, Documented, Evidence, Exhibit, Figures, Lab, LabError, Outcome,
    Searcher, scan_copy, xor_of_copies,
};
use crate::resource::blob::Slot;
use crate::sqlite::PageSize;

use super::account::{Account, text};
use super::bout::{both_arms, control};
use super::database::Database;
use super::leak::files_of;
use super::sql::page_size;
use super::vault::Arm;

/// Attack 25.
pub(in crate::lab) fn repeats(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(25);
    let files = files_of(exhibit.kind, &exhibit.protected)?;
    let stolen = in_files(&files, "in the stolen copy")?;
    let forks = both_arms(lab, exhibit, |arm, dir| match exhibit.kind {
        ResourceKind::Sql => forked_databases(dir, arm, page_size(exhibit)?),
        _ => forked_accounts(dir, arm),
    })?;
    Ok(vec![
        attack.outcome(Some("nonces of the stolen copy"), exhibit, stolen),
        attack.outcome(
            Some("a specimen restored twice, both going on, equal plaintexts"),
            exhibit,
            forks,
        ),
    ])
}

/// Whether a nonce in these files was used again.
pub(super) fn in_files(files: &[PathBuf], place: &str) -> Result<Evidence, LabError> {
    let mut evidence = Seen::over(files)?.evidence(place);
    evidence.control = Some(self_test()?);
    Ok(evidence)
}

/// Every (key salt, nonce) met, with what it sealed. The same unit may be met again in a copy; a
/// different one under the same pair is a repeat.
#[derive(Default)]
pub(in crate::lab) struct Seen {
    /// The tag that each salt and nonce was first met with, of one part of them all.
    units: HashMap<[u8; 16], [u8; 16]>,
    /// Which of how many parts; no parts are one.
    part: (u64, u64),
    /// Units met.
    pub count: u64,
    /// Where a pair was used again.
    pub repeats: Vec<(PathBuf, u64)>,
}

impl Seen {
    /// So many units are remembered at a time, about.
    const MAX: u64 = 1 << 20;

    /// Reads every unit of any number of sealed files: copies, versions and forks. Where there are too many to be
    /// remembered they are read again for each part of their salts and nonces, so that memory does not grow.
    pub(in crate::lab) fn over(files: &[PathBuf]) -> Result<Self, LabError> {
        let mut units = 0;
        for file in files {
            let layout = Documented::of(file)?;
            let len = file.metadata().map_err(|e| LabError::io(file, e))?.len();
            units += len / layout.unit as u64 * layout.public.len() as u64 + 1;
            units += layout.packed.map_or(0, |packed| packed.len() as u64);
        }
        Self::in_parts(files, units / Self::MAX + 1)
    }

    fn in_parts(files: &[PathBuf], parts: u64) -> Result<Self, LabError> {
        let mut seen = Self::default();
        for part in 0..parts {
            seen.units.clear();
            seen.part = (part, parts);
            for file in files {
                seen.file(file)?;
            }
        }
        Ok(seen)
    }

    /// Reads every unit of a sealed file; other files have none.
    fn file(&mut self, path: &Path) -> Result<(), LabError> {
        let failed = |e| LabError::io(path, e);
        let layout = Documented::of(path)?;
        if let Some(packed) = &layout.packed {
            for [head, ..] in packed {
                let at = head + Slot::HEAD_LEN as u64;
                self.extent(path, at, &read_at(path, at, 128)?);
            }
            return Ok(());
        }
        if layout.unit != EXTENT_UNIT && layout.public.is_empty() {
            return Ok(());
        }
        let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(failed)?);
        if layout.unit == EXTENT_UNIT {
            self.extent(path, 0, &read_at(path, 0, 128)?);
            return Ok(());
        }
        let skipped = std::io::copy(&mut (&mut file).take(layout.header), &mut std::io::sink());
        let mut at = skipped.map_err(failed)?;
        let mut unit = vec![0; layout.unit];
        while file.read_exact(&mut unit).is_ok() {
            for public in &layout.public {
                let identity = unit[public.clone()].try_into().expect("16 bytes");
                let tag = unit[public.end..public.end + 16]
                    .try_into()
                    .expect("16 bytes");
                self.unit(path, at + public.start as u64, identity, tag);
            }
            at += layout.unit as u64;
        }
        Ok(())
    }

    /// An extent's nonces are its chunks' numbers; its key comes from its own random salt.
    fn extent(&mut self, path: &Path, at: u64, header: &[u8]) {
        let Ok(header) = <&[u8; 128]>::try_from(header) else {
            return;
        };
        if header.starts_with(b"atrestBX") {
            let commitment = header[96..112].try_into().expect("16 bytes");
            let salt: [u8; 16] = std::array::from_fn(|i| header[64 + i] ^ header[80 + i]);
            self.unit(path, at, salt, commitment);
        }
    }

    fn unit(&mut self, path: &Path, at: u64, nonce_and_salt: [u8; 16], tag: [u8; 16]) {
        let (part, parts) = self.part;
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(nonce_and_salt);
        if parts > 1 && hash % parts != part {
            return;
        }
        self.count += 1;
        let known = self.units.entry(nonce_and_salt).or_insert(tag);
        if *known != tag {
            self.repeats.push((path.to_owned(), at));
        }
    }

    fn evidence(&self, place: &str) -> Evidence {
        let mut evidence = Evidence::of(format!(
            "{} nonces {place}: {} used again for something else.",
            self.count,
            self.repeats.len()
        ));
        evidence.tally.trials = self.count;
        evidence.tally.succeeded = self.repeats.len() as u64;
        evidence.tally.refused = self.count - evidence.tally.succeeded;
        for (path, at) in &self.repeats {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            evidence.finding(file, Some(*at), "nonce used again");
        }
        evidence
    }
}

const EXTENT_UNIT: usize = 65_536 + 16;

/// A nonce that is used twice must be seen, else its absence says nothing.
fn self_test() -> Result<Control, LabError> {
    let mut seen = Seen::default();
    for tag in [1, 2] {
        seen.unit(Path::new("made up"), 0, [7; 16], [tag; 16]);
    }
    let mut control = control(seen.evidence("made up"));
    control.summary = "unprotected data has no nonces; of two made up ones that are equal, the \
                       repeat was seen."
        .to_owned();
    Ok(control)
}

/// The same database restored twice; both go on, with the same statements. Their files must have
/// nothing in common but what was there before.
fn forked_databases(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let [one, two] = ["restored", "restored-again"].map(|name| dir.join(name));
    for dir in [&one, &two] {
        create_dir_private(dir).map_err(|e| LabError::io(dir, e))?;
    }
    let original = Database::specimen(&one, "ledger", arm, size, 1)?;
    let fork = original.fork(&two)?;
    let mut held = Vec::new();
    for database in [&original, &fork] {
        let connection = database.open()?.connect()?;
        connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(()))?;
        connection.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
        for round in 0..8 {
            connection.execute("UPDATE ledger SET amount = ?1", [round])?;
            if round == 3 {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            }
        }
        // Held open, so that the log stays.
        held.push(connection);
    }
    let (mut seen, mut equal, mut keystream) = (Seen::default(), 0, (0, 0));
    for suffix in ["", "-wal"] {
        let [a, b] = [&one, &two].map(|d| d.join(format!("ledger{suffix}")));
        seen.file(&a)?;
        seen.file(&b)?;
        let (pairs, flagged) = xor_of_copies(&a, &b)?;
        keystream = (keystream.0 + pairs, keystream.1 + flagged);
    }
    // Within the logs the same pages were written again and again.
    let searcher = Searcher::new(&CanarySet::default())?;
    let mut logs = Figures::default();
    for dir in [&one, &two] {
        logs.merge(scan_copy(&dir.join("ledger-wal"), &searcher, &|_| ())?);
    }
    equal += logs.blocks_repeated;
    drop(held);
    Ok(forked_evidence(&seen, equal, keystream))
}

/// The same account restored twice; both get the same blobs, each of them twice.
fn forked_accounts(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let one = Account::specimen(&dir.join("restored"), arm)?;
    let elsewhere = dir.join("again");
    create_dir_private(&elsewhere).map_err(|e| LabError::io(&elsewhere, e))?;
    let two = one.fork(&elsewhere)?;
    let mut extents = Vec::new();
    for account in [&one, &two] {
        for name in ["a.txt", "b.txt"] {
            extents.push(account.put(name, text(1, 70_000))?.extent);
        }
    }
    let mut seen = Seen::default();
    let (mut equal, mut keystream) = (0, (0, 0));
    let header = one.layout().0;
    for (i, a) in extents.iter().enumerate() {
        seen.file(a)?;
        for b in &extents[i + 1..] {
            let (x, y) = (super::alter::read_all(a)?, super::alter::read_all(b)?);
            let blocks = x[header..].chunks(16).zip(y[header..].chunks(16));
            equal += blocks.filter(|(a, b)| a == b).count() as u64;
            let (pairs, flagged) = xor_of_copies(a, b)?;
            keystream = (keystream.0 + pairs, keystream.1 + flagged);
        }
    }
    Ok(forked_evidence(&seen, equal, keystream))
}

fn forked_evidence(seen: &Seen, equal: u64, keystream: (u64, u64)) -> Evidence {
    let mut evidence = seen.evidence("in both copies");
    evidence.summary = format!(
        "{} {equal} equal 16-byte blocks from equal plaintexts; {} of {} differing pieces at equal \
         places were sealed under one keystream.",
        evidence.summary, keystream.1, keystream.0
    );
    evidence.tally.trials += 2;
    for bad in [equal, keystream.1] {
        match bad {
            0 => evidence.tally.refused += 1,
            _ => evidence.tally.succeeded += 1,
        }
    }
    evidence
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A repeat that lies in two files must be seen however many parts the search is cut into, and a copy
    /// of a file is no repeat.
    #[test]
    fn a_nonce_used_again_in_another_copy_is_seen_in_any_number_of_parts() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = b"atrestDB\0\0\0\x0c".to_vec();
            bytes.resize(4096, 0);
            for page in 0u32..300 {
                let mut unit = vec![0x55; 4096];
                unit[4064..4068].copy_from_slice(&page.to_le_bytes());
                unit[4080..].fill(page as u8);
                bytes.extend(unit);
            }
            change(&mut bytes);
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let tag_of = |page: usize| 4096 + page * 4096 + 4080;
        let files = [
            sealed("a", &|_| ()),
            sealed("copy", &|_| ()),
            sealed("fork", &|bytes| {
                for page in [7, 250] {
                    bytes[tag_of(page)] ^= 1;
                }
            }),
        ];
        for parts in [1, 2, 7] {
            let seen = Seen::in_parts(&files, parts).unwrap();
            assert_eq!((seen.count, seen.repeats.len()), (900, 2), "{parts} parts");
            let copies = Seen::in_parts(&files[..2], parts).unwrap();
            assert_eq!((copies.count, copies.repeats.len()), (600, 0));
        }
        assert_eq!(Seen::over(&files).unwrap().repeats.len(), 2);
    }
}
