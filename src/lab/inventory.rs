use std::path::{Path, PathBuf};

use super::detect::scan_files;
use super::theft::read_at;
use super::{LabError, Searcher};

/// A file that anybody can read, wherever it came from: a backup from before, an export, a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable {
    /// The file.
    pub path: PathBuf,
    /// What gave it away.
    pub why: Vec<&'static str>,
}

/// Those of `files` that are no noise: the inventory of what encryption does not cover. A file that
/// another program encrypted is noise too; a text counts as readable however short it is.
pub fn readable(files: &[PathBuf], searcher: &Searcher) -> Result<Vec<Readable>, LabError> {
    let mut found = Vec::new();
    for path in files {
        let one = std::slice::from_ref(path);
        let figures = scan_files(Path::new(""), one, searcher, &|_| ())?;
        let mut why = figures.alarms();
        if why.is_empty() && is_text(path)? {
            why.push("text");
        }
        if !why.is_empty() {
            found.push(Readable {
                path: path.clone(),
                why,
            });
        }
    }
    Ok(found)
}

/// Whether the file begins with nothing but printable text; by chance 16 bytes do once in 10^6 files.
fn is_text(path: &Path) -> Result<bool, LabError> {
    let begin = read_at(path, 0, 4096)?;
    let text = |b: &u8| matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    Ok(begin.len() >= 16 && begin.iter().all(text))
}

#[cfg(test)]
mod tests {
    use super::super::CanarySet;
    use super::*;

    #[test]
    fn a_plain_backup_is_listed_and_noise_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let noise = hex::decode("8f1b03d2c4e79a5560ff0122ab90cdee17").unwrap();
        let files = [
            write("note.txt", b"the account is NL91ABNA0417164300"),
            write("noise", &noise),
            write("rows.csv", &b"1;2026-03-01;Kim Akers\n".repeat(500)),
        ];
        let searcher = Searcher::new(&CanarySet::default()).unwrap();
        let found = readable(&files, &searcher).unwrap();
        let names: Vec<_> = found.iter().map(|r| r.path.clone()).collect();
        assert_eq!(names, [files[0].clone(), files[2].clone()]);
    }
}
