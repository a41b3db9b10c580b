//! What a traced child did to the files in one directory and below it, step by step.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::strace::Line;

/// Files by name: the path from the directory on.
pub type Image = BTreeMap<String, Vec<u8>>;

pub type Inode = usize;

/// One step in the life of a directory.
#[derive(Clone, Debug)]
pub enum Step {
    Write(Inode, usize, Vec<u8>),
    SetLen(Inode, usize),
    SyncFile(Inode),
    Create(String, Inode),
    Remove(String),
    /// From one name to another, in one step.
    Rename(String, String, Inode),
    /// The directory with this name: "" for the outermost.
    SyncDirectory(String),
    /// A line that the child said in between.
    Said(String),
}

/// The number of the commit that a child says has returned, if it says that.
pub fn committed(line: &str) -> Option<usize> {
    let number = line.strip_prefix("committed ")?;
    Some(number.trim().parse().unwrap())
}

/// All steps, in order, and the names of the files for people.
pub struct Recording {
    pub steps: Vec<Step>,
    /// The name under which each inode was made.
    pub names: Vec<String>,
    /// What was there before: the first files of `names`.
    pub before: Vec<Vec<u8>>,
}

enum Open {
    File { inode: Inode, at: usize },
    Directory(String),
}

impl Recording {
    /// The steps among `calls` that concern `dir`, which held some files before.
    pub fn new(calls: &[Line], dir: &Path, before: Image) -> Self {
        let (names, before): (Vec<_>, Vec<_>) = before.into_iter().unzip();
        let mut open = HashMap::new();
        let mut there = names.iter().cloned().zip(0..).collect();
        let mut recording = Self {
            steps: Vec::new(),
            names,
            before,
        };
        for call in calls.iter().filter(|call| call.returned().is_some()) {
            recording.take(call, dir, &mut open, &mut there);
        }
        recording
    }

    fn take(
        &mut self,
        call: &Line,
        dir: &Path,
        open: &mut HashMap<u64, Open>,
        there: &mut BTreeMap<String, Inode>,
    ) {
        let name_in_dir = |path: &Path| -> Option<String> {
            let name = path.strip_prefix(dir).ok()?.to_str()?;
            (!name.is_empty() && !name.ends_with("-shm")).then(|| name.to_owned())
        };
        let returned = call.returned().unwrap();
        let fd = call.fd(0).unwrap_or(u64::MAX);
        match call.name.as_str() {
            "openat" => {
                open.remove(&returned);
                let (path, flags) = (call.returned_path().unwrap_or_default(), call.arg(2));
                if path.is_dir() {
                    if let Ok(name) = path.strip_prefix(dir) {
                        let name = name.to_str().unwrap().to_owned();
                        open.insert(returned, Open::Directory(name));
                    }
                    return;
                }
                let Some(name) = name_in_dir(&path) else {
                    return;
                };
                let inode = *there.entry(name.clone()).or_insert_with(|| {
                    let inode = self.names.len();
                    self.names.push(name.clone());
                    self.steps.push(Step::Create(name, inode));
                    inode
                });
                if flags.contains("O_TRUNC") {
                    self.steps.push(Step::SetLen(inode, 0));
                }
                open.insert(returned, Open::File { inode, at: 0 });
            }
            "close" => {
                open.remove(&fd);
            }
            "write" if fd == 2 => {
                let said = String::from_utf8_lossy(&call.bytes(1)).into_owned();
                self.steps.push(Step::Said(said));
            }
            "unlink" => {
                if let Some(name) = name_in_dir(&call.path(0)) {
                    there.remove(&name);
                    self.steps.push(Step::Remove(name));
                }
            }
            "rename" | "renameat" | "renameat2" => {
                // All paths are whole.
                let paths = if call.name == "rename" {
                    [0, 1]
                } else {
                    [1, 3]
                };
                let [from, to] = paths.map(|at| name_in_dir(&call.path(at)));
                if let (Some(from), Some(to)) = (from, to) {
                    let inode = there.remove(&from).unwrap();
                    there.insert(to.clone(), inode);
                    self.steps.push(Step::Rename(from, to, inode));
                }
            }
            "write" | "pwrite64" => {
                if let Some(Open::File { inode, at }) = open.get_mut(&fd) {
                    let mut bytes = call.bytes(1);
                    bytes.truncate(returned as usize);
                    let offset = match call.name.as_str() {
                        "write" => std::mem::replace(at, *at + bytes.len()),
                        _ => call.number(3) as usize,
                    };
                    self.steps.push(Step::Write(*inode, offset, bytes));
                }
            }
            "lseek" => {
                if let Some(Open::File { at, .. }) = open.get_mut(&fd) {
                    *at = returned as usize;
                }
            }
            "ftruncate" => {
                if let Some(Open::File { inode, .. }) = open.get(&fd) {
                    self.steps
                        .push(Step::SetLen(*inode, call.number(1) as usize));
                }
            }
            "fsync" | "fdatasync" => match open.get(&fd) {
                Some(Open::File { inode, .. }) => self.steps.push(Step::SyncFile(*inode)),
                Some(Open::Directory(name)) => {
                    self.steps.push(Step::SyncDirectory(name.clone()));
                }
                None => {}
            },
            // Reads of a mapping; no page of a file is written through one (see `trace.rs`).
            "mmap" => {}
            // The index of a log lies in memory; a link there leads to the database.
            "symlink" => {}
            other => {
                let named = |at| name_in_dir(&call.path(at)).is_some();
                let touches = open.contains_key(&fd) || named(0) || named(1);
                assert!(!touches, "the model does not know what {other} does");
            }
        }
    }

    /// Content of each state that was committed, by number, as the child said; and the step at which the
    /// first one was there.
    pub fn states(&self) -> (Vec<String>, usize) {
        let (mut states, mut begin) = (Vec::new(), None);
        for (at, step) in self.steps.iter().enumerate() {
            let Step::Said(said) = step else { continue };
            if let Some(state) = said.strip_prefix("state ") {
                let (number, content) = state.trim().split_once(' ').unwrap();
                assert_eq!(number.parse(), Ok(states.len()));
                states.push(content.to_owned());
                begin = begin.or(Some(at));
            }
        }
        (states, begin.unwrap())
    }

    /// The name under which an inode was made.
    pub fn name(&self, inode: Inode) -> &str {
        &self.names[inode]
    }

    /// One step in words.
    pub fn describe(&self, step: &Step) -> String {
        match step {
            Step::Write(inode, offset, bytes) => {
                format!("{} at {offset}: {} bytes", self.name(*inode), bytes.len())
            }
            Step::SetLen(inode, len) => format!("{} has {len} bytes", self.name(*inode)),
            Step::SyncFile(inode) => format!("{} is synced", self.name(*inode)),
            Step::Create(name, inode) => format!("{name} is made (file {inode})"),
            Step::Remove(name) => format!("{name} is removed"),
            Step::Rename(from, to, inode) => format!("{from} is renamed to {to} (file {inode})"),
            Step::SyncDirectory(name) => format!("the directory {name:?} is synced"),
            Step::Said(line) => format!("says: {}", line.trim()),
        }
    }
}
