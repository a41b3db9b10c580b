//! The loadable SQLite extension, for the `sqlite3` shell and other programs with a SQLite of their
//! own. What it does is in the library (`atrest::extension`); here are the two names by which SQLite
//! looks for it: after the file's, and for a file of any name.
//!
//! Exporting a name and passing on raw pointers is `unsafe`, and cannot be done in the library: the
//! program and each test would export them too.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use atrest::extension::HOST;
use atrest::sqlite::load_extension;
use rusqlite::ffi::{sqlite3, sqlite3_api_routines};

/// For `libatrest.so`.
///
/// # Safety
/// To be called by SQLite alone, as the entry point of an extension.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_atrest_init(
    db: *mut sqlite3,
    message: *mut *mut c_char,
    api: *const sqlite3_api_routines,
) -> c_int {
    // SAFETY: the arguments are SQLite's.
    unsafe { load_extension(db, message, api, HOST) }
}

/// For a copy with another name.
///
/// # Safety
/// To be called by SQLite alone, as the entry point of an extension.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_extension_init(
    db: *mut sqlite3,
    message: *mut *mut c_char,
    api: *const sqlite3_api_routines,
) -> c_int {
    // SAFETY: the arguments are SQLite's.
    unsafe { sqlite3_atrest_init(db, message, api) }
}
