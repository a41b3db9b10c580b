//! The memory of a process, as the system shows it to who may trace it (proc(5)).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;

use super::LabError;

/// So much is looked at at once, in bytes.
const STEP: usize = 1 << 20;

/// What to look for of a known key: the XOR of each byte with the next one. So the search itself puts
/// no copy of the key into memory; with the first byte unknown it is none.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Needle([u8; 31]);

impl Needle {
    pub(super) fn of(key: &[u8; 32]) -> Self {
        Self(std::array::from_fn(|i| key[i] ^ key[i + 1]))
    }

    /// How often it is in a file.
    pub(super) fn in_file(&self, path: &Path) -> Result<u64, LabError> {
        let failed = |e| LabError::io(path, e);
        let mut file = File::open(path).map_err(failed)?;
        let mut search = Search::new(std::slice::from_ref(self))?;
        let mut kept = 0;
        loop {
            let read = file.read(&mut search.bytes[kept..]).map_err(failed)?;
            if read == 0 {
                return Ok(search.found[0]);
            }
            kept = search.step(kept + read);
        }
    }
}

/// A process whose memory is read.
pub(super) struct Process(PathBuf);

impl Process {
    /// This one.
    pub(super) fn own() -> Self {
        Self(PathBuf::from("/proc/self"))
    }

    /// One that this one has started.
    pub(super) fn of(id: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{id}")))
    }

    /// How often each needle is in memory that the process can write to.
    pub(super) fn count(&self, needles: &[Needle]) -> Result<Vec<u64>, LabError> {
        let (maps, mem) = (self.0.join("maps"), self.0.join("mem"));
        let maps = std::fs::read_to_string(&maps).map_err(|e| LabError::io(&maps, e))?;
        let file = File::open(&mem).map_err(|e| LabError::io(&mem, e))?;
        let mut search = Search::new(needles)?;
        // The search's own memory holds what it has just read.
        let own = search.bytes.as_ptr_range();
        let own = own.start as usize..own.end as usize;
        let is_own = self.0.ends_with("self");
        for (mut at, end) in maps.lines().filter_map(writable) {
            let mut kept = 0;
            while at < end {
                let room = (search.bytes.len() - kept).min(end - at);
                let buffer = &mut search.bytes[kept..kept + room];
                // A page may have gone since the map was read.
                let read = file.read_at(buffer, at as u64).unwrap_or(0);
                if read == 0 {
                    at += room;
                    kept = 0;
                    continue;
                }
                if is_own {
                    let overlap = own.start.max(at)..own.end.min(at + read);
                    if overlap.start < overlap.end {
                        buffer[overlap.start - at..overlap.end - at].fill(0);
                    }
                }
                at += read;
                kept = search.step(kept + read);
            }
        }
        Ok(std::mem::take(&mut search.found))
    }
}

/// A line of `maps`, when it is memory that can be read and written.
fn writable(line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    rest.starts_with("rw")
        .then_some((parse(start)?, parse(end)?))
}

struct Search {
    automaton: AhoCorasick,
    longest: usize,
    bytes: Vec<u8>,
    differences: Vec<u8>,
    found: Vec<u64>,
}

impl Search {
    fn new(needles: &[Needle]) -> Result<Self, LabError> {
        let automaton = AhoCorasick::new(needles.iter().map(|n| n.0));
        Ok(Self {
            automaton: automaton.map_err(|e| LabError::Report(e.to_string()))?,
            longest: 32,
            bytes: vec![0; STEP],
            differences: Vec::with_capacity(STEP),
            found: vec![0; needles.len()],
        })
    }

    /// Searches the first `len` bytes, and keeps the last ones for what comes: returns how many.
    fn step(&mut self, len: usize) -> usize {
        let bytes = &self.bytes[..len];
        // Most of a process's memory, and of a dump of it, was never written to, and no key is all zeroes.
        if bytes.iter().any(|byte| *byte != 0) {
            self.differences.clear();
            let pairs = bytes.iter().zip(bytes.iter().skip(1));
            self.differences.extend(pairs.map(|(a, b)| a ^ b));
            for found in self.automaton.find_overlapping_iter(&self.differences) {
                self.found[found.pattern().as_usize()] += 1;
            }
        }
        // One byte less than a key: no match is seen twice.
        let kept = len.min(self.longest - 1);
        self.bytes.copy_within(len - kept..len, 0);
        kept
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.bytes.fill(0);
        std::hint::black_box(&self.bytes);
    }
}

/// Whether the page of this process at `address` is locked in memory (`VmFlags` of proc(5)).
pub(super) fn locked_at(address: usize) -> Result<bool, LabError> {
    let path = Path::new("/proc/self/smaps");
    let smaps = std::fs::read_to_string(path).map_err(|e| LabError::io(path, e))?;
    let mut inside = false;
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if inside {
                return Ok(flags.split_whitespace().any(|flag| flag == "lo"));
            }
        } else if let Some((start, end)) = range(line) {
            inside = (start..end).contains(&address);
        }
    }
    Ok(false)
}

/// The range that a header line of `smaps` names.
fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    Some((parse(start)?, parse(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_memory_is_found_and_the_search_leaves_none() {
        let key: [u8; 32] = std::array::from_fn(|i| (i as u8).wrapping_mul(151) ^ 0x3c);
        let needle = Needle::of(&key);
        let needles = std::slice::from_ref(&needle);
        let copy = Box::new(std::hint::black_box(key));
        assert!(Process::own().count(needles).unwrap()[0] > 0);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("core");
        let mut bytes = vec![7; STEP - 5];
        bytes.extend_from_slice(&copy[..]);
        bytes.extend_from_slice(&[7; 100]);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(needle.in_file(&path).unwrap(), 1);
    }
}
