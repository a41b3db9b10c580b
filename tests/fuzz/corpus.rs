//! A corpus: files of a few lines `key: value`, an empty line, and the bytes of a database's files one
//! after the other.

use std::fs;
use std::path::{Path, PathBuf};

use atrest::sqlite::Position;

use crate::files::Files;
use crate::{envelope, header, journal, page, position, record, signpost, wal};

const NAMES: [&str; 4] = ["main", "wal", "journal", "signpost"];

/// An input of a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub files: Files,
    /// The state that these files hold; none for files that were altered.
    pub state: Option<usize>,
    /// The state of the database that is remembered elsewhere, and its position.
    pub remembered: Option<(usize, [u8; Position::LEN])>,
    /// Whether units were sealed by somebody else with the key.
    pub forged: bool,
}

impl Entry {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = String::new();
        if let Some(state) = self.state {
            head += &format!("state: {state}\n");
        }
        if let Some((state, position)) = &self.remembered {
            head += &format!("remembered: {state} {}\n", hex::encode(position));
        }
        if self.forged {
            head += "forged: yes\n";
        }
        let files = NAMES.iter().zip(&self.files.0);
        let there = files.filter_map(|(name, bytes)| Some((name, bytes.as_ref()?)));
        let mut body = Vec::new();
        for (name, bytes) in there {
            head += &format!("{name}: {}\n", bytes.len());
            body.extend(bytes);
        }
        [head.as_bytes(), b"\n", &body].concat()
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let (head, mut body) = (str::from_utf8(&bytes[..end]).unwrap(), &bytes[end + 2..]);
        let mut entry = Self::default();
        for line in head.lines() {
            let (key, value) = line.split_once(": ").unwrap();
            match key {
                "state" => entry.state = Some(value.parse().unwrap()),
                "remembered" => {
                    let (state, position) = value.split_once(' ').unwrap();
                    let position = hex::decode(position).unwrap().try_into().unwrap();
                    entry.remembered = Some((state.parse().unwrap(), position));
                }
                "forged" => entry.forged = true,
                name => {
                    let file = NAMES.iter().position(|n| *n == name).unwrap();
                    let (this, rest) = body.split_at(value.parse().unwrap());
                    entry.files.0[file] = Some(this.to_vec());
                    body = rest;
                }
            }
        }
        assert!(body.is_empty(), "more bytes than the head says");
        entry
    }
}

fn dir(target: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    tests.join(target)
}

/// All entries of a target's corpus, by name.
pub fn load(target: &str) -> Vec<(String, Entry)> {
    let files = fs::read_dir(dir(target)).unwrap();
    let mut all: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, Entry::parse(&fs::read(path).unwrap()))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty());
    all
}

/// Writes the entries that the program makes. What it writes says the same each time and differs in salts
/// and nonces: the files that are kept were written once. Others, such as inputs that failed, stay.
#[test]
#[ignore = "writes tests/fuzz/corpus anew"]
fn write_the_corpora() {
    let logs = wal::entries();
    let all = [
        ("header", header::entries()),
        ("page", page::entries()),
        ("record", record::entries()),
        ("position", position::entries(&logs)),
        ("signpost", signpost::entries(&logs)),
        ("wal", logs),
        ("journal", journal::entries()),
        ("envelope", envelope::entries()),
    ];
    for (target, entries) in all {
        fs::create_dir_all(dir(target)).unwrap();
        for (name, entry) in entries {
            let bytes = entry.to_bytes();
            assert_eq!(Entry::parse(&bytes), entry);
            fs::write(dir(target).join(name), bytes).unwrap();
        }
    }
}
