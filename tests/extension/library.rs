//! The file `libatrest.so` itself.

use std::collections::BTreeSet;
use std::process::Command;

use crate::work::{library, run};

/// The dynamic symbols of the library: `--defined-only` or `--undefined-only`.
fn symbols(which: &str) -> BTreeSet<String> {
    let mut nm = Command::new("nm");
    nm.args(["--dynamic", "--format=just-symbols", which])
        .arg(library());
    let said = run(nm, "", "apt-get install binutils");
    assert_eq!(said.err, "");
    said.out.lines().map(str::to_owned).collect()
}

/// Two SQLites live in the process: the program's, and the bundled one below the vault. Exported
/// names of ours could take the place of the program's, and imported ones be taken by it.
#[test]
fn the_librarys_sqlite_and_the_programs_never_call_each_other_by_accident() {
    let exported = symbols("--defined-only");
    let entry_points = ["sqlite3_atrest_init", "sqlite3_extension_init"];
    // A library of checksums exports functions for C, which nothing calls, and rustc passes them on.
    let ours = exported.iter().filter(|n| !n.starts_with("crc_fast_"));
    assert!(ours.eq(&entry_points), "{exported:?}");
    let imported = symbols("--undefined-only");
    assert!(
        imported.iter().any(|name| name.starts_with("malloc")),
        "it imports something"
    );
    let sqlite = imported.iter().find(|name| name.starts_with("sqlite3"));
    assert_eq!(sqlite, None);
}
