//! Rows as text: each value keeps its type and all of its digits.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Statement;
use rusqlite::types::ValueRef;

use crate::cli::{CliError, Format, Output, table};

/// Text that is handed to standard output at once.
const PIECE: usize = 64 * 1024;

/// Runs the statement and prints its rows. A table is printed when all rows are read, the other
/// formats as they come.
pub(super) fn print(
    statement: &mut Statement<'_>,
    format: Format,
    output: Output,
    failed: impl Fn(rusqlite::Error) -> CliError,
) -> Result<(), CliError> {
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.raw_query();
    let (mut text, mut cells) = (String::new(), Vec::new());
    // Right-aligned: columns in which all values are numbers.
    let mut numbers: Vec<usize> = (0..names.len()).collect();
    let mut first = true;
    match format {
        Format::Table => (),
        Format::Csv => line(&mut text, names.iter().map(|name| quoted(name))),
        Format::Json => text.push('['),
    }
    while let Some(row) = rows.next().map_err(&failed)? {
        let value = |column| row.get_ref(column).expect("the column exists");
        let values = (0..names.len()).map(value);
        match format {
            Format::Table => {
                numbers.retain(|&n| matches!(value(n), ValueRef::Integer(_) | ValueRef::Real(_)));
                cells.push(values.map(cell).collect());
            }
            Format::Csv => line(&mut text, values.map(csv)),
            Format::Json => {
                text.push_str(if first { "\n  {" } else { ",\n  {" });
                for (n, (name, value)) in names.iter().zip(values).enumerate() {
                    text.push_str(if n == 0 { "" } else { ", " });
                    text.push_str(&format!("{}: {}", json_text(name), json(value)));
                }
                text.push('}');
            }
        }
        first = false;
        if text.len() >= PIECE {
            output.raw(text.as_bytes())?;
            text.clear();
        }
    }
    match format {
        Format::Table => {
            let header: Vec<String> = names.iter().map(|name| escaped(name)).collect();
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            text = table(&header, if first { &[] } else { &numbers }, &cells);
        }
        Format::Csv => (),
        Format::Json => text.push_str(if first { "]\n" } else { "\n]\n" }),
    }
    output.raw(text.as_bytes())
}

fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Text(text) => match str::from_utf8(text) {
            Ok(text) => escaped(text),
            Err(_) => blob(text),
        },
        other => csv(other),
    }
}

/// Text from a database must not steer the terminal that it is shown on.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// A field after RFC 4180. Quotes tell text from all else, as PostgreSQL's CSV does; no library
/// offers that.
fn csv(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(x) => real(x),
        ValueRef::Text(text) => match str::from_utf8(text) {
            Ok(text) => quoted(text),
            Err(_) => blob(text),
        },
        ValueRef::Blob(bytes) => blob(bytes),
    }
}

fn json(value: ValueRef<'_>) -> String {
    let bytes = match value {
        ValueRef::Null => return "null".to_owned(),
        ValueRef::Integer(n) => return n.to_string(),
        ValueRef::Real(x) => return real(x),
        ValueRef::Text(text) => match str::from_utf8(text) {
            Ok(text) => return json_text(text),
            Err(_) => text,
        },
        ValueRef::Blob(bytes) => bytes,
    };
    format!("{{\"base64\": \"{}\"}}", STANDARD.encode(bytes))
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

/// The shortest digits that give the same number again. SQLite stores no NaN.
fn real(x: f64) -> String {
    match x.is_infinite() {
        true if x > 0.0 => "9e999".to_owned(),
        true => "-9e999".to_owned(),
        false => format!("{x:?}"),
    }
}

fn blob(bytes: &[u8]) -> String {
    format!("x'{}'", hex::encode(bytes))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    let fields: Vec<String> = fields.collect();
    text.push_str(&fields.join(","));
    text.push_str("\r\n");
}
