//! The command line program.

use std::process::ExitCode;

/// A request to the server is hundreds of small allocations: the system's allocator costs 10 µs more of each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    atrest::cli::main(std::env::args_os())
}
