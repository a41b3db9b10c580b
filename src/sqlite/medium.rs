use std::ffi::c_int;

use rusqlite::ffi;

/// A SQLite result code other than `SQLITE_OK`, as a VFS method returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub c_int);

impl Code {
    /// The key may not be used now.
    pub(super) const KEY_UNAVAILABLE: Self = Self(ffi::SQLITE_IOERR_AUTH);
    /// A tag did not fit.
    pub(super) const UNAUTHENTIC: Self = Self(ffi::SQLITE_IOERR_DATA);
    /// All of it is authentic, but not all of it is the newest.
    pub(super) const STALE: Self = Self(ffi::SQLITE_IOERR_CORRUPTFS);
    /// A read went past the end; SQLite takes the missing bytes as zeros.
    pub(super) const SHORT_READ: Self = Self(ffi::SQLITE_IOERR_SHORT_READ);
    /// SQLite asked to read something that no sealed file holds.
    pub(super) const BAD_READ: Self = Self(ffi::SQLITE_IOERR_READ);
    /// SQLite asked to write something that no sealed file can hold.
    pub(super) const BAD_WRITE: Self = Self(ffi::SQLITE_IOERR_WRITE);
}

/// Bytes on a medium: a file below SQLite, or memory in a test.
pub(super) trait Medium {
    /// Reads into `buf` from `offset`; returns how many bytes there were (fewer at the end).
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize, Code>;

    /// Writes all of `buf` at `offset`.
    fn write_at(&mut self, buf: &[u8], offset: u64) -> Result<(), Code>;

    /// Its length, in bytes.
    fn len(&mut self) -> Result<u64, Code>;

    /// Cuts it to `len` bytes.
    fn set_len(&mut self, len: u64) -> Result<(), Code>;

    /// Returns when all of it is on the disk.
    fn sync(&mut self) -> Result<(), Code>;
}

/// Reads exactly `buf`, or returns `false` when the medium ends before.
pub(super) fn read_whole(
    medium: &mut dyn Medium,
    buf: &mut [u8],
    offset: u64,
) -> Result<bool, Code> {
    Ok(medium.read_at(buf, offset)? == buf.len())
}
