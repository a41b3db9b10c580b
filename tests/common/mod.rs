//! Golden vectors: each file under `tests/vectors` is a few lines `key: value`, an empty line, and
//! the bytes in hexadecimal (white space is ignored). The file's name says what is wrong with it;
//! the header `expect` says what a reader must answer (`success`, or a word per area).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One vector.
pub struct Vector {
    /// The file's name without its ending.
    pub name: String,
    headers: BTreeMap<String, String>,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Vector {
    /// The header `key`.
    ///
    /// # Panics
    /// When the vector has none.
    pub fn get(&self, key: &str) -> &str {
        let found = self.find(key);
        found.unwrap_or_else(|| panic!("{}: no header {key}", self.name))
    }

    /// The header `key`, where it may be absent.
    pub fn find(&self, key: &str) -> Option<&str> {
        self.headers.get(key).map(String::as_str)
    }

    /// The header `key`, in hexadecimal.
    pub fn hex(&self, key: &str) -> Vec<u8> {
        hex::decode(self.get(key)).unwrap()
    }
}

/// Every vector of an area, by name. At least one must be a success and one a failure.
pub fn vectors(area: &str) -> Vec<Vector> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(area);
    let mut all: Vec<Vector> = fs::read_dir(dir)
        .unwrap()
        .map(|e| read(&e.unwrap().path()))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    for success in [true, false] {
        assert!(
            all.iter()
                .any(|v| (v.get("expect") == "success") == success)
        );
    }
    all
}

fn read(path: &Path) -> Vector {
    let text = fs::read_to_string(path).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap();
    let headers = head.lines().map(|l| {
        let (key, value) = l.split_once(": ").unwrap();
        (key.to_owned(), value.to_owned())
    });
    let digits: String = body.split_whitespace().collect();
    Vector {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        headers: headers.collect(),
        body: hex::decode(digits).unwrap(),
    }
}
