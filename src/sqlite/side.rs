use super::Conversion;
use super::medium::{Code, Medium, read_whole};
use super::shared::Shared;
use super::unit::TRAILER_LEN;
use super::vfs::LowerFile;

/// In place of a page's trailer, in a plain file that is being made: the page is here. SQLite does
/// not look at these bytes.
const HERE: &[u8; TRAILER_LEN] = b"atrest: this page is decrypted.\n";

/// With which every plain database begins (SQLite's file format, section 1.3).
pub(super) const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The plain file beside a sealed one that is made from it, or that it is made from; with pages of
/// the same numbers, which leave the same bytes reserved.
pub(super) struct Side {
    file: LowerFile,
    page: usize,
    /// Whether this is what is made.
    made: bool,
}

impl Side {
    /// The file that this conversion of `shared` needs.
    pub(super) fn open(shared: &Shared, conversion: Conversion) -> Result<Self, Code> {
        let ending = ending(conversion);
        let file = LowerFile::open_beside(shared, ending).map_err(|code| {
            let why = format!("the plain file beside it, with {ending} at its end, is missing");
            shared.refuse(code, &why)
        })?;
        Ok(Self {
            file,
            page: shared.page_size().bytes(),
            made: conversion == Conversion::Decryption,
        })
    }

    fn offset(&self, number: u64) -> u64 {
        (number - 1) * self.page as u64
    }

    /// Reads page `number`, with zeros in the place of its trailer; `false` when it is not here.
    pub(super) fn read(&mut self, number: u64, plain: &mut [u8]) -> Result<bool, Code> {
        let at = self.offset(number);
        let there = read_whole(&mut self.file, plain, at)?;
        let trailer = &mut plain[self.page - TRAILER_LEN..];
        if !there || self.made && trailer != HERE {
            return Ok(false);
        }
        trailer.fill(0);
        if number == 1 {
            // Taken away in a file that is converted, so that nobody goes on with it.
            plain[..MAGIC.len()].copy_from_slice(MAGIC);
        }
        Ok(true)
    }

    /// Whether page `number` is here.
    pub(super) fn has(&mut self, number: u64) -> Result<bool, Code> {
        let mut trailer = [0; TRAILER_LEN];
        let at = self.offset(number + 1) - TRAILER_LEN as u64;
        let there = read_whole(&mut self.file, &mut trailer, at)?;
        Ok(there && (!self.made || trailer == *HERE))
    }

    /// Writes page `number` of the file that is made.
    pub(super) fn write(&mut self, number: u64, plain: &[u8]) -> Result<(), Code> {
        let mut page = plain.to_vec();
        page[self.page - TRAILER_LEN..].copy_from_slice(HERE);
        let at = self.offset(number);
        self.file.write_at(&page, at)
    }

    pub(super) fn pages(&mut self) -> Result<u64, Code> {
        Ok(self.file.len()? / self.page as u64)
    }

    pub(super) fn set_pages(&mut self, count: u64) -> Result<(), Code> {
        let len = self.offset(count + 1);
        self.file.set_len(len)
    }

    pub(super) fn sync(&mut self) -> Result<(), Code> {
        self.file.sync()
    }
}

/// What the name of the plain file beside a sealed one ends in.
pub(super) fn ending(conversion: Conversion) -> &'static str {
    match conversion {
        Conversion::Decryption | Conversion::Decrypted => ".new",
        _ => ".old",
    }
}
