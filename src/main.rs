//! The command line program.

use std::process::ExitCode;

fn main() -> ExitCode {
    atrest::cli::main(std::env::args_os())
}
