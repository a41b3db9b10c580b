//! Fuzz targets for what reads requests of the Blob service: XML, signatures by key and shared access
//! signatures, batches. What is right is altered, and read by a reader that was written for the test, from
//! the specifications; what is read must be read as the same. What is refused is shown by controls to be refused rightly.
//!
//! `ATREST_TEST_FUZZ` is the number of cases of each target.

mod batch;
mod plain_xml;
mod raw;
mod sas;
mod shared_key;
mod text;
mod xml;

use proptest::test_runner::Config;

fn config() -> Config {
    let cases = std::env::var("ATREST_TEST_FUZZ").map_or(2_000, |n| n.parse().unwrap());
    Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    }
}
