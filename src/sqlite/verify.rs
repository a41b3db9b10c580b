use std::path::PathBuf;
use std::sync::Arc;

use super::medium::{Code, Medium};
use super::page_file::{self, PageFile};
use super::shared::Shared;
use super::vfs::LowerFile;
use super::wal_file;

/// Authenticates every page of the main file and the write-ahead log; returns units and bytes.
pub(super) fn verify(
    shared: &Arc<Shared>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(u64, u64), Code> {
    let page = shared.page_size().bytes();
    let mut medium = LowerFile::open_path(shared.path())?;
    let len = medium.len()?;
    let pages = page_file::pages_of(len, page);
    let mut file = PageFile::new(shared.clone(), 0);
    let mut plain = vec![0; page];
    for number in 1..=pages {
        file.check()?;
        // A checkpoint may write a page while it is read: what fails is read once more.
        if file.read_page(&mut medium, number, &mut plain).is_err() {
            file.read_page(&mut medium, number, &mut plain)?;
        }
        progress(number * page as u64, len);
    }
    let mut name = shared.path().as_os_str().to_owned();
    name.push("-wal");
    let wal = PathBuf::from(name);
    if !wal.exists() {
        return Ok((pages, len));
    }
    let mut medium = LowerFile::open_path(&wal)?;
    match wal_file::verify(shared, &mut medium)? {
        Some((units, bytes)) => Ok((pages + units, len + bytes)),
        None => Err(shared.refuse(
            Code::UNAUTHENTIC,
            "the write-ahead log is broken in the middle",
        )),
    }
}
