//! `atrest bench`: what encryption at rest costs, measured on this machine. The engine samples
//! candidates and their baseline in turn ([`Session`]), draws intervals by the bootstrap
//! ([`stats`]), says what disturbed the run ([`Conditions`]), and compares two runs ([`compare`]).
//! A station ([`STATIONS`]) is one subject: copying memory, AEAD, SQL, blobs, the vault.
//!
//! It stands above what it measures. What it needs from above (a server) is a child process of the
//! program that it is told of ([`Plan::program`]).

mod bare;
mod compare;
mod conditions;
mod error;
mod explain;
mod files;
mod load;
mod machine;
mod parts;
mod places;
mod plan;
mod plots;
mod report;
mod results;
mod session;
mod stations;
mod stats;
mod words;
mod workload;

pub use compare::{Change, Comparison, Judged, compare};
pub use conditions::Conditions;
pub use error::BenchError;
pub use explain::{Operation, explain};
pub use load::{Connection, HOST, Load, Served, Until, request};
pub use machine::{Build, Machine};
pub use parts::{AddsUp, Explained, Share};
pub use plan::{Plan, Scale};
pub use report::html;
pub use results::{Interval, Latency, Measurement, Ratio, Run, StationRun, Unit, schema, to_csv};
pub use session::run;
pub use stations::{STATIONS, Station};
pub use words::{COLUMNS, ratio_text, table_rows, time_text};
pub use workload::{Taken, WORK, run as work};
