//! What a power cut may leave of the files in one directory.
//!
//! The model, which is harsher than any file system that we know of:
//!
//! - What was written to a file before a sync of that file is there. Of what was written since, any
//!   part is there or not, in no order, sector by sector (512 bytes): each sector is as it was
//!   after some of the writes to it, since these pass through one page in memory.
//! - A sector is written whole. In the files that [`Disk::tears`] names it may end as it was before.
//! - A name that was made, changed or removed is durably so after a sync of its directory only. Before,
//!   any of these changes may be there or not, in no order, also when the file itself was synced. Each
//!   is there whole: a renamed file has one of the two names.
//! - When a file was cut, the cut reaches the disk after what was done to names and other files'
//!   lengths before, and before what is written to the file afterwards, as on every file system
//!   that journals its metadata. SQLite relies on it: it cuts the main file after it removed the
//!   journal.
//! - A file has any length that it had since its last sync; where it grew and was not written, it
//!   holds anything.
//! - Bytes that nobody wrote to do not change (SQLite's "powersafe overwrite").
//! - Shared memory (`-shm`) is lost: SQLite makes it anew when nobody has it open.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::recording::{Image, Inode, Recording, Step};

const SECTOR: usize = 512;

impl Recording {
    /// What the disk holds when the power goes after the first `cut` steps.
    pub fn image(&self, cut: usize, seed: u64, disk: &Disk) -> Image {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut files: Vec<File> = self.names.iter().map(|_| File::default()).collect();
        for (file, bytes) in files.iter_mut().zip(&self.before) {
            file.durable.clone_from(bytes);
        }
        let mut changes = Vec::new();
        // By directory.
        let mut synced_names = BTreeMap::new();
        for (at, step) in self.steps[..cut].iter().enumerate() {
            match step {
                Step::Write(inode, ..) | Step::SetLen(inode, _) => {
                    files[*inode].pending.push((at, step));
                }
                Step::SyncFile(inode) if disk.lies_about(self.name(*inode)) => {}
                Step::SyncFile(inode) => files[*inode].sync(),
                Step::Create(name, _) | Step::Remove(name) | Step::Rename(name, ..) => {
                    changes.push((at, directory_of(name), step));
                }
                Step::SyncDirectory(name) if disk.lies_about(name) => {}
                Step::SyncDirectory(name) => {
                    synced_names.insert(name.as_str(), at);
                }
                Step::Said(_) => {}
            }
        }
        let luck = match disk.stays {
            true => Luck::All,
            false => Luck::draw(&mut rng),
        };
        // The last cut of a file that reached the disk: so did all before it.
        let synced_cut = files.iter().map(|file| file.shrunk).max().unwrap_or(0);
        let mut cuts: Vec<usize> = files.iter().flat_map(File::pending_cuts).collect();
        cuts.sort();
        let reached = |at: &&usize| **at < synced_cut || luck.keeps(&mut rng);
        let last_cut = cuts.iter().take_while(reached).last();
        let last_cut = last_cut.map_or(synced_cut, |at| synced_cut.max(*at));
        let after = files.iter().zip(&self.names);
        let after: Vec<_> = after
            .map(|(file, name)| file.after_cut(&luck, last_cut, disk.treats(name), &mut rng))
            .collect();
        let before = self.names.iter().take(self.before.len());
        let mut names: BTreeMap<_, _> = before.cloned().zip(0..).collect();
        for (at, directory, step) in changes {
            let synced = synced_names.get(directory).copied().unwrap_or(0);
            if at < synced.max(last_cut) || luck.keeps(&mut rng) {
                rename(&mut names, step);
            }
        }
        let names = names.into_iter();
        names
            .map(|(name, inode)| (name, after[inode].clone()))
            .collect()
    }
}

/// How the disk treats files, by the endings of their names.
#[derive(Clone, Copy, Default)]
pub struct Disk {
    /// A sector may be torn.
    pub tears: &'static [&'static str],
    /// What is written arrives in order.
    pub in_order: &'static [&'static str],
    /// The disk says that it synced them (files, or directories), and did not: to show that the checks
    /// notice.
    pub lies: &'static [&'static str],
    /// The power stays: the process is killed, and all that it wrote is there.
    pub stays: bool,
}

#[derive(Clone, Copy)]
struct Treatment {
    tears: bool,
    in_order: bool,
}

impl Disk {
    fn treats(&self, name: &str) -> Treatment {
        let among = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        Treatment {
            tears: among(self.tears),
            in_order: among(self.in_order),
        }
    }

    fn lies_about(&self, name: &str) -> bool {
        self.lies.iter().any(|ending| name.ends_with(ending))
    }
}

fn directory_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn rename(names: &mut BTreeMap<String, Inode>, step: &Step) {
    match step {
        Step::Create(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Step::Remove(name) => {
            names.remove(name);
        }
        Step::Rename(from, to, inode) => {
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
        _ => unreachable!(),
    }
}

/// How much of what was not synced is there. Some images are rather tidy, since each piece by
/// chance would hardly ever leave, say, a whole transaction but for its last page.
enum Luck {
    Nothing,
    All,
    /// Whole writes, each with this chance.
    Writes(f64),
    /// Pieces of writes, each with this chance.
    Pieces(f64),
}

impl Luck {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let chance = [0.1, 0.5, 0.9][rng.random_range(0..3)];
        match rng.random_range(0..10) {
            0 => Self::Nothing,
            1 => Self::All,
            2..6 => Self::Writes(chance),
            _ => Self::Pieces(chance),
        }
    }

    fn keeps(&self, rng: &mut ChaCha8Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Writes(chance) | Self::Pieces(chance) => rng.random_bool(*chance),
        }
    }
}

#[derive(Default)]
struct File<'a> {
    durable: Vec<u8>,
    pending: Vec<(usize, &'a Step)>,
    /// The last step that cut the file and was synced.
    shrunk: usize,
}

impl File<'_> {
    fn sync(&mut self) {
        for (at, step) in self.pending.drain(..) {
            let len = self.durable.len();
            apply(&mut self.durable, step);
            if self.durable.len() < len {
                self.shrunk = at;
            }
        }
    }

    /// The steps that cut the file since its last sync.
    fn pending_cuts(&self) -> Vec<usize> {
        let mut len = self.durable.len();
        let mut cuts = Vec::new();
        for (at, step) in &self.pending {
            let new = match step {
                Step::Write(_, offset, new) => len.max(offset + new.len()),
                Step::SetLen(_, new) => *new,
                _ => unreachable!(),
            };
            if new < len {
                cuts.push(*at);
            }
            len = new;
        }
        cuts
    }

    /// What is there of it, if the cuts of files up to step `last_cut` reached the disk.
    fn after_cut(
        &self,
        luck: &Luck,
        last_cut: usize,
        treats: Treatment,
        rng: &mut ChaCha8Rng,
    ) -> Vec<u8> {
        let mut versions = vec![self.durable.clone()];
        let mut kept_len = self.durable.len();
        // For each sector, the versions that reached the disk.
        let mut reached: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, step) in &self.pending {
            let mut bytes = versions[versions.len() - 1].clone();
            let old_len = bytes.len();
            apply(&mut bytes, step);
            let (touched, shrinks) = match step {
                Step::Write(_, offset, new) => (*offset..offset + new.len(), false),
                _ if bytes.len() < old_len => (bytes.len()..old_len, true),
                _ => (old_len..bytes.len(), false),
            };
            let whole = match shrinks {
                true => *at <= last_cut,
                false => luck.keeps(rng),
            };
            if (shrinks || treats.in_order) && !whole {
                break;
            }
            if shrinks {
                reached.retain(|sector, _| sector * SECTOR < bytes.len());
            }
            for sector in touched.start / SECTOR..touched.end.div_ceil(SECTOR) {
                let keeps = match luck {
                    _ if shrinks || treats.in_order => true,
                    Luck::Pieces(_) => luck.keeps(rng),
                    _ => whole,
                };
                if keeps {
                    reached.entry(sector).or_default().push(versions.len());
                }
            }
            if whole {
                kept_len = bytes.len();
            }
            versions.push(bytes);
        }
        // Where a sector was never written, the disk may hold anything.
        let filler = if rng.random() { 0 } else { 0xa5 };
        let mut bytes = self.durable.clone();
        bytes.resize(kept_len, filler);
        for (sector, kept) in reached {
            let start = sector * SECTOR;
            let end = kept_len.min(start + SECTOR);
            let [.., last] = kept[..] else { continue };
            // A torn sector begins as the last version, and ends as an earlier one that was there.
            let torn = match treats.tears {
                true => rng.random_range(0..=SECTOR),
                false => SECTOR,
            };
            let earlier = kept.len().checked_sub(2).map_or(0, |at| kept[at]);
            for (at, byte) in bytes.iter_mut().enumerate().take(end).skip(start) {
                let version = if at - start < torn { last } else { earlier };
                *byte = versions[version].get(at).copied().unwrap_or(filler);
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(_, offset, new) => put(bytes, *offset, new),
        Step::SetLen(_, len) => bytes.resize(*len, 0),
        _ => unreachable!(),
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}
