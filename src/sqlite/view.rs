//! What `sys_dm_database_encryption_keys` shows in SQL: the sealed databases that this process has open,
//! with the columns, states and names of Azure SQL's view `sys.dm_database_encryption_keys`. Dates are not kept and are
//! NULL.

use std::ffi::CStr;
use std::sync::Arc;

use super::convert::is_scanned;
use super::progress::{Progress, progress_of};
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
            let done = progress_of(shared).map_or(0.0, Progress::percent);
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
    // A rewrap writes one slot of the header after the other.
    match (shared.conversion(), slots::read(shared.path()).as_deref()) {
        (Conversion::None, Ok([(_, a), (_, b)])) if a.key_slot != b.key_slot => {
            (6, "PROTECTION_CHANGE_IN_PROGRESS")
        }
        (conversion, _) => conversion.state(),
    }
}
