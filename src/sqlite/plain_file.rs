//! The plain file from which a database is encrypted: what is done to it as a file.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::base::sync_names;

use super::SealedError;
use super::database::io;
use super::side::MAGIC;

/// Bytes that are overwritten at once.
const STEP: usize = 1 << 20;

/// With which a plain file begins that is converted to a sealed one.
const DISOWNED: &[u8; MAGIC.len()] = b"moved by atrest\0";

/// Takes from a plain database that is converted what makes it one: whoever still has it open under
/// its old name must not go on reading what others change elsewhere. SQLite looks at its change counter
/// at the begin of each transaction, and then at all of its header.
pub fn disown(path: &Path) -> Result<(), SealedError> {
    let change = || {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut header = [0; 100];
        if file.metadata()?.len() < header.len() as u64 {
            // Nothing was ever in it.
            return Ok(());
        }
        file.read_exact_at(&mut header, 0)?;
        if header.starts_with(MAGIC) {
            for at in [24, 92] {
                let counter = header[at..at + 4].try_into().expect("4 bytes");
                let next = u32::from_be_bytes(counter).wrapping_add(1);
                header[at..at + 4].copy_from_slice(&next.to_be_bytes());
            }
            header[..MAGIC.len()].copy_from_slice(DISOWNED);
            file.write_all_at(&header, 0)?;
            file.sync_all()?;
        }
        Ok(())
    };
    change().map_err(|e| io(path, e))
}

/// Whether [`disown`] was here.
pub fn is_disowned(path: &Path) -> bool {
    let mut begin = [0; DISOWNED.len()];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut begin, 0));
    read.is_ok() && begin == *DISOWNED
}

/// Overwrites a file with zeros, but for what [`is_disowned`] looks for, and removes it: a crash before it is
/// removed leaves it to be known again. What the medium makes of that is its own affair.
pub fn scrub(path: &Path) -> Result<(), SealedError> {
    let overwrite = || {
        let file = OpenOptions::new().write(true).open(path)?;
        let (mut at, len) = (DISOWNED.len() as u64, file.metadata()?.len());
        let zeros = vec![0; STEP];
        while at < len {
            let count = (len - at).min(STEP as u64);
            file.write_all_at(&zeros[..count as usize], at)?;
            at += count;
        }
        file.sync_all()?;
        fs::remove_file(path)?;
        sync_names(path)
    };
    overwrite().map_err(|e| io(path, e))
}
