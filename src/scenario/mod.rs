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

pub use error::ScenarioError;
pub use teller::Audience;
