//! What a benchmark's results say of the build, and the program cannot see itself: the compiler and
//! how it optimizes.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let of = |name: &str| env::var(name).unwrap_or_default();
    let version = Command::new(of("RUSTC")).arg("--version").output();
    let version = version.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned());
    println!(
        "cargo:rustc-env=ATREST_RUSTC={}",
        version.unwrap_or_default()
    );
    println!("cargo:rustc-env=ATREST_PROFILE={}", of("PROFILE"));
    println!("cargo:rustc-env=ATREST_OPT_LEVEL={}", of("OPT_LEVEL"));
}
