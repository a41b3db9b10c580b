//! Whole stories on real bytes: made-up data, and the demo that steals it and says what it is worth.

pub mod demo;
pub mod sample;
