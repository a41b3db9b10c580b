//! Where commands print. Results go to standard output, as text or as JSON; notes and progress
//! bars go to standard error, and only when somebody may want them.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::CliError;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    Table,
    /// Comma-separated values (RFC 4180), with a header.
    Csv,
    /// A JSON array of objects.
    Json,
}

/// How this run of the program prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// As `--json` and `--quiet` say.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether answers are in JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Whether only what was asked for is printed.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// A remark that nobody may miss: to standard error, also when quiet.
    pub fn warn(self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// An answer: `value` in JSON, or else the text that `write` writes. Nothing is printed by
    /// halves: the text is built first.
    pub fn answer(
        self,
        value: &impl Serialize,
        write: impl FnOnce(&mut String) -> std::fmt::Result,
    ) -> Result<(), CliError> {
        let mut text = String::new();
        if self.json {
            text = serde_json::to_string_pretty(value)
                .map_err(|e| CliError::output(io::Error::other(e)))?;
            text.push('\n');
        } else {
            write(&mut text).expect("writing to a string succeeds");
        }
        self.raw(text.as_bytes())
    }

    /// Bytes as they are (a blob, a script), to standard output.
    pub fn raw(self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(CliError::output)
    }

    /// A remark that is no answer: to standard error, not when quiet.
    pub fn note(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// A progress bar on standard error; none when that is no terminal, or when quiet.
    pub fn progress(self, label: impl Into<Cow<'static, str>>) -> Progress {
        if self.quiet || !io::stderr().is_terminal() {
            return Progress(None);
        }
        let style = "{msg:24} {bar:32} {percent:>3}% {eta:>4}";
        let bar = ProgressBar::new(0)
            .with_style(ProgressStyle::with_template(style).expect("the template is valid"))
            .with_message(label);
        Progress(Some(bar))
    }
}

/// A progress bar, or nothing. It is taken away when dropped.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// How much is done, of how much; in bytes, rows or whatever is counted.
    pub fn set(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Aligned columns without lines; `numbers` are the columns that are aligned to the right. As
/// wide as the terminal, or as it needs when there is none.
pub fn table(header: &[&str], numbers: &[usize], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header)
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for &number in numbers {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
