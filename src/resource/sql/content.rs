use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a database holds, in a form that two copies of it can be compared by: equal contents give
/// equal values, whatever the page size, the free pages and the protection are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// SHA-256 over the schema (every object's kind, name, table and SQL), 64 hexadecimal digits.
    pub schema: String,
    /// Text encoding, user version, application id and auto-vacuum mode, as SQLite's pragmas of
    /// these names tell them.
    pub settings: String,
    /// Each table, by name; shadow tables of virtual tables too, the virtual tables themselves not.
    pub tables: Vec<TableContent>,
}

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableContent {
    /// Its name.
    pub name: String,
    /// How many rows.
    pub rows: u64,
    /// SHA-256 over its rows in the order of the row id (or of the primary key of a table without
    /// row ids), each with its row id and the type and bytes of each value that is stored; 64
    /// hexadecimal digits.
    pub sha256: String,
}

impl Content {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|t| t.rows).sum()
    }

    /// One SHA-256 over all of it, 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        put(&mut hash, self.schema.as_bytes());
        put(&mut hash, self.settings.as_bytes());
        for table in &self.tables {
            put(&mut hash, table.name.as_bytes());
            put(&mut hash, table.sha256.as_bytes());
        }
        hex::encode(hash.finalize())
    }

    /// The first thing in which `self` and `other` differ, in words.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        if self.settings != other.settings {
            return Some(format!("settings {} and {}", self.settings, other.settings));
        }
        if self.schema != other.schema || self.tables.len() != other.tables.len() {
            return Some("the schema".to_owned());
        }
        let mut pairs = self.tables.iter().zip(&other.tables);
        pairs
            .find(|(a, b)| a != b)
            .map(|(a, b)| format!("table {} ({} rows and {})", a.name, a.rows, b.rows))
    }
}

/// Reads the whole database `main` of `conn` and tells what it holds.
///
/// # Errors
/// SQLite's, as they come while reading.
pub fn content_hash(conn: &Connection) -> rusqlite::Result<Content> {
    counted(conn, &AtomicU64::new(0))
}

/// As [`content_hash`]; adds to `bytes` what was hashed, as it goes.
pub(super) fn counted(conn: &Connection, bytes: &AtomicU64) -> rusqlite::Result<Content> {
    let mut settings = Vec::new();
    for pragma in ["encoding", "user_version", "application_id", "auto_vacuum"] {
        let value: rusqlite::types::Value =
            conn.query_row(&format!("PRAGMA main.{pragma}"), (), |row| row.get(0))?;
        settings.push(match value {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => format!("{pragma}={number}"),
            other => format!("{other:?}"),
        });
    }
    let schema = "SELECT type, name, tbl_name, sql FROM main.sqlite_schema ORDER BY type, name";
    let schema = rows(conn, schema, bytes)?;
    let mut list = conn.prepare(
        "SELECT name, wr FROM pragma_table_list
         WHERE schema = 'main' AND type IN ('table', 'shadow') AND name <> 'sqlite_schema'
         ORDER BY name",
    )?;
    let names = list.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let names: Vec<(String, bool)> = names.collect::<Result<_, _>>()?;
    let mut tables = Vec::with_capacity(names.len());
    for (name, without_rowid) in names {
        let (rows, sha256) = rows(conn, &select(conn, &name, without_rowid)?, bytes)?;
        tables.push(TableContent { name, rows, sha256 });
    }
    Ok(Content {
        schema: schema.1,
        settings: settings.join(", "),
        tables,
    })
}

/// The statement that reads all that is stored of a table, in an order of its own.
fn select(conn: &Connection, table: &str, without_rowid: bool) -> rusqlite::Result<String> {
    // `hidden` is 2 for a generated column that is computed when it is read.
    let mut info = conn.prepare("SELECT name, hidden, pk FROM pragma_table_xinfo(?1)")?;
    let columns = info.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let columns: Vec<(String, i64, i64)> = columns.collect::<Result<_, _>>()?;
    let free = |name: &&str| !columns.iter().any(|c| c.0.eq_ignore_ascii_case(name));
    let rowid = ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(free)
        .filter(|_| !without_rowid);
    let stored = columns.iter().filter(|c| c.1 != 2).map(|c| quoted(&c.0));
    let read: Vec<String> = rowid.map(str::to_owned).into_iter().chain(stored).collect();
    let mut key: Vec<_> = columns.iter().filter(|c| c.2 > 0).collect();
    key.sort_by_key(|c| c.2);
    let order = match (rowid, without_rowid) {
        (Some(rowid), _) => rowid.to_owned(),
        (None, true) => join(key.iter().map(|c| quoted(&c.0))),
        // Columns hide every name of the row id.
        (None, false) => join((1..=read.len()).map(|n| n.to_string())),
    };
    let read = join(read.into_iter());
    let table = quoted(table);
    Ok(format!("SELECT {read} FROM main.{table} ORDER BY {order}"))
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn quoted(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    let doubled = name.replace('"', "\"\"");
    write!(out, "\"{doubled}\"").expect("writing to a string succeeds");
    out
}

fn rows(conn: &Connection, sql: &str, bytes: &AtomicU64) -> rusqlite::Result<(u64, String)> {
    let mut statement = conn.prepare(sql)?;
    let width = statement.column_count();
    let mut rows = statement.query(())?;
    let (mut hash, mut count) = (Sha256::new(), 0);
    while let Some(row) = rows.next()? {
        bytes.fetch_add(hash_row(&mut hash, row, width)?, Ordering::Relaxed);
        count += 1;
    }
    Ok((count, hex::encode(hash.finalize())))
}

fn hash_row(hash: &mut Sha256, row: &Row<'_>, width: usize) -> rusqlite::Result<u64> {
    let mut bytes = 0;
    for column in 0..width {
        match row.get_ref(column)? {
            ValueRef::Null => hash.update([0]),
            ValueRef::Integer(n) => {
                hash.update([1]);
                hash.update(n.to_le_bytes());
                bytes += 8;
            }
            ValueRef::Real(x) => {
                hash.update([2]);
                hash.update(x.to_bits().to_le_bytes());
                bytes += 8;
            }
            ValueRef::Text(text) => {
                hash.update([3]);
                bytes += put(hash, text);
            }
            ValueRef::Blob(blob) => {
                hash.update([4]);
                bytes += put(hash, blob);
            }
        }
    }
    Ok(bytes)
}

/// Hashes a length and as many bytes, so that no two sequences of values run together alike.
fn put(hash: &mut Sha256, bytes: &[u8]) -> u64 {
    let len = u64::try_from(bytes.len()).expect("a length in memory fits");
    hash.update(len.to_le_bytes());
    hash.update(bytes);
    len
}
