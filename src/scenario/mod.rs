//! Whole stories on real bytes: made-up data, the demo that steals it and says what it is worth, and
//! scenario files that tell stories of the user's own.

mod blobs;
pub mod demo;
mod error;
mod figures;
pub mod file;
mod measure;
pub mod sample;
mod teller;

use crate::lab::{Report, Signed, Written};

pub use error::ScenarioError;
pub use teller::Audience;

/// How a story went.
#[derive(Debug)]
pub struct Ran {
    /// Everything that was seen and claimed.
    pub report: Report,
    /// Where that was written.
    pub written: Written,
    /// Who signed it: a key of the customer's vault.
    pub signed: Signed,
}
