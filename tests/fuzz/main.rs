//! Fuzz targets for what parses hostile files: header block, pages and their trailers, freshness
//! records and positions, write-ahead log, the name beside it, journals, envelopes. A target alters
//! entries of its corpus (`corpus/TARGET`), and an oracle says what a reader may make of the
//! result: an error that names the file, or a content that was committed once; with a remembered
//! position, none older than that. The corpus itself is judged first, so an input that failed once
//! and was put there is never forgotten.
//!
//! `ATREST_TEST_FUZZ` (cases for each target, by default 1500) and `ATREST_TEST_SEED` ask for other cases.
//! A failure is made smaller and written to a file that it names; an input that ends the process is left
//! there, too. `cargo test --test fuzz write_the_corpora -- --ignored` makes the corpora anew.
#![allow(clippy::unwrap_used)]

mod content;
mod control;
mod corpus;
mod edit;
mod envelope;
mod files;
mod header;
mod journal;
#[path = "../common/key_wrapper.rs"]
mod key_wrapper;
mod keyed;
mod lives;
mod mutate;
mod oracle;
mod page;
mod position;
mod record;
mod run;
mod signpost;
mod sums;
mod wal;
