//! What `sys_dm_database_encryption_keys` shows in SQL: the sealed databases that this process has open,
//! with the columns, states and names of Azure SQL's view `sys.dm_database_encryption_keys`. Dates are not kept and are
//! NULL.

use std::ffi::CStr;
use std::sync::Arc;

use super::convert::{is_scanned, progress_of};
use super::shared::Shared;
use super::{Conversion, slots};

pub(super) const NAME: &CStr = c"sys_dm_database_encryption_keys";

pub(super) const SCHEMA: &CStr = c"CREATE TABLE sys_dm_database_encryption_keys (
    database_id INTEGER, database_name TEXT, encryption_state INTEGER, encryption_state_desc TEXT,
    percent_complete REAL, encryption_scan_state INTEGER, encryption_scan_state_desc TEXT,
    key_algorithm TEXT, key_length INTEGER, encryptor_type TEXT, encryptor_thumbprint BLOB,
    create_date TEXT, regenerate_date TEXT, modify_date TEXT, set_date TEXT, opened_date TEXT,
    encryption_scan_modify_date TEXT)";

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// One row for each database that has somebody else's key over its own.
pub(super) fn rows() -> Vec<Vec<Value>> {
    let mut open = Shared::all_open();
    open.sort_by_key(|shared| shared.token());
    open.iter().filter_map(row).collect()
}

fn row(shared: &Arc<Shared>) -> Option<Vec<Value>> {
    let encryptor = shared.keys().encryptor()?;
    let (state, state_desc) = state(shared);
    let (percent, scan, scan_desc) = match shared.conversion() {
        Conversion::None | Conversion::Decrypted => (0.0, 4, "COMPLETE"),
        _ => {
            let done =
                progress_of(shared).map_or(0.0, |p| 100.0 * p.done as f64 / p.pages.max(1) as f64);
            match is_scanned(shared.path()) {
                true => (done, 1, "RUNNING"),
                false => (done, 2, "SUSPENDED"),
            }
        }
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let name = shared.path().file_stem().unwrap_or_default();
    let mut row = vec![
        Value::Integer(shared.token().cast_signed()),
        text(&name.to_string_lossy()),
        Value::Integer(state),
        text(state_desc),
        Value::Real(percent),
        Value::Integer(scan),
        text(scan_desc),
        text("AES"),
        Value::Integer(256),
        text(encryptor.kind),
        Value::Blob(encryptor.thumbprint.to_vec()),
    ];
    row.resize(17, Value::Null);
    Some(row)
}

fn state(shared: &Shared) -> (i64, &'static str) {
    match shared.conversion() {
        Conversion::Decrypted => (1, "UNENCRYPTED"),
        Conversion::Encryption => (2, "ENCRYPTION_IN_PROGRESS"),
        Conversion::KeyChange => (4, "KEY_CHANGE_IN_PROGRESS"),
        Conversion::Decryption => (5, "DECRYPTION_IN_PROGRESS"),
        // A rewrap writes one slot of the header after the other.
        Conversion::None => match slots::read(shared.path()).as_deref() {
            Ok([(_, a), (_, b)]) if a.key_slot != b.key_slot => {
                (6, "PROTECTION_CHANGE_IN_PROGRESS")
            }
            _ => (3, "ENCRYPTED"),
        },
    }
}
